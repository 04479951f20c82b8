"""Stream a day from its folder into Kafka, as if it happened now: faster or slower, or at a rate."""

from __future__ import annotations

import heapq
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Producer

from pipeline.day import files_of
from pipeline.kafka import Kafka
from pipeline.registry import JSON, Formats
from pipeline.sources import read_file
from schemas.codec import to_json
from schemas.inputs import Input
from schemas.scalars import Time
from schemas.topics import BY_NAME
from transforms.parse import decode_plain

#: The name of the service that streams, in the local stack.
SERVICE = "stream"

#: Times of a record that move with its arrival; an instrument's expiry is a date of the calendar and stays.
MOVING = ("as_of", "executed_at", "effective_at", "expires_at", "cut")

#: The day's time is moved in steps of so many microseconds.
STEP = 10_000

#: How often a record is held back until its time, seconds: below the grid, and far above what a sleep costs.
PACE = 0.005


@dataclass(frozen=True)
class Pace:
    """When records are sent: at a multiple of the day's own speed, or so many a second."""

    speed: float | None = None
    rate: float | None = None

    def due(self, count: int, gone: float) -> float:
        """Seconds after the start at which the record is sent that `count` came before, `gone` seconds into the day."""
        return count / self.rate if self.rate else gone / (self.speed or 1.0)


def records_of(day: Path) -> Iterator[tuple[int, str, Any]]:
    """(arrived_at, topic, record) of a day in order of arrival; what cannot be decoded comes as its bytes, in place."""
    return heapq.merge(*(_of_file(topic, path) for topic, path in files_of(day)), key=lambda found: found[0])


def _of_file(topic: str, path: str) -> Iterator[tuple[int, str, Any]]:
    arrived_at = 0
    for raw in read_file((topic, path)):
        for value in raw.values:
            try:
                record: Any = decode_plain(topic, value)
            except msgspec.DecodeError:
                record = value
            else:
                arrived_at = record.arrived_at or arrived_at
            yield arrived_at, topic, record


@dataclass
class Shift:
    """From the times of the day to those of the stream, microseconds: a record sent twice says the same both times."""

    days: list[int] = field(default_factory=list)
    streams: list[int] = field(default_factory=list)

    def arrive(self, day: int, stream: int) -> None:
        """What arrived at the day's time is sent at the stream's."""
        if not self.days or day >= self.days[-1] + STEP:
            self.days.append(day)
            self.streams.append(stream)

    def of(self, time: int) -> int:
        """When the stream was where the day was at that time; before its begin and after now, as far away."""
        place = bisect_right(self.days, time) - 1
        if place < 0:
            return self.streams[0] + time - self.days[0]
        beyond = time - self.days[-1] if place == len(self.days) - 1 else 0
        return self.streams[place] + max(0, beyond - STEP)

    def moved(self, record: Input) -> Input:
        """The record at the stream's times; it arrives when the broker says."""
        times = {name: getattr(record, name, None) for name in MOVING}
        later = {name: Time(self.of(value)) for name, value in times.items() if value is not None}
        return msgspec.structs.replace(record, arrived_at=None, **later)


def stream(
    day: Path,
    kafka: Kafka,
    pace: Pace,
    *,
    formats: Formats = JSON,
    limit: int | None = None,
    on_sent: Callable[[int], None] | None = None,
) -> int:
    """Produce a day's records in order of arrival; how many. Raises DayError, or KafkaException where it is refused.

    Args:
      formats: what each topic takes.
      limit: stop after so many.
      on_sent: told the number sent so far, about twice a second.
    """
    producer = Producer(kafka.client({"linger.ms": 10, "compression.type": "lz4", "enable.idempotence": True}))
    begun, told, first, count = time.time(), 0.0, None, 0
    shift, encode = Shift(), formats.encoder()
    for arrived_at, topic, record in records_of(day):
        first = arrived_at if first is None else first
        due = begun + pace.due(count, (arrived_at - first) / 1e6)
        while (wait := due - time.time()) > PACE:
            producer.poll(min(wait, 0.1))
            time.sleep(max(0.0, min(due - time.time(), PACE)))
        shift.arrive(arrived_at, round(due * 1e6))
        if isinstance(record, bytes):
            key, value = b"", record
        else:
            key = str(getattr(record, BY_NAME[topic].key)).encode()
            value = encode(topic, to_json(shift.moved(record)))
        _produce(producer, topic, value, key)
        count += 1
        if on_sent is not None and time.time() - told > 0.5:
            told = time.time()
            on_sent(count)
        if count == limit:
            break
    producer.flush()
    return count


def _produce(producer: Producer, topic: str, value: bytes, key: bytes) -> None:
    while True:
        try:
            producer.produce(topic, value, key)
            producer.poll(0)
            return
        except BufferError:
            producer.poll(0.1)
