"""Records on their way to a shard: by topic, as MessagePack, compressed: engines keep several copies of what waits.

Nearly all that comes is prices. They travel as columns, which cost a fraction of a record each, and are not sorted
among the rest, since no order of theirs matters (docs/adr/0011).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain, groupby, repeat
from operator import call
from typing import Any

import apache_beam as beam
import msgspec
import numpy as np
import zstandard

from risk.ticks import STATUSES, Ticks, joined_ticks
from schemas.inputs import Input, Price
from schemas.scalars import Time
from schemas.topics import BY_NAME, BY_RECORD, PRICES

#: Where a record came from: its partition in the upper 16 bits, its offset in the lower 48; NOWHERE: it was made here.
Origin = int
NOWHERE = -1


def origin_of(partition: int, offset: int) -> Origin:
    """Partition and offset as one number."""
    return partition << 48 | offset


def place_of(origin: Origin) -> tuple[int, int]:
    """Partition and offset; -1 and -1 of NOWHERE."""
    return (-1, -1) if origin == NOWHERE else (origin >> 48, origin & (1 << 48) - 1)


def ticks_of(prices: Sequence[Price]) -> Ticks:
    """Prices as the market takes them."""
    return Ticks.of(
        [price.symbol for price in prices],
        [price.source for price in prices],
        arrived_at=[price.arrived_at or 0 for price in prices],
        as_of=[price.as_of for price in prices],
        sequence=[price.sequence for price in prices],
        price=[price.price for price in prices],
        status=[_STATUS[price.status] for price in prices],
        volatility=[price.implied_volatility or math.nan for price in prices],
    )


def prices_of(ticks: Ticks) -> Iterator[Price]:
    """The inverse of ticks_of."""
    names = ("arrived_at", "as_of", "sequence", "price", "status", "volatility")
    columns = (getattr(ticks, name).tolist() for name in names)
    for symbol, source, arrived_at, as_of, sequence, price, status, volatility in zip(
        ticks.symbols, ticks.sources, *columns, strict=True
    ):
        yield Price(
            symbol=symbol,
            price=price,
            as_of=Time(as_of),
            source=source,
            status=STATUSES[status],  # type: ignore[arg-type]
            implied_volatility=None if math.isnan(volatility) else volatility,
            sequence=sequence,
            arrived_at=Time(arrived_at),
        )


_STATUS = {name: place for place, name in enumerate(STATUSES)}


@dataclass(frozen=True, slots=True)
class Records:
    """Records by topic and the origin of each in the same order; apart from them the prices, as ticks in parts.

    A price has no origin here: whatever could be wrong with it was found when it was parsed.
    """

    batches: dict[str, list[Input]] = field(default_factory=dict)
    origins: dict[str, list[Origin]] = field(default_factory=dict)
    parts: list[Ticks] = field(default_factory=list)

    def add(self, topic: str, records: Iterable[Any], origins: Iterable[Origin]) -> None:
        """Add records of a topic."""
        if topic == PRICES.name:
            self.parts.append(ticks_of(list(records)))
        else:
            self.batches.setdefault(topic, []).extend(records)
            self.origins.setdefault(topic, []).extend(origins)

    @classmethod
    def of(cls, records: Iterable[Input]) -> Records:
        """Records of any topics, whose origins are their numbers."""
        found = cls()
        for number, record in enumerate(records):
            found.add(BY_RECORD[type(record)].name, (record,), (number,))
        return found

    @property
    def ticks(self) -> Ticks:
        """The prices."""
        if len(self.parts) != 1:
            self.parts[:] = [joined_ticks(self.parts)]
        return self.parts[0]

    def __bool__(self) -> bool:
        return bool(self.batches) or len(self.ticks) > 0

    def __iter__(self) -> Iterator[Input]:
        """Every record."""
        return chain(self.others(), prices_of(self.ticks))

    def others(self) -> Iterator[Input]:
        """Every record that is no price."""
        return chain.from_iterable(self.batches.values())

    def items(self) -> Iterator[tuple[str, Input, Origin]]:
        """(topic, record, origin) of every record that is no price."""
        for topic, batch in self.batches.items():
            yield from zip(repeat(topic), batch, self.origins[topic], strict=False)

    def conflated(self) -> Records:
        """These records, of one instant, with the newest price of each symbol and kind, all that the market keeps."""
        return Records(self.batches, self.origins, [self.ticks.conflated()])

    def stamps(self) -> list[int]:
        """When each arrived, microseconds."""
        return [*(record.arrived_at or 0 for record in self.others()), *self.ticks.arrived_at.tolist()]


_ENCODER = msgspec.msgpack.Encoder(enc_hook=int)


@cache
def _decoder(topic: str) -> msgspec.msgpack.Decoder:
    kind: Any = BY_NAME[topic].record
    return msgspec.msgpack.Decoder(list[kind], dec_hook=call)


def encode_records(records: Records) -> bytes:
    """Records as compressed MessagePack, behind the stamps of the first and the last, which sort them."""
    stamps = records.stamps()
    batches = {topic: (_ENCODER.encode(batch), records.origins[topic]) for topic, batch in records.batches.items()}
    ticks = records.ticks
    content = _ENCODER.encode((batches, ticks.symbols, ticks.sources, ticks.columns()))
    return min(stamps).to_bytes(8, "big") + max(stamps).to_bytes(8, "big") + zstandard.compress(content, 1)


def first_stamp(payload: bytes) -> int:
    """When the earliest record of a payload arrived, microseconds."""
    return int.from_bytes(payload[:8], "big")


def last_stamp(payload: bytes) -> int:
    """When the latest record of a payload arrived, microseconds."""
    return int.from_bytes(payload[8:16], "big")


def decode_records(payload: bytes) -> Records:
    """The inverse of encode_records."""
    content = zstandard.decompress(memoryview(payload)[16:])
    batches, symbols, sources, columns = msgspec.msgpack.decode(content)
    found = Records(parts=[Ticks.of(symbols, sources, **columns)])
    for topic, (batch, origins) in batches.items():
        found.batches[topic], found.origins[topic] = _decoder(topic).decode(batch), origins
    return found


def split_records(records: Records, before: int) -> tuple[Records | None, Records | None]:
    """The records that arrived before the instant (microseconds), and the others."""
    now, later = Records(), Records()
    ticks = records.ticks
    early = ticks.arrived_at < before
    for part, chosen in ((now, early), (later, ~early)):
        if chosen.any():
            part.parts.append(ticks if chosen.all() else ticks.at(np.flatnonzero(chosen)))
    for topic, record, origin in records.items():
        (now if (record.arrived_at or 0) < before else later).add(topic, (record,), (origin,))
    return now or None, later or None


def by_instant(records: Records, instant_of: Callable[[Any], Any]) -> dict[int, Records]:
    """Records by the instant that they are processed at; instant_of takes a stamp, or an array of them."""
    pieces: defaultdict[int, Records] = defaultdict(Records)
    ticks = records.ticks
    instants, which = np.unique(instant_of(ticks.arrived_at), return_inverse=True)
    for place, instant in enumerate(instants.tolist()):
        pieces[instant].parts.append(ticks if len(instants) == 1 else ticks.at(np.flatnonzero(which == place)))
    for topic, batch in records.batches.items():
        origins, at = records.origins[topic], 0
        for instant, run in groupby(batch, lambda record: instant_of(record.arrived_at or 0)):
            first, at = at, at + sum(1 for _ in run)
            pieces[instant].add(topic, batch[first:at], origins[first:at])
    return pieces


def pieces_of(payload: bytes, instant_of: Callable[[Any], Any]) -> Iterator[tuple[int, bytes]]:
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
        travelling = Records()
        travelling.add(self.topic, self.records, self.origins)
        return encode_records(travelling)


class ParsedCoder(beam.coders.Coder):
    """For an engine that cuts the graph behind ParseRecords; others ask for a size only, which need not be encoded."""

    #: Bytes of a record in memory, roughly.
    SIZE = 300

    def encode(self, value: Parsed) -> bytes:
        """All of it as MessagePack."""
        return _ENCODER.encode((value.topic, _ENCODER.encode(value.records), value.origins))

    def decode(self, encoded: bytes) -> Parsed:
        """The inverse of encode."""
        topic, records, origins = msgspec.msgpack.decode(encoded)
        return Parsed(topic, _decoder(topic).decode(records), origins)

    def estimate_size(self, value: Parsed) -> int:
        """Bytes, by their number."""
        return self.SIZE * len(value.records)

    def is_deterministic(self) -> bool:
        """Equal records have equal bytes."""
        return True


beam.coders.registry.register_coder(Parsed, ParsedCoder)
