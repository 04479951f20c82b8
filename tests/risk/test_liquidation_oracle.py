"""A proposal is the best there is on small accounts, and one that no lot can be taken from on large ones.

The oracle tries every number of shares of every position in plain loops, with stock rules written out in whole ticks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from risk import sizing
from risk.hedge_groups import hedge_groups
from risk.liquidation import Proposal, propose
from risk.rulebook import LiquidationRules, Rulebook
from tests.risk.one_account import (
    FINRA,
    PLAIN,
    RULES,
    SEED,
    Held,
    above_line,
    account,
    figures,
    filled,
    names_of,
    portfolios,
    traded,
)

DOLLAR = 10_000
#: The rulebook, rates in percent, percent above which a position is concentrated.
BOOKS = ((SEED, 25, 25, 30), (FINRA, 25, 30, 100))


@dataclass(frozen=True)
class Stock:
    """Shares signed, dimes a share, shares that may be traded, and whether it is to be liquidated last."""

    name: str
    shares: int
    dimes: int
    limit: float
    last: bool

    @property
    def ticks(self) -> int:
        return self.dimes * 1_000


def required(left: list[tuple[Stock, int]], book: tuple) -> int:
    """Of shares left of each, in ticks."""
    rules, long, short, threshold = book
    gross, total = sum(abs(shares) * own.ticks for own, shares in left), 0
    for own, shares in left:
        value = abs(shares) * own.ticks
        charge = value * (long if shares > 0 else short) // 100
        if rules is FINRA and shares < 0:
            by_share = 5 * DOLLAR if own.ticks >= 5 * DOLLAR else 5 * DOLLAR // 2
            charge = max(charge, value if own.ticks < 5 * DOLLAR else 0, by_share * -shares)
        if rules is SEED and value * 100 > gross * threshold:
            charge += value // 10
        total += charge
    return total


Candidate = tuple[tuple, dict[str, int]]


def candidates(cash: int, held: list[Stock], book: tuple, rules: LiquidationRules) -> Iterator[Candidate]:
    """What cures: how good it is, the best the least, and signed shares by name."""
    lots = [sorted({min(n, abs(own.shares)) for n in range(0, abs(own.shares) + rules.lot, rules.lot)}) for own in held]
    by_name = sorted(range(len(held)), key=lambda at: held[at].name)
    for sizes in product(*lots):
        if any(size > own.limit // rules.lot * rules.lot for size, own in zip(sizes, held, strict=True)):
            continue
        left, values, after = [], [], cash
        for size, own in zip(sizes, held, strict=True):
            side = 1 if own.shares > 0 else -1
            value = size * own.ticks
            cost = value // 1000 * round(rules.cost_rate * 1000) + (size > 0) * round(rules.cost_per_order * DOLLAR)
            after += side * value - cost
            left.append((own, side * (abs(own.shares) - size)))
            values.append((value, cost))
        equity = after + sum(shares * own.ticks for own, shares in left)
        requirement = required(left, book)
        if (equity - requirement) * 100 >= requirement * round(rules.buffer * 100):
            deferred = sum(value for (value, _), own in zip(values, held, strict=True) if own.last)
            total, orders = sum(map(sum, values)), sum(size > 0 for size in sizes)
            signed = {
                own.name: -size if own.shares > 0 else size for size, own in zip(sizes, held, strict=True) if size
            }
            yield (deferred, total, orders, *(-sizes[at] for at in by_name)), signed


def proposed(cash: int, held: list[Stock], book: Rulebook, rules: LiquidationRules) -> Proposal:
    told = [Held(s.name, s.shares, s.dimes / 10, {} if s.limit == inf else _volume(s, rules)) for s in held]
    block = account(cash / DOLLAR, told, book)
    return propose(block, names=names_of(told), last=np.array([s.last for s in held], np.bool_), rules=rules)


def _volume(own: Stock, rules: LiquidationRules) -> dict:
    return {"average_daily_volume": own.limit / rules.volume_share}


@st.composite
def small(draw: st.DrawFn) -> tuple[int, list[Stock], tuple, LiquidationRules]:
    book = draw(st.sampled_from(BOOKS))
    lot = draw(st.sampled_from([1, 1, 3]))
    rules = draw(st.sampled_from([PLAIN, RULES, replace(RULES, cost_per_order=7.0), replace(PLAIN, cost_rate=0.005)]))
    names = draw(st.permutations("ABCD"))[: draw(st.integers(1, 4))]
    most = {1: 60, 2: 30, 3: 12, 4: 6}[len(names)]
    held = [
        Stock(
            name,
            draw(st.integers(-most, most).filter(bool)),
            draw(st.sampled_from([10, 49, 50, 100, 166, 167, 300]) | st.integers(5, 2_000)),
            draw(st.sampled_from([inf, inf, inf, 4.0])) if book[0] is FINRA else inf,
            draw(st.sampled_from([False, False, True])),
        )
        for name in names
    ]
    needed = required([(own, own.shares) for own in held], book)
    worth = sum(own.shares * own.ticks for own in held)
    level = draw(st.integers(-30, 130))
    return round(needed * level / 100) - worth, held, book, replace(rules, lot=lot, volume_share=0.25)


@settings(max_examples=150, deadline=None)
@given(small())
def test_nothing_better_cures_a_small_account(case: tuple) -> None:
    cash, held, book, rules = case
    expected = min(candidates(cash, held, book, rules), default=None)
    proposal = proposed(cash, held, book[0], rules)
    assert proposal.cured == (expected is not None)
    if expected is None:
        assert proposal.reason
        sold = cash + sum(own.shares * own.ticks for own in held)
        cost = sum(
            abs(own.shares) * own.ticks // 1000 * round(rules.cost_rate * 1000) + round(rules.cost_per_order * DOLLAR)
            for own in held
        )
        assert proposal.unsecured_debit == max(0, cost - sold)
        return
    assert proposal.exact
    assert {held[order.position].name: order.units for order in proposal.orders} == expected[1]
    assert sum(order.value + order.cost for order in proposal.orders) == expected[0][1]


@settings(max_examples=100, deadline=None)
@given(small())
def test_in_rounds_no_lot_can_be_taken(case: tuple) -> None:
    """The other way, that large accounts take, on the same accounts."""
    cash, held, book, rules = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sizing, "LATTICE", 0)
        proposal = proposed(cash, held, book[0], rules)
    if not proposal.cured:
        return
    lots = {held[order.position].name: order.units for order in proposal.orders}
    every = {tuple(sorted(signed.items())) for _, signed in candidates(cash, held, book, rules)}
    assert tuple(sorted(lots.items())) in every
    for own in held:
        size = int(abs(lots.get(own.name, 0)))
        if size:
            fewer = (size - 1) // rules.lot * rules.lot
            less = {**lots, own.name: fewer if own.shares < 0 else -fewer}
            assert tuple(sorted((name, units) for name, units in less.items() if units)) not in every


LEVELS = st.sampled_from([-0.2, 0.02, 0.3, 0.6, 0.9, 0.99])


@settings(max_examples=30, deadline=None)
@given(portfolios(), LEVELS, st.booleans(), st.sampled_from([PLAIN, RULES]), st.data())
def test_a_large_account_is_just_above_its_line(
    held: list[Held], level: float, on_portfolio: bool, rules: LiquidationRules, data: st.DataObject
) -> None:
    block = account(0.0, held, portfolio=on_portfolio)
    equity, requirement = figures(block)
    block.cash[:] = round(level * requirement - equity)
    last = np.array([data.draw(st.integers(0, 9)) == 0 for _ in held])
    proposal = propose(block, names=names_of(held), last=last, rules=rules)
    orders = traded(proposal)
    after = filled(block, orders, rules)
    assert figures(after) == (proposal.equity, proposal.requirement)
    assert above_line(after, rules) == proposal.cured
    # Nothing is bought more of, and nothing is turned around.
    assert all(block.quantity[at] * units < 0 and abs(units) <= abs(block.quantity[at]) for at, units in orders.items())
    if not proposal.cured:
        assert proposal.reason
        return
    groups = hedge_groups(block, rules.lot)
    alone = {int(groups.position[at]) for at in groups.starts[:-1][np.diff(groups.starts) == 1].tolist()}
    hedged = {int(at) for n in np.flatnonzero(np.diff(groups.starts) > 1).tolist() for at in groups.members(n)}
    for at, units in orders.items():
        lot = 100.0 if " " in held[at].symbol else float(rules.lot)
        if at in alone - hedged:
            less = {**orders, at: units - np.sign(units) * min(lot, abs(units))}
            assert not above_line(filled(block, {n: some for n, some in less.items() if some}, rules), rules)
    for number in np.flatnonzero(np.diff(groups.starts) > 1).tolist():
        members = groups.members(number).tolist()
        step = dict(
            zip(members, (groups.step[groups.starts[number] : groups.starts[number + 1]] / 1e6).tolist(), strict=True)
        )
        # A hedge whole: of each of its members a lot, or of none, where nothing else holds them.
        if not any(n != number and set(members) & set(groups.members(n).tolist()) for n in range(len(groups.lots))):
            lots = {round(abs(orders.get(at, 0.0)) / step[at], 6) for at in members}
            assert len(lots) == 1
            if lots != {0.0}:
                less = {**orders, **{at: orders[at] - np.sign(orders[at]) * step[at] for at in members}}
                assert not above_line(filled(block, {n: some for n, some in less.items() if some}, rules), rules)


@settings(max_examples=15, deadline=None)
@given(portfolios(4, 12), LEVELS, st.booleans(), st.randoms(use_true_random=False))
def test_the_order_of_positions_does_not_matter(held: list[Held], level: float, on: bool, random: object) -> None:
    shuffled = sorted(held, key=lambda _: random.random())  # type: ignore[attr-defined]
    found = []
    for each in (held, shuffled):
        block = account(0.0, each, portfolio=on)
        equity, requirement = figures(block)
        block.cash[:] = round(level * requirement - equity)
        proposal = propose(block, names=names_of(each))
        found.append([replace(order, position=each[order.position].symbol) for order in proposal.orders])  # type: ignore[arg-type]
    assert found[0] == found[1]
