"""Portfolio margin of many accounts as one block equals, to the tick, 4210(g) read plainly for one account at a time.

Options are valued one by one: by risk.options where figures are compared exactly, by QuantLib within its tolerance.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.rules import load_rulebook
from risk import lines
from risk.block import AccountBlock
from risk.book import Book
from risk.margin import compute_margin
from risk.market import Quotes
from risk.options import Contracts, values_at
from risk.rulebook import Rulebook
from risk.terms import describe
from risk.tims import ClassGroups, run_tims
from schemas import inputs
from schemas.scalars import Time
from tests.risk.test_options import oracle

TICKS, DAY, NOW, RATE = 10_000, 86_400_000_000, Time.parse("2026-06-15T20:00:00Z"), 0.04
FINRA, HOUSE = load_rulebook("finra-4210"), load_rulebook("house-example")
POINTS = {
    "equity": (-0.15, -0.12, -0.09, -0.06, -0.03, 0.03, 0.06, 0.09, 0.12, 0.15),
    "broad_index": (-0.10, -0.08, -0.06, -0.04, -0.02, 0.02, 0.04, 0.06, 0.08, 0.10),
    "high_cap_broad_index": (-0.08, -0.064, -0.048, -0.032, -0.016, 0.012, 0.024, 0.036, 0.048, 0.06),
}
#: Of a range, five down and five up.
TENTHS = (-1.0, -0.8, -0.6, -0.4, -0.2, 0.2, 0.4, 0.6, 0.8, 1.0)
#: What is not named has the range of an equity, a class group of its own name, and no product group.
GROUPS = {"SPY": "SPX", "SSO": "SPX", "SH": "SPX", "DIA": "DJX", "QQQ": "NDX", "IWM": "RUT"}
CLASSES = dict.fromkeys(("SPX", "DJX", "NDX", "UPRO"), "high_cap_broad_index") | {"RUT": "broad_index"}
PRODUCTS = {"SPX": "high", "DJX": "high", "NDX": "high", "RUT": "broad"}
FUNDS = {"MMF": 0.01, "BROKEN": 0.50, "GOV": 0.07, "FUT": 0.20}


class Thing(NamedTuple):
    """A symbol: what is announced of it, its price, and an option's days and volatility."""

    terms: inputs.Instrument
    price: float | None
    days: int = 0
    volatility: float = float("nan")


def thing(symbol: str, price: float | None, type_: Any, **terms: Any) -> Thing:
    return Thing(inputs.Instrument(symbol=symbol, type=type_, **terms), price)


_BROAD: dict[str, Any] = {"instrument_class": "broad_index"}
_PLAIN = (
    *(thing("AAA", 100.25, "STOCK"), thing("BBB", 40.0, "STOCK", dividend_yield=0.04), thing("GONE", None, "STOCK")),
    *(thing("OTC", 3.07, "STOCK", margin_eligible=False), thing("XLK", 190.1, "ETF", instrument_class="narrow_index")),
    thing("CVT", 280.0, "CONVERTIBLE", underlying="AAA", conversion_ratio=2.5),
    *(thing("SPX", 5000.0, "INDEX", dividend_yield=0.015, **_BROAD), thing("RUT", 2000.0, "INDEX", **_BROAD)),
    *(thing("SPY", 500.0, "ETF", **_BROAD), thing("DIA", 401.0, "ETF", **_BROAD), thing("IWM", 200.0, "ETF", **_BROAD)),
    *(thing("QQQ", 452.7, "ETF", **_BROAD), thing("SSO", 80.5, "ETF", leverage=2.0, class_group="SPX", **_BROAD)),
    thing("SH", 15.03, "ETF", leverage=-1.0, class_group="SPX", **_BROAD),
    thing("UPRO", 60.0, "ETF", leverage=3.0, instrument_class="high_cap_broad_index"),
    *(thing("MMF", 1.0, "MONEY_MARKET"), thing("BROKEN", 0.97, "MONEY_MARKET"), thing("GOV", 10.5, "EXEMPT_FUND")),
    thing("FUT", 50.0, "SECURITY_FUTURE"),
)
#: Underlying, right, strike, days, volatility.
_LISTED: Any = (
    *(("SPX", "CALL", 5000, 30, 0.16), ("SPX", "PUT", 4800, 90, 0.2), ("SPX", "PUT", 5000, 400, 0.18)),
    *(("SPX", "CALL", 6500, 5, 0.2), ("RUT", "CALL", 2100, 60, 0.22), ("RUT", "PUT", 1900, 10, 0.3)),
    *(("AAA", "PUT", 100, 45, 0.35), ("AAA", "CALL", 105, 200, 0.3), ("AAA", "CALL", 90, 0, 0.3)),
    *(("BBB", "CALL", 38, 120, 0.3), ("BBB", "PUT", 50, 30, 0.4), ("UPRO", "PUT", 55, 60, 0.6)),
    ("GONE", "CALL", 40, 60, 0.4),
)
Market = dict[str, Thing]
Account = tuple[int, bool, list[tuple[str, float]]]


