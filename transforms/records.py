"""Records on their way to a shard: by topic, as MessagePack, compressed: engines keep several copies of what waits.

Nearly all that comes is prices. They travel as ticks, plain tuples that cost a fifth of a record to decode, and are not
sorted among the rest, since no order of theirs matters (docs/adr/0011).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import chain, groupby, repeat
from operator import call, itemgetter
from typing import Any

import apache_beam as beam
import msgspec
import zstandard

from risk.market import Tick
from schemas.inputs import Input, Price
from schemas.scalars import Time
from schemas.topics import BY_NAME, PRICES

#: Where a record came from: its partition in the upper 16 bits, its offset in the lower 48; NOWHERE: it was made here.
Origin = int
NOWHERE = -1


def origin_of(partition: int, offset: int) -> Origin:
    """Partition and offset as one number."""
    return partition << 48 | offset


def place_of(origin: Origin) -> tuple[int, int]:
    """Partition and offset; -1 and -1 of NOWHERE."""
    return (-1, -1) if origin == NOWHERE else (origin >> 48, origin & (1 << 48) - 1)


def tick_of(price: Price) -> Tick:
    """A price as the market takes it."""
    newest = int(price.as_of), price.sequence, price.source, price.price, price.status
    return int(price.arrived_at or 0), price.symbol, newest, price.implied_volatility


def price_of(tick: Tick) -> Price:
    """The inverse of tick_of."""
    arrived_at, symbol, (as_of, sequence, source, price, status), volatility = tick
    return Price(
        symbol=symbol,
        price=price,
        as_of=Time(as_of),
        source=source,
        status=status,  # type: ignore[arg-type]
        implied_volatility=volatility,
        sequence=sequence,
        arrived_at=Time(arrived_at),
    )


#: When a tick arrived, microseconds.
ticked_at: Callable[[Tick], int] = itemgetter(0)


@dataclass(frozen=True, slots=True)
class Records:
    """Records by topic and the origin of each in the same order; apart from them the prices, as ticks.

    A price has no origin here: whatever could be wrong with it was found when it was parsed.
    """

    batches: dict[str, list[Input]] = field(default_factory=dict)
    origins: dict[str, list[Origin]] = field(default_factory=dict)
    ticks: list[Tick] = field(default_factory=list)

    def add(self, topic: str, records: Iterable[Any], origins: Iterable[Origin]) -> None:
        """Add records of a topic."""
        if topic == PRICES.name:
            self.ticks.extend(map(tick_of, records))
        else:
            self.batches.setdefault(topic, []).extend(records)
            self.origins.setdefault(topic, []).extend(origins)

    def __bool__(self) -> bool:
        return bool(self.batches or self.ticks)

    def __iter__(self) -> Iterator[Input]:
        """Every record."""
        return chain(self.others(), map(price_of, self.ticks))

    def others(self) -> Iterator[Input]:
        """Every record that is no price."""
        return chain.from_iterable(self.batches.values())

    def items(self) -> Iterator[tuple[str, Input, Origin]]:
        """(topic, record, origin) of every record that is no price."""
        for topic, batch in self.batches.items():
            yield from zip(repeat(topic), batch, self.origins[topic], strict=False)

    def conflated(self) -> Records:
        """These records, of one instant, with the newest price of each symbol and kind, all that the market keeps."""
        newest: dict[tuple[str, str], Tick] = {}
        for tick in self.ticks:
            kind = tick[1], tick[2][4]
            was = newest.get(kind)
            if was is None or tick[2] > was[2]:
                newest[kind] = tick
        return Records(self.batches, self.origins, list(newest.values()))

    def stamps(self) -> list[int]:
        """When each arrived, microseconds."""
        return [*(record.arrived_at or 0 for record in self.others()), *map(ticked_at, self.ticks)]


_ENCODER = msgspec.msgpack.Encoder(enc_hook=int)


@cache
def _decoder(topic: str) -> msgspec.msgpack.Decoder:
    kind: Any = BY_NAME[topic].record
    return msgspec.msgpack.Decoder(list[kind], dec_hook=call)


_TICKS = msgspec.msgpack.Decoder(list[Tick])


def encode_records(records: Records) -> bytes:
    """Records as compressed MessagePack, behind the stamps of the first and the last, which sort them."""
    stamps = records.stamps()
    batches = {topic: (_ENCODER.encode(batch), records.origins[topic]) for topic, batch in records.batches.items()}
    content = _ENCODER.encode((batches, _ENCODER.encode(records.ticks)))
    return min(stamps).to_bytes(8, "big") + max(stamps).to_bytes(8, "big") + zstandard.compress(content, 1)


def first_stamp(payload: bytes) -> int:
    """When the earliest record of a payload arrived, microseconds."""
    return int.from_bytes(payload[:8], "big")


def last_stamp(payload: bytes) -> int:
    """When the latest record of a payload arrived, microseconds."""
    return int.from_bytes(payload[8:16], "big")


def decode_records(payload: bytes) -> Records:
    """The inverse of encode_records."""
    batches, ticks = msgspec.msgpack.decode(zstandard.decompress(memoryview(payload)[16:]))
    found = Records(ticks=_TICKS.decode(ticks))
    for topic, (batch, origins) in batches.items():
        found.batches[topic], found.origins[topic] = _decoder(topic).decode(batch), origins
    return found


def split_records(records: Records, before: int) -> tuple[Records | None, Records | None]:
    """The records that arrived before the instant (microseconds), and the others."""
    now, later = Records(), Records()
    for tick in records.ticks:
        (now if ticked_at(tick) < before else later).ticks.append(tick)
    for topic, record, origin in records.items():
        (now if (record.arrived_at or 0) < before else later).add(topic, (record,), (origin,))
    return now or None, later or None


def by_instant(records: Records, instant_of: Callable[[int], int]) -> dict[int, Records]:
    """Records by the instant that they are processed at."""
    pieces: defaultdict[int, Records] = defaultdict(Records)
    # Neighbours mostly are of one instant.
    for instant, ticks in groupby(records.ticks, lambda tick: instant_of(ticked_at(tick))):
        pieces[instant].ticks.extend(ticks)
    for topic, batch in records.batches.items():
        origins, at = records.origins[topic], 0
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
