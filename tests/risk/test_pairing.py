"""Pairing takes no more than the cheapest partition that a loop over all of them finds, to the tick; what holds of any
book; a large book against a greedy matcher.

Amounts are ticks a contract of 100 shares; every one is a whole number of ticks a share, so that percents are exact.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import combinations, pairwise, product
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ops.portfolio import calculate
from pipeline.rules import load_rulebook
from risk.block import AccountBlock
from risk.margin import compute_margin
from risk.terms import describe
from schemas.inputs import Instrument
from schemas.scalars import Time
from tests.risk.margin_examples import AS_OF

RULES = load_rulebook("finra-4210")
CENT = 10_000
DOLLAR = 100 * CENT
EXPIRIES = {
    months: Time.parse(AS_OF.replace(year=2026 + (month > 12), month=(month - 1) % 12 + 1))
    for months, month in ((1, 7), (3, 9), (9, 15), (12, 18))
}
STYLES = {"A": "AMERICAN", "E": "EUROPEAN"}
CLASSES = {20: "equity", 15: "broad_index"}


class Leg(NamedTuple):
    """One contract, or a lot of 100 shares: C call, P put, S shares; in small letters short."""

    kind: str
    strike: int = 0
    months: int = 0
    style: str = ""
    price: int = 0


class Book(NamedTuple):
    """Legs on one underlying, and the percent of it that a short option requires."""

    spot: int
    rate: int
    legs: tuple[Leg, ...]


def percent(rate: int, amount: int) -> int:
    return rate * amount // 100


def intrinsic(leg: Leg, spot: int) -> int:
    return max(spot - leg.strike if leg.kind in "Cc" else leg.strike - spot, 0)


def beyond(leg: Leg, spot: int) -> int:
    """What an option is out of the money."""
    return max(leg.strike - spot if leg.kind in "Cc" else spot - leg.strike, 0)


def naked(leg: Leg, spot: int, rate: int) -> int:
    least = percent(10, spot if leg.kind == "c" else leg.strike)
    return leg.price + max(percent(rate, spot) - beyond(leg, spot), least)


def alone(kind: str, spot: int) -> int:
    """What a lot requires by itself."""
    if kind == "S":
        return percent(25, spot)
    return max(5 * DOLLAR, percent(30, spot)) if spot >= 5 * DOLLAR else max(5 * DOLLAR // 2, spot)


def combination(legs: tuple[Leg, ...]) -> int | None:
    """(f)(2)(A)(xxxii): the greatest netted intrinsic loss; None where the legs are no limited-risk combination."""
    kinds = [leg.kind for leg in legs]
    short, long = [leg for leg in legs if leg.kind in "cp"], [leg for leg in legs if leg.kind in "CP"]
    if len(short) + len(long) < len(legs) or not short or len({leg.style for leg in legs}) > 1:
        return None
    if kinds.count("c") != kinds.count("C") or kinds.count("p") != kinds.count("P"):
        return None
    if max(leg.months for leg in short) > min(leg.months for leg in long):
        return None
    return max(
        0, *(sum(intrinsic(s, at.strike) for s in short) - sum(intrinsic(o, at.strike) for o in long) for at in legs)
    )


def box(legs: tuple[Leg, ...]) -> int | None:
    """A long European box: half of the difference of its exercise prices, and worth no more than that difference."""
    call, put, short_call, short_put = legs
    width = short_call.strike - call.strike
    if len({(leg.months, leg.style) for leg in legs}) > 1 or call.style != "E" or width <= 0:
        return None
    if (short_put.strike, put.strike) != (call.strike, short_call.strike):
        return None
    market = call.price + put.price - short_call.price - short_put.price
    return percent(50, width) - min(max(market, 0), width)


@cache
def charge(legs: tuple[Leg, ...], spot: int, rate: int) -> int | None:
    """Requirement less equity of legs margined as one, in the order of their kinds; None: no rule takes them so."""
    kinds, first, last = "".join(leg.kind for leg in legs), legs[0], legs[-1]
    if kinds in ("C", "P"):
        return percent(75, first.price) - first.price if first.months > 9 else 0
    if kinds in ("c", "p"):
        return naked(first, spot, rate)
    if kinds in ("S", "s"):
        return alone(kinds, spot) + (-spot if kinds == "S" else spot)
    if kinds == "cp":
        call, put = naked(first, spot, rate), naked(last, spot, rate)
        sides = [call + last.price] * (call >= put) + [put + first.price] * (put >= call)
        return min(sides)
    if kinds == "Sc":
        held = min(spot, last.strike)
        return percent(25, held) - held
    if kinds == "ps":
        return alone("s", spot) + intrinsic(first, spot) + spot
    if kinds == "PS":
        return min(percent(10, first.strike) + beyond(first, spot), alone("S", spot)) - spot
    if kinds == "Cs":
        return min(percent(10, first.strike) + beyond(first, spot), alone("s", spot)) + spot
    if kinds == "PSc":
        if first.months != last.months or first.strike > last.strike:
            return None
        hedged = percent(10, first.strike)
        if first.strike < last.strike:
            hedged = min(hedged + beyond(first, spot), percent(25, last.strike))
        return hedged - min(spot, last.strike)
    if kinds == "Cps":
        if (first.strike, first.months) != (legs[1].strike, legs[1].months):
            return None
        return percent(10, first.strike) + intrinsic(legs[1], spot) + spot
    if kinds == "CPcp" and (boxed := box(legs)) is not None:
        return min(boxed, 0)
    return combination(legs)


@cache
def lowest(legs: tuple[Leg, ...], spot: int, rate: int) -> int:
    """The lowest requirement less equity of all partitions of sorted legs: that of the first leg's set and the rest."""
    if not legs:
        return 0
    costs = []
    for size in range(len(legs)):
        for others in combinations(range(1, len(legs)), size):
            cost = charge((legs[0], *(legs[at] for at in others)), spot, rate)
            if cost is not None:
                rest = tuple(leg for at, leg in enumerate(legs) if at and at not in others)
                costs.append(cost + lowest(rest, spot, rate))
    return min(costs)


