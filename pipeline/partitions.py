"""ReadPartitions: every input topic through librdkafka, for Prism, where Java's KafkaIO cannot run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from time import time_ns
from typing import Any

import apache_beam as beam
from apache_beam.io.iobase import RestrictionProgress, RestrictionTracker, WatermarkEstimator
from apache_beam.transforms.core import RestrictionProvider, WatermarkEstimatorProvider
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import MIN_TIMESTAMP, Timestamp
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, IsolationLevel, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Place
from confluent_kafka.admin import AdminClient, OffsetSpec
from tenacity import retry, retry_if_exception, stop_after_delay, wait_fixed

from pipeline.configuration import ConfigurationError
from pipeline.job import Clock
from pipeline.kafka import Kafka, Setting
from schemas.topics import INPUTS
from transforms.parse import Raw

Partition = tuple[str, int]
#: The next offset of every partition.
Cut = dict[Partition, int]

#: A bundle ends at whichever comes first.
RECORDS, SECONDS = 2_000, 0.05
#: How often the ends of partitions are asked for while one of them is idle, microseconds, and how long it may take.
ASK, ANSWER = 250_000, 10.0
#: What the log_append clock takes for a stamp: a producer's own may go backwards.
STAMP = TIMESTAMP_LOG_APPEND_TIME


@dataclass(eq=False)
class ReadPartitions(beam.PTransform):
    """Topics as Raw elements, a block a partition and bundle, without an end and without Java.

    All partitions are one restriction. Prism takes the watermark of an unbounded stage from the bundle that ended last,
    so a partition in a bundle of its own would not hold it (docs/engines.md).

    Fields:
      kafka: the cluster; it begins at the group's offsets, or at the beginning, as they are when the job is submitted.
      clock: log_append takes the broker's time of each record, arrival the time it was read.
      topics: their names.
      slack: how far an idle partition's watermark is behind now by the log_append clock, microseconds.

    Raises:
      ConfigurationError: before anything starts, where no broker answers or a topic is missing.
    """

    kafka: Kafka
    clock: Clock
    topics: tuple[str, ...] = tuple(topic.name for topic in INPUTS)
    slack: int = 2_000_000

    def expand(self, pbegin: beam.pvalue.PBegin) -> beam.PCollection:
        """Read on from the cut of now."""
        cut = first_cut(self.kafka, self.topics)
        read = beam.ParDo(_Read(self.kafka, self.clock, self.slack)).with_output_types(Raw)
        return pbegin | "Partitions" >> beam.Create([cut], reshuffle=False) | "Read" >> read


def first_cut(kafka: Kafka, topics: Collection[str]) -> Cut:
    """The group's offset of each partition, or the beginning. Raises ConfigurationError as ReadPartitions does."""
    consumer = Consumer(_settings(kafka))
    try:
        found = consumer.list_topics(timeout=ANSWER).topics
        if missing := sorted(name for name in topics if name not in found or found[name].error is not None):
            raise ConfigurationError(
                f"kafka: {', '.join(missing)} not found at {kafka.bootstrap}: create every input topic, with "
                "message.timestamp.type=LogAppendTime for the log_append clock (ops.stack.broker.create_topics does)"
            )
        places = [Place(name, partition) for name in topics for partition in found[name].partitions]
        # Before a group's first commit its offsets are negative; 0 is the earliest, wherever the log begins by now.
        return {(at.topic, at.partition): max(at.offset, 0) for at in committed(consumer, places)}
    except KafkaException as error:
        raise ConfigurationError(f"kafka: {kafka.bootstrap} does not answer: {error}") from error
    finally:
        consumer.close()


#: What a broker answers for some seconds after its start, while it loads its groups.
LOADING = {KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.COORDINATOR_NOT_AVAILABLE}


def _is_loading(error: BaseException) -> bool:
    return isinstance(error, KafkaException) and error.args[0].code() in LOADING


@retry(retry=retry_if_exception(_is_loading), wait=wait_fixed(0.2), stop=stop_after_delay(30), reraise=True)
def committed(consumer: Consumer, places: list[Place]) -> list[Place]:
    """The group's offset of each place, negative before its first commit. Raises KafkaException."""
    found = consumer.committed(places, timeout=ANSWER)
    for at in found:
        if at.error is not None:
            raise KafkaException(at.error)
    return found


