"""InTimeOrder: the bounded and the unbounded path give the same outputs, and a late record is never dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from ops.generate import write_day
from pipeline.replay import replay
from runners.direct import options
from schemas.inputs import Cash, Fill, Input
from schemas.scalars import Money, Quantity
from tests import days
from tests.days import CLOSES, at


def contents(folder: Path) -> dict[str, list[bytes]]:
    """The lines of every file; dead letters in any order."""
    return {path.name: path.read_bytes().splitlines() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("scenario", ["crash", "disorder"])
def test_bounded_and_unbounded_agree(tmp_path: Path, scenario: str) -> None:
    day = tmp_path / "day"
    write_day(day, scenario=scenario, accounts=20, symbols=8, seed=11, interval_ms=60_000)
    for name, bounded in (("bounded", True), ("unbounded", False)):
        replay(day, tmp_path / name, options(), shards=2, bounded=bounded)
    bounded, unbounded = contents(tmp_path / "bounded"), contents(tmp_path / "unbounded")
    assert bounded["accounts.state.v1.jsonl"]
    assert bounded == unbounded


def late_day() -> tuple[list[Input], Fill, Cash]:
    first = Cash(cash_id="D", account_id="A0", amount=Money(10**7), kind="DEPOSIT", arrived_at=at(30))
    fill = Fill(
        fill_id="F",
        account_id="A0",
        symbol="S0",
        quantity=Quantity(10**6),
        price=100.0,
        fees=Money(0),
        arrived_at=at(90),
    )
    return [first], fill, Cash(cash_id="L", account_id="A1", amount=Money(10**6), kind="DEPOSIT", arrived_at=at(91))


def test_a_late_record_is_applied_at_the_next_instant_and_journalled() -> None:
    fold, (day, fill, cash) = days.fold_of(), late_day()
    state = fold.start()
    outputs = days.records_of(fold.advance(state, [days.by_topic(day)], at(600)))
    assert state.now == at(600)
    outputs = days.records_of(fold.advance(state, [days.by_topic([fill, cash])], at(660)))
    links: list[Any] = [record for topic, record in outputs if topic == "audit.v1" and record.kind == "LATE"]  # type: ignore[attr-defined]
    assert [(a.account_id, a.as_of, a.inputs["arrived_at"]) for a in links] == [
        ("A0", at(660), at(90).text()),
        ("A1", at(660), at(91).text()),
    ]
    figures: list[Any] = [record for topic, record in outputs if topic == "margin.calc.v1"]
    assert {(f.account_id, f.as_of, f.cash) for f in figures} == {
        ("A0", at(660), 9_000_000),
        ("A1", at(660), 1_000_000),
    }
    closing = {
        record.account_id: record  # type: ignore[attr-defined]
        for topic, record in days.records_of(fold.advance(state, [], CLOSES))
        if topic == "snapshots.v1"
    }
    snapshot: Any = closing["A0"]
    assert ([(p.symbol, p.quantity) for p in snapshot.positions], snapshot.cash) == ([("S0", 10**6)], 9_000_000)


def test_a_record_on_the_boundary_belongs_to_the_instant_after_it() -> None:
    fold, (day, fill, _) = days.fold_of(), late_day()
    outputs = days.run([*day, msgspec.structs.replace(fill, arrived_at=at(120))])
    assert not [record for topic, record in outputs if topic == "audit.v1" and record.kind == "LATE"]  # type: ignore[attr-defined]
    traded: list[Any] = [record for topic, record in outputs if topic == "margin.calc.v1" and record.cash == 9_000_000]  # type: ignore[attr-defined]
    assert traded[0].as_of == fold.instant_of(at(120)) == at(180)
    assert fold.instant_of(at(119.999)) == at(120)
