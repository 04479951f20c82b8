"""The crash day from folder to folder: the same for any shard count, and its planted accounts end as planned."""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from ops.generate import BUST_ACCOUNT, CURED_ACCOUNT, QUIET_ACCOUNT, write_day
from pipeline.replay import replay
from runners.direct import ENGINE
from runners.engine import Run
from schemas.codec import from_json
from schemas.ids import canonical, digest
from schemas.outputs import Event
from schemas.topics import AUDIT, OUTPUTS, SNAPSHOTS


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The outputs of the day with one shard and with three."""
    root = tmp_path_factory.mktemp("golden")
    write_day(root / "day", scenario="crash", accounts=60, symbols=20, seed=7, interval_ms=60_000)
    for shards in (1, 3):
        replay(root / "day", root / f"out{shards}", ENGINE.options(Run()), shards=shards)
    return root / "out1", root / "out3"


def events(folder: Path, topic: str, account: str) -> list[dict[str, Any]]:
    found = map(json.loads, (folder / f"{topic}.jsonl").read_text().splitlines())
    return [event for event in found if event["account_id"] == account]


def test_shards_change_no_byte(runs: tuple[Path, Path]) -> None:
    found = subprocess.run(["diff", "-r", *map(str, runs)], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def test_the_call_of_a_busted_fill_is_cancelled(runs: tuple[Path, Path]) -> None:
    opened, cancelled = events(runs[0], "margin.calls.v1", BUST_ACCOUNT)
    assert (opened["status"], cancelled["status"]) == ("OPENED", "CANCELLED")
    assert cancelled["supersedes"] == opened["event_id"]
    (snapshot,) = events(runs[0], "snapshots.v1", BUST_ACCOUNT)
    assert not snapshot["opened"]


def test_a_quiet_account_is_due_for_liquidation(runs: tuple[Path, Path]) -> None:
    assert [e["status"] for e in events(runs[0], "liquidations.v1", QUIET_ACCOUNT)] == ["DUE"]


def test_the_call_of_a_cured_account_is_met(runs: tuple[Path, Path]) -> None:
    assert [e["status"] for e in events(runs[0], "margin.calls.v1", CURED_ACCOUNT)] == ["OPENED", "MET"]


def test_every_event_id_follows_from_its_content(runs: tuple[Path, Path]) -> None:
    seen: dict[str, bytes] = {}
    for topic in OUTPUTS:
        if not issubclass(topic.record, Event):
            continue
        for line in (runs[0] / f"{topic.name}.jsonl").read_bytes().splitlines():
            event = from_json(topic.record, line)
            assert event.event_id == digest(canonical(event))
            assert seen.setdefault(event.event_id, line) == line
    assert len(seen) > 1000


def test_every_audit_chain_links_up(runs: tuple[Path, Path]) -> None:
    links: dict[str, dict[str, str]] = defaultdict(dict)
    for line in (runs[0] / f"{AUDIT.name}.jsonl").read_text().splitlines():
        link = json.loads(line)
        assert link["previous"] not in links[link["account_id"]], "two links follow one"
        links[link["account_id"]][link["previous"]] = link["event_id"]
    for line in (runs[0] / f"{SNAPSHOTS.name}.jsonl").read_text().splitlines():
        snapshot, head, length = json.loads(line), "", 0
        chain = links.get(snapshot["account_id"], {})
        while head in chain:
            head, length = chain[head], length + 1
        assert (head, length) == (snapshot["audit_head"], len(chain))
