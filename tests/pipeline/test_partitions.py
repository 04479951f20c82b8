"""ReadPartitions on Prism, from the broker that librdkafka has for tests, which runs in this process.

That broker keeps the producer's time of a record, so STAMP is patched to take it for the broker's. A job without an end
is cancelled.
"""

from __future__ import annotations

import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.runners.sdf_utils import (
    RestrictionTrackerView,
    ThreadsafeRestrictionTracker,
    ThreadsafeWatermarkEstimator,
)
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import TimerSpec, on_timer
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import MIN_TIMESTAMP, Timestamp
from confluent_kafka import TIMESTAMP_CREATE_TIME, Consumer, KafkaError, KafkaException, Producer, TopicPartition

from pipeline import partitions
from pipeline.configuration import ConfigurationError
from pipeline.job import Clock
from pipeline.kafka import Kafka
from pipeline.partitions import Cut, CutTracker, Partition, ReadPartitions, Watermarks, committed, first_cut
from runners.engine import Run
from tests.engines import options_of, splitting_prism
from transforms.parse import Raw

#: 2026-01-05T15:00:00Z in milliseconds, long ago.
T = 1_767_625_200_000
#: Microseconds: a century after that, and a span longer than any.
FAR = T * 1000 + 3_155_760_000_000_000
AGES = 10**18
A, B = ("a", 0), ("b", 0)

#: What each job's steps saw, by its id: they run in this process.
SEEN: defaultdict[str, list[Any]] = defaultdict(list)


# The policy, without a broker.


def test_the_source_has_come_as_far_as_the_least_partition() -> None:
    watermarks = Watermarks({A: 5, B: MIN_TIMESTAMP.micros})
    assert watermarks.current_watermark() == MIN_TIMESTAMP
    watermarks.advance(B, 3)
    assert watermarks.current_watermark() == Timestamp(micros=3)
    watermarks.advance(B, 2)
    assert Watermarks(watermarks.get_estimator_state()).current_watermark() == Timestamp(micros=3)


def test_a_record_does_not_let_the_watermark_pass_another_of_its_millisecond() -> None:
    watermarks = Watermarks({A: MIN_TIMESTAMP.micros})
    watermarks.advance(A, T * 1000)
    assert watermarks.current_watermark() == Timestamp(micros=T * 1000)


@pytest.mark.parametrize(("end", "reached"), [(7, 9), (8, 1)], ids=["read to its end", "a record is not read yet"])
def test_an_idle_partition_follows_the_clock_once_it_is_read_to_its_end(end: int, reached: int) -> None:
    watermarks = Watermarks({A: 1})
    watermarks.pass_idle({A: end}, {A: 7}, 9)
    assert watermarks.current_watermark() == Timestamp(micros=reached)


def test_claims_go_over_gaps_and_a_checkpoint_hands_on_every_partition() -> None:
    tracker = CutTracker({A: 5, B: 0})
    assert tracker.try_claim((A, 5))
    assert tracker.try_claim((A, 9))
    assert tracker.try_split(0.5) is None
    assert tracker.try_split(0) == ({}, {A: 10, B: 0})
    assert not tracker.try_claim((A, 10))
    tracker.check_done()


def test_an_offset_before_the_cut_says_that_the_topic_is_another() -> None:
    with pytest.raises(ValueError, match="a, partition 0: expected offset 5 or later, found 0"):
        CutTracker({A: 5}).try_claim((A, 0))


# A broker, bundle by bundle.


class Broker:
    """A topic of four partitions on a broker of its own."""

    def __init__(self) -> None:
        settings = {"bootstrap.servers": "none:1", "test.mock.num.brokers": 1, "linger.ms": 0, "log_level": 0}
        self.producer = Producer(settings)
        brokers = self.producer.list_topics(timeout=10).brokers.values()
        self.kafka = Kafka(bootstrap=",".join(f"{at.host}:{at.port}" for at in brokers), group="margin")

    def send(self, topic: str, partition: int, *values: str | None, at: int = T) -> None:
        """A millisecond apart from `at` on; None is a pulse."""
        for n, value in enumerate(values):
            self.producer.produce(topic, value and value.encode(), b"", partition, timestamp=at + n)
        assert self.producer.flush(10) == 0

    def commit(self, cut: Cut) -> None:
        consumer = Consumer(partitions._settings(self.kafka))
        consumer.commit(offsets=[TopicPartition(*partition, at) for partition, at in cut.items()], asynchronous=False)
        consumer.close()

    @contextmanager
    def transaction(self) -> Iterator[Producer]:
        settings = self.kafka.client({"transactional.id": uuid.uuid4().hex, "log_level": 0})
        producer = Producer(settings)
        producer.init_transactions(10)
        producer.begin_transaction()
        yield producer
        producer.commit_transaction(10)


