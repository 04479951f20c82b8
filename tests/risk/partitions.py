"""The oracle of pairing: it tries every partition of a book. Books and markets, drawn, and as a block of accounts.

Amounts are ticks a contract of 100 shares, all of them whole ticks a share, so that percents are exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from pipeline.rules import load_rulebook
from risk.block import AccountBlock
from risk.terms import describe
from schemas.inputs import Instrument
from schemas.scalars import Time
from tests.risk.margin_examples import AS_OF

RULES = load_rulebook("finra-4210")
CENT = 10_000
DOLLAR = 100 * CENT
#: By months from AS_OF, which is in June.
EXPIRIES = {
    months: Time.parse(AS_OF.replace(year=2026 + (month > 12), month=(month - 1) % 12 + 1))
    for months, month in ((1, 7), (2, 8), (3, 9), (6, 12), (9, 15), (12, 18))
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


Legs = tuple[Leg, ...]


class Book(NamedTuple):
    """Legs on one underlying, and the percent of it that a short option requires."""

    legs: Legs
    spot: int
    rate: int


def percent(rate: int, amount: int) -> int:
    return rate * amount // 100


def in_money(option: Leg, spot: int) -> int:
    return max(spot - option.strike if option.kind in "Cc" else option.strike - spot, 0)


def out_of_money(option: Leg, spot: int) -> int:
    return max(option.strike - spot if option.kind in "Cc" else spot - option.strike, 0)


def naked(option: Leg, spot: int, rate: int) -> int:
    least = percent(10, spot if option.kind == "c" else option.strike)
    return option.price + max(percent(rate, spot) - out_of_money(option, spot), least)


def alone(kind: str, spot: int) -> int:
    """What a lot requires by itself."""
    if kind == "S":
        return percent(25, spot)
    return max(5 * DOLLAR, percent(30, spot)) if spot >= 5 * DOLLAR else max(5 * DOLLAR // 2, spot)


def combination(legs: Legs) -> int | None:
    """(f)(2)(A)(xxxii): the greatest netted intrinsic loss; None of legs that are no limited-risk combination."""
    count = Counter(leg.kind for leg in legs)
    short, long = [leg for leg in legs if leg.kind in "cp"], [leg for leg in legs if leg.kind in "CP"]
    if "S" in count or "s" in count or len({leg.style for leg in legs}) > 1:
        return None
    if (count["c"], count["p"]) != (count["C"], count["P"]):
        return None
    if max(leg.months for leg in short) > min(leg.months for leg in long):
        return None
    losses = [sum(in_money(leg, at.strike) * (1 if leg in short else -1) for leg in legs) for at in legs]
    return max(0, *losses)


def box(call: Leg, put: Leg, short_call: Leg, short_put: Leg) -> tuple[int, int] | None:
    """A long European box: half of the difference of its exercise prices, worth no more than that difference."""
    width = short_call.strike - call.strike
    together = {(leg.months, leg.style) for leg in (call, put, short_call, short_put)} == {(call.months, "E")}
    if not together or width <= 0 or (short_put.strike, put.strike) != (call.strike, short_call.strike):
        return None
    market = call.price - short_call.price + put.price - short_put.price
    return percent(50, width), min(max(market, 0), width)


@cache
def charge(legs: Legs, spot: int, rate: int) -> tuple[int, int] | None:
    """Requirement and equity of legs margined as one, sorted; None where no rule takes them so."""
    kinds, first, last = "".join(leg.kind for leg in legs), legs[0], legs[-1]
    if kinds in ("C", "P"):
        return (percent(75, first.price), first.price) if first.months > 9 else (0, 0)
    if kinds in ("c", "p"):
        return naked(first, spot, rate), 0
    if kinds in ("S", "s"):
        return alone(kinds, spot), spot if kinds == "S" else -spot
    if kinds == "cp":
        sides = [(naked(leg, spot, rate), other.price) for leg, other in ((first, last), (last, first))]
        return min(sum(side) for side in sides if side[0] == max(sides)[0]), 0
    if kinds == "Sc":
        held = min(spot, last.strike)
        return percent(25, held), held
    if kinds == "ps":
        return alone("s", spot) + in_money(first, spot), -spot
    if kinds in ("PS", "Cs"):
        hedged = percent(10, first.strike) + out_of_money(first, spot)
        return min(hedged, alone(last.kind, spot)), spot if last.kind == "S" else -spot
    if kinds == "PSc" and first.months == last.months and first.strike <= last.strike:
        required = percent(10, first.strike)
        if first.strike < last.strike:
            required = min(required + out_of_money(first, spot), percent(25, last.strike))
        return required, min(spot, last.strike)
    if kinds == "Cps" and (first.strike, first.months) == (legs[1].strike, legs[1].months):
        return percent(10, first.strike) + in_money(legs[1], spot), -spot
    if kinds == "CPcp" and (boxed := box(*legs)) is not None:
        return min(boxed, (0, 0), key=cost_first)
    loss = combination(legs)
    return None if loss is None else (loss, 0)


def cost_first(figures: tuple[int, int]) -> tuple[int, int]:
    """Requirement less equity, then the requirement: of equal excesses that with the least requirement is taken."""
    return figures[0] - figures[1], figures[0]


@cache
def lowest(legs: Legs, spot: int, rate: int) -> tuple[int, int]:
    """Requirement and equity of the cheapest partition of sorted legs: a set with the first of them, and the rest."""
    if not legs:
        return 0, 0
    found = []
    for size in range(len(legs)):
        for others in combinations(range(1, len(legs)), size):
            taken = charge((legs[0], *(legs[at] for at in others)), spot, rate)
            if taken is not None:
                rest = lowest(tuple(leg for at, leg in enumerate(legs) if at and at not in others), spot, rate)
                found.append((taken[0] + rest[0], taken[1] + rest[1]))
    return min(found, key=cost_first)


def holdings(book: Book) -> list[tuple[Leg, int]]:
    """Positions: contracts or shares, signed."""
    held = Counter(book.legs).items()
    return [(leg, (100 if leg.kind in "Ss" else 1) * (count if leg.kind.isupper() else -count)) for leg, count in held]


def option_terms(leg: Leg, underlying: str) -> dict[str, Any]:
    return {
        "type": "OPTION",
        "underlying": underlying,
        "right": {"C": "CALL", "P": "PUT"}[leg.kind.upper()],
        "strike": leg.strike / DOLLAR,
        "expiry": EXPIRIES[leg.months],
        "exercise": STYLES[leg.style],
    }


def block_of(books: Sequence[Book]) -> AccountBlock:
    """An account for each book; books of one market share its symbols."""
    rows: dict[str, int] = {}
    records, prices, symbols, quantities = [], [], [], []

    def row(symbol: str, price: int, **terms: Any) -> int:
        if symbol not in rows:
            rows[symbol] = len(rows)
            records.append(Instrument(symbol=symbol, **terms))
            prices.append(price / DOLLAR)
        return rows[symbol]

    for book in books:
        own = f"{book.spot} {book.rate}"
        stock = row(own, book.spot, type="ETF", instrument_class=CLASSES[book.rate])
        for leg, quantity in holdings(book):
            shares = leg.kind in "Ss"
            name = " ".join(map(str, (own, leg.kind.upper(), *leg[1:])))
            symbols.append(stock if shares else row(name, leg.price, multiplier=100.0, **option_terms(leg, own)))
            quantities.append(quantity * (1 if shares else 100))
    unknown, ones = np.full(len(rows), np.nan), np.ones(len(rows))
    terms, _ = describe(records, rows, RULES, price=np.array(prices), volatility=unknown, beta=ones)
    at, no = np.array(symbols, np.int64), np.zeros(len(symbols), np.bool_)
    return AccountBlock(
        instant=Time.parse(AS_OF),
        rules=RULES,
        accounts=np.arange(len(books)),
        offsets=np.cumsum([0, *(len(holdings(book)) for book in books)]),
        symbols=at,
        quantity=np.array(quantities, np.float64),
        price=terms.price[at],
        beta=terms.beta[at],
        unreliable=no,
        unpriced=no,
        defaulted=no,
        cash=np.zeros(len(books)),
        terms=terms,
    )


#: Cents: prices of an underlying, and exercise prices.
MARKETS = (
    ((4500, 4990, 5000, 5001, 5250, 6100), (4500, 5000, 5500, 6000, 7000)),
    ((1500, 1666, 1667, 2000), (1000, 1500, 1750, 2000)),
    ((200, 250, 300, 499, 500, 501), (200, 300, 400, 500)),
)
#: Kinds of legs that combine, and which exercise price each has, counted from one of them.
SHAPES = (
    *("C0", "c0", "P0", "p0", "S", "s", "c0 p0", "p0 c1", "C0 c1", "c0 C1", "p0 P1", "P0 p1"),
    *("S c0", "S P0", "S P0 c1", "S P0 c3", "S P0 c0", "S P1 c0", "s p0", "s C0", "s C0 p0", "s C0 p1"),
    *("C0 c1 c1 C2", "p0 P1 P1 p2", "P0 p1 c1 C2", "P0 p1 c2 C3", "C0 p0 c1 P1", "c0 P0 C1 p1"),
)
time_values = st.sampled_from([0, 1, 25, 100, 125, 250, 375, 500]) | st.integers(0, 800)


@st.composite
def markets(draw: st.DrawFn, books: int = 1, legs: int = 8) -> list[Book]:
    """Books of one market, of so many legs each at the most. Shares are held on one side, for long and short ones are
    netted before anything is paired, (e)(1); and beside options of one style, see the conversion of two."""
    spots, strikes = draw(st.sampled_from(MARKETS))
    spot, rate = draw(st.sampled_from(spots)) * CENT, draw(st.sampled_from(list(CLASSES)))
    months = draw(st.lists(st.sampled_from(list(EXPIRIES)), min_size=1, max_size=3, unique=True))
    styles, shares = draw(st.sampled_from([("A", "S"), ("A", "s"), ("E", "S"), ("E", "s"), ("AE", "")]))
    listed: dict[tuple[str, int, int], Leg] = {}

    def option(kind: str, strike: int, month: int) -> Leg:
        series = kind.upper(), strike, month
        if series not in listed:
            leg = Leg(kind.upper(), strike * CENT, month, draw(st.sampled_from(styles)))
            listed[series] = leg._replace(price=in_money(leg, spot) + draw(time_values) * CENT)
        return listed[series]._replace(kind=kind)

    def shape() -> list[Leg]:
        words, month = draw(st.sampled_from(SHAPES)).split(), draw(st.sampled_from(months))
        first, last = draw(st.integers(0, len(strikes) - 1)), len(strikes) - 1
        options = [option(word[0], strikes[min(first + int(word[1]), last)], month) for word in words if word[1:]]
        return [Leg(word) for word in words if word == shares] + options

    drawn = [[leg for _ in range(draw(st.integers(1, legs))) for leg in shape()][:legs] for _ in range(books)]
    return [Book(tuple(sorted(found)), spot, rate) for found in drawn]


any_book = markets().map(lambda books: books[0])
