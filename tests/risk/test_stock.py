"""Maintenance of stock equals 4210(c) and (e)(1) read plainly for one position, and for one account; where it steps."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.rules import load_rulebook
from risk import lines
from risk.block import AccountBlock
from risk.margin import compute_margin, lines_of
from risk.rulebook import HouseRules
from risk.stock import maintain_stock
from risk.terms import TYPES, Terms, describe
from schemas.inputs import Instrument

FINRA, TICKS, TICK = load_rulebook("finra-4210"), 10_000, 0.0001


class Held(NamedTuple):
    """A position, and the rate that the house asks it for at least."""

    type: str
    units: float
    price: float
    leverage: float = 1.0
    eligible: bool = True
    house: float = 0.0


BY_TYPE = {"MONEY_MARKET": 0.01, "EXEMPT_FUND": 0.07, "SECURITY_FUTURE": 0.20}


def rules_of(held: Held) -> dict[int, int]:
    """Every rule that asks something of a position, and how many ticks; the most of them is required."""
    size = abs(held.units)
    value, factor = round(size * held.price * TICKS), max(abs(held.leverage), 1.0)
    found = {lines.HOUSE: round(value * held.house)} if held.house else {}
    if held.type == "MONEY_MARKET" and held.price < 1.0:
        return found | {lines.BROKEN_FUND: round(value * 0.50)}
    if held.type in BY_TYPE:
        return found | {lines.BY_TYPE: round(value * BY_TYPE[held.type])}
    if held.units > 0 and not held.eligible:
        return found | {lines.INELIGIBLE: value}
    if held.units > 0:
        rate = min(0.25 * factor, 1.0)
        return found | {lines.LEVERAGED if factor > 1.0 else lines.LONG: round(value * rate)}
    found[lines.LEVERAGED if factor > 1.0 else lines.SHORT] = round(value * (0.30 * factor))
    if held.price < 5.0:
        return found | {lines.LOW_PRICE: value, lines.LOW_PRICE_PER_SHARE: round(size * 2.50 * TICKS)}
    return found | {lines.PER_SHARE: round(size * 5.00 * TICKS)}


def terms_of(records: Sequence[Instrument], prices: Sequence[float]) -> Terms:
    rows, price = {record.symbol: row for row, record in enumerate(records)}, np.array(prices, np.float64)
    return describe(records, rows, FINRA, price=price, volatility=price * np.nan, beta=np.ones(len(price)))[0]


def maintained(book: Sequence[Held]) -> list[tuple[int, int]]:
    """Ticks and rule of each of some positions, all at once."""
    records = [
        Instrument(symbol=f"S{at}", type=held.type, leverage=held.leverage, margin_eligible=held.eligible)  # type: ignore[arg-type]
        for at, held in enumerate(book)
    ]
    units, price, house = (np.array([getattr(held, name) for held in book]) for name in ("units", "price", "house"))
    amount, rule = maintain_stock(units, price, terms_of(records, price.tolist()), house, FINRA)
    return list(zip(amount.astype(np.int64).tolist(), rule.tolist(), strict=True))


#: Where a rule begins: $1.00 of a fund, $2.50 and $5.00 of a share, and $5.00 over 30% (over 60%, over 90%).
EDGES = [1.0, 2.5, 5.0, 5.0 / 0.3, 5.0 / 0.6, 5.0 / 0.9]
edges = st.builds(lambda edge, ticks: round(edge, 4) + ticks * TICK, st.sampled_from(EDGES), st.integers(-2, 2))
prices = edges | st.floats(0.0001, 2000).map(lambda price: round(price, 4) or TICK)
units = st.sampled_from([1.0, 100.0, 1000.0, 0.5, 333.333333, 10.0**6]) | st.integers(1, 10**10).map(lambda n: n / 1e6)
held = st.builds(
    Held,
    st.sampled_from([name for name in TYPES if name not in ("INDEX", "OPTION")]),
    st.builds(lambda size, side: size * side, units, st.sampled_from([1, -1])),
    prices,
    st.sampled_from([1.0, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 4.0, 5.0, -5.0, 0.5, 1.5]),
    st.booleans(),
    st.sampled_from([0.0, 0.0, 0.25, 0.30, 0.35, 0.60, 1.0, 1.5]),
)


@settings(max_examples=500)
@given(st.lists(held, min_size=1, max_size=8))
def test_a_position_requires_the_most_that_a_rule_asks_for(book: list[Held]) -> None:
    for own, (amount, rule) in zip(book, maintained(book), strict=True):
        asked = rules_of(own)
        assert amount == max(asked.values())
        # The rule that is named is one that asks for as much.
        assert asked[rule] == amount


@pytest.mark.parametrize(
    ("price", "dollars", "rule"),
    [
        (2.4999, 2.5, lines.LOW_PRICE_PER_SHARE),
        (2.5, 2.5, lines.LOW_PRICE),
        (4.9999, 4.9999, lines.LOW_PRICE),
        (5.0, 5.0, lines.PER_SHARE),
        (16.6666, 5.0, lines.PER_SHARE),
        (16.6667, 5.0, lines.SHORT),
        (16.67, 5.001, lines.SHORT),
    ],
)
def test_a_short_share_around_the_edges(price: float, dollars: float, rule: int) -> None:
    ((amount, found),) = maintained([Held("STOCK", -1000.0, price)])
    assert (amount / TICKS, found) == (pytest.approx(1000 * dollars, abs=0.011), rule)


@settings(max_examples=500)
@given(held)
def test_a_tick_of_the_price_moves_little_and_never_down(own: Held) -> None:
    """Of a share, no more than the steepest rate; a money-market fund alone steps, at $1.00."""
    above = own._replace(price=own.price + TICK)
    assume(not (own.type == "MONEY_MARKET" and own.price < 1.0 <= above.price))
    (before, _), (after, _) = maintained([own, above])
    steepest = max(1.0, 0.30 * abs(own.leverage), own.house)
    # Value and amount are both rounded.
    assert 0 <= after - before <= steepest * (abs(own.units) * TICK * TICKS + 1) + 1


def test_a_money_market_fund_steps_at_a_dollar() -> None:
    below, at = Held("MONEY_MARKET", 10_000.0, 0.9999), Held("MONEY_MARKET", 10_000.0, 1.0)
    assert maintained([below, at]) == [(49_995_000, lines.BROKEN_FUND), (1_000_000, lines.BY_TYPE)]


@settings(max_examples=100)
@given(st.lists(held, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_positions_are_margined_each_by_itself(book: list[Held], rng: Any) -> None:
    order = rng.sample(range(len(book)), len(book))
    together = maintained([book[at] for at in order])
    assert together == [maintained([book[at]])[0] for at in order]


class Security(NamedTuple):
    """What an account may hold on both sides, and what it is exchanged for."""

    terms: Instrument
    price: float


def security(symbol: str, price: float, **terms: Any) -> tuple[str, Security]:
    return symbol, Security(Instrument(symbol=symbol, **terms), price)


MARKET = dict(
    (
        security("AAA", 40.0),
        security("CVA", 110.0, type="CONVERTIBLE", underlying="AAA", conversion_ratio=2.5),
        security("BBB", 4.37),
        security("CVB", 98.03, type="CONVERTIBLE", underlying="BBB", conversion_ratio=20.0),
        security("LEV", 12.11, type="ETF", leverage=3.0),
        security("OTC", 1.03, margin_eligible=False),
    )
)
Account = list[tuple[str, float]]


def reading(account: Account, house: float) -> Counter[str]:
    """Ticks that one account requires by rule, and what its positions are worth; each symbol once a side."""
    long = defaultdict(float, {symbol: units for symbol, units in account if units > 0})
    short = defaultdict(float, {symbol: -units for symbol, units in account if units < 0})
    found: Counter[str] = Counter()
    ticks = lambda size, symbol: round(size * MARKET[symbol].price * TICKS)  # noqa: E731
    for symbol in MARKET:
        both = min(long[symbol], short[symbol])
        long[symbol], short[symbol] = long[symbol] - both, short[symbol] - both
        found["same"] += round(ticks(both, symbol) * 0.05)
    for symbol, own in MARKET.items():
        below = own.terms.underlying
        if below is not None:
            ratio = own.terms.conversion_ratio or 1.0
            shares = min(long[symbol] * ratio, short[below])
            long[symbol], short[below] = long[symbol] - shares / ratio, short[below] - shares
            found["converted"] += round(ticks(shares / ratio, symbol) * 0.10)
            found["worth"] += ticks(shares / ratio, symbol) - ticks(shares, below)
    for symbol, own in MARKET.items():
        for side, size in ((1.0, long[symbol]), (-1.0, short[symbol])):
            leverage, eligible = own.terms.leverage, own.terms.margin_eligible
            position = Held(own.terms.type, side * size, own.price, leverage, eligible, house)
            found["alone"] += max(rules_of(position).values()) if size else 0
            found["worth"] += int(side) * ticks(size, symbol)
    return found


NAMES = {lines.SAME_SECURITY: "same", lines.CONVERTIBLE_HEDGE: "converted"}


def figures(accounts: Sequence[Account], house: float) -> list[Counter[str]]:
    """The same of each account of a block."""
    terms = terms_of([own.terms for own in MARKET.values()], [own.price for own in MARKET.values()])
    rows, rules = [*MARKET], replace(FINRA, house=HouseRules(long_rate=house, short_rate=house))
    at = np.array([rows.index(symbol) for held in accounts for symbol, _ in held], np.int64)
    no = np.zeros(len(at), np.bool_)
    block = AccountBlock(
        instant=0,
        rules=rules,
        accounts=np.arange(len(accounts)),
        cash=np.zeros(len(accounts)),
        offsets=np.cumsum([0, *map(len, accounts)]),
        symbols=at,
        quantity=np.array([units for held in accounts for _, units in held], np.float64),
        price=terms.price[at],
        beta=terms.beta[at],
        unreliable=no,
        unpriced=no,
        defaulted=no,
        terms=terms,
    )
    lined, found = lines_of(block), [Counter[str]() for _ in accounts]
    for line, rule in enumerate(lined.rule.tolist()):
        own = found[lined.account[line]]
        own[NAMES.get(rule, "alone")] += int(lined.requirement[line])
        own["worth"] += int(lined.equity[line])
    compute_margin(block)
    assert block.measures["requirement"].tolist() == [own.total() - own["worth"] for own in found]
    assert block.measures["equity"].tolist() == [own["worth"] for own in found]
    return found


sizes = st.sampled_from([1, 3, 40, 100, 250, 1000]).map(float) | st.integers(1, 5000).map(lambda n: n / 8)
position = st.builds(lambda own, n, side: (own, n * side), st.sampled_from([*MARKET]), sizes, st.sampled_from([1, -1]))
accounts = st.lists(position, max_size=9, unique_by=lambda own: (own[0], own[1] > 0))


@settings(max_examples=400)
@given(st.lists(accounts, min_size=1, max_size=5), st.sampled_from([0.0, 0.35]))
def test_one_security_against_another_is_as_read_for_each_account(book: list[Account], house: float) -> None:
    assert figures(book, house) == [reading(account, house) for account in book]


@given(accounts, sizes, st.sampled_from([("AAA", "AAA"), ("BBB", "BBB"), ("CVA", "AAA"), ("CVB", "BBB")]))
def test_a_hedge_requires_no_more_than_its_sides(account: Account, size: float, hedge: tuple[str, str]) -> None:
    """Both at once; what the account holds of them besides is left out."""
    others = [own for own in account if own[0] not in ("AAA", "BBB", "CVA", "CVB")]
    long, short = [(hedge[0], size)], [(hedge[1], -size)]
    found = figures([others, others + long, others + short, others + long + short], 0.0)
    nothing, one, other, both = (own.total() - own["worth"] for own in found)
    assert both - nothing <= (one - nothing) + (other - nothing)