@cache
def by_engine(terms: tuple, move: float, *, american: bool) -> float:
    """Dollars once the spot has moved. terms: spot, strike, days, volatility, rate, yield, 1 for a call."""
    spot, strike, days, *rest = terms
    if move <= -1.0:
        return 0.0 if rest[-1] > 0 else float(strike * (1.0 if american else np.exp(-RATE * (days / 365))))
    columns: Any = (np.array([term]) for term in (spot, strike, days / 365, *rest, american))
    return float(values_at(Contracts(*columns), np.array([move]))[0, 0])


@cache
def by_quantlib(terms: tuple, move: float, *, american: bool) -> float:
    spot, strike, days = terms[0] * (1.0 + move), *terms[1:3]
    return oracle(terms, spot, "lr" if american else "analytic") if days else max(terms[-1] * (spot - strike), 0.0)


def worth(own: Thing, under: Thing, move: float, value: Any) -> float:
    paid, sign = under.terms.dividend_yield or 0.0, 1.0 if own.terms.right == "CALL" else -1.0
    terms = (under.price, own.terms.strike, own.days, own.volatility, RATE, paid, sign)
    return value(terms, move, american=own.terms.exercise == "AMERICAN")


@cache
def market_of(scale: float, dear: float) -> Market:
    """Spots at a scale; options at a multiple of what they are worth."""
    found = {own.terms.symbol: own._replace(price=own.price and round(own.price * scale, 2)) for own in _PLAIN}
    found |= {own.terms.symbol: own for own in _PLAIN if own.terms.symbol in FUNDS}
    for below, right, strike, days, volatility in _LISTED:
        style = "EUROPEAN" if below in ("SPX", "RUT") else "AMERICAN"
        terms = {"underlying": below, "right": right, "strike": float(strike), "exercise": style}
        own = thing(f"{below} {right} {strike}", 1.0, "OPTION", expiry=Time(NOW + days * DAY), **terms)
        own, under = own._replace(days=days, volatility=volatility), found[below]
        price = dear * worth(own, under, 0.0, by_engine) if under.price else 1.0
        found[own.terms.symbol] = own._replace(price=price if dear == 1.0 else round(price, 2))
    return found


#: What a line is for, by its rule.
PARTS = {
    "scan": (lines.CLASS_GROUP, lines.PRODUCT_GROUP),
    "house": (lines.WIDER_RANGE, lines.RISKIEST, lines.EXPECTED_RANGE),
    "ineligible": (lines.INELIGIBLE_LONG, lines.INELIGIBLE_SHORT),
    "funds": (lines.BY_TYPE, lines.BROKEN_FUND),
} | {"minimum": (lines.MINIMUM,), "convertible": (lines.CONVERTIBLE_EXCESS,)}