def _settings(kafka: Kafka) -> dict[str, Setting]:
    return kafka.client(
        {
            "group.id": kafka.group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            # It tells where a partition ends behind transaction markers and compacted records, which are not delivered.
            "enable.partition.eof": True,
            # Catching up, enough ahead for some bundles, fetched on without the default second's pause.
            "queued.max.messages.kbytes": 16_384,
            "fetch.queue.backoff.ms": 10,
        }
    )


class Watermarks(WatermarkEstimator):
    """How far each partition has come, microseconds; the source has come as far as the least of them.

    The broker's stamps never decrease within a partition, so a record has it come as far as its own stamp, and no
    further: the next may have the same millisecond.
    """

    def __init__(self, reached: Mapping[Partition, int]) -> None:
        self.reached = dict(reached)

    def advance(self, partition: Partition, until: int) -> None:
        """A partition has come as far as this; it never goes back."""
        self.reached[partition] = max(self.reached[partition], until)

    def pass_idle(self, ends: Mapping[Partition, int], cut: Cut, until: int) -> None:
        """Partitions that are read to an end have come as far as the moment before which that was not yet the end."""
        for partition, end in ends.items():
            if end <= cut[partition]:
                self.advance(partition, until)

    def current_watermark(self) -> Timestamp:
        """Of the source."""
        return Timestamp(micros=min(self.reached.values()))

    def get_estimator_state(self) -> dict[Partition, int]:
        """What a later bundle resumes from."""
        return dict(self.reached)

    def observe_timestamp(self, timestamp: Timestamp) -> None:
        """A block's timestamp says less than its records' stamps."""


class _Estimated(WatermarkEstimatorProvider):
    def initial_estimator_state(self, cut: Cut, restriction: Cut) -> dict[Partition, int]:
        return dict.fromkeys(restriction, MIN_TIMESTAMP.micros)

    def create_watermark_estimator(self, reached: dict[Partition, int]) -> Watermarks:
        return Watermarks(reached)


class CutTracker(RestrictionTracker):
    """Offsets claimed of every partition. A checkpoint hands all of them on; there is no other split."""

    def __init__(self, cut: Cut) -> None:
        self.cut = dict(cut)
        self.stopped = False

    def current_restriction(self) -> Cut:
        """What is not yet claimed."""
        return self.cut

    def try_claim(self, position: tuple[Partition, int]) -> bool:
        """Claim a partition's offsets up to and with this one, over gaps. Raises ValueError where it goes back."""
        partition, offset = position
        if self.stopped:
            return False
        if offset < self.cut[partition]:
            topic, number = partition
            raise ValueError(
                f"{topic}, partition {number}: expected offset {self.cut[partition]} or later, found {offset}. "
                "If the topic was created anew, delete the group's offsets"
            )
        self.cut[partition] = offset + 1
        return True

    def try_split(self, fraction: float) -> tuple[Cut, Cut] | None:
        """Hand everything on at 0; refuse to share the partitions out."""
        if fraction or self.stopped:
            return None
        self.stopped = True
        residual, self.cut = self.cut, {}
        return self.cut, residual

    def check_done(self) -> None:
        """Raises ValueError where a bundle ends without a checkpoint: records have no end."""
        if not self.stopped:
            raise ValueError("expected a checkpoint at the end of the bundle, found none")

    def current_progress(self) -> RestrictionProgress:
        """None that could be measured."""
        return RestrictionProgress(fraction=0.0)

    def is_bounded(self) -> bool:
        """Never."""
        return False


class _Cuts(RestrictionProvider):
    def initial_restriction(self, cut: Cut) -> Cut:
        return cut

    def create_tracker(self, cut: Cut) -> CutTracker:
        return CutTracker(cut)

    def restriction_size(self, cut: Cut, restriction: Cut) -> int:
        return len(cut)


