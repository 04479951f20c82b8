"""Decisions and days, computed again from the store alone."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ops.audit.decision import decision_of
from ops.audit.question import Question
from ops.audit.reader import FolderReader, Reader
from ops.audit.rebuild import rebuild
from ops.audit.recompute import Inputs, RecomputeError, Recorded, recompute, recompute_all
from pipeline.store import FolderStore
from runners.direct import ENGINE
from runners.engine import Run
from schemas.archive import Row
from tests.ops.audit.archive import LOG, crash_archive

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def folder() -> Path:
    return crash_archive()[0]


@pytest.fixture(scope="module")
def inputs(folder: Path) -> Inputs:
    return Inputs(FolderReader(folder), Recorded(FolderStore(folder), LOG))


def links(reader: Reader) -> list[Row]:
    return list(reader.rows(Question(topics=("audit.v1",), log=LOG)))


def test_every_decision_of_the_crash_day_comes_out_again(inputs: Inputs) -> None:
    found = list(recompute_all(inputs))
    assert {own.account_id for own in found} == {row.key for row in links(inputs.reader)}
    for own in found:
        assert list(own.differences()) == []
    assert sum(len(own.recomputed["audit.v1"]) for own in found) == len(links(inputs.reader)) > 10


def test_one_by_one_they_are_the_same(inputs: Inputs) -> None:
    for row in links(inputs.reader)[::3]:
        own = recompute(inputs, row.key, int(row.at))
        assert own.equal
        assert row.value in own.recomputed["audit.v1"]


@dataclasses.dataclass(frozen=True)
class Slanted:
    """A reader of an archive in which a fill was at another price."""

    reader: Reader

    def rows(self, question: Question) -> Iterator[Row]:
        for row in self.reader.rows(question):
            if b'"fill_id":"ACC-BUST-F090"' in row.value:
                yield msgspec.structs.replace(row, value=row.value.replace(b'"price":5', b'"price":4'))
            else:
                yield row


def test_other_data_lead_to_another_decision(inputs: Inputs) -> None:
    first = next(row for row in links(inputs.reader) if row.key == "ACC-BUST")
    slanted = dataclasses.replace(inputs, reader=Slanted(inputs.reader))
    found = recompute(slanted, first.key, int(first.at))
    assert not found.equal
    assert {topic for topic, _, _ in found.differences()} >= {"audit.v1", "margin.calls.v1"}


def test_a_call_is_told_by_the_decision_that_led_to_it(inputs: Inputs, folder: Path) -> None:
    call = next(inputs.reader.rows(Question(topics=("margin.calls.v1",), keys=("ACC-BUST",))))
    found = decision_of(inputs.reader, FolderStore(folder), call.event_id)
    assert found.asked == call
    assert call.event_id in found.link.inputs["causes"]
    assert found.again == found.link
    assert {row.row.topic for row in found.led} == {"accounts.v1", "cash.v1", "fills.v1"}
    assert found.rulebook
    for other, reason in (("nothing", "expected an event of the archive"), (found.led[0].row.event_id, "a record of")):
        with pytest.raises(RecomputeError, match=reason):
            decision_of(inputs.reader, FolderStore(folder), other)


def test_the_day_comes_out_again(inputs: Inputs, tmp_path: Path) -> None:
    found = rebuild(inputs.reader, inputs.recorded, tmp_path, ENGINE.options(Run()), shards=3)
    assert [own.topic for own in found if not own.equal] == []
    assert {own.topic: own.stored for own in found}["snapshots.v1"] > 15


#: Nothing of conf/ can be read in this process.
ALONE = """
import sys
for name in ("conf", "conf.rules", "conf.jobs"):
    sys.modules[name] = None
from ops.cli import app
app(sys.argv[1:])
"""


def test_a_fresh_process_needs_the_store_and_nothing_else(inputs: Inputs, folder: Path, tmp_path: Path) -> None:
    custody = tmp_path / "alone.yaml"
    custody.write_text(f"store: {folder}\nretention:\n  default: {{value: 6, source: of these tests}}\n")
    row = links(inputs.reader)[-1]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    for words in (["decision", row.event_id], ["replay", "--log", LOG], ["decisions", "--log", LOG]):
        finished = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", ALONE, "audit", *words, "--custody", str(custody)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr[-2000:]
        assert "byte by byte" in finished.stdout