def reading(market: Market, account: Account, by_house: tuple, value: Any = by_engine) -> dict[str, int]:
    """Ticks that one account requires on portfolio margin, by what for; its minimum; its equity, if it is on that."""
    rules, wider, (wide, count, narrow), expected = by_house
    found: Counter[str] = Counter(equity=account[0])
    members: dict[str, list[tuple[Thing, Thing, float]]] = defaultdict(list)
    for symbol, units in account[2]:
        below = market[symbol].terms.underlying or symbol
        own, under = market[symbol], market[below]
        if own.price is None or under.price is None:
            continue
        amount = round(units * own.price * TICKS)
        found["equity"] += 0 if symbol == "FUT" else amount
        if symbol in FUNDS:
            found["funds"] += round(abs(amount) * FUNDS[symbol])
        elif symbol == "OTC":
            found["ineligible"] += round(abs(amount) * (1.0 if units > 0 else 0.5))
        else:
            members[GROUPS.get(below, below)].append((own, under, units))
        if own.terms.type == "OPTION":
            charge = round(abs(units) * 0.375 * TICKS)
            found["least"] += min(charge, amount) if units > 0 else charge
        if own.terms.type == "CONVERTIBLE" and units > 0:
            converted = round(units * 2.5 * under.price * TICKS)
            found["convertible"] += round(max(amount - converted, 0) * 0.15)

    def gain(own: Thing, under: Thing, point: float) -> float:
        move, price = max(point * under.terms.leverage, -1.0), own.price or 0.0
        if own.terms.type == "OPTION":
            return max(worth(own, under, move, value) - worth(own, under, 0.0, value), -price)
        return ((under.price or 0.0) * 2.5 if own.terms.type == "CONVERTIBLE" else price) * move

    def scan(group: str, wide: float = 0.0) -> list[int]:
        points = [tenth * wide for tenth in TENTHS] if wide else POINTS[CLASSES.get(group, "equity")]
        return [sum(round(n * gain(own, on, at) * TICKS) for own, on, n in members[group]) for at in points]

    def loss(group: str, wide: float = 0.0) -> int:
        return max(0, -min(scan(group, wide)))

    together: dict[str, list[list[int]]] = defaultdict(list)
    for group in members:
        together[group if rules is EXPECTED else PRODUCTS.get(group, group)].append(scan(group))
    for grids in together.values():
        net = [sum(pnl if pnl < 0 else round(pnl * 0.9) for pnl in at) for at in zip(*grids, strict=True)]
        found["scan"] += max(0, -min(net))
    found["minimum"] = max(0, found["least"] - found["scan"])
    floors = [0, sum(loss(group, wider) for group in members) if wider else 0]
    ranked = sorted(members, key=lambda group: (-loss(group, wide), group)) if count else []
    floors.append(sum(loss(group, wide if at < count else narrow) for at, group in enumerate(ranked)))
    moved = {group: loss(group, expected[group]) for group in members if group in expected}
    beyond = {group: move for group, move in moved.items() if move >= found["equity"]}
    floors.append(sum(max(loss(group), beyond.get(group, 0)) for group in members) if expected else 0)
    found["house"] = max(0, max(floors) - found["scan"] - found["minimum"])
    found["requirement"], found["equity"] = sum(found[part] for part in PARTS), found["equity"] * account[1]
    return {name: found[name] for name in (*PARTS, "least", "requirement", "equity")}


def block_of(market: Market, accounts: Sequence[Account], rules: Rulebook, fills: Sequence[float] = ()) -> AccountBlock:
    """fills: the multiple at which each account last traded its options, which then have no volatility."""
    rows, things, book = {name: row for row, name in enumerate(market)}, market.values(), Book()
    price = np.array([None if fills and own.terms.exercise else own.price for own in things], np.float64)
    told = np.array([np.nan if fills else own.volatility for own in things])
    terms, _ = describe([own.terms for own in things], rows, rules, price=price, volatility=told, beta=price)
    for at, (cash, on, held) in enumerate(accounts):
        book.agree(book.row(str(at)), inputs.Account(account_id=str(at), margin_type="PORTFOLIO" if on else "STRATEGY"))
        book.cash[at] = cash
        for symbol, units in held:
            book.trade(at, rows[symbol], round(units * 10**6))
            if fills and market[symbol].price:
                book.price(at, rows[symbol], fills[at] * (market[symbol].price or 0.0))
    book.settle()
    ones, no = np.ones(len(rows)), np.zeros(len(rows), np.bool_)
    return book.block(np.arange(len(accounts)), Quotes(price, ones, ones, no, no, terms), rules, NOW)


def figures(block: AccountBlock) -> list[dict[str, int]]:
    """The same of each account of a block."""
    grid, count = ClassGroups(block), len(block.accounts)
    found, on = grid.lines(), np.array(block.portfolio)
    compute_margin(block)
    run_tims(block)
    columns: dict[str, Any] = {"least": grid.minimum, "equity": block.measures["equity"] * on}
    for part, rules in PARTS.items():
        columns[part] = found.sums(np.isin(found.rule, rules) * found.requirement, count)
    columns["requirement"] = -block.measures["worst_loss"]
    assert (block.measures["requirement"] == columns["requirement"])[on].all()
    return [{name: int(column[at]) for name, column in columns.items()} for at in range(count)]


HELD = [name for name, own in market_of(1.0, 1.0).items() if own.terms.type != "INDEX"]
numbers = st.integers(-30, 30).filter(bool)
#: 100 units of an option, 12.5 of all else; funds long alone.
sized = lambda own, n: (own, (100.0 if " " in own else 12.5) * (abs(n) if own in FUNDS else n))  # noqa: E731
positions = st.lists(st.builds(sized, st.sampled_from(HELD), numbers), max_size=8, unique_by=lambda own: own[0])
books = st.lists(st.tuples(st.integers(-(10**9), 10**9), st.booleans(), positions), min_size=1, max_size=6)
markets = st.builds(market_of, st.sampled_from([1.0, 0.9, 1.15]), st.sampled_from([1.0, 0.95, 1.1]))
_APART: Any = replace(FINRA.portfolio, product_group_of={}, product_offsets={})  # type: ignore[type-var]
RANGES = {"AAA": 0.40, "BBB": 0.18, "UPRO": 0.40, "SPX": 0.05}
EXPECTED = replace(FINRA, portfolio=replace(_APART, expected_ranges=RANGES))
#: A rulebook, and its wider range, its range of so many of the riskiest and of the rest, its expected ranges.
BY_FINRA: tuple = (FINRA, 0.0, (0.0, 0, 0.0), {})
BY_HOUSE: tuple = (BY_FINRA, (HOUSE, 0.25, (0.30, 2, 0.05), {}), (EXPECTED, 0.0, (0.0, 0, 0.0), RANGES))


