"""Records on their way to a shard: by topic, as MessagePack, compressed: engines keep several copies of what waits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import chain, groupby, repeat
from operator import call
from typing import Any

import apache_beam as beam
import msgspec
import zstandard

from schemas.inputs import Input
from schemas.topics import BY_NAME

#: Where a record came from: its partition in the upper 16 bits, its offset in the lower 48; NOWHERE: it was made here.
Origin = int
NOWHERE = -1


def origin_of(partition: int, offset: int) -> Origin:
    """Partition and offset as one number."""
    return partition << 48 | offset


def place_of(origin: Origin) -> tuple[int, int]:
    """Partition and offset; -1 and -1 of NOWHERE."""
    return (-1, -1) if origin == NOWHERE else (origin >> 48, origin & (1 << 48) - 1)


@dataclass(frozen=True, slots=True)
class Records:
    """Records by topic, and the origin of each in the same order."""

    batches: dict[str, list[Input]] = field(default_factory=dict)
    origins: dict[str, list[Origin]] = field(default_factory=dict)

    def add(self, topic: str, records: Iterable[Input], origins: Iterable[Origin]) -> None:
        """Add records of a topic."""
        self.batches.setdefault(topic, []).extend(records)
        self.origins.setdefault(topic, []).extend(origins)

    def __bool__(self) -> bool:
        return bool(self.batches)

    def __iter__(self) -> Iterator[Input]:
        return chain.from_iterable(self.batches.values())

    def items(self) -> Iterator[tuple[str, Input, Origin]]:
        """(topic, record, origin) of every record."""
        for topic, batch in self.batches.items():
            yield from zip(repeat(topic), batch, self.origins[topic], strict=False)


_ENCODER = msgspec.msgpack.Encoder(enc_hook=int)


@cache
def _decoder(topic: str) -> msgspec.msgpack.Decoder:
    kind: Any = BY_NAME[topic].record
    return msgspec.msgpack.Decoder(list[kind], dec_hook=call)


def encode_records(records: Records) -> bytes:
    """Records by topic as compressed MessagePack, behind the stamps of the first and the last, which sort them."""
    stamps = [record.arrived_at or 0 for record in records]
    content = _ENCODER.encode(
        {topic: (_ENCODER.encode(batch), records.origins[topic]) for topic, batch in records.batches.items()}
    )
    return min(stamps).to_bytes(8, "big") + max(stamps).to_bytes(8, "big") + zstandard.compress(content, 1)


def first_stamp(payload: bytes) -> int:
    """When the earliest record of a payload arrived, microseconds."""
    return int.from_bytes(payload[:8], "big")


def last_stamp(payload: bytes) -> int:
    """When the latest record of a payload arrived, microseconds."""
    return int.from_bytes(payload[8:16], "big")


def decode_records(payload: bytes) -> Records:
    """The inverse of encode_records."""
    found = Records()
    for topic, (batch, origins) in msgspec.msgpack.decode(zstandard.decompress(memoryview(payload)[16:])).items():
        found.add(topic, _decoder(topic).decode(batch), origins)
    return found


def split_records(records: Records, before: int) -> tuple[Records | None, Records | None]:
    """The records that arrived before the instant (microseconds), and the others."""
    now, later = Records(), Records()
    for topic, record, origin in records.items():
        (now if (record.arrived_at or 0) < before else later).add(topic, (record,), (origin,))
    return now or None, later or None


def by_instant(records: Records, instant_of: Callable[[int], int]) -> dict[int, Records]:
    """Records by the instant that they are processed at."""
    pieces: defaultdict[int, Records] = defaultdict(Records)
    for topic, batch in records.batches.items():
        origins, at = records.origins[topic], 0
        # Neighbours mostly are of one instant.
        for instant, run in groupby(batch, lambda record: instant_of(record.arrived_at or 0)):
            first, at = at, at + sum(1 for _ in run)
            pieces[instant].add(topic, batch[first:at], origins[first:at])
    return pieces


def pieces_of(payload: bytes, instant_of: Callable[[int], int]) -> Iterator[tuple[int, bytes]]:
    """A payload by the instant that its records are processed at, each with a payload of its own."""
    instant = instant_of(first_stamp(payload))
    if instant == instant_of(last_stamp(payload)):
        yield instant, payload
        return
    for instant, piece in by_instant(decode_records(payload), instant_of).items():
        yield instant, encode_records(piece)


@dataclass(frozen=True, slots=True)
class Parsed:
    """Records of one topic in the order they came, and the origin of each."""

    topic: str
    records: list[Input]
    origins: list[Origin]

    def encoded(self) -> bytes:
        """The records as they travel to a shard."""
        return encode_records(Records({self.topic: self.records}, {self.topic: self.origins}))


class ParsedCoder(beam.coders.Coder):
    """For an engine that cuts the graph behind ParseRecords; others ask for a size only, which need not be encoded."""

    #: Bytes of a record in memory, roughly.
    SIZE = 300

    def encode(self, value: Parsed) -> bytes:
        """The records as they travel to a shard."""
        return value.encoded()

    def decode(self, encoded: bytes) -> Parsed:
        """The inverse of encode."""
        found = decode_records(encoded)
        ((topic, records),) = found.batches.items()
        return Parsed(topic, records, found.origins[topic])

    def estimate_size(self, value: Parsed) -> int:
        """Bytes, by their number."""
        return self.SIZE * len(value.records)

    def is_deterministic(self) -> bool:
        """Equal records have equal bytes."""
        return True


beam.coders.registry.register_coder(Parsed, ParsedCoder)
