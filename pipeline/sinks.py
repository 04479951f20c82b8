"""Where outputs go: a folder like a day, one sorted file a topic, so that diff -r compares two runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam

from schemas.topics import WRITTEN


@dataclass(eq=False)
class WriteDay(beam.PTransform):
    """(topic, sealed line) in; a file a topic, sorted by (as_of, account, line). Raises OSError before it starts."""

    folder: str

    def expand(self, outputs: beam.PCollection) -> beam.PCollection:
        """Gather each topic, sort and write it."""
        folder = Path(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        for topic in WRITTEN:
            (folder / f"{topic.name}.jsonl").write_bytes(b"")
        return outputs | "ByTopic" >> beam.GroupByKey() | "Write" >> beam.Map(write_topic, self.folder)


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
