"""One account as a block, told in a line for each position; and one account drawn, of stock and options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from pipeline.rules import load_rulebook
from risk.block import AccountBlock
from risk.liquidation import Proposal
from risk.margin import lines_of
from risk.rulebook import LiquidationRules, Rulebook
from risk.terms import SECURITY_FUTURE, describe
from schemas.inputs import Instrument
from schemas.scalars import Time

NOW, DAY = Time.parse("2026-06-15T20:00:00Z"), 86_400_000_000
SEED, FINRA, HOUSE = map(load_rulebook, ("seed", "finra-4210", "house-example"))
assert FINRA.liquidation is not None
RULES: LiquidationRules = FINRA.liquidation
#: Just enough, and trading costs nothing.
PLAIN = replace(RULES, buffer=0.0, cost_rate=0.0, cost_per_order=0.0)


class Held(NamedTuple):
    """Units of the underlying, dollars a unit (None: no price), and what is announced of the symbol."""

    symbol: str
    units: float
    price: float | None
    terms: dict[str, Any] = {}


def option(kind: str, units: float, price: float | None, *, days: int = 60) -> Held:
    """`XYZ C 50`."""
    underlying, right, strike = kind.split()
    terms = {"type": "OPTION", "underlying": underlying, "right": {"C": "CALL", "P": "PUT"}[right], "multiplier": 100.0}
    return Held(kind, units, price, terms | {"strike": float(strike), "expiry": Time(NOW + days * DAY)})


def account(cash: float, held: Sequence[Held], rules: Rulebook = FINRA, *, portfolio: bool = False) -> AccountBlock:
    """A block of one account; cash in dollars."""
    names = names_of(held)
    rows = {name: row for row, name in enumerate(names)}
    known = {own.symbol: own for own in held}
    price = np.array([known[name].price for name in names], np.float64)
    terms = None
    if rules.options is not None:
        records = [Instrument(symbol=name, **known[name].terms) for name in names]
        unknown, ones = np.full(len(names), np.nan), np.ones(len(names))
        terms, _ = describe(records, rows, rules, price=price, volatility=unknown, beta=ones)
    symbols, no = np.array([rows[own.symbol] for own in held], np.int64), np.zeros(len(held), np.bool_)
    own = price[symbols]
    return AccountBlock(
        instant=NOW,
        rules=rules,
        accounts=np.arange(1),
        cash=np.array([round(cash * 10_000)], np.float64),
        offsets=np.array([0, len(held)]),
        symbols=symbols,
        quantity=np.array([each.units for each in held], np.float64),
        price=np.nan_to_num(own),
        beta=np.ones(len(held)),
        unreliable=no,
        unpriced=np.isnan(own),
        defaulted=no,
        terms=terms,
        portfolio=np.array([portfolio]),
    )


def names_of(held: Sequence[Held]) -> list[str]:
    """The symbols by row."""
    return sorted({own.symbol for own in held})


def figures(block: AccountBlock) -> tuple[float, float]:
    """Equity and requirement, ticks."""
    found = lines_of(block)
    return float(block.cash[0] + found.equity.sum()), float(found.requirement.sum())


def filled(block: AccountBlock, units: dict[int, float], rules: LiquidationRules) -> AccountBlock:
    """The account once the orders have filled at assumed prices: position -> signed units."""
    quantity, cash = block.quantity.copy(), block.cash.copy()
    for at, some in units.items():
        quantity[at] = round(quantity[at] + some, 6)
        value = round(abs(some) * block.price[at] * 10_000)
        if block.terms is None or block.terms.type[block.symbols[at]] != SECURITY_FUTURE:
            cash += value if some < 0 else -value
        cash -= round(value * rules.cost_rate) + round(rules.cost_per_order * 10_000)
    return replace(block, quantity=quantity, cash=cash)


def above_line(block: AccountBlock, rules: LiquidationRules) -> bool:
    equity, requirement = figures(block)
    return equity - requirement >= round(requirement * rules.buffer)


def traded(proposal: Proposal) -> dict[int, float]:
    return {order.position: order.units for order in proposal.orders}


_cents = st.integers(150, 40_000).map(lambda n: n / 100)
_shares = st.integers(-60, 90).filter(bool).map(lambda n: 25.0 * n)
#: Calls and puts by strike from the spot in percent, contracts, and whether with 100 shares each.
_SHAPES = (
    *(("C100 -1", "S 1"), ("P95 1", "S 1"), ("P95 1", "C105 -1", "S 1"), ("C100 -1", "C110 1"), ("P95 -1", "P90 1")),
    *(("C105 -1", "P95 -1"), ("C110 -1",), ("P90 -1",), ("C100 1",), ("P100 -1", "S -1"), ("C100 1", "S -1")),
    *(("P90 1", "P95 -1", "C105 -1", "C110 1"), ("C100 1", "C105 -2", "C110 1"), ("C100 -3", "S 2"), ("S 3",)),
)


@st.composite
def portfolios(draw: st.DrawFn, least: int = 10, most: int = 40, hedged: float = 0.5) -> list[Held]:
    """Stock, and on some of it what is written on it."""
    held: dict[str, Held] = {}
    count, number = draw(st.integers(least, most)), 0
    while len(held) < count:
        name, spot = f"S{number:02}", draw(_cents)
        number += 1
        if draw(st.floats(0, 1)) >= hedged:
            held[name] = Held(name, draw(_shares), spot)
            continue
        lots = draw(st.integers(1, 8))
        own = {name: Held(name, 0.0, spot)}
        for word in draw(st.sampled_from(_SHAPES)):
            kind, times = word.split()
            if kind == "S":
                own[name] = Held(name, 100.0 * lots * int(times) + draw(st.sampled_from([0.0, 50.0])), spot)
                continue
            strike = max(round(spot * int(kind[1:]) / 100), 1)
            right = 1 if kind[0] == "C" else -1
            premium = round(max(right * (spot - strike), 0.0) + spot * draw(st.sampled_from([0.01, 0.03, 0.05])), 2)
            symbol = f"{name} {kind[0]} {strike}"
            own[symbol] = option(symbol, 100.0 * lots * int(times), premium)
        held |= own
    return list(held.values())
