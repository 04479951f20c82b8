"""House rates and add-ons of many accounts as one block equal plain loops over one account; bounds of tiers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.rules import load_rulebook
from risk import lines
from risk.book import Book
from risk.margin import lines_of
from risk.market import Quotes
from risk.rulebook import Rulebook
from risk.terms import describe
from schemas.inputs import Account, Instrument
from schemas.scalars import Time

TICKS, INF = 10_000, float("inf")
NOW, EXPIRY = Time.parse("2026-06-15T20:00:00Z"), Time.parse("2026-09-15T20:00:00Z")
#: Dollars; an account of twenty of them has round shares.
UNIT = 9_000
Tiers = tuple[tuple[float, float], ...]
LONG: Tiers = ((0.10, 0.0), (0.20, 0.05), (0.40, 0.10), (0.50, 0.15), (0.75, 0.20), (INF, 0.30))
SHORT: Tiers = ((0.10, 0.0), (0.20, 0.10), (0.40, 0.15), (0.50, 0.20), (0.75, 0.30), (INF, 0.35))
LIQUIDITY: Tiers = ((1, 0.0), (2, 0.10), (3, 0.20), (5, 0.30), (INF, 0.50))
OWNERSHIP: Tiers = ((0.01, 0.0), (0.03, 0.10), (0.05, 0.25), (INF, 1.0))
SECTOR: Tiers = ((0.30, 0.0), (0.70, 0.05), (INF, 0.10))
PRICE: Tiers = ((3.0, 1.0), (5.0, 0.5), (INF, 0.0))
SYMBOL_RATES, ACCOUNT_RATES = {"S0 0": 0.80, "S0 1": 0.32, "S2 1": 0.45}, {"1": 0.60, "2": 0.31}
_EXAMPLE = load_rulebook("house-example")
NAMED = replace(_EXAMPLE.house, symbol_rates=SYMBOL_RATES, account_rates=ACCOUNT_RATES)
BOOKS = [
    replace(_EXAMPLE, house=replace(NAMED, debit_above=debit, sector_unless=unless))
    for debit, unless in ((0.0, 0.40), (25_000.0, 0.40), (0.0, 0.75), (0.0, 0.10))
]
PLAIN = replace(_EXAMPLE, house=replace(NAMED, symbol_rates={}, account_rates={}))


class Held(NamedTuple):
    """UNITs of a symbol, short if negative; its price, days of volume and share of what is outstanding, and sector."""

    size: int
    price: float = 10.0
    days: float | None = None
    owned: float | None = None
    sector: str | None = None

    @property
    def units(self) -> float:
        return round(UNIT * self.size / self.price * 10**6) / 10**6

    @property
    def volume(self) -> float | None:
        return self.days and abs(self.units) / self.days

    @property
    def outstanding(self) -> float | None:
        return self.owned and abs(self.units) / self.owned


class Case(NamedTuple):
    """An account: cash in ticks, UNITs of an option held long, the house's rates in its record, its regime."""

    held: Sequence[Held]
    cash: int = 0
    option: float = 0.0
    long_rate: float | None = None
    short_rate: float | None = None
    regime: str = "STRATEGY"

    @property
    def contracts(self) -> float:
        return round(UNIT * self.option / 9.0 * 10**6) / 10**6


Asked = dict[tuple[str, str], int]


def tier(measured: float, tiers: Tiers) -> float:
    """Up to and including its bound."""
    for bound, rate in tiers:
        if measured <= bound:
            return rate
    raise AssertionError(measured)


def finra(value: int, units: float, price: float) -> int:
    if units > 0:
        return round(value * 0.25)
    least = round(-units * (2.5 if price < 5 else 5.0) * TICKS)
    return max(round(value * (1.0 if price < 5 else 0.30)), least)


