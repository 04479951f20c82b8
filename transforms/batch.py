"""BatchByShard: the records of a bundle as one element per account shard; every shard sees the market."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import WindowedValue

from schemas.ids import shard_of
from schemas.inputs import Input
from schemas.topics import BY_NAME
from transforms.records import Origin, Parsed, Records, by_instant, encode_records, first_stamp


@dataclass(eq=False)
class BatchByShard(beam.PTransform):
    """Parsed in, (shard, bytes) out.

    Fields:
      shards: fixed for a job; cannot change an output.
      instant_of: an element has the records of one instant, so that the fold need not take it apart, and of its prices
        those that matter; None: whatever came together.
    """

    shards: int
    instant_of: Callable[[Any], Any] | None = None

    def expand(self, records: beam.PCollection) -> beam.PCollection:
        """Collect a bundle's records and send them on when it ends."""
        return records | "Batch" >> beam.ParDo(_Batch(self.shards, self.instant_of)).with_output_types(
            tuple[int, bytes]
        )


class _Batch(beam.DoFn):
    #: A bundle of a file may be a whole day: beyond this many records it is sent on in parts.
    FLUSH = 8_000

    def __init__(self, shards: int, instant_of: Callable[[Any], Any] | None) -> None:
        self.shards, self.instant_of = shards, instant_of

    def start_bundle(self) -> None:
        self.market = Records()
        self.own: defaultdict[int, Records] = defaultdict(Records)
        self.count = 0

    def process(self, element: Parsed) -> Iterable[Any]:
        topic, records = element.topic, element.records
        self.count += len(records)
        if BY_NAME[topic].market:
            self.market.add(topic, records, element.origins)
        else:
            mine: defaultdict[int, tuple[list[Input], list[Origin]]] = defaultdict(lambda: ([], []))
            for record, origin in zip(records, element.origins, strict=True):
                own, origins = mine[shard_of(record.account_id, self.shards)]  # type: ignore[attr-defined]
                own.append(record)
                origins.append(origin)
            for shard, part in mine.items():
                self.own[shard].add(topic, *part)
        if self.count >= self.FLUSH:
            for value in self._drain():
                yield value.value

    def finish_bundle(self) -> Iterator[WindowedValue]:
        yield from self._drain()

    def _drain(self) -> Iterator[WindowedValue]:
        market = self._payloads(self.market) if self.market else []
        for shard in range(self.shards):
            own = self._payloads(self.own[shard]) if shard in self.own else []
            yield from (_stamped(shard, payload) for payload in (*own, *market))
        self.start_bundle()

    def _payloads(self, records: Records) -> list[bytes]:
        if self.instant_of is None:
            return [encode_records(records)]
        return [encode_records(piece.conflated()) for piece in by_instant(records, self.instant_of).values()]


def _stamped(shard: int, payload: bytes) -> WindowedValue:
    stamp = Timestamp(micros=first_stamp(payload))
    return WindowedValue((shard, payload), stamp, (GlobalWindow(),))
