"""A state as records: what a snapshot opens tells what an undisturbed run tells (docs/adr/0008)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from schemas.inputs import Input, Price
from tests import days
from tests.days import CLOSES, INTERVAL_MS, OPENS, Output, at
from tests.live import EVENTS
from transforms.close import standing

STEP = INTERVAL_MS * 1000


def events(outputs: Iterable[Output], after: int) -> list[days.Line]:
    """What was decided and told after an instant."""
    return days.lines((t, r) for t, r in outputs if t in EVENTS and r.as_of > after)  # type: ignore[attr-defined]


def opening(early: list[Input], cut: int) -> Iterator[Input]:
    """The records that `margin snapshot` writes of what arrived before the cut."""
    fold = dataclasses.replace(days.fold_of(), horizon=cut)
    state = fold.start()
    outputs = days.records_of(fold.advance(state, [days.by_topic(early)], cut))
    yield from (record for topic, record in outputs if topic == "snapshots.v1")  # type: ignore[misc]
    yield from standing(state, cut)


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(days.days(), st.integers(2, 28).map(lambda n: OPENS + n * STEP))
def test_a_cold_start_goes_on_as_if_nothing_had_been(day: list[Input], cut: int) -> None:
    early = [record for record in day if int(record.arrived_at or 0) < cut]
    late = [record for record in day if int(record.arrived_at or 0) >= cut]
    fold = days.fold_of()
    cold = days.records_of(fold.advance(fold.start(), [days.by_topic([*opening(early, cut), *late])], CLOSES))
    assert events(cold, cut) == events(days.run(day), cut)


def price_after(records: list[Input]) -> float:
    """What S0 is valued at once the records have been taken in."""
    fold = days.fold_of()
    state = fold.start()
    list(fold.advance(state, [days.by_topic(records)], CLOSES))
    return float(state.market.columns["price"][state.market.rows["S0"]])


@pytest.mark.parametrize(("before", "halted"), [(100.0, 90.0), (90.0, 100.0)])
def test_a_halted_price_keeps_the_one_before_it(before: float, halted: float) -> None:
    """All are told at one stamp, and what holds does not depend on the digits of the prices."""
    quote = Price(symbol="S0", price=before, as_of=at(10), arrived_at=at(10))
    halt = Price(symbol="S0", price=halted, as_of=at(20), arrived_at=at(20), status="HALTED", sequence=4)
    told = [record for record in opening([halt, quote], at(60)) if isinstance(record, Price)]
    assert [(p.price, p.as_of, p.status) for p in told] == [(before, at(10), "LIVE"), (halted, at(20), "HALTED")]
    assert price_after(told) == before  # type: ignore[arg-type]


def test_an_older_halt_at_the_very_cut_is_not_the_first_that_is_heard() -> None:
    halt = Price(symbol="S0", price=100.0, as_of=at(20), arrived_at=at(20), status="HALTED")
    older = Price(symbol="S0", price=110.0, as_of=at(10), arrived_at=at(60), status="HALTED")
    told: list[Input] = [record for record in opening([halt], at(60)) if isinstance(record, Price)]
    assert price_after([*told, older]) == price_after([halt, older]) == 100.0


def test_an_indicative_price_at_the_very_cut_does_not_replace_the_live_one() -> None:
    quote = Price(symbol="S0", price=80.0, as_of=at(10), arrived_at=at(10))
    indicative = Price(symbol="S0", price=110.0, as_of=at(60), arrived_at=at(60), status="INDICATIVE")
    told: list[Input] = [record for record in opening([quote], at(60)) if isinstance(record, Price)]
    assert price_after([*told, indicative]) == 80.0
