"""Admission: whether an order would be admitted now, and what it would leave.

An order is taken whole: its legs are valued together, before and after, by the very rules that margin the account, so
that a hedge or a combination is asked for what it changes and not for what each leg would. An account that is called,
restricted or due for liquidation is close-only (design.md section 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from risk.amounts import TICKS_PER_DOLLAR, Floats, Ints, ticks
from risk.block import AccountBlock
from risk.initial import initial_requirements
from risk.ladder import LEVELS, SEVERE, level_of
from risk.lines import Lines
from risk.margin import lines_of
from risk.terms import SECURITY_FUTURE

#: What admits: enough margin after, an excess that does not fall, or legs that only reduce.
Rule = Literal["MARGIN", "EXCESS", "REDUCTION"]
#: Units: quantities are millionths, and what binary fractions add to them is less than this.
_NOTHING = 1e-7


@dataclass(frozen=True, slots=True)
class Trades:
    """The k legs of an order.

    Attributes:
      positions: (k,) places in the block; a symbol that is not held has a position of zero there.
      units: (k,) of the underlying, signed: what is sold is negative; none is zero.
      price: (k,) dollars a unit, paid or received.
    """

    positions: Ints
    units: Floats
    price: Floats


@dataclass(frozen=True, slots=True)
class Figures:
    """How an account stands, in ticks.

    initial_requirement, reg_t_excess: None on portfolio margin, and under a rulebook without initial rules.
    """

    equity: float
    requirement: float
    excess: float
    initial_requirement: float | None
    reg_t_excess: float | None
    buying_power: float


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether an order would be admitted, and why.

    Fields:
      rule: what admits it, the first that does; None: nothing.
      reason: the same in words, with the figures.
      costs: ticks, which the figures after have paid.
      unpriced: places of positions without a price: the figures leave them out.
    """

    admitted: bool
    rule: Rule | None
    reason: str
    costs: float
    before: Figures
    after: Figures
    unpriced: tuple[int, ...]


def admit(block: AccountBlock, trades: Trades, flags: int = 0) -> Answer:
    """Would this order be admitted now?

    - MARGIN: an account that is not close-only has no less excess than zero after it, nor less Regulation T excess than
      zero, unless the order does not lower that (a restricted account in the sense of 12 CFR 220.4 may still trade).
    - EXCESS: excess after costs does not fall.
    - REDUCTION: every leg only reduces a position, and the requirement does not rise.

    A close-only account is admitted by the last two alone.

    Args:
      block: one account. What is not priced is left out of the figures, before and after.
      flags: the account's, risk.ladder: of SEVERE any makes it close-only.

    Raises:
      ValueError: no account or several, no leg, or a leg of no unit.
    """
    if len(block.accounts) != 1 or not len(trades.units) or not trades.units.all():
        raise ValueError("expected one account, and legs of other than zero units")
    costs = costs_of(block, trades)
    before, after = _figures(_twice(block, trades, costs))
    only_closes = reduces(block.quantity, trades)
    closing = _closing(before, after, bool(only_closes.all()))
    enough = not flags & SEVERE and _enough(before, after)
    rule: Rule | None = "MARGIN" if enough else closing
    return Answer(
        admitted=rule is not None,
        rule=rule,
        reason=_reason(rule, flags, before, after, only_closes),
        costs=costs,
        before=before,
        after=after,
        unpriced=tuple(np.flatnonzero(block.unpriced & (block.quantity != 0)).tolist()),
    )


def reduces(quantity: Floats, trades: Trades) -> NDArray[np.bool_]:
    """(k,) whether each leg only reduces its position: against it, and with the order's others no more than it."""
    held = quantity[trades.positions]
    traded = np.bincount(trades.positions, np.abs(trades.units), minlength=len(quantity))[trades.positions]
    return (held * trades.units < 0) & (traded <= np.abs(held) + _NOTHING)


def costs_of(block: AccountBlock, trades: Trades) -> float:
    """Ticks that it costs to trade the legs, an order each, as of a liquidation; none without rules."""
    rules = block.rules.liquidation
    if rules is None:
        return 0.0
    return float(rules.cost(ticks(np.abs(trades.units) * trades.price)).sum())


