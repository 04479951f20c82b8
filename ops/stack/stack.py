"""The whole local stack of a live job: broker, topics, Flink, expansion service, pulses and the job itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ops.stack.broker import Broker, create_topics
from ops.stack.expansion import expansion_service
from ops.stack.flink import FlinkCluster
from ops.stack.service import HOST, Service, ServiceError, services, stop
from pipeline.job import LiveJob, load_live_job
from runners.artifact import BUILD
from runners.session import FlinkSession, SessionError, last_checkpoint

FOLDER = BUILD / "stack"

Told = Callable[[str], None]


@dataclass(frozen=True)
class Stack:
    """The stack of a job file, kept in a folder: logs, pids, the broker's log, checkpoints.

    Fields:
      file: the job's name in conf/jobs, or its path.
    """

    file: str
    folder: Path = FOLDER

    @property
    def job(self) -> LiveJob:
        """The job. Raises ConfigurationError."""
        return load_live_job(self.file)

    @property
    def broker(self) -> Broker:
        """The broker that the job names."""
        return Broker(self.folder, _port(self.job.kafka.bootstrap))

    @property
    def flink(self) -> FlinkCluster:
        """The cluster that the job names, with a slot for the archive, which is a job of its own."""
        return FlinkCluster(self.folder, _port(self.job.flink), self.job.parallelism + 1, self.job.metrics_port)

    @property
    def session(self) -> FlinkSession:
        """The cluster's REST endpoint."""
        return FlinkSession(self.job.flink)

    @property
    def expansion(self) -> Service:
        """KafkaIO's expansion service."""
        return expansion_service(self.folder, _port(self.job.expansion))

    @property
    def pulse(self) -> Service:
        """The signs of life of every partition."""
        every = str(self.job.pulse_ms / 1000)
        return Service(
            self.folder, "pulse", [sys.executable, "-W", "ignore", "-m", "ops.stack.pulse", self.file, every]
        )

    def start(self, told: Told = lambda _: None, *, resume: Path | None = None) -> None:
        """Start what does not run yet, and submit the job if it does not: from its last checkpoint, if it has one.

        Args:
          told: given what is being done.
          resume: a savepoint to go on from instead.

        Raises:
          ConfigurationError, EngineMissingError, ServiceError, SessionError: with what to do.
        """
        self.start_services(told)
        if self.session.job(self.job.name) is None:
            self.submit(told, resume=resume)

    def start_services(self, told: Told = lambda _: None) -> None:
        """Everything but the job."""
        job = self.job
        if not self.broker.service.process():
            told(f"Kafka at {job.kafka.bootstrap}")
            self.broker.start()
        create_topics(job.kafka)
        if not (self.flink.jobmanager.process() and self.flink.taskmanager.process()):
            told(f"Flink at http://{job.flink}")
            self.flink.start()
        if not self.expansion.process():
            told("the expansion service of KafkaIO")
            self.expansion.start()
        if job.pulse_ms and job.clock == "log_append" and not self.pulse.process():
            self.pulse.start()

    def submit(self, told: Told = lambda _: None, *, resume: Path | None = None, snapshot: Path | None = None) -> None:
        """Hand the job to the cluster and wait until it runs: cold from a snapshot, from a savepoint, from its last
        checkpoint, or anew."""
        job = self.job
        resume = None if snapshot else resume or self.checkpoint
        begin = resume or snapshot
        told(f"the job {job.name}" + (f", from {begin.name}" if begin else ""))
        # In a process of its own, with which Beam's job server ends.
        command = [sys.executable, "-W", "ignore", "-m", "ops.cli", "live", "--job", self.file]
        submitted = subprocess.run(
            [*command, *(["--snapshot" if snapshot else "--resume", str(begin)] if begin else [])],
            capture_output=True,
            text=True,
            check=False,
        )
        if submitted.returncode:
            raise ServiceError(f"{submitted.stdout[-2000:]}{submitted.stderr[-2000:]}")
        self._note_id()

    @property
    def checkpoint(self) -> Path | None:
        """The job's last; the cluster keeps those of the archive, too, each by its job's id."""
        ids = self._ids.read_text().split() if self._ids.exists() else []
        return last_checkpoint(self.flink.checkpoints, ids)

    @property
    def _ids(self) -> Path:
        """Every id that the job has had, a line each."""
        return self.folder / f"{self.job.name}.ids"

    def _note_id(self) -> None:
        found = self.session.job(self.job.name)
        if found is not None:
            with self._ids.open("a") as ids:
                ids.write(f"{found.id}\n")

    def stop(self, told: Told = lambda _: None) -> list[str]:
        """End exactly what was started here, the last first; their names."""
        # It may have been submitted by hand.
        with suppress(SessionError):
            if self.flink.jobmanager.process():
                self._note_id()
        ended = services(self.folder)[::-1]
        for name in ended:
            told(name)
            stop(self.folder, name)
        return ended


def _port(address: str) -> int:
    host, _, port = address.partition(":")
    if host not in (HOST, "localhost"):
        raise ServiceError(
            f"{address}: the local stack runs on {HOST}; submit to a cluster elsewhere with `margin live`"
        )
    return int(port)