def holdings(book: Book) -> list[tuple[Leg, int]]:
    """Positions: contracts or shares, signed."""
    held = Counter(book.legs).items()
    return [(leg, (100 if leg.kind in "Ss" else 1) * (count if leg.kind.isupper() else -count)) for leg, count in held]


def terms_of(leg: Leg, underlying: str) -> dict[str, Any]:
    return {
        "type": "OPTION",
        "underlying": underlying,
        "right": {"C": "CALL", "P": "PUT"}[leg.kind.upper()],
        "strike": leg.strike / DOLLAR,
        "expiry": EXPIRIES[leg.months],
        "exercise": STYLES[leg.style],
    }


def document(book: Book) -> dict[str, Any]:
    instruments: dict[str, Any] = {"XYZ": {"type": "ETF", "price": book.spot / DOLLAR, "class": CLASSES[book.rate]}}
    positions = []
    for leg, quantity in holdings(book):
        symbol = "XYZ" if leg.kind in "Ss" else f"XYZ {leg.kind.upper()}{leg.strike} {leg.months} {leg.style}"
        positions.append({"symbol": symbol, "quantity": str(quantity)})
        if symbol != "XYZ":
            instruments[symbol] = terms_of(leg, "XYZ") | {
                "price": leg.price / DOLLAR,
                "expiry": EXPIRIES[leg.months].text(),
            }
    return {"rulebook": "finra-4210", "as_of": AS_OF, "instruments": instruments, "positions": positions}


def block_of(books: Sequence[Book]) -> AccountBlock:
    """An account for each book, each on an underlying of its own."""
    records, prices, symbols, quantities = [], [], [], []
    for number, book in enumerate(books):
        own, row = f"U{number}", len(records)
        records.append(Instrument(symbol=own, type="ETF", instrument_class=CLASSES[book.rate]))
        prices.append(book.spot / DOLLAR)
        for leg, quantity in holdings(book):
            stock = leg.kind in "Ss"
            symbols.append(row if stock else len(records))
            quantities.append(quantity if stock else quantity * 100)
            if not stock:
                records.append(Instrument(symbol=f"{own} {len(records)}", multiplier=100.0, **terms_of(leg, own)))
                prices.append(leg.price / DOLLAR)
    rows = {record.symbol: row for row, record in enumerate(records)}
    unknown, ones = np.full(len(records), np.nan), np.ones(len(records))
    terms, _ = describe(records, rows, RULES, price=np.array(prices), volatility=unknown, beta=ones)
    places, no = np.array(symbols, np.int64), np.zeros(len(symbols), np.bool_)
    return AccountBlock(
        instant=Time.parse(AS_OF),
        rules=RULES,
        accounts=np.arange(len(books)),
        offsets=np.cumsum([0, *(len(holdings(book)) for book in books)]),
        symbols=places,
        quantity=np.array(quantities, np.float64),
        price=terms.price[places],
        beta=np.ones(len(places)),
        unreliable=no,
        unpriced=no,
        defaulted=no,
        cash=np.zeros(len(books)),
        terms=terms,
    )