class _Read(beam.DoFn):
    def __init__(self, kafka: Kafka, clock: Clock, slack: int) -> None:
        self.kafka, self.clock, self.slack = kafka, clock, slack

    def setup(self) -> None:
        # Kept from bundle to bundle: connecting takes longer than one.
        self.consumer = Consumer(_settings(self.kafka))
        self.ends = _Ends(AdminClient(self.kafka.client()))
        self.position: Cut = {}

    def teardown(self) -> None:
        self.consumer.close()
        # An AdminClient has no close: it ends with the last reference to it.
        del self.ends

    @beam.DoFn.unbounded_per_element()
    def process(
        self,
        _: Cut,
        tracker: Any = beam.DoFn.RestrictionParam(_Cuts()),
        watermarks: Any = beam.DoFn.WatermarkEstimatorParam(_Estimated()),
    ) -> Iterator[TimestampedValue]:
        cut = tracker.current_restriction()
        messages = self._messages(cut)
        now = max(_now(), watermarks.current_watermark().micros)
        found: dict[Partition, tuple[list[int], list[bytes], list[int]]] = {}
        for message in messages:
            partition = message.topic(), message.partition()
            if message.error() is not None:
                self._claim_end(message, partition, cut, tracker)
                continue
            if not tracker.try_claim((partition, message.offset())):
                break
            stamp = now if self.clock == "arrival" else _appended_at(message)
            watermarks.advance(partition, stamp)
            if message.value() is not None:
                offsets, values, stamps = found.setdefault(partition, ([], [], []))
                offsets.append(message.offset())
                values.append(message.value())
                stamps.append(stamp)
        else:
            self.position = dict(cut)
        for (topic, number), (offsets, values, stamps) in found.items():
            yield TimestampedValue(Raw(topic, number, offsets, values, stamps), Timestamp(micros=min(stamps)))
        self._pass_idle(cut, watermarks, now)
        tracker.defer_remainder()

    def _messages(self, cut: Cut) -> list[Any]:
        # A bundle that failed, or was another worker's, is read again from its own cut.
        if cut != self.position:
            self.consumer.assign([Place(topic, number, offset) for (topic, number), offset in cut.items()])
        # Unknown until what it gives is claimed.
        self.position = {}
        return self.consumer.consume(RECORDS, SECONDS)

    def _claim_end(self, message: Any, partition: Partition, cut: Cut, tracker: Any) -> None:
        if message.error().code() != KafkaError._PARTITION_EOF:
            raise KafkaException(message.error())
        if message.offset() > cut[partition]:
            tracker.try_claim((partition, message.offset() - 1))

    def _pass_idle(self, cut: Cut, watermarks: Any, now: int) -> None:
        if self.clock == "arrival":
            for partition in cut:
                watermarks.advance(partition, now)
        elif watermarks.current_watermark().micros < now - self.slack:
            asked, ends = self.ends.latest(cut, now)
            watermarks.pass_idle(ends, cut, asked - self.slack)


class _Ends:
    """Where the partitions end, asked for without waiting. Uncommitted records count: they may yet come."""

    def __init__(self, admin: AdminClient) -> None:
        self.admin = admin
        self.asked = 0
        self.answers: dict[Place, Future] = {}

    def latest(self, partitions: Collection[Partition], now: int) -> tuple[int, dict[Partition, int]]:
        """When the newest answer was asked for, and the ends that it gave; none while it is awaited."""
        if not all(answer.done() for answer in self.answers.values()):
            return self.asked, {}
        found = [(at, answer.result()) for at, answer in self.answers.items() if answer.exception() is None]
        answered = self.asked, {(at.topic, at.partition): end.offset for at, end in found}
        if now >= self.asked + ASK:
            wanted = {Place(*partition): OffsetSpec.latest() for partition in partitions}
            self.asked = _now()
            everything = IsolationLevel.READ_UNCOMMITTED
            self.answers = self.admin.list_offsets(wanted, isolation_level=everything, request_timeout=ANSWER)
        return answered


def _appended_at(message: Any) -> int:
    kind, milliseconds = message.timestamp()
    if kind != STAMP:
        raise ConfigurationError(
            f"{message.topic()}: expected records stamped by the broker, found offset {message.offset()} of partition "
            f"{message.partition()} stamped by its producer. Create the topic with "
            "message.timestamp.type=LogAppendTime, or take the arrival clock"
        )
    return milliseconds * 1000


def _now() -> int:
    return time_ns() // 1000
