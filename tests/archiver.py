"""The archive of a live job as a process of its own, and what is in its store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import yaml

from ops.audit.reader import open_reader
from ops.audit.rebuild import rebuild
from ops.audit.recompute import Recorded
from ops.audit.verify import Verification
from ops.capture import Head, Log
from pipeline.archive import TOPICS, last_digest
from pipeline.custody import Custody
from pipeline.job import LiveJob
from pipeline.objects import decode_rows
from pipeline.store import FolderStore, Store
from runners.engine import Run
from schemas.archive import Row, read_digest, topic_in
from schemas.topics import DIGESTS
from tests.engines import options_of


@contextmanager
def running(job: LiveJob, folder: Path, custody: Custody) -> Iterator[None]:
    """The archive of a job as a process of its own, killed afterwards; where a test fails, what it said is told."""
    for name, settings in (("job", job), ("custody", custody)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    command = ("ops.cli", "archive", "--job", str(folder / "job.yaml"), "--custody", str(folder / "custody.yaml"))
    with (folder / "archive.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", *command], stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield
        except AssertionError as error:
            said = (folder / "archive.log").read_text()[-4000:]
            raise AssertionError(f"{error}; archiver: status {process.poll()}, {said}") from error
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_until(holds: Callable[[], bool], timeout: float = 300) -> None:
    """An AssertionError after `timeout` seconds, which a run hangs for."""
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.5)


def sealed(store: Store, job: LiveJob) -> int:
    """Until when the log is sealed, microseconds."""
    digest = last_digest(store, job.name)
    return 0 if digest is None else int(digest.hour) + digest.seconds * 10**6


def check_it_is_whole(job: LiveJob, custody: Custody, ends: Mapping[tuple[str, int], int], folder: Path) -> None:
    """Every record of the topics before `ends` once, under digests that were published, and the outputs come out again.

    Args:
      custody: of a folder. folder: for the day that is made again.
    """
    store = FolderStore(custody.store)
    digest = last_digest(store, job.name)
    assert digest is not None
    rows = list(every_row(store))
    kept = {(row.topic, row.partition, row.offset): row for row in rows}
    assert len(kept) == len(rows)
    heads = {(own.topic, own.partition): own.end for own in digest.heads}
    count = 0
    for message in Log(job.kafka, TOPICS).records(
        end={place: min(end, heads.get(place, 0)) for place, end in ends.items()}
    ):
        row = kept[str(message.topic()), message.partition() or 0, message.offset() or 0]
        assert (row.value, int(row.received_at)) == (message.value(), message.timestamp()[1] * 1000)
        count += 1
    assert count > 3000
    published = [read_digest(bytes(own.value() or b"")) for own in Log(job.kafka, (DIGESTS,)).records()]
    assert digest in published
    assert Verification(store, job.formats.decoder(), published=(digest,)).run().wrong == []
    for compared in rebuild(open_reader(custody), Recorded(store, job.name), folder, options_of("direct", Run())):
        assert compared.equal, (compared.topic, compared.missing[:1], compared.other[:1])


def every_row(store: Store) -> Iterator[Row]:
    """Every row of every object."""
    for name in store.names("records/"):
        yield from decode_rows(store.get(name) or b"", topic_in(name) or "")


def as_of(value: bytes) -> int:
    """Of an output in JSON, microseconds."""
    return msgspec.json.decode(value, type=Head).instant