def asked(number: int, case: Case, rules: Rulebook) -> Asked:
    """Ticks by what for and symbol, of one account."""
    house, found = rules.house, dict[tuple[str, str], int]()
    sizes = [round(abs(own.units) * own.price * TICKS) for own in case.held]
    gross = sum(sizes) + round(case.contracts * 9.0 * TICKS)
    sectors: dict[str, int] = defaultdict(int)
    for own, size in zip(case.held, sizes, strict=True):
        sectors[own.sector or ""] += size
    for place, (own, size) in enumerate(zip(case.held, sizes, strict=True)):
        symbol, share = f"S{number} {place}", size / gross
        side = (0.35, case.short_rate) if own.size < 0 else (0.30, case.long_rate)
        rates = [side[0], side[1] or 0.0, tier(own.price, PRICE), house.symbol_rates.get(symbol, 0.0)]
        rates.append(house.account_rates.get(str(number), 0.0))
        found["maintenance", symbol] = max(finra(size, own.units, own.price), round(size * max(rates)))
        if max(0, -case.cash) < house.debit_above * TICKS:
            continue
        issuer = ("short", SHORT) if own.size < 0 else ("long", LONG)
        found[issuer[0], symbol] = round(size * tier(share, issuer[1]))
        if own.volume:
            found["liquidity", symbol] = round(size * tier(abs(own.units) / own.volume, LIQUIDITY))
        if own.outstanding:
            found["ownership", symbol] = round(size * tier(abs(own.units) / own.outstanding, OWNERSHIP))
        if own.sector and max(sizes) / gross <= house.sector_unless:
            found["sector", symbol] = round(size * tier(sectors[own.sector] / gross, SECTOR))
    return {key: amount for key, amount in found.items() if amount}


NAMES = {
    lines.ISSUER_LONG: "long",
    lines.ISSUER_SHORT: "short",
    lines.LIQUIDITY: "liquidity",
    lines.OWNERSHIP: "ownership",
    lines.SECTOR: "sector",
}


def found_of(cases: Sequence[Case], rules: Rulebook) -> list[Asked]:
    """The same of each account of a block, from its lines."""
    records, prices, book = [Instrument(symbol="XYZ")], [90.0], Book()
    put: Any = {"type": "OPTION", "underlying": "XYZ", "right": "PUT", "strike": 95.0, "expiry": EXPIRY}
    records.append(Instrument(symbol="PUT", multiplier=100.0, **put))
    prices.append(9.0)
    for number, case in enumerate(cases):
        rates = {"house_long_rate": case.long_rate, "house_short_rate": case.short_rate}
        at = book.row(str(number))
        book.agree(at, Account(account_id=str(number), margin_type=case.regime, **rates))  # type: ignore[arg-type]
        book.cash[at] = case.cash
        for place, own in enumerate(case.held):
            book.trade(at, len(records), round(own.units * 10**6))
            terms: Any = {"average_daily_volume": own.volume, "shares_outstanding": own.outstanding}
            records.append(Instrument(symbol=f"S{number} {place}", sector=own.sector, **terms))
            prices.append(own.price)
        book.trade(at, 1, round(case.contracts * 10**6))
    book.settle()
    rows, price = {record.symbol: row for row, record in enumerate(records)}, np.array(prices)
    ones, no = np.ones(len(rows)), np.zeros(len(rows), np.bool_)
    terms, _ = describe(records, rows, rules, price=price, volatility=ones, beta=ones)
    quotes = Quotes(price, ones, ones, no, no, terms)
    block = book.block(np.arange(len(cases)), quotes, rules, NOW)
    lined, answer = lines_of(block), [Asked() for _ in cases]
    for line in np.flatnonzero(lined.requirement):
        own, at = answer[lined.account[line]], lined.members(line)[0][0]
        key = NAMES.get(int(lined.rule[line]), "maintenance"), records[block.symbols[at]].symbol
        own[key] = own.get(key, 0) + int(lined.requirement[line])
    return answer


