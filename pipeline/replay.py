"""Replay a day from its folder through the graph."""

from __future__ import annotations

from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.day import DayError, Manifest, files_of, load_manifest, sessions_around
from pipeline.graph import MonitorMargin
from pipeline.job import Job, load_job
from pipeline.rules import load_rulebooks
from pipeline.sinks import WriteDay
from pipeline.sources import ReadDay


def monitor_of(
    manifest: Manifest,
    *,
    job: Job | None = None,
    rules: list[str] | None = None,
    shards: int | None = None,
    **options: bool | None,
) -> MonitorMargin:
    """The graph of a day: by its own rulebooks, the job "replay" and that job's shards, unless others are given.

    Raises:
      ConfigurationError, DayError: before anything starts.
    """
    job = job or load_job("replay")
    return MonitorMargin(
        rulebooks=load_rulebooks(rules or manifest.rulebooks),
        sessions=sessions_around(manifest.business_date, manifest.calendar),
        bounds=job.bounds(manifest),
        interval=manifest.interval_ms * 1000,
        shards=shards or job.shards,
        **options,  # type: ignore[arg-type]
    )


def place(folder: Path | str) -> str:
    """An address as it is; a folder of this machine absolute, since workers have working folders of their own."""
    return str(folder) if "://" in str(folder) else str(Path(folder).absolute())


def replay(
    day: Path | str,
    out: Path | str,
    options: PipelineOptions,
    *,
    job: Job | None = None,
    rules: list[str] | None = None,
    shards: int | None = None,
    **flags: bool,
) -> None:
    """Run a day's files through the graph into a folder of outputs. Raises DayError, ConfigurationError or OSError."""
    day, out = place(day), place(out)
    manifest = load_manifest(day)
    files = files_of(day)
    if not files:
        raise DayError(f"{day}: expected <topic>.jsonl or .avro files beside manifest.json, found none")
    replay_through(monitor_of(manifest, job=job, rules=rules, shards=shards, **flags), files, out, options)


def replay_through(
    monitor: MonitorMargin, files: list[tuple[str, str]], out: Path | str, options: PipelineOptions
) -> None:
    """Run files, (topic, path), through a graph into a folder of outputs. Raises OSError."""
    with beam.Pipeline(options=options) as pipeline:
        raws = pipeline | "ReadDay" >> ReadDay(tuple(files))
        _ = raws | "MonitorMargin" >> monitor | "WriteDay" >> WriteDay(place(out))
