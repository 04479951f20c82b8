"""The archive's first fold: the records of a partition as chained objects; transforms.digests is behind it.

Both are pure, like every fold: what is written, and when, follows from the records and their stamps alone. So a writer
that was killed writes the same objects again, under the same names.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import zstandard

from risk.market import NEVER
from schemas.archive import (
    NOTHING,
    Head,
    Part,
    Received,
    hour_of,
    link_of,
    object_name,
)
from schemas.scalars import Time
from transforms.cells import decode_cell, encode_cell
from transforms.parse import Raw

#: What comes out of these folds, for the engine's coder.
Encoded = bytes


class Block(msgspec.Struct, frozen=True):
    """Records of a partition as they came. stamps: microseconds, none before the one in front of it."""

    topic: str
    partition: int
    offsets: list[int]
    stamps: list[int]
    values: list[bytes]


class Draft(msgspec.Struct, frozen=True):
    """An object that is to be written. part: without its content's hash, which is of what is written."""

    part: Part
    records: list[Received]


def block_of(raw: Raw) -> tuple[str, Encoded]:
    """A raw element, whose stamps are the broker's, keyed by its topic and partition."""
    stamps, latest = [], 0
    for stamp in raw.arrived_at or ():
        stamps.append(latest := max(latest, int(stamp)))
    block = Block(raw.topic, raw.partition, list(raw.offsets), stamps, list(raw.values))
    head = stamps[0].to_bytes(8, "big") + block.offsets[0].to_bytes(8, "big")
    return f"{raw.topic}/{raw.partition}", head + zstandard.compress(_ENCODER.encode(block), 1)


_ENCODER = msgspec.msgpack.Encoder(enc_hook=int)


def _decode_hook(kind: type, value: Any) -> Any:
    return kind(value)


_BLOCK = msgspec.msgpack.Decoder(Block)
_DRAFT = msgspec.msgpack.Decoder(Draft, dec_hook=_decode_hook)


def encode_draft(draft: Draft) -> Encoded:
    """A draft on its way to whoever writes it."""
    return zstandard.compress(_ENCODER.encode(draft), 1)


def decode_draft(payload: Encoded) -> Draft:
    """The inverse of encode_draft."""
    return _DRAFT.decode(zstandard.decompress(payload))


class PartitionState:
    """A partition as it is known. now: microseconds, -1: nothing came yet.

    place: its topic and number. begin, previous: of the object that is open, which has these records. last: when the
    last record was received.
    """

    def __init__(self) -> None:
        self.now = -1
        self.place: tuple[str, int] | None = None
        self.begin = 0
        self.previous = self.link = NOTHING
        self.last = 0
        self.records: list[Received] = []
        self.dirty = False

    def load(self, read: Callable[[str], bytes | None]) -> None:
        """Take what drain gave."""
        payload = read("open")
        if payload is not None:
            self.now, place, self.begin, self.previous, self.link, self.last, records = decode_cell(payload)
            self.place = None if place is None else (place[0], place[1])
            self.records = [
                Received(offset=offset, received_at=Time(at), value=value, link=link)
                for offset, at, value, link in records
            ]

    def drain(self) -> Iterator[tuple[str, bytes]]:
        """The cell, if it changed."""
        if self.dirty:
            records = [(own.offset, int(own.received_at), own.value, own.link) for own in self.records]
            head = (self.now, self.place, self.begin, self.previous, self.link, self.last)
            yield "open", encode_cell((*head, records))
        self.dirty = False


