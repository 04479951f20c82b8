"""A live run for a test: a stack of its own on free ports, a day streamed into it, and its end told by markers."""

from __future__ import annotations

import datetime as dt
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import psutil
import yaml
from confluent_kafka import OFFSET_END, Producer, TopicPartition

from ops.capture import Head, capture_day, capture_outputs
from ops.snapshot import Snapshot
from ops.stack.broker import create_topics
from ops.stack.stack import Stack
from pipeline.day import write_manifest
from pipeline.job import LiveJob, load_live_job
from pipeline.replay import replay
from runners.engine import Run
from runners.engines import ENGINES
from runners.port import free_port
from schemas.codec import from_json, to_json
from schemas.ids import shard_of
from schemas.inputs import Cash
from schemas.outputs import Alert
from schemas.scalars import Money
from schemas.topics import ALERTS, CASH, DEADLETTER, OUTPUTS

_numbers = count()


def job_file(folder: Path, **changes: Any) -> Path:
    """The live job that ships, on free ports, with what the test changes."""
    shipped = load_live_job("live").model_dump(mode="json")
    ports = {name: f"127.0.0.1:{free_port()}" for name in ("flink", "expansion", "kafka")}
    kafka = {**shipped["kafka"], "bootstrap": ports.pop("kafka")}
    file = folder / f"job{next(_numbers)}.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump({**shipped, **ports, "kafka": kafka, **changes}))
    return file


@contextmanager
def stack(folder: Path, *, partitions: int = 1, **changes: Any) -> Iterator[Stack]:
    """A running stack, ended afterwards."""
    found = Stack(str(job_file(folder, **changes)), folder)
    try:
        found.broker.start()
        create_topics(found.job.kafka, partitions=partitions)
        found.start()
        yield found
    finally:
        found.stop()


def one_a_shard(prefix: str, shards: int) -> list[str]:
    """Names of accounts, one of each shard."""
    found: dict[int, str] = {}
    for number in count():
        name = f"{prefix}-{number}"
        found.setdefault(shard_of(name, shards), name)
        if len(found) == shards:
            break
    return list(found.values())


class Markers:
    """Accounts that nobody has, one a shard: once their alerts are out, so is all that came before them."""

    def __init__(self, job: LiveJob) -> None:
        self.job = job
        self.consumer = job.kafka.reader("markers")
        partitions = self.consumer.list_topics(timeout=30).topics[ALERTS.name].partitions
        self.consumer.assign([TopicPartition(ALERTS.name, partition, OFFSET_END) for partition in partitions])
        self.consumer.poll(0.5)

    def __enter__(self) -> Markers:
        return self

    def __exit__(self, *_: object) -> None:
        self.consumer.close()

    def send(self) -> set[str]:
        """Send one for every shard; their ids."""
        found = one_a_shard(f"MARK-{time.time_ns()}", self.job.shards)
        producer = Producer(self.job.kafka.client())
        for name in found:
            cash = Cash(cash_id=name, account_id=name, amount=Money(10_000), kind="DEPOSIT")
            producer.produce(CASH.name, to_json(cash), name.encode())
        assert not producer.flush(60)
        return set(found)

    def settle(self, timeout: float = 240) -> None:
        """Send markers and wait for their alerts; an AssertionError after `timeout` seconds, which a run hangs for."""
        missing, deadline = self.send(), time.monotonic() + timeout
        while missing:
            assert time.monotonic() < deadline, f"the job has not come to {missing}"
            for message in self.consumer.consume(1000, 0.5):
                if message.error() is None:
                    missing.discard(from_json(Alert, bytes(message.value() or b"")).account_id)


def workers(stack: Stack, word: str) -> list[psutil.Process]:
    """The worker processes of the task manager whose command has the word, the busiest first."""
    manager = stack.flink.taskmanager.process()
    assert manager is not None
    found = [one for one in manager.children(recursive=True) if any(word in part for part in one.cmdline())]
    assert found, word
    return sorted(found, key=lambda one: -sum(one.cpu_times()[:2]))


#: What is decided and told; figures are published when they have moved from those that were published last.
EVENTS = ("alerts.v1", "margin.calls.v1", "restrictions.v1", "liquidations.v1", "audit.v1")


def lines_between(path: Path, after: int, before: int) -> list[bytes]:
    """The lines of an output file of instants within (after, before), microseconds, in order."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [line for line in lines if after < msgspec.json.decode(line, type=Head).instant < before]


def published_and_replayed(
    job: LiveJob, folder: Path, snapshot: Snapshot | None = None
) -> tuple[dict[str, list[bytes]], dict[str, list[bytes]]]:
    """What a live run published and what Direct makes of the captured day, by topic, before the day's last instant.

    Dead letters are left out, as in design 6; so is what a replayed day does when it closes.

    Args:
      snapshot: only what follows it, of a day that it opens.
    """
    day = folder / "day"
    manifest = capture_day(job, day, snapshot.offsets if snapshot else None)
    begin = 0
    if snapshot:
        begin = snapshot.cut
        for _, path in snapshot.files:
            shutil.copy(path, day)
        opens_at = dt.datetime.fromtimestamp(begin / 1e6, dt.UTC)
        write_manifest(day, manifest.model_copy(update={"opens_at": opens_at}))
    capture_outputs(job, folder / "live")
    replay(day, folder / "direct", ENGINES["direct"].options(Run()))
    live, direct = (
        {
            topic.name: lines_between(folder / name / f"{topic.name}.jsonl", begin, manifest.horizon)
            for topic in OUTPUTS
            if topic is not DEADLETTER
        }
        for name in ("live", "direct")
    )
    return live, direct