@settings(max_examples=200)
@given(markets, books, st.sampled_from(BY_HOUSE))
def test_a_block_equals_the_reading_of_each_account(market: Market, book: list, by_house: tuple) -> None:
    book = [(own, on, [p for p in held if p[0] != "FUT" or not by_house[3]]) for own, on, held in book]
    assert figures(block_of(market, book, by_house[0])) == [reading(market, account, by_house) for account in book]


@settings(max_examples=50)
@given(markets, books)
def test_values_are_those_of_quantlib(market: Market, book: list) -> None:
    for account, found in zip(book, figures(block_of(market, book, FINRA)), strict=True):
        slack = 0.0
        for own, units in ((market[symbol], units) for symbol, units in account[2] if " " in symbol):
            under = market[own.terms.underlying or ""]
            # Both values of a tree are within 0.1%, or a hundredth of a cent; the closed form within what is rounded.
            moves = (-0.15 * under.terms.leverage, 0.15 * under.terms.leverage) if under.price else ()
            most = max((worth(own, under, move, by_quantlib) for move in moves), default=0.0)
            slack += 1 if own.terms.exercise == "EUROPEAN" else abs(units) * (2e-3 * most + 2e-4) * TICKS
        expected = reading(market, account, BY_FINRA, by_quantlib)["scan"]
        assert found["scan"] == pytest.approx(expected, rel=0, abs=slack)


#: What is held, what hedges it, and units of that for the value of one.
HEDGES = (
    *(("AAA", "AAA", -1.0), ("AAA", "CVT", -1 / 2.5), ("AAA", "AAA PUT 100", 1.0), ("AAA", "AAA CALL 105", -1.0)),
    *(("BBB", "BBB PUT 50", 1.0), ("BBB", "BBB CALL 38", -1.0), ("SPY", "SSO", -500 / 161), ("SPY", "SH", 500 / 15.03)),
    *(("SPY", "SPX PUT 4800", 0.1), ("SPY", "SPX CALL 5000", -0.1), ("UPRO", "UPRO PUT 55", 1.0)),
)


@settings(max_examples=150)
@given(positions, st.sampled_from(HEDGES), numbers, st.floats(0, 1))
def test_a_hedge_within_a_class_group_never_raises_the_sum(others: list, hedge: tuple, n: int, share: float) -> None:
    symbol, by, units = hedge
    book = [own for own in others if own[0][:3] in ("DIA", "QQQ", "IWM", "RUT", "XLK", "OTC", "GOV")]
    book.append((symbol, 100.0 * n))
    accounts = [(0, True, book), (0, True, [*book, (by, 100.0 * n * units * share)])]
    without, hedged = figures(block_of(market_of(1.0, 1.0), accounts, EXPECTED))
    # A tick is what is rounded.
    assert hedged["scan"] <= without["scan"] + 1


@settings(max_examples=100)
@given(markets, positions, positions, st.integers(2, 50))
def test_sums_of_books_and_multiples_of_them(market: Market, one: list, other: list, k: int) -> None:
    accounts = [(0, True, held) for held in (one, other, one + other, [(symbol, n * k) for symbol, n in one])]
    first, second, together, scaled = figures(block_of(market, accounts, FINRA))
    # What is rounded: each position, and each gain within a product group.
    amounts = len(one) + len(other) + len(PRODUCTS)
    assert together["scan"] <= first["scan"] + second["scan"] + amounts
    assert scaled["scan"] == pytest.approx(k * first["scan"], rel=0, abs=(k + 1) * amounts / 2)
    assert all(found["requirement"] >= found["least"] for found in (first, second, together, scaled))


@settings(max_examples=30)
@given(markets, books, st.sampled_from(BY_HOUSE), st.permutations(list(range(6)) * 2), st.booleans())
def test_other_accounts_change_no_bit(market: Market, book: list, by_house: tuple, order: list, told: bool) -> None:
    fills = [] if told else [0.9, 1.0, 1.3, 1.0, 0.97, 1.3][: len(book)]
    by_itself = [figures(block_of(market, book[at:][:1], by_house[0], fills[at:][:1]))[0] for at in range(len(book))]
    order = [at for at in order if at < len(book)]
    block = block_of(market, [book[at] for at in order], by_house[0], [fills[at] for at in order if fills])
    assert figures(block) == [by_itself[at] for at in order]
