"""Submitting the live graph: to the cluster that a job names, in this process, or as an executable jar."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import apache_beam as beam
from apache_beam.runners.runner import PipelineResult, PipelineState

from ops.snapshot import Snapshot, begin_at
from ops.stack.expansion import expansion_service
from ops.stack.service import HOST
from pipeline.day import DayError
from pipeline.job import LiveJob, load_live_job
from pipeline.live import live_pipeline
from pipeline.replay import replay
from pipeline.sources import ReadKafkaIO
from runners.engine import Run
from runners.engines import ENGINES
from runners.port import free_port
from runners.session import FlinkJob, FlinkSession, SessionError


def today() -> dt.date:
    """The date that a graph's calendar is built around."""
    return dt.datetime.now(dt.UTC).date()


def live_run(job: LiveJob, *, resume: Path | None = None, job_server: Path | None = None) -> Run:
    """How a live job runs on its cluster."""
    return Run(
        live=True,
        master=job.flink,
        parallelism=job.parallelism,
        checkpoint_ms=job.checkpoint_ms,
        name=job.name,
        resume=resume,
        job_server=job_server,
    )


def submit(
    file: str, *, resume: Path | None = None, opening: Path | None = None, job_server: Path | None = None
) -> FlinkJob:
    """Hand a live job to the Flink cluster that it names and wait until it runs; it goes on without this process.

    Args:
      resume: a checkpoint or savepoint of the same graph.
      opening: a snapshot's folder, for any graph.

    Raises:
      CaptureError, ConfigurationError, EngineMissingError, SessionError: with what to do.
    """
    job = load_live_job(file)
    job.formats.check()
    if FlinkSession(job.flink).job(job.name) is not None:
        raise SessionError(f"job {job.name} runs on {job.flink} already; `margin savepoint` or `margin cancel` ends it")
    files: tuple[tuple[str, str], ...] = ()
    if opening is not None:
        snapshot = Snapshot(opening.absolute())
        begin_at(job, snapshot)
        files = snapshot.files
    run = live_run(job, resume=resume, job_server=job_server)
    result = started("flink", run, job, kafka_source(job, job.expansion), files)
    return FlinkSession(job.flink).wait(job.name, gone=lambda: PipelineState.is_terminal(result.state))


def run_here(file: str, runner: str) -> None:
    """Run a live job in this process until it is interrupted. Raises ConfigurationError, EngineRefusedError."""
    job = load_live_job(file)
    job.formats.check()
    started(runner, Run(live=True), job, native_source(job)).wait_until_finish()


def started(
    runner: str, run: Run, job: LiveJob, source: beam.PTransform, opening: tuple[tuple[str, str], ...] = ()
) -> PipelineResult:
    """The live graph, checked and handed to an engine. Raises EngineRefusedError, EngineMissingError."""
    engine = ENGINES[runner]
    pipeline = live_pipeline(job, source, engine.options(run), today(), opening)
    engine.check_graph(pipeline, run)
    return pipeline.run()


def kafka_source(job: LiveJob, expansion: str) -> beam.PTransform:
    """The source of Flink, made by the expansion service at an address."""
    return ReadKafkaIO(job.kafka, job.clock, expansion, job.unit)


def native_source(job: LiveJob) -> beam.PTransform:
    """The source of engines without Java."""
    from pipeline.partitions import ReadPartitions

    return ReadPartitions(job.kafka, job.clock)


def package(runner: str, out: Path, *, job: str | None, day: Path | None, to: Path | None) -> int:
    """Write a live job (flink) or a day's replay (spark, flink) as an executable jar; its bytes.

    The expansion service runs for as long as that takes: an executable jar has KafkaIO expanded.

    Raises:
      ConfigurationError, DayError, EngineMissingError, EngineRefusedError: before anything is written.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    if job is not None:
        plan = load_live_job(job)
        run = replace(live_run(plan), master=None, package=out)
        ENGINES[runner].check(run)
        with tempfile.TemporaryDirectory() as folder, expanding(Path(folder)) as address:
            started(runner, run, plan, kafka_source(plan, address)).wait_until_finish()
    elif day is not None and to is not None:
        replay(day, to, ENGINES[runner].options(Run(package=out)))
    else:
        raise DayError("package: expected --job, or --day and --to, found neither; a jar holds one graph")
    return out.stat().st_size


@contextmanager
def expanding(folder: Path) -> Iterator[str]:
    """The address of an expansion service that runs meanwhile."""
    port = free_port()
    service = expansion_service(folder, port).start()
    try:
        yield f"{HOST}:{port}"
    finally:
        service.stop()
