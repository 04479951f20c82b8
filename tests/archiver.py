"""The archive of a live job as a process of its own, and what is in its store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import yaml

from ops.capture import Head
from pipeline.archive import last_digest
from pipeline.custody import Custody
from pipeline.job import LiveJob
from pipeline.objects import decode_rows
from pipeline.store import Store
from schemas.archive import Row, topic_in


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
        assert time.monotonic() < deadline
        time.sleep(0.5)


def sealed(store: Store, job: LiveJob) -> int:
    """Until when the log is sealed, microseconds."""
    digest = last_digest(store, job.name)
    return 0 if digest is None else int(digest.hour) + digest.seconds * 10**6


def every_row(store: Store) -> Iterator[Row]:
    """Every row of every object."""
    for name in store.names("records/"):
        yield from decode_rows(store.get(name) or b"", topic_in(name) or "")


def as_of(value: bytes) -> int:
    """Of an output in JSON, microseconds."""
    return msgspec.json.decode(value, type=Head).instant