def figures(books: Sequence[Book]) -> list[tuple[float, float]]:
    """Requirement and equity of each book, all accounts of one block."""
    block = block_of(books)
    compute_margin(block)
    return list(zip(block.measures["requirement"].tolist(), block.measures["equity"].tolist(), strict=True))


def costs(*books: Book) -> list[float]:
    return [requirement - equity for requirement, equity in figures(books)]


#: Cents: prices of the underlying, and exercise prices.
PRICES = (
    ((4500, 4990, 5000, 5001, 5250, 6100), (4500, 5000, 5500, 6000, 7000)),
    ((1500, 1666, 1667, 2000), (1000, 1500, 1750, 2000)),
    ((200, 250, 300, 499, 500, 501), (200, 300, 400, 500)),
)
#: Kinds of legs that combine, and which of a book's exercise prices each has.
SHAPES = (
    *("C0", "c0", "P0", "p0", "S", "s", "c0 p0", "p0 c1", "C0 c1", "c0 C1", "p0 P1", "P0 p1"),
    *("S c0", "S P0", "S P0 c1", "S P0 c0", "s p0", "s C0", "s C0 p0"),
    *("C0 c1 c1 C2", "p0 P1 P1 p2", "P0 p1 c1 C2", "P0 p1 c2 C3", "C0 p0 c1 P1", "c0 P0 C1 p1"),
)
over_intrinsic = st.sampled_from([0, 1, 25, 100, 125, 250, 375, 500]) | st.integers(0, 800)


@st.composite
def books(draw: st.DrawFn, parts: int = 1, legs: int = 8) -> tuple[Book, ...]:
    """Books of one market, with so many legs each at the most; shares are on one side."""
    spots, strikes = draw(st.sampled_from(PRICES))
    spot, rate = draw(st.sampled_from(spots)) * CENT, draw(st.sampled_from(list(CLASSES)))
    months = draw(st.lists(st.sampled_from(list(EXPIRIES)), min_size=1, max_size=3, unique=True))
    styles, lot = draw(st.sampled_from(["A", "E", "E", "AE"])), draw(st.sampled_from("Ss"))
    listed: dict[tuple[str, int, int], Leg] = {}

    def option(kind: str, strike: int, month: int) -> Leg:
        series = kind.upper(), strike, month
        if series not in listed:
            leg = Leg(kind.upper(), strike * CENT, month, draw(st.sampled_from(styles)))
            listed[series] = leg._replace(price=intrinsic(leg, spot) + draw(over_intrinsic) * CENT)
        return listed[series]._replace(kind=kind)

    def shape() -> list[Leg]:
        words, first = draw(st.sampled_from(SHAPES)).split(), draw(st.integers(0, len(strikes) - 1))
        month = draw(st.sampled_from(months))
        place = lambda word: min(first + int(word[1]), len(strikes) - 1)  # noqa: E731
        found = [Leg(word) if word in "Ss" else option(word[0], strikes[place(word)], month) for word in words]
        return [leg for leg in found if leg.kind not in "Ss" or leg.kind == lot]

    def book() -> Book:
        found = [leg for _ in range(draw(st.integers(1, legs))) for leg in shape()]
        return Book(spot, rate, tuple(sorted(found[:legs])))

    return tuple(book() for _ in range(parts))


@settings(max_examples=300)
@given(books())
def test_the_requirement_is_that_of_the_cheapest_partition(found: tuple[Book]) -> None:
    (book,) = found
    result = calculate(document(book))
    expected = lowest(book.legs, book.spot, book.rate)
    assert round((result["maintenance_requirement"] - result["equity"]) * 10_000) == expected
    assert round(result["excess"] * 10_000) == -expected
    required = sum(round(line["requirement"] * 10_000) for line in result["lines"])
    assert required == round(result["maintenance_requirement"] * 10_000)
