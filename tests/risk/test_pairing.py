"""Pairing finds the cheapest of all partitions of a book, to the tick; what holds of any book; a large book."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ops.portfolio import calculate
from risk.margin import compute_margin
from tests.risk.margin_examples import AS_OF
from tests.risk.partitions import (
    CENT,
    CLASSES,
    DOLLAR,
    EXPIRIES,
    RULES,
    Book,
    Leg,
    Legs,
    alone,
    any_book,
    block_of,
    charge,
    holdings,
    in_money,
    lowest,
    markets,
    naked,
    option_terms,
)


def calculated(book: Book) -> dict[str, int]:
    """Figures of the book as a document, and the sum of its lines, in ticks."""
    instruments: dict[str, Any] = {"XYZ": {"type": "ETF", "price": book.spot / DOLLAR, "class": CLASSES[book.rate]}}
    positions = []
    for leg, quantity in holdings(book):
        symbol = "XYZ" if leg.kind in "Ss" else f"XYZ {leg.kind.upper()}{leg.strike} {leg.months} {leg.style}"
        positions.append({"symbol": symbol, "quantity": str(quantity)})
        if symbol != "XYZ":
            quoted = {"price": leg.price / DOLLAR, "expiry": EXPIRIES[leg.months].text()}
            instruments[symbol] = option_terms(leg, "XYZ") | quoted
    found = calculate({"rulebook": RULES.name, "as_of": AS_OF, "instruments": instruments, "positions": positions})
    names = ("maintenance_requirement", "equity", "excess")
    required = [round(line["requirement"] * 10_000) for line in found["lines"]]
    return {name: round(found[name] * 10_000) for name in names} | {"lines": sum(required)}


def paired(books: Sequence[Book]) -> list[tuple[float, float]]:
    """Requirement and equity of each book, all of them accounts of one block."""
    block = block_of(books)
    compute_margin(block)
    return list(zip(block.measures["requirement"].tolist(), block.measures["equity"].tolist(), strict=True))


def costs(book: Book, *more: Legs) -> list[float]:
    """Requirement less equity of a book, and of the book with more legs."""
    books = [book, *(book._replace(legs=book.legs + legs) for legs in more)]
    return [requirement - equity for requirement, equity in paired(books)]


def short(kind: str, strike: int, cents: int) -> Leg:
    return Leg(kind, strike * DOLLAR, 3, "A", cents * CENT)


@settings(max_examples=1000)
@given(any_book)
@example(Book((short("c", 60, 500), short("p", 50, 0)), 50 * DOLLAR, 20)).via(
    "sides of a strangle that require as much"
)
@example(Book((Leg("S"), short("c", 45, 950), short("c", 50, 575)), 52 * DOLLAR, 20)).via("either call may be covered")
def test_the_figures_are_those_of_the_cheapest_partition(book: Book) -> None:
    assert paired([book]) == [lowest(*book)]


@settings(max_examples=40)
@given(any_book)
def test_a_document_has_the_same_figures_and_lines_that_sum_to_them(book: Book) -> None:
    requirement, equity = lowest(*book)
    expected = {"maintenance_requirement": requirement, "equity": equity, "excess": equity - requirement}
    assert calculated(book) == expected | {"lines": requirement}


@pytest.mark.parametrize("kinds", ["PSc", "Cps"])
def test_a_conversion_may_be_of_two_styles(kinds: str) -> None:
    option = Leg(kinds[0], 50 * DOLLAR, 3, "A", 1 * DOLLAR)
    other = option._replace(kind="c" if kinds == "PSc" else "p", style="E")
    book = Book(tuple(sorted((option, other, Leg("S" if kinds == "PSc" else "s")))), 50 * DOLLAR, 20)
    assert paired([book]) == [lowest(*book)]


@settings(max_examples=150)
@given(markets(books=2))
def test_a_further_long_option_costs_nothing(books: list[Book]) -> None:
    book, other = books
    longs = [(leg,) for leg in other.legs if leg.kind in "CP" and leg.months <= 9]
    before, *after = costs(book, *longs)
    assert all(cost <= before for cost in after)


@settings(max_examples=150)
@given(markets(books=2))
def test_a_further_covered_call_costs_no_more_than_its_shares(books: list[Book]) -> None:
    book, other = books
    assume(Leg("s") not in book.legs)
    calls = [leg for leg in other.legs if leg.kind == "c"]
    before, *after = costs(book, *((call, Leg("S")) for call in calls))
    for call, cost in zip(calls, after, strict=True):
        # As equity the shares are worth no more than the call's exercise price.
        assert cost - before <= alone("S", book.spot) - min(book.spot, call.strike)


@settings(max_examples=200)
@given(markets(books=2))
def test_together_costs_no_more_than_apart(books: list[Book]) -> None:
    book, other = books
    by_itself, together = costs(book, other.legs)
    assert together <= by_itself + costs(other)[0]


def greater_sides(book: Book) -> list[int]:
    """Which option requires more, of every short call with every short put: where it changes, a straddle steps."""
    required = {leg: naked(leg, book.spot, book.rate) for leg in book.legs if leg.kind in "cp"}
    calls, puts = ([required[leg] for leg in required if leg.kind == kind] for kind in "cp")
    return [(call > put) - (call < put) for call in calls for put in puts]


@settings(max_examples=200)
@given(any_book, st.sampled_from([-1, 1]))
def test_a_hundredth_of_a_cent_moves_little(book: Book, move: int) -> None:
    """A dollar a share moves no set by more than two a leg: short shares below $5 require and owe their price, an
    uncovered option follows by 1 + rate, and an offset by less than its parts. So does the cheapest partition."""
    moved = book._replace(spot=book.spot + move * 100)
    assume(greater_sides(book) == greater_sides(moved))
    assert abs(costs(moved)[0] - costs(book)[0]) <= 2 * 100 * len(book.legs)


@settings(max_examples=60)
@given(st.lists(any_book, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_neither_order_nor_other_accounts_change_a_bit(books: list[Book], rng: random.Random) -> None:
    by_itself = [paired([book])[0] for book in books]
    # So many that they are not all solved in one call.
    block = [
        (at, book._replace(legs=tuple(rng.sample(book.legs, len(book.legs))))) for at, book in enumerate(books)
    ] * 8
    rng.shuffle(block)
    assert paired([book for _, book in block]) == [by_itself[at] for at, _ in block]


def greedy(book: Book) -> int:
    """Cost where each short option in turn takes the long one that leaves the least, or none."""

    def cost(*legs: Leg) -> float:
        found = charge(tuple(sorted(legs)), book.spot, book.rate)
        return np.inf if found is None else found[0] - found[1]

    free = [leg for leg in book.legs if leg.kind in "CP"]
    total = sum(cost(leg) for leg in book.legs if leg.kind not in "cp")
    for short in (leg for leg in book.legs if leg.kind in "cp"):
        change = lambda long, short=short: cost(short, long) - cost(long)  # noqa: E731
        best = min(free, key=change, default=None)
        if best is not None and change(best) < cost(short):
            free.remove(best)
            total += change(best)
        else:
            total += cost(short)
    return int(total)


def large_book(expiries: Sequence[int], most: int) -> Book:
    """200 short and 200 long contracts over 40 strikes, so many of a series at the most; and 20 lots."""
    rng, spot = random.Random(0), 100 * DOLLAR
    legs, quotes = [Leg(rng.choice("Ss"))] * 20, dict[Leg, int]()
    for kinds in ("cp", "CP"):
        held: list[Leg] = []
        while len(held) < 200:
            leg = Leg(rng.choice(kinds), rng.randrange(60, 140, 2) * DOLLAR, rng.choice(expiries), "A")
            price = in_money(leg, spot) + rng.randrange(800) * CENT
            price = quotes.setdefault(leg._replace(kind=leg.kind.upper()), price)
            held += [leg._replace(price=price)] * rng.randint(1, most)
        legs += held[:200]
    return Book(tuple(sorted(legs)), spot, 20)


#: Unlike series in their hundreds over many expiries take minutes: whole contracts are then searched for.
@pytest.mark.parametrize(("expiries", "most"), [(list(EXPIRIES), 9), ([3], 1)])
def test_a_large_book_costs_no_more_than_a_greedy_matcher_finds(expiries: list[int], most: int) -> None:
    book = large_book(expiries, most)
    found = calculated(book)
    assert -found["excess"] <= greedy(book)
    assert found["lines"] == found["maintenance_requirement"]