def _twice(block: AccountBlock, trades: Trades, costs: float) -> AccountBlock:
    """The account as it stands, and beside it as it would."""
    at, paid = trades.positions, trades.price
    quantity = block.quantity + np.bincount(at, trades.units, minlength=len(block.quantity))
    # What is left of a position that is closed may be a bit, and would be a position.
    quantity = np.where(np.abs(quantity) < _NOTHING, 0.0, quantity)
    if block.terms is not None:
        # A future is settled every day: of its price only what is off the mark is paid.
        future = block.terms.type[block.symbols[at]] == SECURITY_FUTURE
        paid = np.where(future, paid - block.price[at], paid)
    cash = block.cash[0] - ticks(trades.units * paid).sum() - costs
    both = np.append(block.quantity, quantity), np.append(block.cash, cash)
    return block.repeated(2, quantity=both[0], cash=both[1])


def _figures(block: AccountBlock) -> list[Figures]:
    """Of each account of a block."""
    accounts = len(block.accounts)
    found = lines_of(block)
    equity, requirement = found.margin(block.cash)
    initial = _initial(block, found, equity)
    power = _buying_power(block, equity - requirement, None if initial is None else initial[1])
    rest = [[None, None]] * accounts if initial is None else np.transpose(initial).tolist()
    rows = zip(equity.tolist(), requirement.tolist(), rest, power.tolist(), strict=True)
    return [Figures(own, asked, own - asked, first, spare, power) for own, asked, (first, spare), power in rows]


def _initial(block: AccountBlock, found: Lines, equity: Floats) -> tuple[Floats, Floats] | None:
    """(n,) ticks of initial requirement and of Regulation T excess; none where there is no such rule."""
    if block.rules.initial is None or (block.portfolio is not None and block.portfolio.any()):
        return None
    regulation, initial = initial_requirements(block, found)
    return initial, equity - regulation


def _buying_power(block: AccountBlock, excess: Floats, reg_t_excess: Floats | None) -> Floats:
    """(n,) ticks of margin stock that could still be bought, not below zero.

    min(excess / m, Regulation T excess / i): value x bought at market leaves equity as it is and takes m x of excess, m
    being the greatest rate that is asked of any stock held long, and i x of Regulation T excess, i being 50%. So it is
    twice Regulation T excess where maintenance does not bind, which is what buying power is of the SMA (rules.md
    section 1; risk.sma is a line that history made, and may be more). Add-ons, and rates of a symbol, may ask for more.
    On portfolio margin it is excess: what it buys depends on what it hedges.
    """
    rules = block.rules
    if block.portfolio is not None and block.portfolio.any():
        return np.maximum(excess, 0.0)
    rate = max(rules.long_rate, rules.house.long_rate)
    if block.house is not None:
        rate = max(rate, float(block.house[0].max()))
    power = excess / rate
    if rules.initial is not None and reg_t_excess is not None:
        power = np.minimum(power, reg_t_excess / rules.initial.long_rate)
    return np.maximum(np.floor(power), 0.0)


def _enough(before: Figures, after: Figures) -> bool:
    if after.reg_t_excess is None or before.reg_t_excess is None:
        return after.excess >= 0
    return after.excess >= 0 and (after.reg_t_excess >= 0 or after.reg_t_excess >= before.reg_t_excess)


def _closing(before: Figures, after: Figures, only_closes: bool) -> Rule | None:
    """What of the close-only rule admits."""
    if after.excess >= before.excess:
        return "EXCESS"
    return "REDUCTION" if only_closes and after.requirement <= before.requirement else None


def _reason(rule: Rule | None, flags: int, before: Figures, after: Figures, only_closes: NDArray[np.bool_]) -> str:
    excess, requirement, regulation = (_change(n, before, after) for n in ("excess", "requirement", "reg_t_excess"))
    if rule == "MARGIN":
        room = f", Regulation T {regulation}" if after.reg_t_excess is not None else ""
        return f"enough margin: {excess}{room}"
    if rule == "EXCESS":
        return f"excess after costs does not fall: {excess}"
    if rule == "REDUCTION":
        return f"every leg only reduces a position and the requirement does not rise: {requirement}"
    opening = " and ".join(str(leg + 1) for leg in np.flatnonzero(~only_closes).tolist())
    why = f"leg {opening} does more than reduce a position" if opening else f"the requirement would rise: {requirement}"
    if flags & SEVERE:
        return f"close-only at {LEVELS[level_of(flags)]}: {excess}, and {why}"
    short = f"Regulation T {regulation}" if after.excess >= 0 else excess
    return f"not enough margin: {short}; and {why}"


def _change(name: str, before: Figures, after: Figures) -> str:
    """excess 1,000.00 to -50.25."""
    then, now = (getattr(figures, name) for figures in (before, after))
    if then is None or now is None:
        return ""
    texts = (f"{amount / TICKS_PER_DOLLAR:,.4f}".removesuffix("00") for amount in (then, now))
    return f"{name.rpartition('_')[2]} {' to '.join(texts)}"
