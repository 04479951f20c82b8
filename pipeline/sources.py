"""Where records come from: a day's files as raw blocks of lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import apache_beam as beam
import fastavro

from transforms.parse import Raw

LINES = 1000


@dataclass(eq=False)
class ReadDay(beam.PTransform):
    """A day's files, given as (topic, path), as Raw elements of up to LINES records."""

    files: tuple[tuple[str, str], ...]

    def expand(self, pbegin: beam.pvalue.PBegin) -> beam.PCollection:
        """Read every file, one after another."""
        return pbegin | "Files" >> beam.Create(list(self.files)) | "Read" >> beam.FlatMap(read_file)


def read_file(file: tuple[str, str]) -> Iterator[Raw]:
    """A file's records in blocks; the offset is the line number from zero."""
    topic, path = file
    with Path(path).open("rb") as lines:
        records = fastavro.reader(lines) if path.endswith(".avro") else (line.rstrip(b"\n") for line in lines)
        offset = 0
        while block := list(islice(records, LINES)):
            yield Raw(topic, 0, offset, block)
            offset += len(block)
