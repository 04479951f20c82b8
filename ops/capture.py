"""Capture what a live run consumed, as a day that Direct replays, and what it published, as a replay's outputs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from heapq import merge
from itertools import chain
from pathlib import Path
from typing import Any

import fastavro
import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from pipeline.day import Manifest, write_manifest
from pipeline.job import LiveJob
from pipeline.kafka import Kafka
from pipeline.registry import unframed
from pipeline.sources import RECEIVED
from schemas.errors import UserError
from schemas.scalars import EPOCH, FIRST_TIME, LAST_TIME, MICROSECOND, Time
from schemas.topics import INPUTS, OUTPUTS
from transforms.lines import key_of
from transforms.parse import Decode

Offsets = Mapping[tuple[str, int], int]
_ENDED = KafkaError._PARTITION_EOF


class CaptureError(UserError, ValueError):
    """Topics that make no day; the text says why."""


@dataclass(frozen=True)
class Log:
    """The topics of a cluster as they are now: every record up to the offsets that were next when it was opened."""

    kafka: Kafka
    topics: tuple[str, ...]

    def records(self, begin: Offsets | None = None, end: Offsets | None = None) -> Iterator[Message]:
        """Every record with a value, by partition in order; from the offsets given, or the beginning, up to others.

        Raises:
          KafkaException: the brokers do not answer, or a topic is not there.
        """
        starts, known = begin or {}, self.ends() if end is None else end
        consumer = self._consumer()
        try:
            ends = {place: offset for place, offset in known.items() if offset > starts.get(place, 0)}
            consumer.assign([TopicPartition(*place, starts.get(place, OFFSET_BEGINNING)) for place in ends])
            while ends:
                for message in consumer.consume(1_000, 0.1):
                    place, offset = (str(message.topic()), message.partition() or 0), message.offset() or 0
                    error = message.error()
                    if error is not None and error.code() != _ENDED:
                        raise KafkaException(error)
                    last = ends.get(place)
                    if last is None:
                        continue
                    if error is None and offset < last and message.value() is not None:
                        yield message
                    # At a partition's end the offset is the next one.
                    if offset + (error is None) >= last:
                        del ends[place]
        finally:
            consumer.close()

    def ends(self) -> Offsets:
        """The next offset of every partition. Raises CaptureError, KafkaException."""
        consumer = self._consumer()
        try:
            known = consumer.list_topics(timeout=30).topics
            missing = [topic for topic in self.topics if topic not in known]
            if missing:
                raise CaptureError(
                    f"topics: expected {', '.join(missing)} on the broker, found none; `margin up` creates them"
                )
            places = [
                TopicPartition(topic, partition) for topic in self.topics for partition in known[topic].partitions
            ]
            return {(p.topic, p.partition): consumer.get_watermark_offsets(p, timeout=30)[1] for p in places}
        finally:
            consumer.close()

    def _consumer(self) -> Consumer:
        # There may be one for each partition of a topic, and each may fetch so far ahead.
        return self.kafka.reader("capture", {"enable.partition.eof": True, "queued.max.messages.kbytes": 8_192})


def capture_day(job: LiveJob, folder: Path, begin: Offsets | None = None, end: Offsets | None = None) -> Manifest:
    """Write what the input topics hold between offsets as a day: a file a topic, in order of arrival, and its manifest.

    Raises:
      CaptureError: nothing is there, or the broker did not stamp the records.
      KafkaException: the brokers do not answer.
    """
    log, decode = Log(job.kafka, tuple(topic.name for topic in INPUTS)), job.formats.decoder()
    ends = log.ends() if end is None else end
    spans = []
    folder.mkdir(parents=True, exist_ok=True)
    for topic in log.topics:
        # Each partition is in order, and a day of records is more than memory holds: they are merged as they come.
        places = [(place, last) for place, last in ends.items() if place[0] == topic]
        parts = (log.records(begin, {place: last}) for place, last in places)
        received = Received(decode, merge(*parts, key=_arrival))
        if first := next(received, None):
            with (folder / f"{topic}{RECEIVED}").open("wb") as out:
                fastavro.writer(out, RECEIVED_SCHEMA, chain([first], received), codec="deflate")
            spans += [received.first, received.last]
    if not spans:
        raise CaptureError(f"{job.kafka.bootstrap}: expected records on the input topics, found none")
    manifest = manifest_of(job, min(spans), max(spans))
    write_manifest(folder, manifest)
    return manifest


def _arrival(message: Message) -> tuple[int, int, int]:
    return message.timestamp()[1], message.partition() or 0, message.offset() or 0


class Received(Iterator[dict[str, Any]]):
    """Messages as records of a captured file; first and last: when the earliest and the latest so far arrived."""

    def __init__(self, decode: Decode, messages: Iterator[Message]) -> None:
        self.decode, self.messages = decode, messages
        self.first, self.last = LAST_TIME, FIRST_TIME

    def __next__(self) -> dict[str, Any]:
        """The next."""
        message = next(self.messages)
        stamp = message.timestamp()[1] * 1000
        self.first, self.last = min(self.first, stamp), max(self.last, stamp)
        return {
            "partition": message.partition(),
            "offset": message.offset(),
            "arrived_at": stamp,
            "value": unframed(self.decode, str(message.topic()), bytes(message.value() or b"")),
        }


def manifest_of(job: LiveJob, first: int, last: int) -> Manifest:
    """The manifest of what a job received between two stamps, microseconds; it closes at the instant after the last."""
    step = job.interval_ms * 1000
    opens, closes = first // step * step, (last // step + 1) * step
    return Manifest(
        business_date=_datetime(first).date(),
        calendar=job.calendar,
        interval_ms=job.interval_ms,
        opens_at=_datetime(opens),
        closes_at=_datetime(closes),
        clock=job.clock,
        rulebooks=job.rulebooks,
    )


def capture_outputs(job: LiveJob, folder: Path) -> dict[str, int]:
    """Write what the output topics hold as a replay writes it: a file a topic, sorted, each line once; how many lines.

    Raises:
      CaptureError, KafkaException: as capture_day.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = tuple(topic.name for topic in OUTPUTS)
    lines: dict[str, set[tuple[bytes, bytes]]] = {name: set() for name in names}
    decode = job.formats.decoder()
    for message in Log(job.kafka, names).records():
        text = unframed(decode, str(message.topic()), bytes(message.value() or b""))
        head = msgspec.json.decode(text, type=Head)
        lines[str(message.topic())].add((key_of(head.instant, head.account_id), text))
    for name, found in lines.items():
        (folder / f"{name}.jsonl").write_bytes(b"".join(text + b"\n" for _, text in sorted(found)))
    return {name: len(found) for name, found in lines.items()}


class Head(msgspec.Struct):
    """Of an output in JSON, what it is sorted by; a dead letter has neither."""

    as_of: dt.datetime | int = 0
    account_id: str = ""

    @property
    def instant(self) -> int:
        """Its as_of, microseconds."""
        return int(Time.parse(self.as_of))


#: Of a captured file.
RECEIVED_SCHEMA = fastavro.parse_schema(
    {
        "type": "record",
        "name": "Received",
        "namespace": "margin",
        "doc": "A record of a topic as the broker gave it.",
        "fields": [
            {"name": "partition", "type": "int"},
            {"name": "offset", "type": "long"},
            {"name": "arrived_at", "type": "long"},
            {"name": "value", "type": "bytes"},
        ],
    }
)


def _datetime(microseconds: int) -> dt.datetime:
    return EPOCH + microseconds * MICROSECOND
