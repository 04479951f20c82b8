"""InTimeOrder: the bounded and the unbounded path give the same outputs, and a late record is never dropped."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from apache_beam.utils.timestamp import Timestamp

from ops.generate import write_day
from pipeline.replay import replay
from runners.direct import ENGINE
from runners.engine import Run
from schemas.inputs import Cash, Fill, Input
from schemas.scalars import Money, Quantity
from tests import days
from tests.days import CLOSES, at
from transforms import unbounded
from transforms.records import encode_records
from transforms.unbounded import unbounded_dofn


def contents(folder: Path) -> dict[str, list[bytes]]:
    """The lines of every file; dead letters in any order."""
    return {path.name: path.read_bytes().splitlines() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("scenario", ["crash", "disorder"])
def test_bounded_and_unbounded_agree(tmp_path: Path, scenario: str) -> None:
    day = tmp_path / "day"
    write_day(day, scenario=scenario, accounts=20, symbols=8, seed=11, interval_ms=60_000)
    for name, bounded in (("bounded", True), ("unbounded", False)):
        replay(day, tmp_path / name, ENGINE.options(Run()), shards=2, bounded=bounded)
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


class Store:
    """A cell, or with add and clear a bag, of a key's state."""

    def __init__(self) -> None:
        self.content: Any = None

    def read(self) -> Any:
        return self.content

    def write(self, content: bytes) -> None:
        self.content = content

    def add(self, item: bytes) -> None:
        self.content = (*(self.content or ()), item)

    def clear(self) -> None:
        self.content = ()


class Key:
    """One key's committed state, and the bundles that a worker's DoFn runs on it."""

    def __init__(self, fold: Any) -> None:
        self.bag, self.cells = Store(), {cell: Store() for cell in (*fold.cells, "token")}
        self.bag.content = ()
        self.timers: set[int] = set()

    def set(self, instant: Any, dynamic_timer_tag: str) -> None:
        self.timers.add(instant.micros)

    def commit(self) -> tuple[Any, ...]:
        return self.bag.content, {name: cell.content for name, cell in self.cells.items()}

    def restore(self, committed: tuple[Any, ...]) -> None:
        self.bag.content = committed[0]
        for name, content in committed[1].items():
            self.cells[name].content = content

    def arrive(self, worker: Any, records: list[Input]) -> None:
        worker.process(("shard", encode_records(days.by_topic(records))), self.bag, self, *self.cells.values())

    def wake(self, worker: Any, instant: int) -> Iterator[Any]:
        fired = Timestamp(micros=instant)
        return (output.value for output in worker.wake("shard", fired, self.bag, self, **self.cells))


def worker_of(fold: Any) -> Any:
    worker = unbounded_dofn(fold, "test")
    worker.setup()
    return worker


def busy_day() -> list[Input]:
    fills: list[Input] = [
        Fill(
            fill_id=f"F{n}",
            account_id=f"A{n % 3}",
            symbol="S0",
            quantity=Quantity(10**6),
            price=100.0,
            arrived_at=at(n),
        )
        for n in range(60, 1200, 20)
    ]
    return fills


@pytest.mark.parametrize("journal", [0, 500, 1 << 20])
def test_a_bundle_that_failed_or_moved_is_done_again_alike(journal: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a worker keeps in memory is used only if it is what was committed last."""
    monkeypatch.setattr(unbounded, "JOURNAL", journal)
    fold = days.fold_of()
    key, worker = Key(fold), worker_of(fold)
    key.arrive(worker, busy_day())
    expected = days.records_of(fold.advance(fold.start(), [days.by_topic(busy_day())], CLOSES))
    found: list[Any] = []
    for n, instant in enumerate(range(at(60), CLOSES + 1, 60_000_000)):
        committed = key.commit()
        once = list(key.wake(worker, instant))
        if n % 5 == 1:  # The worker failed once it had done everything, before the commit.
            key.restore(committed)
            assert list(key.wake(worker, instant)) == once
        elif n % 5 == 2:  # It failed amid its outputs.
            key.restore(committed)
            next(key.wake(worker, instant), None)
            key.restore(committed)
            assert list(key.wake(worker, instant)) == once
        elif n % 5 == 3:  # Another worker took over, and the first one got the key back later.
            key.restore(committed)
            assert list(key.wake(worker_of(fold), instant)) == once
        found += once
    assert days.lines(days.records_of(found)) == days.lines(expected)


def test_a_late_record_is_applied_at_the_same_instant_when_the_state_is_made_again() -> None:
    """The journal holds the instant that a record was processed at, not the one that it would have had in time."""
    fold = days.fold_of()
    day, fill, cash = late_day()
    found = []
    for moves in (False, True):
        key, worker = Key(fold), worker_of(fold)
        key.arrive(worker, day)
        outputs = [output for instant in (600, 720) for output in key.wake(worker, at(instant))]
        # The instant of 720 s has passed, though nothing happened at it.
        key.arrive(worker, [fill, cash])
        for instant in range(at(780), CLOSES + 1, 60_000_000):
            outputs += key.wake(worker_of(fold) if moves else worker, instant)
        found.append(days.lines(days.records_of(outputs)))
    assert any(b'"LATE"' in line for _, line in found[0])
    assert found[0] == found[1]


def test_an_arrival_whose_bundle_failed_is_forgotten() -> None:
    fold = days.fold_of()
    key, worker = Key(fold), worker_of(fold)
    key.arrive(worker, busy_day())
    committed = key.commit()
    key.arrive(worker, [Cash(cash_id="X", account_id="A9", amount=Money(1), kind="DEPOSIT", arrived_at=at(61))])
    key.restore(committed)
    outputs = [output for t in range(at(120), CLOSES + 1, 60_000_000) for output in key.wake(worker, t)]
    assert not [r for _, r in days.records_of(outputs) if getattr(r, "account_id", "") == "A9"]


def test_the_bag_loses_what_the_cells_have_taken_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unbounded, "JOURNAL", 300)
    fold = days.fold_of()
    key, worker = Key(fold), worker_of(fold)
    for record in busy_day():
        key.arrive(worker, [record])
    sizes = []
    for instant in sorted(key.timers):
        list(key.wake(worker, instant))
        sizes.append(len(key.bag.content))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 5 < sizes[0]


def test_an_instant_writes_its_token_and_nothing_else_until_the_journal_has_outgrown_the_cells() -> None:
    fold = days.fold_of()
    key, worker = Key(fold), worker_of(fold)
    key.arrive(worker, busy_day())
    before = key.commit()
    list(key.wake(worker, at(120)))
    bag, cells = key.commit()
    assert (bag, {**cells, "token": None}) == (before[0], {**before[1], "token": None})
    assert cells["token"] != before[1]["token"]


def test_rules_that_a_job_goes_on_with_set_their_own_deadlines() -> None:
    """No timer of the job before it, which had other rules, is one for them; nor need an event come at theirs."""
    quiet = dataclasses.replace(days.RULES, heartbeat=10**7, firm_interval=10**7)
    fold, changes_at = days.fold_of(rules=quiet), at(900)
    key = Key(fold)
    key.arrive(worker_of(fold), [Cash(cash_id="X", account_id="A", amount=Money(1), kind="DEPOSIT", arrived_at=at(1))])
    list(key.wake(worker_of(fold), at(60)))
    assert changes_at not in key.timers
    rules = (quiet, dataclasses.replace(quiet, version="later", effective_at=changes_at))
    list(key.wake(worker_of(dataclasses.replace(fold, rulebooks=rules)), at(120)))
    assert changes_at in key.timers
