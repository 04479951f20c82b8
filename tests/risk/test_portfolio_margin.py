"""Portfolio margin of many accounts as one block equals, to the tick, 4210(g) read plainly for one account at a time.

Options are valued one by one: by risk.options where figures are compared exactly, by QuantLib within its tolerance.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
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
from risk.margin import compute_margin
from risk.options import Contracts, values_at
from risk.rulebook import Rulebook
from risk.terms import describe
from risk.tims import ClassGroups, run_tims
from schemas.inputs import Instrument
from schemas.scalars import Time
from tests.risk.margin_examples import AS_OF
from tests.risk.test_options import oracle

TICKS, DAY, NOW = 10_000, 86_400_000_000, Time.parse(AS_OF)
FINRA, HOUSE = load_rulebook("finra-4210"), load_rulebook("house-example")
RATE = FINRA.risk_free_rate
_EQUITY = (-0.15, -0.12, -0.09, -0.06, -0.03, 0.03, 0.06, 0.09, 0.12, 0.15)
POINTS = {
    "equity": _EQUITY,
    "narrow_index": _EQUITY,
    "broad_index": (-0.10, -0.08, -0.06, -0.04, -0.02, 0.02, 0.04, 0.06, 0.08, 0.10),
    "high_cap_broad_index": (-0.08, -0.064, -0.048, -0.032, -0.016, 0.012, 0.024, 0.036, 0.048, 0.06),
}
#: Of a range, five down and five up.
TENTHS = (-1.0, -0.8, -0.6, -0.4, -0.2, 0.2, 0.4, 0.6, 0.8, 1.0)
#: What is not named is an equity, in a class group of its own name, without a product group.
GROUPS = {"SPY": "SPX", "SSO": "SPX", "SH": "SPX", "DIA": "DJX", "QQQ": "NDX", "IWM": "RUT"}
CLASSES = dict.fromkeys(("SPX", "DJX", "NDX", "UPRO"), "high_cap_broad_index") | {"RUT": "broad_index"}
PRODUCTS = {"SPX": "high", "DJX": "high", "NDX": "high", "RUT": "broad"}
FUNDS = {"MMF": 0.01, "BROKEN": 0.50, "GOV": 0.07, "FUT": 0.20}


class Thing(NamedTuple):
    """A symbol: what is announced of it, its price, and an option's days and volatility."""

    terms: Instrument
    price: float | None
    days: int = 0
    volatility: float = float("nan")


def thing(symbol: str, price: float | None, type_: Any = "STOCK", **terms: Any) -> tuple[str, Thing]:
    return symbol, Thing(Instrument(symbol=symbol, type=type_, **terms), price)