@pytest.fixture(scope="module")
def broker() -> Broker:
    return Broker()


@pytest.fixture
def topic(broker: Broker) -> str:
    """A topic of this test's own; the broker creates it with the first record."""
    name = f"topic-{uuid.uuid4().hex[:8]}"
    broker.send(name, 0, "first")
    return name


@pytest.fixture
def producers_stamp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "STAMP", TIMESTAMP_CREATE_TIME)


class Reader:
    """The source's DoFn without an engine: bundles from a cut and a watermark state on."""

    def __init__(self, kafka: Kafka, clock: Clock = "log_append", slack: int = AGES) -> None:
        self.dofn = partitions._Read(kafka, clock, slack)
        self.dofn.setup()

    def bundle(self, cut: Cut, reached: dict[Partition, int]) -> tuple[list[Raw], Cut, dict[Partition, int]]:
        tracker = ThreadsafeRestrictionTracker(CutTracker(cut))
        watermarks = ThreadsafeWatermarkEstimator(Watermarks(reached))
        found = list(self.dofn.process(cut, RestrictionTrackerView(tracker), watermarks))
        tracker.check_done()
        deferred = tracker.deferred_status()
        assert deferred is not None
        assert all(value.timestamp.micros == min(value.value.arrived_at) for value in found)
        return [value.value for value in found], deferred[0], watermarks.get_estimator_state()

    def until(
        self, done: Callable[[Cut, dict[Partition, int]], bool], cut: Cut, reached: dict[Partition, int]
    ) -> tuple[list[Raw], Cut, dict[Partition, int]]:
        """Bundles until the cut or the watermarks say enough."""
        found: list[Raw] = []
        deadline = time.monotonic() + 30
        while not done(cut, reached):
            assert time.monotonic() < deadline, (cut, reached)
            raws, cut, reached = self.bundle(cut, reached)
            found += raws
        return found, cut, reached


@pytest.fixture
def reader(broker: Broker, producers_stamp: None) -> Iterator[Reader]:
    reader = Reader(broker.kafka)
    yield reader
    reader.dofn.teardown()


def unread(topic: str) -> tuple[Cut, dict[Partition, int]]:
    places = [(topic, number) for number in range(4)]
    return dict.fromkeys(places, 0), dict.fromkeys(places, MIN_TIMESTAMP.micros)


def values_of(raws: list[Raw]) -> list[str]:
    return [value.decode() for raw in raws for value in raw.values]


def test_a_bundle_that_is_run_again_reads_the_same_records(broker: Broker, topic: str, reader: Reader) -> None:
    broker.send(topic, 0, *map(str, range(5_000)))
    start, reached = unread(topic)
    _, cut, reached = reader.until(lambda cut, _: cut[topic, 0] > 0, start, reached)
    once = reader.until(lambda then, _: then[topic, 0] > cut[topic, 0], cut, reached)[0]
    again, rest, _ = reader.until(lambda then, _: then[topic, 0] > cut[topic, 0], cut, reached)
    fewer = min(len(values_of(once)), len(values_of(again)))
    assert values_of(once)[:fewer] == values_of(again)[:fewer]
    tail, *_ = reader.until(lambda then, _: then[topic, 0] == 5_001, rest, reached)
    first = int(values_of(again)[0])
    assert values_of(again + tail) == [str(n) for n in range(first, 5_000)]


def test_transaction_markers_neither_stall_nor_hold_the_watermark(broker: Broker, topic: str, reader: Reader) -> None:
    """A marker takes an offset and is not delivered: two between records, one at the end of the partition."""
    for value in ("second", "third"):
        with broker.transaction() as producer:
            producer.produce(topic, value.encode(), partition=0, timestamp=T)
    reader.dofn.slack = 0
    raws, cut, _ = reader.until(lambda _, reached: min(reached.values()) > T * 1000, *unread(topic))
    assert values_of(raws) == ["first", "second", "third"]
    assert [offset for raw in raws for offset in raw.offsets] == [0, 1, 3]
    assert cut == {(topic, 0): 5, (topic, 1): 0, (topic, 2): 0, (topic, 3): 0}


