"""A state as records: what a snapshot opens tells what an undisturbed run tells (docs/adr/0008)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from schemas.inputs import Input
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
    deadline=None,
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


def test_a_halted_price_keeps_the_one_before_it() -> None:
    from schemas.inputs import Price

    quote = Price(symbol="S0", price=100.0, as_of=at(10), arrived_at=at(10))
    halt = Price(symbol="S0", price=90.0, as_of=at(20), arrived_at=at(20), status="HALTED", sequence=4)
    told = [record for record in opening([quote, halt], at(60)) if isinstance(record, Price)]
    assert [(p.price, p.as_of, p.status) for p in told] == [(100.0, at(20) - 1, "LIVE"), (90.0, at(20), "HALTED")]
