"""Where outputs go: a folder like a day, one sorted file a topic, so that diff -r compares two runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import msgspec

from schemas.codec import to_json
from schemas.topics import WRITTEN


@dataclass(eq=False)
class WriteDay(beam.PTransform):
    """(topic, record) in; a file a topic, sorted by (as_of, account, line). Raises OSError before it starts."""

    folder: str

    def expand(self, outputs: beam.PCollection) -> beam.PCollection:
        """Gather each topic, sort and write it."""
        folder = Path(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        for topic in WRITTEN:
            (folder / f"{topic.name}.jsonl").write_bytes(b"")
        return (
            outputs
            | "Line" >> beam.Map(line_of).with_output_types(tuple[str, bytes])
            | "ByTopic" >> beam.GroupByKey()
            | "Write" >> beam.Map(write_topic, self.folder)
        )


def line_of(output: tuple[str, msgspec.Struct]) -> tuple[str, bytes]:
    """The record's line behind its sorting key: instant and account, which the line's own text does not begin with."""
    topic, record = output
    key = f"{int(getattr(record, 'as_of', 0)):020d}{getattr(record, 'account_id', '')}\0"
    return topic, key.encode() + to_json(record)


def write_topic(group: tuple[str, Iterable[bytes]], folder: str) -> str:
    """Write a topic's file in place of what was there; the path."""
    topic, lines = group
    path = Path(folder) / f"{topic}.jsonl"
    part = path.with_suffix(".part")
    with part.open("wb") as out:
        previous: Any = None
        for line in sorted(lines):
            # Delivery is at least once: a repeated line is the same record.
            if line != previous:
                out.write(line.split(b"\0", 1)[1] + b"\n")
            previous = line
    part.replace(path)
    return str(path)