_BROAD: dict[str, Any] = {"instrument_class": "broad_index"}
PLAIN = dict(
    (
        thing("AAA", 100.25),
        thing("BBB", 40.0, dividend_yield=0.04),
        thing("CVT", 280.0, "CONVERTIBLE", underlying="AAA", conversion_ratio=2.5),
        thing("SPX", 5000.0, "INDEX", dividend_yield=0.015, **_BROAD),
        thing("SPY", 500.0, "ETF", **_BROAD),
        thing("SSO", 80.5, "ETF", leverage=2.0, class_group="SPX", **_BROAD),
        thing("SH", 15.03, "ETF", leverage=-1.0, class_group="SPX", **_BROAD),
        thing("DIA", 401.0, "ETF", **_BROAD),
        thing("QQQ", 452.7, "ETF", **_BROAD),
        thing("IWM", 200.0, "ETF", **_BROAD),
        thing("RUT", 2000.0, "INDEX", **_BROAD),
        thing("UPRO", 60.0, "ETF", leverage=3.0, instrument_class="high_cap_broad_index"),
        thing("XLK", 190.1, "ETF", instrument_class="narrow_index"),
        thing("OTC", 3.07, margin_eligible=False),
        thing("GONE", None),
        thing("MMF", 1.0, "MONEY_MARKET"),
        thing("BROKEN", 0.97, "MONEY_MARKET"),
        thing("GOV", 10.5, "EXEMPT_FUND"),
        thing("FUT", 50.0, "SECURITY_FUTURE"),
    )
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
Value = Callable[..., float]


@cache
def by_engine(terms: tuple, move: float, *, american: bool) -> float:
    """Dollars once the spot has moved, alone in its arrays. terms: spot, strike, days, volatility, rate, yield, sign."""
    spot, strike, days, *rest = terms
    if move <= -1.0:
        return 0.0 if rest[-1] > 0 else float(strike * (1.0 if american else np.exp(-RATE * (days / 365))))
    columns = (np.array([float(term)]) for term in (spot, strike, days / 365, *rest))
    return float(values_at(Contracts(*columns, american=np.array([american])), np.array([move]))[0, 0])


@cache
def by_quantlib(terms: tuple, move: float, *, american: bool) -> float:
    spot, strike, days, *_, sign = terms
    if not days:
        return max(sign * (spot * (1.0 + move) - strike), 0.0)
    return oracle(terms, spot * (1.0 + move), "lr" if american else "analytic")


def worth(own: Thing, under: Thing, move: float, value: Value) -> float:
    what, paid = own.terms, under.terms.dividend_yield or 0.0
    terms = (under.price, what.strike, own.days, own.volatility, RATE, paid, 1.0 if what.right == "CALL" else -1.0)
    return value(terms, move, american=what.exercise == "AMERICAN")


@cache
def market_of(scale: float, dear: float) -> Market:
    """Spots at a scale; options at a multiple of what they are worth."""
    scaled = {name: own.price and round(own.price * scale, 2) for name, own in PLAIN.items()}
    found = {name: own._replace(price=own.price if name in FUNDS else scaled[name]) for name, own in PLAIN.items()}
    for below, right, strike, days, volatility in _LISTED:
        exercise: Any = "EUROPEAN" if below in ("SPX", "RUT") else "AMERICAN"
        terms = {"underlying": below, "right": right, "strike": float(strike), "exercise": exercise}
        symbol, own = thing(f"{below} {right} {strike}", None, "OPTION", expiry=Time(NOW + days * DAY), **terms)
        own, under = own._replace(days=days, volatility=volatility), found[below]
        price = dear * worth(own, under, 0.0, by_engine) if under.price else 1.0
        found[symbol] = own._replace(price=price if dear == 1.0 else round(price, 2))
    return found


Account = tuple[int, bool, list[tuple[str, float]]]


class Overlays(NamedTuple):
    """Of the house; and whether product groups offset each other."""

    wider: float = 0.0
    riskiest: tuple[float, int, float] = (0.0, 0, 0.0)
    expected: dict[str, float] = {}
    products: bool = True


def reading(market: Market, account: Account, house: Overlays, value: Value = by_engine) -> dict[str, int]:
    """Ticks that one account requires on portfolio margin, by what for; its minimum; its equity, if it is on that."""
    found: Counter[str] = Counter(equity=account[0])
    members: dict[str, list[tuple[Thing, Thing, float]]] = defaultdict(list)
    for symbol, units in account[2]:
        own = market[symbol]
        below = own.terms.underlying or symbol
        under = market[below]
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
            return worth(own, under, move, value) - price
        return ((under.price or 0.0) * 2.5 if own.terms.type == "CONVERTIBLE" else price) * move

    def scan(group: str, range_: float = 0.0) -> list[int]:
        points = [tenth * range_ for tenth in TENTHS] if range_ else POINTS[CLASSES.get(group, "equity")]
        return [sum(round(n * gain(own, on, at) * TICKS) for own, on, n in members[group]) for at in points]

    def loss(group: str, range_: float = 0.0) -> int:
        return max(0, -min(scan(group, range_)))

    together: dict[str, list[list[int]]] = defaultdict(list)
    for group in members:
        together[PRODUCTS.get(group, group) if house.products else group].append(scan(group))
    for grids in together.values():
        net = [sum(pnl if pnl < 0 else round(pnl * 0.9) for pnl in at) for at in zip(*grids, strict=True)]
        found["scan"] += max(0, -min(net))
    found["minimum"] = max(0, found["least"] - found["scan"])
    floors = [0, sum(loss(group, house.wider) for group in members) if house.wider else 0]
    wide, count, narrow = house.riskiest
    ranked = sorted(members, key=lambda group: (-loss(group, wide), group)) if count else []
    floors.append(sum(loss(group, wide if at < count else narrow) for at, group in enumerate(ranked)))
    if house.expected:
        moved = {group: loss(group, house.expected[group]) for group in members if group in house.expected}
        beyond = {group: move for group, move in moved.items() if move >= found["equity"]}
        floors.append(sum(max(loss(group), beyond.get(group, 0)) for group in members))
    found["house"] = max(0, max(floors) - found["scan"] - found["minimum"])
    found["requirement"], found["equity"] = sum(found[part] for part in PARTS), found["equity"] * account[1]
    return {name: found[name] for name in (*PARTS, "least", "requirement", "equity")}


PARTS = {
    "scan": {lines.CLASS_GROUP, lines.PRODUCT_GROUP},
    "minimum": {lines.MINIMUM},
    "house": {lines.WIDER_RANGE, lines.RISKIEST, lines.EXPECTED_RANGE},
    "ineligible": {lines.INELIGIBLE_LONG, lines.INELIGIBLE_SHORT},
    "convertible": {lines.CONVERTIBLE_EXCESS},
    "funds": {lines.BY_TYPE, lines.BROKEN_FUND},
}


def block_of(market: Market, accounts: Sequence[Account], rules: Rulebook, fills: Sequence[float] = ()) -> AccountBlock:
    """fills: the multiple at which each account last traded its options, which then have no volatility."""
    column = lambda values: np.array(list(values), np.float64)  # noqa: E731
    rows = {name: row for row, name in enumerate(market)}
    price = column(np.nan if own.price is None else own.price for own in market.values())
    told = column(np.nan if fills else own.volatility for own in market.values())
    terms, _ = describe([own.terms for own in market.values()], rows, rules, price=price, volatility=told, beta=price)
    held = [(at, rows[symbol], units) for at, account in enumerate(accounts) for symbol, units in account[2]]
    at, no = np.array([row for _, row, _ in held], np.int64), np.zeros(len(held), np.bool_)
    traded = column(fills[own] if fills and terms.right[row] else 1.0 for own, row, _ in held)
    unpriced = np.isnan(price[at]) | np.isnan(price[terms.underlying[at]])
    return AccountBlock(
        instant=NOW,
        rules=rules,
        accounts=np.arange(len(accounts)),
        offsets=np.cumsum([0, *(len(account[2]) for account in accounts)]),
        symbols=at,
        quantity=column(units for *_, units in held),
        price=np.where(unpriced, 0.0, price[at] * traded),
        beta=price[at],
        unreliable=unpriced,
        unpriced=unpriced,
        defaulted=no,
        cash=column(cash for cash, *_ in accounts),
        terms=terms,
        portfolio=np.array([on for _, on, _ in accounts]),
    )


def figures(block: AccountBlock) -> list[dict[str, int]]:
    """The same of each account of a block."""
    grid, count = ClassGroups(block), len(block.accounts)
    found, on = grid.lines(), block.portfolio
    for measure in (compute_margin, run_tims):
        measure(block)
    parts = {part: np.where(np.isin(found.rule, [*rules]), found.requirement, 0.0) for part, rules in PARTS.items()}
    columns = {part: found.sums(amounts, count) for part, amounts in parts.items()} | {"least": grid.minimum}
    columns |= {"requirement": -block.measures["worst_loss"], "equity": np.where(on, block.measures["equity"], 0.0)}
    assert (block.measures["requirement"] == columns["requirement"])[on].all()
    return [{name: int(column[at]) for name, column in columns.items()} for at in range(count)]


HELD = {name: own.terms.type for name, own in market_of(1.0, 1.0).items() if own.terms.type != "INDEX"}
#: Contracts of 100; of all else 12.5 units, funds long alone.
SIZES = {name: 100.0 if type_ in ("OPTION", "SECURITY_FUTURE") else 12.5 for name, type_ in HELD.items()}
numbers = st.integers(-30, 30).filter(bool)
held = st.builds(
    lambda symbol, n: (symbol, SIZES[symbol] * (abs(n) if symbol in FUNDS else n)), st.sampled_from([*HELD]), numbers
)
positions = st.lists(held, max_size=8, unique_by=lambda own: (own[0], own[1] > 0))
books = st.lists(st.tuples(st.integers(-(10**9), 10**9), st.booleans(), positions), min_size=1, max_size=6)
markets = st.builds(market_of, st.sampled_from([1.0, 0.9, 1.15]), st.sampled_from([1.0, 0.95, 1.1]))
_APART: Any = replace(FINRA.portfolio, product_group_of={}, product_offsets={})  # type: ignore[type-var]
APART = replace(FINRA, portfolio=_APART)
RANGES = {"AAA": 0.40, "BBB": 0.18, "UPRO": 0.40, "SPX": 0.05}
EXPECTED = replace(FINRA, portfolio=replace(_APART, expected_ranges=RANGES))
BY_HOUSE = (
    (FINRA, Overlays()),
    (HOUSE, Overlays(wider=0.25, riskiest=(0.30, 2, 0.05))),
    (EXPECTED, Overlays(expected=RANGES, products=False)),
)


@settings(max_examples=200)
@given(markets, books, st.sampled_from(BY_HOUSE))
def test_a_block_equals_the_reading_of_each_account(market: Market, book: list, by_house: tuple) -> None:
    rules, house = by_house
    book = [(own, on, [p for p in held if p[0] != "FUT" or not house.expected]) for own, on, held in book]
    assert figures(block_of(market, book, rules)) == [reading(market, account, house) for account in book]


@settings(max_examples=60)
@given(markets, books)
def test_values_are_those_of_quantlib(market: Market, book: list) -> None:
    for account, found in zip(book, figures(block_of(market, book, FINRA)), strict=True):
        read, slack = reading(market, account, Overlays(), by_quantlib), 0.0
        for own, units in [(market[symbol], units) for symbol, units in account[2]]:
            if own.terms.exercise and (under := market[own.terms.underlying or ""]).price:
                american = own.terms.exercise == "AMERICAN"
                most = max(worth(own, under, move * under.terms.leverage, by_quantlib) for move in (-0.15, 0.15))
                slack += abs(units) * (1e-3 * most + 1e-4) * TICKS if american else 1
        assert found["scan"] == pytest.approx(read["scan"], rel=0, abs=slack)
        assert {**found, **dict.fromkeys(("scan", "minimum", "requirement"))} == {
            **read,
            **dict.fromkeys(("scan", "minimum", "requirement")),
        }


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
    group = lambda name: GROUPS.get(name.split()[0].replace("CVT", "AAA"), name.split()[0].replace("CVT", "AAA"))  # noqa: E731
    book = [own for own in others if group(own[0]) != group(symbol)] + [(symbol, 100.0 * n)]
    accounts = [(0, True, book), (0, True, [*book, (by, 100.0 * n * units * share)])]
    without, hedged = figures(block_of(market_of(1.0, 1.0), accounts, APART))
    assert hedged["scan"] <= without["scan"] + 1


@settings(max_examples=100)
@given(markets, positions, positions, st.integers(2, 50))
def test_sums_of_books_and_multiples_of_them(market: Market, one: list, other: list, k: int) -> None:
    multiple = [(symbol, units * k) for symbol, units in one]
    accounts = [(0, True, held) for held in (one, other, one + other, multiple)]
    first, second, together, scaled = figures(block_of(market, accounts, FINRA))
    # Each gain of a product group that is offset is rounded.
    assert together["scan"] <= first["scan"] + second["scan"] + len(PRODUCTS)
    assert scaled["scan"] == pytest.approx(k * first["scan"], rel=0, abs=(k + 1) * (len(one) + len(PRODUCTS)) / 2)
    assert all(found["requirement"] >= found["least"] for found in (first, second, together, scaled))


@settings(max_examples=60)
@given(markets, books, st.sampled_from(BY_HOUSE), st.randoms(use_true_random=False), st.booleans())
def test_other_accounts_change_no_bit(
    market: Market, book: list, by_house: tuple, rng: random.Random, implied: bool
) -> None:
    fills = [rng.choice([0.9, 1.0, 1.3]) for _ in book] if implied else []
    by_itself = [figures(block_of(market, book[at:][:1], by_house[0], fills[at:][:1]))[0] for at in range(len(book))]
    order = [*range(len(book))] * 3
    rng.shuffle(order)
    block = block_of(market, [book[at] for at in order], by_house[0], [fills[at] for at in order if fills])
    assert figures(block) == [by_itself[at] for at in order]
