"""Faults of the archive's stores and of its writer, mid-stream: `make outages`.

One stack: a broker, a Flink cluster with the risk job and the archive job on it, S3 (moto) and DynamoDB Local, each
behind a proxy that breaks what passes. While a day is streamed the faults strike one after another. In the end every
record of the topics must be in the bucket and in the index, once, the chain whole, and the figures as late as before.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import numpy as np
from rich.console import Console
from rich.table import Table

from ops.archive import archive_live
from ops.audit.verify import Verification
from ops.capture import Log
from ops.generate import write_day
from ops.stack.broker import create_topics
from ops.stack.bucket import create_bucket
from ops.stack.stack import Stack
from ops.stream import Pace, stream
from pipeline.archive import TOPICS, last_digest
from pipeline.custody import Custody
from pipeline.index import open_index
from pipeline.store import open_store
from schemas.topics import ALERTS, MARGIN_CALC
from tests import archiver, live
from tests.chaos import kill
from tests.faults import OF_DYNAMODB, OF_S3, FaultProxy, first, proxy, storm
from tests.stores import custody_of, endpoints

RATE = 300
CALM, STORM = 40, 60


@dataclass(frozen=True)
class World:
    """What runs, and what its operator can break."""

    stack: Stack
    custody: Custody
    s3: FaultProxy
    dynamodb: FaultProxy


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """Everything, running; ended afterwards."""
    with endpoints(folder) as real, proxy(real.s3) as s3, proxy(real.dynamodb) as dynamodb:
        os.environ.update(real.environment | {"AWS_ENDPOINT_URL_S3": s3.url, "AWS_ENDPOINT_URL_DYNAMODB": dynamodb.url})
        custody = custody_of(records=1_000, seconds=20, patience=60)
        create_bucket(custody)
        file = live.job_file(folder, name="outages", checkpoint_ms=5000)
        stack = Stack(str(file), folder)
        try:
            stack.broker.start()
            create_topics(stack.job.kafka)
            stack.start()
            archive_live(str(file), custody, "flink")
            yield World(stack, custody, s3, dynamodb)
        finally:
            stack.stop()


def struck(seconds: float, begin: Callable[[World], None], end: Callable[[World], None]) -> Callable[[World], None]:
    """A fault that lasts."""

    def strike(own: World) -> None:
        begin(own)
        time.sleep(seconds)
        end(own)

    return strike


def _storm(own: World) -> None:
    own.s3.follow(storm(OF_S3, seed=1))
    own.dynamodb.follow(storm(OF_DYNAMODB, seed=2))


def _calm(own: World) -> None:
    own.s3.follow(first())
    own.dynamodb.follow(first())


def _kill_writer(own: World) -> None:
    for worker in live.workers(own.stack, "margin-boot-python"):
        kill(worker)
    time.sleep(STORM)


def faults(outage: float) -> dict[str, Callable[[World], None]]:
    """By name what strikes, one after another. outage: seconds that a store is away."""
    return {
        "nothing": lambda _: time.sleep(CALM),
        "throttling, timeouts, 5xx, resets, partial batches of both": struck(STORM, _storm, _calm),
        f"S3 away for {outage:g} s": struck(outage, lambda own: own.s3.down(), lambda own: own.s3.up()),
        f"DynamoDB away for {outage:g} s": struck(
            outage, lambda own: own.dynamodb.down(), lambda own: own.dynamodb.up()
        ),
        "kill -9 of every Python worker": _kill_writer,
    }


def run(folder: Path, outage: float, console: Console) -> tuple[Table, bool]:
    """Strike, then compare; a row a fault, and whether all is well."""
    spans: dict[str, tuple[float, float]] = {}
    with world(folder) as own:
        job, over = own.stack.job, Event()
        streaming = Thread(target=_stream, args=(folder, job, over), daemon=True)
        streaming.start()
        time.sleep(CALM)
        for name, strike in faults(outage).items():
            begin = time.time()
            console.print(name, highlight=False)
            strike(own)
            spans[name] = begin, time.time()
            time.sleep(CALM / 2)
        over.set()
        streaming.join()
        stop = time.time() * 1e6
        store = open_store(own.custody)
        archiver.wait_until(lambda: archiver.sealed(store, job) > stop, timeout=900)
        behind = time.time() - stop / 1e6
        lags = _lags(own)
        lost, twice, count = _compared(own)
        found = Verification(store, job.formats.decoder(), open_index(own.custody), job.name).run()
        if found.wrong:
            found.render(console)
        digest = last_digest(store, job.name)
        restarts = own.stack.session.restarts(f"{job.name}-archive")
    table = Table("fault", "seconds", "figures behind their instant, p50", "p99", title_justify="left")
    for name, (begin, end) in spans.items():
        own_lags = [lag for at, lag in lags if begin <= at < end] or [np.nan]
        table.add_row(name, f"{end - begin:.0f}", *(f"{np.percentile(own_lags, q):.2f} s" for q in (50, 99)))
    said = f"{count:,} records on the topics: {lost} lost, {twice} twice; {len(found.wrong)} findings of verify; "
    said += f"{restarts} restarts of the archive job; sealed {behind:.0f} s after the last record"
    table.caption = f"{said}; last digest {digest.digest[:12] if digest else 'none'}"
    return table, not (lost or twice or found.wrong)


def _stream(folder: Path, job: object, over: Event) -> None:
    number = 0
    while not over.is_set():
        day = folder / f"day{number}"
        write_day(day, scenario="disorder", accounts=200, symbols=40, seed=number, interval_ms=250)
        stream(day, job.kafka, Pace(rate=RATE), limit=RATE * 30)  # type: ignore[attr-defined]
        number += 1


def _lags(own: World) -> list[tuple[float, float]]:
    """(time on the broker, how far behind its instant), seconds, of every figure and alert."""
    found = []
    for message in Log(own.stack.job.kafka, (MARGIN_CALC.name, ALERTS.name)).records():
        value = bytes(message.value() or b"")
        at = message.timestamp()[1] / 1000
        found.append((at, at - archiver.as_of(value) / 1e6))
    return found


def _compared(own: World) -> tuple[int, int, int]:
    """Records that are not in the bucket, that are in it twice, and all, up to what is sealed."""
    store, job = open_store(own.custody), own.stack.job
    digest = last_digest(store, job.name)
    assert digest is not None
    kept = Counter((row.topic, row.partition, row.offset) for row in archiver.every_row(store))
    heads = {(head.topic, head.partition): head.end for head in digest.heads}
    sent = Log(job.kafka, TOPICS).records(end=heads)
    places = [(str(own.topic()), own.partition() or 0, own.offset() or 0) for own in sent]
    return sum(kept[place] == 0 for place in places), sum(count > 1 for count in kept.values()), len(places)


def main() -> int:
    """Run, print the table, write it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--outage", type=float, default=300, help="seconds that a store is away")
    console = Console(width=140)
    with tempfile.TemporaryDirectory() as folder:
        table, well = run(Path(folder), parser.parse_args().outage, console)
    console.print(table)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
