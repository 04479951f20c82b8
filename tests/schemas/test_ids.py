"""An event's id is a pure function of its content, and an account's shard of its name."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from typing import Any

import msgspec
import pytest

from schemas import codec, ids
from schemas.outputs import Alert, Event, MarginCall
from schemas.scalars import Money, Ratio, Time


def alert(**change: Any) -> Alert:
    fields: dict[str, Any] = {
        "account_id": "A1",
        "as_of": Time.parse("2026-01-05T14:30:00Z"),
        "rulebook": "seed@0",
        "kind": "LEVEL",
        "level": "WARNING",
        "previous_level": "NONE",
        "message": "cushion below 10%",
        "equity": Money(11_000_0000),
        "requirement": Money(10_000_0000),
        "cushion": Ratio(100_000),
    }
    return Alert(**{**fields, **change})


def test_equal_content_has_an_equal_id_and_equal_bytes() -> None:
    first, second = ids.identified(alert()), ids.identified(alert())
    assert first.event_id == second.event_id
    assert codec.to_json(first) == codec.to_json(second)


def test_the_id_is_pinned() -> None:
    # Ids are stored by whoever consumes them: a change here breaks their upserts and needs a new topic version.
    assert ids.identified(alert()).event_id == "812a8e2c8e1572cfd152440873468bb0"


def test_the_id_ignores_the_id_that_was_there() -> None:
    once = ids.identified(alert())
    assert ids.identified(once) == once
    assert ids.identified(alert(event_id="ffff")) == once


@pytest.mark.parametrize(
    "change", [{"account_id": "A2"}, {"as_of": Time(1)}, {"equity": Money(1)}, {"message": ""}, {"cushion": None}]
)
def test_any_other_content_has_another_id(change: dict[str, Any]) -> None:
    assert ids.identified(alert(**change)).event_id != ids.identified(alert()).event_id


def test_canonical_form_is_the_json_without_event_id() -> None:
    event = ids.identified(alert())
    text = ids.canonical(event)
    whole = json.loads(codec.to_json(event))
    assert whole.pop("event_id") == ids.digest(text)
    assert json.loads(text) == whole
    assert text == json.dumps(whole, separators=(",", ":")).encode()


def kinds_of_event(kind: type[Event] = Event) -> list[type[Event]]:
    return [kind, *(below for child in kind.__subclasses__() for below in kinds_of_event(child))]


@pytest.mark.parametrize("kind", kinds_of_event())
def test_event_id_comes_first_in_every_event(kind: type[Event]) -> None:
    # canonical() cuts it off the front of the text.
    assert msgspec.structs.fields(kind)[0].name == "event_id"


def test_records_of_two_types_differ() -> None:
    call = MarginCall(
        account_id="A1",
        as_of=Time(0),
        rulebook="seed@0",
        cause_id="c",
        rule="r",
        equity=Money(0),
        requirement=Money(1),
        status="OPENED",
        type="HOUSE",
        basis="REALTIME",
        amount=Money(1),
        called=Money(1),
        occurred_at=Time(0),
        due_at=Time(0),
    )
    assert ids.identified(call).event_id != ids.identified(alert()).event_id


@pytest.mark.parametrize(
    ("account_id", "shards", "shard"),
    [("A000001", 1, 0), ("A000001", 8, 4), ("A000001", 64, 52), ("A000002", 64, 47), ("Société 7", 64, 45)],
)
def test_shards_are_pinned(account_id: str, shards: int, shard: int) -> None:
    # State is stored by shard: a change here would orphan every savepoint.
    assert ids.shard_of(account_id, shards) == shard


@pytest.mark.parametrize("shards", [2, 8, 64])
def test_shards_are_balanced(shards: int) -> None:
    accounts = 1000 * shards
    counts = Counter(ids.shard_of(f"A{number:06d}", shards) for number in range(accounts))
    assert sorted(counts) == list(range(shards))
    assert max(counts.values()) < 1.15 * accounts / shards
    assert min(counts.values()) > 0.85 * accounts / shards


def test_another_process_agrees() -> None:
    code = "from schemas.ids import shard_of; print(shard_of('A000001', 64))"
    found = subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": "1"}, capture_output=True, check=True)
    assert int(found.stdout) == ids.shard_of("A000001", 64)
