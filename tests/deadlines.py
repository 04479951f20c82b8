"""Deadlines of a live run: rules by which they fall soon, an account a shard that they are of, and what follows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from confluent_kafka import Producer

from ops.capture import Log
from pipeline.day import files_of
from pipeline.job import LiveJob
from pipeline.rules import load_rulebooks
from pipeline.sources import read_file
from schemas.codec import from_json, to_json
from schemas.inputs import Account, Cash, Fill, Input, Price
from schemas.scalars import Money, Quantity, Time
from schemas.topics import BY_NAME, BY_RECORD, LIQUIDATIONS, MARGIN_CALLS
from tests import live

SECOND, DAY = 1_000_000, 86_400_000_000
SYMBOL = "DEADLINE"
#: Seconds of an unbroken deficiency after which liquidation is due.
PERSIST = 5
#: Seconds between two assessments, how many there are, and how long before one the test has to begin.
EVERY, BOOKS, ROOM = 20, 45, 13

#: (topic, type or none, status, as_of)
Step = tuple[str, str | None, str, int]


def write_rules(folder: Path) -> list[str]:
    """FINRA's rules with short clocks: a book for each EVERY seconds from now on, at whose end official closes are in.

    When a job will be up nobody knows beforehand, and its rules are given before. Its calendar is 24/7, whose sessions
    close at midnight UTC: each assessment is of the last of these. Nothing else is due while a book is in force.
    """
    begin, names = int(time.time()), []
    for number in range(BOOKS):
        effective_at = begin + number * EVERY
        due = effective_at + EVERY - 1
        # A heartbeat would wake the accounts.
        numbers = {"persist": PERSIST, "heartbeat": 10**7}
        content = {
            "name": f"deadlines-{number}",
            "layers_on": "finra-4210",
            "effective_at": Time(effective_at * SECOND).text() if number else "2026-06-04T00:00:00Z",
            "parameters": {name: _parameter(value) for name, value in numbers.items()},
            "calls": {"close_delay": _parameter(due - due // 86_400 * 86_400)},
            # Every account's turn to be sized is at once.
            "liquidation": {"spread": _parameter(0)},
        }
        names.append(str(folder / f"deadlines-{number}.yaml"))
        Path(names[-1]).write_text(yaml.safe_dump(content))
    return names


def _parameter(value: int) -> dict[str, int | str]:
    return {"value": value, "source": "test: a deadline soon"}


def _next_assessment(job: LiveJob) -> int:
    """Wait for a book that is in force for long enough; when official closes are in by it, microseconds."""
    for book, following in pairwise(load_rulebooks(job.rulebooks)):
        assert book.calls is not None
        delay = book.calls.close_delay * SECOND
        due = (following.effective_at - delay) // DAY * DAY + delay
        if due - _now() > ROOM * SECOND:
            time.sleep(max(0.0, (book.effective_at - _now()) / SECOND))
            return due
    raise AssertionError(f"the job was not up within {BOOKS * EVERY} s")


def check_they_fire(job: LiveJob, folder: Path) -> None:
    """Make an account of every shard deficient, send nothing more, and see both deadlines fire, as a replay has them.

    The rules of the job are those of `write_rules`.
    """
    accounts, step = live.one_a_shard("LATE", job.shards), job.interval_ms * 1000
    with live.Markers(job) as markers:
        # Its workers are up: what is due within seconds is seen to come.
        markers.settle()
        assessed_at = _next_assessment(job)
        fell_at = _fall(job, accounts)
        deficient_at = (fell_at // step + 1) * step
        persisted_at = deficient_at + PERSIST * SECOND
        called = [(MARGIN_CALLS.name, "HOUSE", "OPENED", deficient_at)]
        due = [
            *((LIQUIDATIONS.name, None, status, persisted_at) for status in ("DUE", "PROPOSED")),
            (MARGIN_CALLS.name, "MAINTENANCE", "OPENED", assessed_at),
        ]
        _await(job, accounts, called, _now() + 60 * SECOND)
        left = min(persisted_at, assessed_at) - _now()
        assert left > 0, f"the machine is too slow: a deadline was {-left / SECOND} s ago, and none was to be yet"
        _await(job, accounts, [*called, *due], assessed_at + 60 * SECOND)
        # A replay ends with the last record, and so after both.
        markers.settle()
    published, replayed = live.published_and_replayed(job, folder)
    stamps = [stamp for file in files_of(folder / "day") for raw in read_file(file) for stamp in raw.arrived_at or ()]
    assert fell_at in stamps
    assert not [stamp for stamp in stamps if fell_at < stamp <= assessed_at]
    for topic, lines in replayed.items():
        assert published[topic] == lines, topic


def _fall(job: LiveJob, accounts: Sequence[str]) -> int:
    """60,000 of cash and 1,000 shares at 100 each, which fall to 50; when the broker had that, microseconds.

    Equity is then 10,000, and a quarter of 50,000 is 12,500.
    """
    _send(job, *(Account(account_id=own) for own in accounts))
    money, units = Money(60_000 * 10**4), Quantity(1000 * 10**6)
    _send(job, *(Cash(cash_id=own, account_id=own, amount=money, kind="DEPOSIT") for own in accounts))
    bought: dict[str, Any] = {"symbol": SYMBOL, "quantity": units, "price": 100.0, "executed_at": _now()}
    _send(job, *(Fill(fill_id=own, account_id=own, **bought) for own in accounts), _price(100.0))
    # Bought at an instant of its own: at 50 it would be an intraday deficit, too.
    time.sleep(2 * job.interval_ms / 1000)
    return _send(job, _price(50.0))


def _price(dollars: float) -> Price:
    return Price(symbol=SYMBOL, price=dollars, as_of=_now())


def _now() -> Time:
    return Time(time.time_ns() // 1000)


def _send(job: LiveJob, *records: Input) -> int:
    """The broker's stamp of the last of the records, microseconds."""
    stamps: list[int] = []
    producer = Producer(job.kafka.client())
    for record in records:
        topic = BY_RECORD[type(record)]
        told = lambda error, message: stamps.append(message.timestamp()[1] * 1000)  # noqa: E731
        producer.produce(topic.name, to_json(record), str(getattr(record, topic.key)).encode(), on_delivery=told)
    assert not producer.flush(60)
    return max(stamps)


