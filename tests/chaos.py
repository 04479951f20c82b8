"""Faults on a real cluster mid-stream, each followed by recovery and by property 5 of the design: `make chaos`.

Every fault has a stack of its own: a broker, a job manager, a task manager and its workers. A day is streamed
into it; once outputs have followed the last checkpoint the fault strikes, the operator does what an operator does, and
what was published in the end is compared with a Direct replay of what was consumed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml
from confluent_kafka import OFFSET_END, Producer, TopicPartition
from rich.console import Console
from rich.table import Table

from ops.generate import write_day
from ops.snapshot import Snapshot, take_snapshot
from ops.stack.service import Service
from ops.stack.stack import Stack
from pipeline.job import LiveJob
from schemas.outputs import DeadLetter
from schemas.topics import DEADLETTER, FILLS, OUTPUTS, PRICES
from tests import live

POISON, SNAPSHOT = b"\xff{", "snapshot"
PAUSE, STALL = 30, 8
RATE = 600


@dataclass(frozen=True)
class Fault:
    """What strikes a stack, what its operator does then, what is done before the stream begins, and how its job differs
    from the one that ships."""

    name: str
    strike: Callable[[Stack], None]
    mend: Callable[[Stack], None] = lambda _: None
    before: Callable[[Stack], None] = lambda _: None
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What came of a fault.

    Fields:
      lag: seconds of outputs since the last checkpoint when it struck. recovery: from the strike to the first output
        of a later instant. repeated: outputs that were delivered again. differing: topics that are not as replayed.
    """

    name: str
    lag: float
    recovery: float
    restarts: int
    published: int
    repeated: int
    differing: tuple[str, ...]


class Tail:
    """The newest outputs of a job: when the last one was appended."""

    def __init__(self, job: LiveJob) -> None:
        self.consumer = job.kafka.reader("tail")
        topics = self.consumer.list_topics(timeout=30).topics
        self.places = [TopicPartition(t.name, p, OFFSET_END) for t in OUTPUTS for p in topics[t.name].partitions]
        self.consumer.assign(self.places)
        self.newest = 0.0

    def poll(self, seconds: float) -> float:
        """Seconds of the epoch at which the newest output was appended."""
        for message in self.consumer.consume(5000, seconds):
            if message.error() is None:
                self.newest = max(self.newest, message.timestamp()[1] / 1000)
        return self.newest

    def count(self) -> int:
        """Outputs on the broker, repeated ones included."""
        return sum(self.consumer.get_watermark_offsets(place, timeout=30)[1] for place in self.places)


def kill(process: psutil.Process | None) -> None:
    """kill -9."""
    assert process is not None
    process.kill()
    psutil.wait_procs([process], 10)


def pause(stack: Stack) -> None:
    """SIGSTOP the task manager for longer than its heartbeat may be missing."""
    process = stack.flink.taskmanager.process()
    assert process is not None
    process.suspend()
    time.sleep(PAUSE)
    process.resume()


def stall(stack: Stack) -> None:
    """SIGSTOP the Python worker that folds, again and again; what is in front of it goes on."""
    worker = live.workers(stack, "margin-boot-python")[0]
    for _ in range(3):
        worker.suspend()
        time.sleep(STALL)
        worker.resume()
        time.sleep(2)


def bounce_broker(stack: Stack) -> None:
    """Stop the broker, and start it again."""
    stack.broker.stop()
    time.sleep(10)
    stack.broker.start()


def resume_from_savepoint(stack: Stack) -> None:
    """Stop with a savepoint and go on from it."""
    stack.submit(resume=stack.session.stop(stack.job.name))


def start_cold(stack: Stack) -> None:
    """Take a snapshot while the job runs, end the job, and start another with more shards from it."""
    take_snapshot(stack.job, stack.folder / SNAPSHOT)
    stack.session.cancel(stack.job.name)
    file = Path(stack.file)
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "shards": 5}))
    stack.submit(snapshot=stack.folder / SNAPSHOT)


def poison(stack: Stack) -> None:
    """A record that cannot be read, at the head of every partition of two topics."""
    producer = Producer(stack.job.kafka.client())
    for topic in (FILLS, PRICES):
        producer.produce(topic.name, POISON, b"")
    assert not producer.flush(30)


FAULTS = (
    Fault("kill -9 of the task manager", lambda s: kill(s.flink.taskmanager.process()), Stack.start_services),
    Fault("kill -9 of the Python worker", lambda s: kill(live.workers(s, "margin-boot-python")[0])),
    # A sum over shards on two slots must not be told before all of them have spoken.
    Fault(f"Python worker paused for {STALL} s, thrice", stall, changes={"parallelism": 2, "shards": 6}),
    # Only KafkaIO as Beam ships it has one.
    Fault("kill -9 of the Java worker", lambda s: kill(live.workers(s, "FnHarness")[0]), changes={"unit": "records"}),
    Fault("kill -9 of the job manager", lambda s: kill(s.flink.jobmanager.process()), Stack.start),
    Fault("broker stopped and started", bounce_broker),
    Fault(f"task manager paused for {PAUSE} s", pause),
    Fault("savepoint, then resumed", resume_from_savepoint),
    Fault("snapshot, then cold with other shards", start_cold),
    Fault("poison at the head of two partitions", lambda _: None, before=poison),
)