def test_the_arrival_clock_stamps_records_as_they_are_read(broker: Broker, topic: str) -> None:
    reader = Reader(broker.kafka, "arrival")
    raws, _, reached = reader.until(lambda cut, _: cut[topic, 0] == 1, *unread(topic))
    assert [list(raw.arrived_at or ()) for raw in raws] == [[reached[topic, 0]]]
    assert len(set(reached.values())) == 1
    reader.dofn.teardown()


def test_the_log_append_clock_refuses_a_producers_stamp(broker: Broker, topic: str) -> None:
    reader = Reader(broker.kafka)
    with pytest.raises(ConfigurationError, match=f"{topic}: expected records stamped by the broker"):
        reader.until(lambda cut, _: cut[topic, 0] == 1, *unread(topic))
    reader.dofn.teardown()


def test_it_begins_at_the_groups_offsets_or_else_at_the_beginning(broker: Broker, topic: str) -> None:
    broker.send(topic, 1, "one", "two")
    broker.commit({(topic, 1): 1})
    assert first_cut(broker.kafka, [topic]) == {(topic, 0): 0, (topic, 1): 1, (topic, 2): 0, (topic, 3): 0}


def test_a_missing_topic_is_named_before_anything_starts(broker: Broker, topic: str) -> None:
    with pytest.raises(ConfigurationError, match=r"kafka: absent\.v1 not found .* create"):
        beam.Pipeline() | ReadPartitions(broker.kafka, "arrival", topics=(topic, "absent.v1"))


def test_a_broker_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "ANSWER", 0.2)
    with pytest.raises(ConfigurationError, match=r"kafka: 127\.0\.0\.1:9 does not answer"):
        first_cut(Kafka(bootstrap="127.0.0.1:9", group="margin"), ["fills.v1"])


def test_a_broker_that_still_loads_its_groups_is_asked_again() -> None:
    place = TopicPartition("fills.v1", 0, 7)

    class Loading:
        answers = [KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS, None]

        def committed(self, places: list[TopicPartition], timeout: float) -> list[TopicPartition]:
            if (code := self.answers.pop(0)) is not None:
                raise KafkaException(KafkaError(code))
            return places

    assert committed(Loading(), [place]) == [place]


def test_an_offset_that_is_not_known_is_not_taken_for_none() -> None:
    """It would be read from the beginning."""

    class Denied:
        def committed(self, places: list[Any], timeout: float) -> list[Any]:
            return [SimpleNamespace(error=KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED))]

    with pytest.raises(KafkaException, match="GROUP_AUTHORIZATION_FAILED"):
        committed(Denied(), [])


# Prism.


REACHED = "reached"


class See(beam.DoFn):
    """Note every block."""

    def __init__(self, job: str) -> None:
        self.job = job

    def process(self, raw: Raw) -> Iterator[tuple[str, int]]:
        SEEN[self.job].append(raw)
        yield "", len(raw.values)


class Reach(beam.DoFn):
    """Note the moment when event time has come as far as `until`."""

    TIMER = TimerSpec("reached", TimeDomain.WATERMARK)

    def __init__(self, job: str, until: int) -> None:
        self.job, self.until = job, until

    def process(self, _: tuple[str, int], timer: Any = beam.DoFn.TimerParam(TIMER)) -> None:
        timer.set(Timestamp(micros=self.until))

    @on_timer(TIMER)
    def fire(self) -> None:
        SEEN[self.job].append(REACHED)


@contextmanager
def running(source: ReadPartitions, until: int = FAR) -> Iterator[list[Any]]:
    """What a job on Prism has seen so far."""
    job = uuid.uuid4().hex
    pipeline = beam.Pipeline(options=options_of("prism", Run(live=True)))
    counts = pipeline | source | beam.ParDo(See(job)).with_output_types(tuple[str, int])
    _ = counts | beam.ParDo(Reach(job, until))
    result = pipeline.run()
    try:
        yield SEEN[job]
    finally:
        result.cancel()