#: Shares, days and prices exactly on the bounds of tiers, and to either side.
sizes = st.sampled_from([1, 2, 2, 3, 4, 4, 5, 6, 8, 10, 14, 15])
days = st.sampled_from([None, 0.5, 1.0, 1.0 + 1e-9, 2.0, 2.5, 3.0, 3.1, 5.0, 5.0 + 1e-9])
shares = st.sampled_from([None, 0.005, 0.01, 0.01 + 1e-9, 0.03, 0.04, 0.05, 0.06])
prices = st.sampled_from([2.5, 2.9999, 3.0, 3.0001, 4.0, 5.0, 5.0001, 10.0, 20.0, 50.0])
rates = st.sampled_from([None, None, 0.28, 0.40, 1.0])
cents = st.sampled_from([0, 5_000 * TICKS, *(-25_000 * TICKS + tick for tick in (-1, 0, 1))])


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """An account of twenty UNITs, long and short, where that can be."""
    drawn, left = list[int](), 20
    for size in draw(st.lists(sizes, max_size=6)):
        if size <= left:
            drawn.append(size)
            left -= size
    option = left if not drawn or draw(st.booleans()) else 0
    drawn += [left] if left and not option else []
    sides = st.sampled_from([1, 1, -1])
    sector = st.sampled_from([None, "x", "y"])
    held = [Held(size * draw(sides), draw(prices), draw(days), draw(shares), draw(sector)) for size in drawn]
    return Case(held, draw(cents), option, draw(rates), draw(rates))


def sums_on_a_bound(case: Case) -> bool:
    """Several positions of a sector that are exactly 30% or 70% together: risk.house adds shares, not values."""
    sectors = [[abs(own.size) for own in case.held if own.sector == sector] for sector in "xy"]
    return any(len(sizes) > 1 and sum(sizes) in (6, 14) for sizes in sectors)


@settings(max_examples=500)
@given(st.lists(cases(), min_size=1, max_size=4), st.sampled_from(BOOKS))
def test_a_block_equals_loops_over_each_account(book: list[Case], rules: Rulebook) -> None:
    assume(not any(map(sums_on_a_bound, book)))
    assert found_of(book, rules) == [asked(number, case, rules) for number, case in enumerate(book)]


@settings(max_examples=40)
@given(st.lists(cases(), min_size=1, max_size=3), st.sampled_from(BOOKS))
def test_portfolio_margin_has_no_add_ons_and_no_house_rates(book: list[Case], rules: Rulebook) -> None:
    on = [case._replace(regime="PORTFOLIO") for case in book]
    without = [case._replace(long_rate=None, short_rate=None) for case in on]
    names = {name for account in found_of(on, rules) for name, _ in account}
    assert names <= {"maintenance"}
    nothing = replace(rules, house=type(rules.house)())
    assert found_of(on, rules) == found_of(without, nothing)


#: Of one position in twenty UNITs: what is measured, on its bound and a trifle above; the rate there and above.
BOUNDS = [
    *(("long", Held(size), LONG[at][1], LONG[at + 1][1]) for at, size in enumerate((2, 4, 8, 10, 15))),
    *(("short", Held(-size), SHORT[at][1], SHORT[at + 1][1]) for at, size in enumerate((2, 4, 8, 10, 15))),
    *(("sector", Held(size, sector="x"), *rates) for size, rates in ((6, (0.0, 0.05)), (14, (0.05, 0.10)))),
    *(("days", Held(2, days=LIQUIDITY[at][0]), LIQUIDITY[at][1], LIQUIDITY[at + 1][1]) for at in range(4)),
    *(("owned", Held(2, owned=OWNERSHIP[at][0]), OWNERSHIP[at][1], OWNERSHIP[at + 1][1]) for at in range(3)),
    *(("price", Held(2, price), *rates) for price, rates in ((3.0, (1.0, 0.5)), (5.0, (0.5, 0.3)))),
]


@pytest.mark.parametrize(("name", "held", "rate", "beyond"), BOUNDS)
def test_a_bound_belongs_to_the_tier_below(name: str, held: Held, rate: float, beyond: float) -> None:
    rules = replace(PLAIN, house=replace(PLAIN.house, sector_unless=1.0))
    on = Case([held], option=20 - abs(held.size))
    measured = getattr(held, name) if name in ("days", "owned", "price") else None
    more = held if measured is None else held._replace(**{name: measured * 1.00001})
    above = on._replace(held=[more], option=on.option - (measured is None) * 1e-4)
    key = {"days": "liquidity", "owned": "ownership", "price": "maintenance"}.get(name, name)
    found = [account.get((key, f"S{at} 0"), 0) for at, account in enumerate(found_of([on, above], rules))]
    sizes = [round(abs(own.units) * own.price * TICKS) for own in (held, more)]
    assert found == [round(sizes[0] * rate), round(sizes[1] * beyond)]