def _await(job: LiveJob, accounts: Sequence[str], expected: Sequence[Step], until: int) -> None:
    """Wait until every account has as many steps as are expected; they must be those. How late each came is shown."""
    while True:
        found = _steps(job, accounts)
        if all(len(steps) >= len(expected) for steps in found.values()):
            break
        assert _now() < until, f"expected {expected} of each account, found {found}"
        time.sleep(0.5)
    for account, steps in found.items():
        assert set(steps) == set(expected), f"{account}: {set(steps) ^ set(expected)}"
        for (topic, kind, status, as_of), stamp in steps.items():
            what = f"{account} {topic} {kind or ''} {status} {Time(as_of).text()}"
            print(f"{what}: published {(stamp - as_of) / SECOND:.3f} s later")


def _steps(job: LiveJob, accounts: Sequence[str]) -> dict[str, dict[Step, int]]:
    """Of each account the steps of its calls and liquidations so far, and the broker's stamp of each."""
    found: dict[str, dict[Step, int]] = {own: {} for own in accounts}
    for message in Log(job.kafka, (MARGIN_CALLS.name, LIQUIDATIONS.name)).records():
        topic = str(message.topic())
        record: Any = from_json(BY_NAME[topic].record, bytes(message.value() or b""))
        if record.account_id in found:
            step = (topic, getattr(record, "type", None), record.status, int(record.as_of))
            found[record.account_id][step] = message.timestamp()[1] * 1000
    return found
