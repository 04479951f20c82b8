"""What a live run does, as a table that follows it: levels, calls, lag, events per second."""

from __future__ import annotations

import time
from collections import Counter, deque
from contextlib import suppress
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaException, Message, TopicPartition
from rich.console import Group
from rich.table import Table
from rich.text import Text

from ops.firm import firm_of
from pipeline.job import LiveJob
from pipeline.registry import unframed
from risk.ladder import LEVELS
from schemas.codec import from_json
from schemas.outputs import AccountState, Alert, FirmTotals, Liquidation, MarginCall, Restriction
from schemas.topics import (
    ACCOUNTS_STATE,
    ALERTS,
    BY_NAME,
    FIRM_TOTALS,
    INPUTS,
    LIQUIDATIONS,
    MARGIN_CALLS,
    RESTRICTIONS,
)

FOLLOWED = (ACCOUNTS_STATE, ALERTS, MARGIN_CALLS, RESTRICTIONS, LIQUIDATIONS, FIRM_TOTALS)
#: Of the newest outputs, that the lag is told of.
RECENT = 1000
#: Seconds that rates are told over.
WINDOW = 10


class Watch:
    """Follows the outputs of a live job from its topics; where every account stands comes from their whole content."""

    def __init__(self, job: LiveJob) -> None:
        """Connect. Raises KafkaException where the brokers do not answer."""
        self.job, self.decode = job, job.formats.decoder()
        self.consumer = job.kafka.reader("watch")
        topics = self.consumer.list_topics(timeout=30).topics
        self.inputs = [TopicPartition(t.name, p) for t in INPUTS for p in topics[t.name].partitions]
        begin = {ALERTS.name: OFFSET_END}
        self.consumer.assign(
            [
                TopicPartition(t.name, p, begin.get(t.name, OFFSET_BEGINNING))
                for t in FOLLOWED
                for p in topics[t.name].partitions
            ]
        )
        self.levels: dict[str, str] = {}
        self.firm: FirmTotals | None = None
        self.open: dict[str, set[str]] = {t.name: set() for t in (MARGIN_CALLS, RESTRICTIONS, LIQUIDATIONS)}
        self.alerts: deque[Alert] = deque(maxlen=6)
        self.lags: deque[float] = deque(maxlen=RECENT)
        self.sent: deque[tuple[float, int]] = deque()
        self.published: deque[tuple[float, int]] = deque()
        self.seen = 0

    def poll(self, seconds: float) -> None:
        """Take in what came within the time."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            for message in self.consumer.consume(5_000, left):
                if message.error() is None and message.value() is not None:
                    self.take(message)
        with suppress(KafkaException):
            ends = [self.consumer.get_watermark_offsets(place, timeout=2)[1] for place in self.inputs]
            self._note(self.sent, sum(ends))
        self._note(self.published, self.seen)

    def take(self, message: Message) -> None:
        """Take in one output."""
        topic, value = str(message.topic()), bytes(message.value() or b"")
        record: Any = from_json(BY_NAME[topic].record, unframed(self.decode, topic, value))
        self.seen += 1
        match record:
            case AccountState():
                self.levels[record.account_id] = record.level
            case FirmTotals():
                self.firm = record
            case Alert():
                self.alerts.appendleft(record)
                self.lags.append(message.timestamp()[1] / 1000 - record.as_of / 1e6)
            case MarginCall() | Restriction() | Liquidation():
                if record.supersedes is None:
                    self.open[topic].add(record.account_id)
                else:
                    self.open[topic].discard(record.account_id)

    @staticmethod
    def _note(counts: deque[tuple[float, int]], total: int) -> None:
        counts.append((time.monotonic(), total))
        while counts[-1][0] - counts[0][0] > WINDOW:
            counts.popleft()

    @staticmethod
    def _rate(counts: deque[tuple[float, int]]) -> float:
        if len(counts) < 2:
            return 0.0
        (begin, first), (end, last) = counts[0], counts[-1]
        return (last - first) / max(end - begin, 1e-9)

    def rows(self) -> list[tuple[str, str]]:
        """Name and value of every figure."""
        levels, lags = Counter(self.levels.values()), sorted(self.lags)
        lag = f"{lags[len(lags) // 2]:.2f} s, 99%: {lags[len(lags) * 99 // 100]:.2f} s" if lags else "no alert yet"
        opened = (len(self.open[t.name]) for t in (MARGIN_CALLS, RESTRICTIONS, LIQUIDATIONS))
        return [
            ("events in", f"{self._rate(self.sent):,.0f} a second"),
            ("events out", f"{self._rate(self.published):,.0f} a second (levels and consequences)"),
            ("alerts behind their instant", lag),
            ("accounts by level", ", ".join(f"{levels[level]:,} {level}" for level in LEVELS)),
            ("open", "{:,} calls, {:,} restrictions, {:,} liquidations".format(*opened)),
            ("firm", "no totals yet" if self.firm is None else firm_of(self.firm).summary()),
        ]

    def render(self) -> Group:
        """The table and the newest alerts."""
        table = Table.grid(padding=(0, 2))
        for name, value in self.rows():
            table.add_row(Text(name, style="bold"), value)
        told = [Text(f"{a.as_of.text()}  {a.account_id}  {a.kind}  {a.level}: {a.message}") for a in self.alerts]
        return Group(table, Text("newest alerts", style="bold"), *told)
