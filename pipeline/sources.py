"""Where records come from: a day's files, or Kafka, as raw blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

import apache_beam as beam
import fastavro
import numpy as np
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.io.kafka import ReadFromKafka
from apache_beam.transforms.external import ImplicitSchemaPayloadBuilder
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import WindowedValue

from pipeline.day import files_of
from pipeline.job import Clock, Unit
from pipeline.kafka import Kafka
from schemas.topics import INPUTS
from transforms.parse import Bounds, Raw, parse

LINES = 1000

#: What follows the topic in the name of a captured file: records as the broker gave them, with their origin.
RECEIVED = ".received.avro"


@dataclass(eq=False)
class ReadDay(beam.PTransform):
    """A day's files, given as (topic, path), as Raw elements of up to LINES records."""

    files: tuple[tuple[str, str], ...]

    def expand(self, pbegin: beam.pvalue.PBegin) -> beam.PCollection:
        """Read every file, one after another."""
        return pbegin | "Files" >> beam.Create(list(self.files)) | "Read" >> beam.FlatMap(read_file)


def read_file(file: tuple[str, str]) -> Iterator[Raw]:
    """A file's records in blocks; the offset is the line number from zero, or of a captured file the broker's."""
    topic, path = file
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as lines:
        if path.endswith(RECEIVED):
            yield from _received(topic, fastavro.reader(lines))
            return
        records = fastavro.reader(lines) if path.endswith(".avro") else (line.rstrip(b"\n") for line in lines)
        offset = 0
        while block := list(islice(records, LINES)):
            yield Raw(topic, 0, range(offset, offset + len(block)), block)
            offset += len(block)


def read_records(day: Path | str, bounds: Bounds, *topics: str) -> Iterator[Any]:
    """The records of a day's folder that can be used, of all of its topics unless some are named. Raises DayError."""
    for file in files_of(day):
        if not topics or file[0] in topics:
            for raw in read_file(file):
                yield from parse(raw, bounds)[0].records


def _received(topic: str, records: Iterable[Any]) -> Iterator[Raw]:
    for partition, found in groupby(records, key=itemgetter("partition")):
        while block := list(islice(found, LINES)):
            offsets, values, stamps = zip(*map(itemgetter("offset", "value", "arrived_at"), block), strict=True)
            yield Raw(topic, partition, offsets, values, stamps)


@dataclass(eq=False)
class ReadKafkaIO(beam.PTransform):
    """Topics through KafkaIO's unbounded source, which Flink runs itself and checkpoints.

    Fields:
      kafka: the cluster; a start without state begins at the group's offsets, or at the beginning.
      clock: log_append takes the broker's time of each record, arrival the time it was read.
      expansion: address of the expansion service.
      unit: what comes out of the source: blocks (runners/jvm/kafka-source), or records as Beam ships it, each a row
        with its metadata that a Java worker makes (docs/adr/0009).
      topics: their names; every input unless others are given.
    """

    kafka: Kafka
    clock: Clock
    expansion: str
    unit: Unit = "blocks"
    topics: tuple[str, ...] = tuple(topic.name for topic in INPUTS)

    def expand(self, pbegin: beam.pvalue.PBegin) -> beam.PCollection:
        """Read, and take blocks apart by topic and partition, or collect a bundle's records by them."""
        topics, consumer = list(self.topics), self.kafka.consumer()
        if self.unit == "blocks":
            given = {"consumer": consumer, "topics": topics, "log_append": self.clock == "log_append"}
            payload = ImplicitSchemaPayloadBuilder(given)
            blocks = pbegin | "Read" >> beam.ExternalTransform("margin:read_blocks:v1", payload, self.expansion)
            return blocks | "Raws" >> beam.FlatMap(raws_of).with_output_types(Raw)
        policies = {"log_append": ReadFromKafka.log_append_time, "arrival": ReadFromKafka.processing_time_policy}
        rows = pbegin | "Read" >> ReadFromKafka(
            consumer_config=consumer,
            topics=topics,
            timestamp_policy=policies[self.clock],
            with_metadata=True,
            expansion_service=self.expansion,
        )
        return rows | "Collect" >> beam.ParDo(_Collect()).with_output_types(Raw)


def raws_of(block: Any) -> Iterator[Raw]:
    """The records of a block, those of each partition together."""
    for part in block.parts:
        offsets, stamps = (np.frombuffer(column, ">i8") for column in (part.offsets, part.stamps))
        ends = np.frombuffer(part.ends, ">i4").tolist()
        values = [part.values[begin:end] for begin, end in pairwise([0, *ends])]
        yield Raw(part.topic, part.partition, offsets.tolist(), values, (stamps * 1000).tolist())


class _Collect(beam.DoFn):
    def start_bundle(self) -> None:
        self.found: dict[tuple[str, int], tuple[list[int], list[bytes], list[int]]] = {}

    def process(self, row: Any, stamp: Any = beam.DoFn.TimestampParam) -> None:
        # A record without a value is a tombstone or a pulse (ops/stack): it carries the clock and nothing else.
        if row.value is not None:
            offsets, values, stamps = self.found.setdefault((row.topic, row.partition), ([], [], []))
            offsets.append(row.offset)
            values.append(row.value)
            stamps.append(stamp.micros)

    def finish_bundle(self) -> Iterable[WindowedValue]:
        for (topic, partition), (offsets, values, stamps) in self.found.items():
            raw = Raw(topic, partition, offsets, values, stamps)
            yield WindowedValue(raw, Timestamp(micros=min(stamps)), (GlobalWindow(),))
