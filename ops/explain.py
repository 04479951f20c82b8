"""Lines of a requirement as a margin clerk reads them: which positions, by which rule, how much."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from risk import lines
from risk.amounts import TICKS_PER_DOLLAR
from risk.block import AccountBlock
from risk.lines import Lines


def explain(found: Lines, size: np.ndarray, symbols: list[str], sources: dict[str, str]) -> list[dict[str, Any]]:
    """The lines that require something; their requirements sum to the account's exactly.

    A line that pairs an option with stock takes over what that stock requires by itself, so that both add up.

    Args:
      size: (p,) units in one of each position. symbols: of the positions. sources: citations by parameter.
    """
    found = _whole(found, size)
    rows = []
    for at in np.flatnonzero(found.requirement != 0).tolist():
        key, what = lines.RULES[int(found.rule[at])]
        positions, units = found.members(at)
        quantity = (units / size[positions]).tolist()
        text = f"{what}: {sources[key]}" if key in sources else what
        rows.append(
            {
                "rule": key,
                "description": text,
                "symbols": [symbols[place] for place in positions.tolist()],
                "quantity": quantity[0] if len(quantity) == 1 else quantity,
                "requirement": float(found.requirement[at]) / TICKS_PER_DOLLAR,
            }
        )
    return rows


def _whole(found: Lines, size: np.ndarray) -> Lines:
    """The lines, of which those that pair an option with stock have all that this stock requires, in place of what they
    change about it; the stock's own line keeps what is left."""
    requirement, units = found.requirement.copy(), found.units.copy()
    own = {
        int(found.positions[found.starts[at]]): at
        for at in np.flatnonzero((np.diff(found.starts) == 1) & ~np.isin(found.rule, _OFFSETS)).tolist()
        if found.rule[at] < lines.SAME_SECURITY
    }
    for at in np.flatnonzero(np.isin(found.rule, _WITH_STOCK)).tolist():
        positions, taken = found.members(at)
        contract = float(size[positions[0]])
        (place,) = [place for place, position in enumerate(positions.tolist()) if position in own]
        stock = own[int(positions[place])]
        whole = abs(float(found.units[found.starts[stock]]))
        moved = np.rint(found.requirement[stock] / whole * contract) * abs(float(taken[place])) / contract
        requirement[at] += moved
        requirement[stock] -= moved
        units[found.starts[stock]] -= taken[place]
    return replace(found, requirement=requirement, units=units)


def pairings(found: Lines, block: AccountBlock, size: np.ndarray, symbols: list[str]) -> list[dict[str, Any]]:
    """The offsets that were taken: what each is, what it holds, and what it requires and is worth; of covered stock the
    equity is what a call's exercise price takes from it."""
    found = _whole(found, size)
    rows = []
    several = np.diff(found.starts) > 1
    for at in np.flatnonzero(several & np.isin(found.rule, _OFFSETS)).tolist():
        positions, units = found.members(at)
        rows.append(
            {
                "strategy": name_of(int(found.rule[at]), block, positions, units),
                "symbols": [symbols[place] for place in positions.tolist()],
                "quantity": (units / size[positions]).tolist(),
                "requirement": float(found.requirement[at]) / TICKS_PER_DOLLAR + 0.0,
                "equity": float(found.equity[at]) / TICKS_PER_DOLLAR + 0.0,
            }
        )
    return rows


_WITH_STOCK = (
    lines.COVERED_CALL,
    lines.COVERED_PUT,
    lines.PROTECTIVE_PUT,
    lines.PROTECTIVE_CALL,
    lines.CONVERSION,
    lines.COLLAR,
    lines.COLLAR_AT_CALL,
    lines.REVERSE_CONVERSION,
)
_OFFSETS = (
    lines.SAME_SECURITY,
    lines.CONVERTIBLE_HEDGE,
    lines.STRADDLE,
    *_WITH_STOCK,
    lines.BOX,
    lines.SPREAD,
)


def name_of(rule: int, block: AccountBlock, positions: np.ndarray, units: np.ndarray) -> str:
    """What the field calls an offset."""
    if rule != lines.SPREAD:
        return lines.RULES[rule][1].partition(":")[0]
    market = block.terms
    assert market is not None
    rows = block.symbols[positions]
    order = np.lexsort((market.right[rows], market.strike[rows]))
    rights, strikes, signs = market.right[rows][order], market.strike[rows][order], np.sign(units[order])
    even = len(set(np.abs(units).tolist())) == 1
    side = {1.0: "call ", -1.0: "put "}[rights[0]] if len(set(rights.tolist())) == 1 else ""
    if len(set(market.expiry[rows].tolist())) > 1:
        return (
            f"{side}{'calendar' if len(set(strikes.tolist())) == 1 else 'diagonal'} spread"
            if len(rows) == 2
            else _OTHER
        )
    if side and len(rows) == 2 and even:
        return f"{side}spread"
    if side and len(rows) == 3 and signs[0] == signs[2] != signs[1]:
        return f"{'long' if signs[0] > 0 else 'short'} {side}butterfly"
    if side and len(rows) == 4 and even and signs.tolist() in ([1, -1, -1, 1], [-1, 1, 1, -1]):
        return f"{'long' if signs[0] > 0 else 'short'} {side}condor"
    if not side and len(rows) == 4 and even:
        if len(set(strikes.tolist())) == 2:
            return "box spread"
        return "iron butterfly" if len(set(strikes.tolist())) == 3 else "iron condor"
    return _OTHER


_OTHER = "limited-risk combination"