@contextmanager
def streaming(stack: Stack, day: Path) -> Iterator[Service]:
    """A day being streamed by a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "ops.cli", "stream", str(day), "--job", stack.file]
    service = Service(stack.folder, "stream", [*command, "--rate", str(RATE)])
    service.start()
    try:
        yield service
    finally:
        service.stop()


def strike_mid_stream(fault: Fault, stack: Stack, tail: Tail, stream: Service) -> float:
    """Strike once outputs have followed the last checkpoint; how far, seconds."""
    name = stack.job.name
    while True:
        newest = tail.poll(0.3)
        latest = stack.session.checkpoints(name)["latest"]["completed"]
        if latest and tail.newest and newest - latest["latest_ack_timestamp"] / 1000 > 0.5:
            assert stream.process(), "the stream ended before the fault could strike"
            fault.strike(stack)
            return newest - latest["latest_ack_timestamp"] / 1000


def run(fault: Fault, day: Path, folder: Path) -> Result:
    """One fault on one stack."""
    with live.stack(folder / "stack", checkpoint_ms=3000, **fault.changes) as stack:
        job = stack.job
        tail = Tail(job)
        fault.before(stack)
        with streaming(stack, day) as stream:
            lag = strike_mid_stream(fault, stack, tail, stream)
            struck = time.time()
            fault.mend(stack)
            while tail.poll(0.5) < struck:
                assert time.time() - struck < 300, "no output after the fault"
            recovery = tail.newest - struck
            while stream.process():
                time.sleep(0.5)
        # Of the job that runs now: it may have other shards.
        with live.Markers(stack.job) as markers:
            markers.settle()
        count, restarts = tail.count(), stack.session.restarts(job.name)
        published, replayed = live.published_and_replayed(job, folder)
        differing = [topic for topic, lines in replayed.items() if published[topic] != lines]
        unique = sum(map(len, published.values()))
        if fault.strike is start_cold:
            # Figures are told against those told last, which the new job does not know: they are those of a replay
            # that the snapshot opens, beside what the old job said until it ended.
            published, replayed = live.published_and_replayed(job, folder / "after", Snapshot(stack.folder / SNAPSHOT))
            differing = [topic for topic in differing if topic in live.EVENTS]
            differing += [topic for topic, lines in replayed.items() if set(lines) - set(published[topic])]
        if fault.before is poison:
            check_poison(folder)
    return Result(fault.name, lag, recovery, restarts, unique, max(0, count - unique), tuple(differing))


def check_poison(folder: Path) -> None:
    """Each poison record is a dead letter that says where it came from."""
    from schemas.codec import from_json

    lines = (folder / "live" / f"{DEADLETTER.name}.jsonl").read_bytes().splitlines()
    letters = [from_json(DeadLetter, line) for line in lines]
    found = {(letter.topic, letter.partition) for letter in letters if letter.payload == POISON and letter.offset >= 0}
    assert found == {(FILLS.name, 0), (PRICES.name, 0)}, found


def table(results: list[Result]) -> Table:
    """A row a fault."""
    found = Table("fault", "outputs since checkpoint", "recovery", "restarts", "published", "repeated", "as replayed")
    for r in results:
        same = "[green]yes[/]" if not r.differing else f"[red]no: {', '.join(r.differing)}[/]"
        seconds = (f"{r.lag:.1f} s", f"{r.recovery:.1f} s")
        found.add_row(r.name, *seconds, f"{r.restarts}", f"{r.published:,}", f"{r.repeated:,}", same)
    return found


def main() -> int:
    """Run the faults whose names hold a word given, or all; 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", help="run the faults whose names hold one of these")
    words = parser.parse_args().words
    console, results = Console(width=150), []
    with tempfile.TemporaryDirectory() as folder:
        day = Path(folder) / "day"
        write_day(day, scenario="disorder", accounts=200, symbols=40, seed=3, interval_ms=250)
        for number, fault in enumerate(FAULTS):
            if words and not any(word in fault.name for word in words):
                continue
            console.print(f"{time.strftime('%H:%M:%S')} {fault.name}", highlight=False)
            results.append(run(fault, day, Path(folder) / str(number)))
            console.print(results[-1], highlight=False)
    console.print(table(results))
    return int(any(r.differing for r in results))


if __name__ == "__main__":
    sys.exit(main())
