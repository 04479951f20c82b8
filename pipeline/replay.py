"""Replay a day from its folder through the graph."""

from __future__ import annotations

from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.day import DayError, Manifest, files_of, load_manifest, sessions_around
from pipeline.graph import MonitorMargin
from pipeline.rules import load_rulebook
from pipeline.sinks import WriteDay
from pipeline.sources import ReadDay
from transforms.parse import Bounds

#: Clock skew between venues and the firm that is let pass, microseconds (design 3: as_of at most 5 s ahead).
PRICE_AHEAD, FILL_AHEAD = 5_000_000, 86_400_000_000


def monitor_of(manifest: Manifest, *, rules: list[str], shards: int, **options: bool | None) -> MonitorMargin:
    """The graph of a day. Raises RulebookError or DayError before anything starts."""
    books = tuple(sorted((load_rulebook(name) for name in rules), key=lambda book: book.effective_at))
    return MonitorMargin(
        rulebooks=books,
        sessions=sessions_around(manifest.business_date, manifest.calendar),
        bounds=Bounds(manifest.begin, manifest.horizon, PRICE_AHEAD, FILL_AHEAD),
        interval=manifest.interval_ms * 1000,
        shards=shards,
        **options,  # type: ignore[arg-type]
    )


def replay(
    day: Path, out: Path, options: PipelineOptions, *, rules: list[str] | None = None, shards: int = 4, **flags: bool
) -> None:
    """Run a day's files through the graph into a folder of outputs. Raises DayError, RulebookError or OSError."""
    manifest = load_manifest(day)
    files = files_of(day)
    if not files:
        raise DayError(f"{day}: expected <topic>.jsonl or .avro files beside manifest.json, found none")
    monitor = monitor_of(manifest, rules=rules or manifest.rulebooks, shards=shards, **flags)
    with beam.Pipeline(options=options) as pipeline:
        raws = pipeline | "ReadDay" >> ReadDay(tuple((topic, str(path)) for topic, path in files))
        _ = raws | "MonitorMargin" >> monitor | "WriteDay" >> WriteDay(str(out))
