"""Records on their way to a shard: by topic, as MessagePack, compressed: engines keep several copies of what waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import apache_beam as beam
import msgspec
import zstandard

from schemas.inputs import Input
from schemas.topics import BY_NAME

Records = dict[str, list[Input]]

_ENCODER = msgspec.msgpack.Encoder(enc_hook=int)


@cache
def _decoder(topic: str) -> msgspec.msgpack.Decoder:
    kind: Any = BY_NAME[topic].record
    return msgspec.msgpack.Decoder(list[kind], dec_hook=_scalar)


def _scalar(kind: type, value: Any) -> Any:
    return kind(value)


def encode_records(records: Records) -> bytes:
    """Records by topic as compressed MessagePack behind the stamp of the earliest, so that payloads sort by it."""
    first = min(record.arrived_at or 0 for batch in records.values() for record in batch)
    content = _ENCODER.encode({topic: _ENCODER.encode(batch) for topic, batch in records.items()})
    return first.to_bytes(8, "big") + zstandard.compress(content, 1)


def first_stamp(payload: bytes) -> int:
    """When the earliest record of a payload arrived, microseconds."""
    return int.from_bytes(payload[:8], "big")


def decode_records(payload: bytes) -> Records:
    """The inverse of encode_records."""
    return {
        topic: _decoder(topic).decode(batch)
        for topic, batch in msgspec.msgpack.decode(zstandard.decompress(memoryview(payload)[8:])).items()
    }


def split_records(records: Records, before: int) -> tuple[Records | None, Records | None]:
    """The records that arrived before the instant (microseconds), and the others."""
    now: Records = {}
    later: Records = {}
    for topic, batch in records.items():
        for record in batch:
            (now if (record.arrived_at or 0) < before else later).setdefault(topic, []).append(record)
    return now or None, later or None


def pieces_of(payload: bytes, instant_of: Callable[[int], int]) -> Iterator[tuple[int, bytes]]:
    """A payload by the instant that its records are processed at, each with a payload of its own."""
    pieces: dict[int, Records] = {}
    for topic, batch in decode_records(payload).items():
        for record in batch:
            pieces.setdefault(instant_of(record.arrived_at or 0), {}).setdefault(topic, []).append(record)
    if len(pieces) == 1:
        yield next(iter(pieces)), payload
    else:
        yield from ((instant, encode_records(piece)) for instant, piece in pieces.items())


@dataclass(frozen=True, slots=True)
class Parsed:
    """Records of one topic in the order they came."""

    topic: str
    records: list[Input]


class ParsedCoder(beam.coders.Coder):
    """For an engine that cuts the graph behind ParseRecords; others ask for a size only, which need not be encoded."""

    #: Bytes of a record in memory, roughly.
    SIZE = 300

    def encode(self, value: Parsed) -> bytes:
        """The records as they travel to a shard."""
        return encode_records({value.topic: value.records})

    def decode(self, encoded: bytes) -> Parsed:
        """The inverse of encode."""
        ((topic, records),) = decode_records(encoded).items()
        return Parsed(topic, records)

    def estimate_size(self, value: Parsed) -> int:
        """Bytes, by their number."""
        return self.SIZE * len(value.records)

    def is_deterministic(self) -> bool:
        """Equal records have equal bytes."""
        return True


beam.coders.registry.register_coder(Parsed, ParsedCoder)
