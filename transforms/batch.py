"""BatchByShard: the records of a bundle as one element per account shard; every shard sees the market."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import WindowedValue

from schemas.ids import shard_of
from schemas.topics import BY_NAME
from transforms.records import Parsed, Records, encode_records


@dataclass(eq=False)
class BatchByShard(beam.PTransform):
    """Parsed in, (shard, bytes) out; shards is fixed for a job and cannot change an output."""

    shards: int

    def expand(self, records: beam.PCollection) -> beam.PCollection:
        """Collect a bundle's records and send them on when it ends."""
        return records | "Batch" >> beam.ParDo(_Batch(self.shards)).with_output_types(tuple[int, bytes])


class _Batch(beam.DoFn):
    #: A bundle of a file may be a whole day: beyond this many records it is sent on in parts.
    FLUSH = 8_000

    def __init__(self, shards: int) -> None:
        self.shards = shards

    def start_bundle(self) -> None:
        self.market: Records = {}
        self.own: dict[int, Records] = {}
        self.count = 0

    def process(self, element: Parsed) -> Iterable[Any]:
        topic, records = element.topic, element.records
        self.count += len(records)
        if BY_NAME[topic].market:
            self.market.setdefault(topic, []).extend(records)
        else:
            for record in records:
                shard = shard_of(record.account_id, self.shards)  # type: ignore[attr-defined]
                self.own.setdefault(shard, {}).setdefault(topic, []).append(record)
        if self.count >= self.FLUSH:
            for value in self._drain():
                yield value.value

    def finish_bundle(self) -> Iterator[WindowedValue]:
        yield from self._drain()

    def _drain(self) -> Iterator[WindowedValue]:
        market = encode_records(self.market) if self.market else None
        first = min((r.arrived_at or 0 for b in self.market.values() for r in b), default=None)
        for shard in range(self.shards):
            own = self.own.get(shard)
            if own:
                stamp = min(r.arrived_at or 0 for b in own.values() for r in b)
                yield _stamped((shard, encode_records(own)), stamp)
            if market is not None and first is not None:
                yield _stamped((shard, market), first)
        self.market, self.own, self.count = {}, {}, 0


def _stamped(value: Any, microseconds: int) -> WindowedValue:
    return WindowedValue(value, Timestamp(micros=microseconds), (GlobalWindow(),))
