"""An exporter for Prometheus: what a live job published and how far behind it is, read from its topics.

The graph's own counters reach Prometheus through the engine's reporter. Lag and decisions are data on the topics, the
same whatever the engine: this process makes metrics of them. It reads the inputs, too, for their number and their time
alone, because an end offset cannot tell a record from a pulse (ops/stack). It commits no offsets.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from itertools import product
from typing import Any, get_args, get_type_hints

import msgspec
from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_NOT_AVAILABLE,
    ConsumerGroupTopicPartitions,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from ops.archive import unsealed
from pipeline.job import LiveJob
from pipeline.kafka import Kafka
from pipeline.registry import JSON, Formats, RegistryError
from schemas.archive import HourDigest, read_digest
from schemas.errors import UserError
from schemas.outputs import Level
from schemas.scalars import Time, decode_scalar
from schemas.topics import (
    ACCOUNTS_STATE,
    ALERTS,
    DEADLETTER,
    DIGESTS,
    INPUTS,
    LIQUIDATIONS,
    MARGIN_CALLS,
    OUTPUTS,
    RESTRICTIONS,
)

#: Counted by what the records say: topic, metric, what it counts, the fields that become labels.
COUNTED = (
    (ALERTS, "margin_alerts", "Alerts, by kind and the account's level.", ("kind", "level")),
    (MARGIN_CALLS, "margin_calls", "Margin calls, by what became of them.", ("status",)),
    (RESTRICTIONS, "margin_restrictions", "Close-only restrictions, by what became of them.", ("status",)),
    (LIQUIDATIONS, "margin_liquidations", "Liquidations, by what became of them.", ("status",)),
    (DEADLETTER, "margin_deadletters", "Records that could not be used, by the topic that they came on.", ("topic",)),
)

#: Upper bounds in seconds: from below the evaluation grid to an outage that is caught up with.
BUCKETS = (0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 30, 60, 300, 1800)

#: How long a broker may take to answer, and how often it is asked where the inputs end, seconds.
TIMEOUT, EVERY = 10.0, 2.0

#: How many digests of a partition are looked at for the last of the job: its topic may have those of others.
RECENT = 100


class ExporterError(UserError, RuntimeError):
    """Topics that cannot be followed; the text says which and why."""


class _Said(msgspec.Struct):
    """Of an output in JSON, what metrics are made of; whole records cost ten times as much to read."""

    as_of: Time | None = None
    account_id: str = ""
    level: str = ""
    kind: str = ""
    status: str = ""
    topic: str = ""


class Exporter:
    """Follows a live job's topics from now on; where every account stands comes from accounts.state.v1 as a whole.

    A partition that is added to a topic is seen by an exporter that starts after it.
    """

    def __init__(self, kafka: Kafka, registry: CollectorRegistry, formats: Formats = JSON, log: str = "margin") -> None:
        """Connect, and register the metrics; log: the name of the job's archive. Raises ExporterError, or
        KafkaException where no broker answers."""
        self.group, self.log, self.decode = kafka.group, log, formats.decoder()
        self.admin = AdminClient(kafka.client())
        self.consumer = kafka.reader("exporter")
        self.inputs = self._places(topic.name for topic in INPUTS)
        #: By topic and partition, where what is counted begins.
        self.begin = self._ends([*self.inputs, *self._places(topic.name for topic in OUTPUTS)])
        whole = {ACCOUNTS_STATE.name: OFFSET_BEGINNING}
        digests = self._ends(self._places([DIGESTS]))
        self.consumer.assign(
            [TopicPartition(*key, whole.get(key[0], end)) for key, end in self.begin.items()]
            + [TopicPartition(*key, max(0, end - RECENT)) for key, end in digests.items()]
        )
        #: The archive's last; None: none was published.
        self.digest: HourDigest | None = None
        self.levels: dict[str, str] = {}
        #: When the broker appended the newest input, and the newest as_of published; seconds.
        self.appended = self.newest = -math.inf
        self._register(registry)

    def _register(self, registry: CollectorRegistry) -> None:
        def histogram(name: str, what: str) -> Histogram:
            return Histogram(name, what, ["topic"], buckets=BUCKETS, registry=registry)

        def gauge(name: str, what: str, *labels: str) -> Gauge:
            return Gauge(name, what, labels, registry=registry)

        self.lag = histogram("margin_end_to_end_lag_seconds", "From an output's as_of to its time on the broker.")
        self.made = histogram("margin_evaluation_lag_seconds", "From an output's as_of to when it was produced.")
        self.taken = Counter("margin_inputs", "Records received, by topic.", ["topic"], registry=registry)
        self.outputs = Counter("margin_outputs", "Records published, by topic.", ["topic"], registry=registry)
        self.errors = Counter(
            "margin_exporter_errors", "What the exporter could not read: records, brokers.", ["what"], registry=registry
        )
        self.accounts = gauge("margin_accounts", "Accounts, by the level that they stand at.", "level")
        self.behind = gauge("margin_input_lag_seconds", "The newest as_of published, behind the newest input.")
        self.left = gauge(
            "margin_consumer_lag_records", "From the job's committed offset to an input's end.", "topic", "partition"
        )
        self.sealed = gauge("margin_archive_sealed_timestamp_seconds", "Until when the archive is sealed, Unix time.")
        self.unsealed = gauge("margin_archive_backlog_records", "From what the archive has sealed to the end.", "topic")
        self.counted: dict[str, tuple[Counter, tuple[str, ...]]] = {}
        for topic, name, what, labels in COUNTED:
            counter = Counter(name, what, labels, registry=registry)
            self.counted[topic.name] = counter, labels
            # A series that begins at its first event hides that one from PromQL's increase().
            for values in product(*(_values_of(topic.record, label) for label in labels)):
                counter.labels(*values)
        for topic in INPUTS:
            self.taken.labels(topic.name)
        for topic in OUTPUTS:
            self.outputs.labels(topic.name)
            if "as_of" in topic.record.__struct_fields__:
                self.lag.labels(topic.name)
                self.made.labels(topic.name)
        for level in get_args(Level):
            self.accounts.labels(level)
        for unread in ("record", "broker"):
            self.errors.labels(unread)
        for unknown in (self.behind, self.sealed):
            unknown.set(math.nan)

    def _places(self, names: Iterable[str]) -> list[TopicPartition]:
        wanted, known = list(names), self.consumer.list_topics(timeout=TIMEOUT).topics
        missing = ", ".join(name for name in wanted if name not in known)
        if missing:
            raise ExporterError(f"topics: expected {missing}, found none on the broker; `margin up` creates them")
        return [TopicPartition(name, partition) for name in wanted for partition in known[name].partitions]

    def _ends(self, places: Iterable[TopicPartition]) -> dict[tuple[str, int], int]:
        asked = self.admin.list_offsets(dict.fromkeys(places, OffsetSpec.latest()), request_timeout=TIMEOUT)
        return {(place.topic, place.partition): found.result().offset for place, found in asked.items()}

    def consume(self, seconds: float) -> int:
        """Take in what comes within the time; how many records."""
        messages = self.consumer.consume(10_000, seconds)
        for message in messages:
            if message.error() is not None:
                self.errors.labels("broker").inc()
            elif message.value() is None:
                continue  # A pulse, or a tombstone.
            elif message.topic() in _INPUTS:
                self.taken.labels(message.topic()).inc()
                self.appended = max(self.appended, message.timestamp()[1] / 1e3)
            elif message.topic() == DIGESTS:
                self.seal(bytes(message.value() or b""))
            else:
                self.take(message)
        return len(messages)

    def take(self, message: Message) -> None:
        """Take in one output."""
        topic, partition, offset = str(message.topic()), message.partition() or 0, message.offset() or 0
        value: Any = message.value()
        try:
            # An Avro frame begins with a zero byte, which JSON does not have.
            said: Any = self.decode(topic, value) if value.startswith(b"\0") else _DECODER.decode(value)
        except (msgspec.DecodeError, RegistryError):
            self.errors.labels("record").inc()
            return
        if topic == ACCOUNTS_STATE.name:
            self._stand(said.account_id, said.level)
        as_of = getattr(said, "as_of", None)
        if as_of is not None:
            self.newest = max(self.newest, as_of / 1e6)
        if offset < self.begin[topic, partition]:
            return
        self.outputs.labels(topic).inc()
        if topic in self.counted:
            counter, labels = self.counted[topic]
            counter.labels(*(getattr(said, label) for label in labels)).inc()
        if as_of is None:
            return
        kind, milliseconds = message.timestamp()
        if kind != TIMESTAMP_NOT_AVAILABLE:
            self.lag.labels(topic).observe(milliseconds / 1e3 - as_of / 1e6)
        headers: dict[str, Any] = dict(message.headers() or ())
        if "produced_at" in headers:
            self.made.labels(topic).observe((int(headers["produced_at"]) - as_of) / 1e6)

    def seal(self, payload: bytes) -> None:
        """Take in one digest of the archive."""
        try:
            digest = read_digest(payload)
        except msgspec.DecodeError:
            self.errors.labels("record").inc()
            return
        if digest.log == self.log and (self.digest is None or digest.hour > self.digest.hour):
            self.digest = digest
            self.sealed.set(digest.hour / 1e6 + digest.seconds)

    def _stand(self, account: str, level: str) -> None:
        before = self.levels.get(account)
        if before != level:
            if before is not None:
                self.accounts.labels(before).dec()
            self.accounts.labels(level).inc()
            self.levels[account] = level

    def measure(self) -> None:
        """Say how far the job is behind. Raises KafkaException where no broker answers.

        Records: from the offsets that the job's group committed to the inputs' ends, absent where it commits none.
        KafkaIO commits every five seconds what it has polled, so this is about reading, and no finer than that.

        Seconds: from the newest as_of published to the newest input. It is an upper bound: an instant that changes no
        figure by much publishes nothing. How far Flink has evaluated, its watermark says.
        """
        self.behind.set(behind(self.appended, self.newest))
        # A token of MSK is renewed by whoever polls.
        self.admin.poll(0)
        asked = ConsumerGroupTopicPartitions(self.group, self.inputs)
        answer = self.admin.list_consumer_group_offsets([asked], request_timeout=TIMEOUT)[self.group]
        # The ends last, so that no commit is beyond them.
        committed, ends = answer.result().topic_partitions, self._ends(self.inputs)
        for place in committed:
            if place.offset >= 0:
                left = ends[place.topic, place.partition] - place.offset
                self.left.labels(place.topic, place.partition).set(left)
        if self.digest is not None:
            waiting = unsealed(self.digest, self._ends(TopicPartition(*place) for place in self.begin))
            for topic, count in waiting.items():
                self.unsealed.labels(topic).set(count)

    def follow(self) -> None:
        """Consume and measure until interrupted; brokers that are away are counted and waited for."""
        due = 0.0
        while True:
            self.consume(0.5)
            if time.monotonic() >= due:
                try:
                    self.measure()
                except KafkaException:
                    self.errors.labels("broker").inc()
                due = time.monotonic() + EVERY

    def close(self) -> None:
        """Leave the brokers."""
        self.consumer.close()


def behind(appended: float, as_of: float) -> float:
    """Seconds from the newest as_of to the newest input, never below zero; NaN until there is one of each."""
    return max(0.0, appended - as_of) if math.isfinite(appended - as_of) else math.nan


def _values_of(record: type, field: str) -> tuple[str, ...]:
    return get_args(get_type_hints(record)[field]) or tuple(topic.name for topic in INPUTS)


_INPUTS = frozenset(topic.name for topic in INPUTS)
_DECODER = msgspec.json.Decoder(_Said, dec_hook=decode_scalar)


def export(job: LiveJob, port: int, host: str) -> None:
    """Serve /metrics until interrupted. Raises ExporterError, KafkaException, or OSError where the port is taken."""
    exporter = Exporter(job.kafka, REGISTRY, job.formats, job.name)
    server, _ = start_http_server(port, host)
    try:
        exporter.follow()
    finally:
        server.shutdown()
        exporter.close()