def wait_for(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def records_of(seen: list[Any]) -> dict[Partition, list[tuple[int, str, int]]]:
    found: dict[Partition, list[tuple[int, str, int]]] = {}
    for raw in seen:
        if isinstance(raw, Raw):
            values = map(bytes.decode, raw.values)
            records = zip(raw.offsets, values, raw.arrived_at or (), strict=True)
            found.setdefault((raw.topic, raw.partition), []).extend(records)
    return found


def test_every_record_arrives_once_and_in_order(broker: Broker, producers_stamp: None) -> None:
    """Some while the job starts, some while it runs; pulses between them are not seen."""
    topics = tuple(f"topic-{uuid.uuid4().hex[:8]}" for _ in range(3))
    sent: dict[Partition, list[tuple[int, str, int]]] = {}

    def send(first: int) -> None:
        for topic in topics:
            for partition in range(4):
                values = [f"{topic}-{partition}-{n}" for n in range(first, first + 300)]
                broker.send(topic, partition, *values, None, at=T + first)
                stamped = [(n, value, (T + n) * 1000) for n, value in enumerate(values, first)]
                sent.setdefault((topic, partition), []).extend(stamped)

    send(0)
    with running(ReadPartitions(broker.kafka, "log_append", topics)) as seen:
        send(301)
        wait_for(lambda: sum(map(len, records_of(seen).values())) >= 3 * 4 * 600)
        send(602)
        wait_for(lambda: sum(map(len, records_of(seen).values())) >= 3 * 4 * 900)
    assert records_of(seen) == sent


def test_a_job_reads_on_from_the_groups_offsets(broker: Broker, topic: str, producers_stamp: None) -> None:
    broker.send(topic, 0, *map(str, range(1, 20)))
    broker.commit({(topic, 0): 12})
    with running(ReadPartitions(broker.kafka, "log_append", (topic,))) as seen:
        wait_for(lambda: bool(seen))
        broker.send(topic, 0, "20", at=T + 20)
        wait_for(lambda: values_of(seen)[-1] == "20")
    assert values_of(seen) == [str(n) for n in range(12, 21)]


def test_the_watermark_waits_for_the_last_partition_and_a_pulse_lets_it_pass(
    broker: Broker, topic: str, producers_stamp: None
) -> None:
    """With that much slack nothing but its records moves a partition's clock."""
    source = ReadPartitions(broker.kafka, "log_append", (topic,), slack=AGES)
    with running(source, until=T * 1000 + 1_000_000) as seen:
        wait_for(lambda: bool(seen))
        for partition in range(3):
            broker.send(topic, partition, None, at=T + 5_000)
        broker.send(topic, 0, "second", at=T + 5_001)
        wait_for(lambda: len(seen) > 1)
        broker.send(topic, 3, "third", at=T + 500)
        wait_for(lambda: len(seen) > 2)
        broker.send(topic, 3, None, at=T + 5_000)
        wait_for(lambda: REACHED in seen)
    assert values_of(seen[:3]) == ["first", "second", "third"]
    assert seen[3:] == [REACHED]


def test_partitions_without_records_let_the_watermark_pass(broker: Broker, topic: str, producers_stamp: None) -> None:
    """Three were never written to; the fourth's only record is of long ago."""
    with running(ReadPartitions(broker.kafka, "log_append", (topic,)), until=T * 1000 + 1) as seen:
        wait_for(lambda: REACHED in seen)
    assert values_of(seen[:1]) == ["first"]


class ReadApart(beam.DoFn):
    """Two partitions as restrictions of their own: A has come far, B's first record waits for the watermark."""

    def __init__(self, job: str) -> None:
        self.job = job

    @beam.DoFn.unbounded_per_element()
    def process(
        self,
        cut: Cut,
        tracker: Any = beam.DoFn.RestrictionParam(partitions._Cuts()),
        watermarks: Any = beam.DoFn.WatermarkEstimatorParam(partitions._Estimated()),
    ) -> Iterator[TimestampedValue]:
        ((partition, offset),) = tracker.current_restriction().items()
        if offset == 0 and tracker.try_claim((partition, 0)):
            if partition == B:
                wait_for(lambda: REACHED in SEEN[self.job])
            yield TimestampedValue(Raw(*partition, [0], [b""]), Timestamp(1))
        watermarks.advance(partition, Timestamp(9 if partition == A else 1).micros)
        time.sleep(0.02)
        tracker.defer_remainder()


def test_prism_takes_the_watermark_of_the_bundle_that_ended_last() -> None:
    """Why all partitions are one restriction: where Prism splits a slow bundle, A's bundles pass B's watermark."""
    job = uuid.uuid4().hex
    pipeline = beam.Pipeline(options=splitting_prism(Run(live=True)))
    blocks = pipeline | beam.Create([{B: 0}, {A: 0}], reshuffle=False) | beam.ParDo(ReadApart(job))
    counts = blocks | beam.ParDo(See(job)).with_output_types(tuple[str, int])
    _ = counts | beam.ParDo(Reach(job, until=Timestamp(5).micros))
    result = pipeline.run()
    try:
        wait_for(lambda: len(SEEN[job]) == 3)
    finally:
        result.cancel()
    assert [seen if seen == REACHED else (seen.topic, seen.partition) for seen in SEEN[job]] == [A, REACHED, B]