@dataclass(frozen=True)
class KeepPartition:
    """Chains the records of a topic and partition, and cuts them into objects: a fold for InTimeOrder.

    Fields:
      log: whose offsets they are. records, seconds: that an object has at most, and that it covers at most.
      heads: where the chains of partitions go on from; of the others at their beginning.
      horizon: where a replayed day ends, microseconds; None live.
    """

    log: str
    records: int
    seconds: int = 3600
    heads: tuple[Head, ...] = ()
    horizon: int | None = None

    cells = ("open",)
    output = bytes
    #: Objects are cut at whole seconds; a wake-up for each is enough.
    interval = 1_000_000

    start = staticmethod(PartitionState)

    def decode(self, payload: bytes) -> Block:
        """A block."""
        return _BLOCK.decode(zstandard.decompress(memoryview(payload)[16:]))

    def instant_of(self, stamp: int) -> int:
        """The first second after the stamp."""
        return (stamp // self.interval + 1) * self.interval

    def first_stamp(self, payload: bytes) -> int:
        """When the first record of a block was received."""
        return int.from_bytes(payload[:8], "big")

    def pieces(self, payload: bytes) -> Iterator[tuple[int, bytes]]:
        """A payload as one payload for each instant that its records are processed at."""
        block = self.decode(payload)
        begin = 0
        for end in range(1, len(block.stamps) + 1):
            if end == len(block.stamps) or self.instant_of(block.stamps[end]) != self.instant_of(block.stamps[begin]):
                piece = payload if end - begin == len(block.stamps) else _encoded(_between(block, begin, end))
                yield self.instant_of(block.stamps[begin]), piece
                begin = end

    def stamps(self, element: Block) -> list[int]:
        """When each record was received."""
        return element.stamps

    def split(self, element: Block, before: int) -> tuple[Block | None, Block | None]:
        """The records that instant `before` sees, and the rest."""
        seen = sum(stamp < before for stamp in element.stamps)
        count = len(element.stamps)
        return (
            _between(element, 0, seen) if seen else None,
            _between(element, seen, count) if seen < count else None,
        )

    def next_deadline(self, state: PartitionState) -> int:
        """When the hour of the open object is over."""
        return self._end(state.last) if state.records else NEVER

    def _end(self, received_at: int) -> int:
        return hour_of(received_at, self.seconds) + self.seconds * 1_000_000

    def advance(
        self, state: PartitionState, arrivals: Iterable[Block], until: int
    ) -> Generator[Encoded, None, Mapping[str, int]]:
        """Chain what arrived; an object leaves when it is full, or when nothing more of its hour can come."""
        for block in sorted(arrivals, key=lambda own: own.offsets[0]):
            yield from self._take(state, block)
        if state.records and until >= self._end(state.last):
            yield self._cut(state)
        state.now, state.dirty = until, True
        return {}

    def _take(self, state: PartitionState, block: Block) -> Iterator[Encoded]:
        if state.place is None:
            state.place = block.topic, block.partition
            for head in self.heads:
                if (head.topic, head.partition) == state.place:
                    state.begin, state.previous, state.link = head.end, head.link, head.link
        # What came behind the watermark, after its hour was sealed, is of the hour that is open.
        open_hour = int(hour_of(state.now, self.seconds)) if state.now >= 0 else 0
        for offset, stamp, value in zip(block.offsets, block.stamps, block.values, strict=True):
            received_at = max(stamp, state.last, open_hour)
            if state.records and (received_at >= self._end(state.last) or len(state.records) >= self.records):
                yield self._cut(state)
            state.link = link_of(state.link, self.log, block.topic, block.partition, offset, received_at, value)
            state.records.append(Received(offset=offset, received_at=Time(received_at), value=value, link=state.link))
            state.last = received_at

    def _cut(self, state: PartitionState) -> Encoded:
        topic, partition = state.place or ("", 0)
        hour, end = hour_of(state.last, self.seconds), state.records[-1].offset + 1
        part = Part(
            name=object_name(self.log, topic, partition, hour, state.begin),
            topic=topic,
            partition=partition,
            begin=state.begin,
            end=end,
            records=len(state.records),
            previous=state.previous,
            link=state.link,
            content="",
        )
        draft = encode_draft(Draft(part, state.records))
        state.begin, state.previous, state.records = end, state.link, []
        return draft


def _between(block: Block, begin: int, end: int) -> Block:
    if end - begin == len(block.offsets):
        return block
    return Block(
        block.topic, block.partition, block.offsets[begin:end], block.stamps[begin:end], block.values[begin:end]
    )


def _encoded(block: Block) -> bytes:
    return block_of(Raw(block.topic, block.partition, block.offsets, block.values, block.stamps))[1]
