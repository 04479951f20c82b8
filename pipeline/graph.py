"""The whole graph. Read it beside the picture in the README."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import apache_beam as beam

from risk.margin import compute_margin, itemize_margin
from risk.rulebook import Rulebook
from risk.sessions import Sessions
from risk.stress import run_severe, run_stress
from risk.tims import run_tims
from transforms.batch import BatchByShard
from transforms.enforce import Enforce
from transforms.firm import TotalFirm, is_line, parts_of
from transforms.lines import Lines
from transforms.monitor import Monitor
from transforms.ordered import InTimeOrder
from transforms.parse import DEADLETTERS, RECORDS, Bounds, Decode, ParseRecords, plain
from transforms.positions import UpdatePositions


@dataclass(eq=False)
class MonitorMargin(beam.PTransform):
    """Raw records in; (topic, lines) out, of the shards, of the firm and of the dead letters of parsing.

    Fields:
      rulebooks: by effective_at. sessions: the calendar around the day. bounds: the day, and clock tolerances.
      interval: the grid, microseconds. shards: of accounts; cannot change an output.
      decoder: makes, on a worker, what turns values into records.
      publish_all: publish every touched account at every instant. bounded: force a path of InTimeOrder (tests).
    """

    rulebooks: tuple[Rulebook, ...]
    sessions: Sessions
    bounds: Bounds
    interval: int
    shards: int
    decoder: Callable[[], Decode] = plain
    publish_all: bool = False
    bounded: bool | None = None

    @property
    def fold(self) -> Monitor:
        """What each shard does, instant by instant."""
        decided, told = (compute_margin, run_severe), (itemize_margin, run_stress, run_tims)
        return Monitor(
            rulebooks=self.rulebooks,
            sessions=self.sessions,
            update=UpdatePositions(),
            measures=decided,
            enforce=Enforce(decided, told, self.rulebooks, publish_all=self.publish_all),
            interval=self.interval,
            horizon=self.bounds.closes_at,
        )

    def expand(self, raws: beam.PCollection) -> tuple[beam.PCollection, ...]:
        """Parse, batch by shard, fold in time order; what the shards say of the firm, added up."""
        parsed = raws | "ParseRecords" >> ParseRecords(self.bounds, self.decoder)
        fold, bounded = self.fold, raws.is_bounded if self.bounded is None else self.bounded
        blocks = parsed[RECORDS] | "BatchByShard" >> BatchByShard(self.shards, None if bounded else fold.instant_of)
        outputs = blocks | "Monitor" >> InTimeOrder(fold, name="monitor", bounded=bounded)
        parts = outputs | "Parts" >> beam.FlatMap(parts_of).with_output_types(tuple[str, bytes])
        firm = parts | "Firm" >> InTimeOrder(TotalFirm(fold.horizon, fold.interval), name="firm", bounded=bounded)
        lines = outputs | "Lines" >> beam.Filter(is_line).with_output_types(Lines)
        return lines, firm, parsed[DEADLETTERS]
