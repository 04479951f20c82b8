"""WriteKafka against librdkafka's mock broker: what is written, and what a bundle that fails leaves behind."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import fastavro
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from confluent_kafka import KafkaError, KafkaException

from pipeline import registry as room
from pipeline.registry import Formats, Registry
from pipeline.sinks import UndeliveredError, WriteKafka, _Produce
from schemas.codec import avro_schema, to_json
from schemas.ids import sealed
from schemas.outputs import Alert, DeadLetter
from schemas.scalars import Money, Time
from tests.broker import MockBroker
from transforms.lines import line_of

LETTER = DeadLetter(topic="fills.v1", partition=3, offset=41, payload=b"\xff{", reason="Fill: bad")


def alert(account: str, message: str = "m") -> Alert:
    return Alert(
        account_id=account,
        as_of=Time.parse("2026-01-05T15:03:00Z"),
        rulebook="seed@1",
        kind="LEVEL",
        level="WARNING",
        previous_level="NONE",
        message=message,
        equity=Money(10_000),
        requirement=Money(-1),
        cushion=None,
    )


@pytest.fixture
def broker() -> MockBroker:
    return MockBroker()


@pytest.fixture
def sink(broker: MockBroker) -> Iterator[_Produce]:
    """The DoFn by itself, set up."""
    found = _Produce(broker.kafka, Formats())
    found.setup()
    yield found
    found.teardown()


def write(broker: MockBroker, *parts: list[Any], **options: Any) -> None:
    with beam.Pipeline(FnApiRunner()) as pipeline:
        made = tuple(pipeline | f"Part{n}" >> beam.Create(part) for n, part in enumerate(parts))
        _ = made | WriteKafka(broker.kafka, **options)


def test_each_line_is_in_its_topic_with_its_key_and_headers(broker: MockBroker) -> None:
    alerts = [alert(f"A{n}") for n in range(5)]
    write(broker, [("alerts.v1", [line_of(one) for one in alerts])], [("deadletter.v1", [line_of(LETTER)])])
    found = broker.records("alerts.v1")
    assert sorted(message.value() for message in found) == sorted(sealed(one) for one in alerts)
    for message in found:
        headers = dict(message.headers())
        value = message.value()
        assert b'"account_id":"%b"' % message.key() in value
        assert headers["schema"] == b"alerts.v1"
        assert value.startswith(b'{"event_id":"%b"' % headers["event_id"])
        assert headers["produced_at"].isdigit()
    (letter,) = broker.records("deadletter.v1")
    assert (letter.key(), letter.value()) == (b"fills.v1", to_json(LETTER))
    assert {name for name, _ in letter.headers()} == {"schema", "produced_at"}


def test_a_topic_in_avro_is_framed_beside_one_in_json(broker: MockBroker) -> None:
    room._client.cache_clear()
    formats = Formats(topics={"alerts.v1": "avro"}, registry=Registry(url="mock://sink"))
    lines = [("alerts.v1", [line_of(alert("A0"))]), ("deadletter.v1", [line_of(LETTER)])]
    write(broker, lines, formats=formats)
    (message,) = broker.records("alerts.v1")
    assert message.value()[:5] == b"\0\0\0\0\1"
    read: Any = fastavro.schemaless_reader(io.BytesIO(message.value()[5:]), avro_schema(Alert), None)
    assert (read["account_id"], read["event_id"].encode()) == ("A0", dict(message.headers())["event_id"])
    assert broker.records("deadletter.v1")[0].value() == to_json(LETTER)


def test_a_record_that_is_too_large_is_named(broker: MockBroker) -> None:
    big = line_of(alert("A7", "m" * 2_000_000))
    with pytest.raises(Exception, match=r"alerts\.v1, key 'A7', 2000\d{3} bytes: .*too large"):
        write(broker, [("alerts.v1", [line_of(alert("A0")), big])])


def test_a_broker_that_is_gone_fails_the_bundle(sink: _Produce, broker: MockBroker) -> None:
    sink.TIMEOUT_MS = 1_500
    del broker.producer
    sink.start_bundle()
    sink.process(("alerts.v1", [line_of(alert("A0")), line_of(alert("A1"))]))
    with pytest.raises(UndeliveredError, match=r"^2 undelivered: alerts\.v1, key 'A0', \d+ bytes: .*timed out, "):
        sink.finish_bundle()


def test_a_failed_bundle_is_not_counted_in_the_next(sink: _Produce, broker: MockBroker) -> None:
    sink.start_bundle()
    sink.process(("alerts.v1", [line_of(alert("A0"))]))
    first, failed = sink.producer, sink.failed
    # The engine gives the bundle up here; what it produced is told of later.
    failed.append("alerts.v1: told late")
    sink.start_bundle()
    sink.process(("alerts.v1", [line_of(alert("A1"))]))
    sink.finish_bundle()
    assert sink.failed is not failed
    assert sink.producer is first
    assert len(broker.records("alerts.v1")) == 2


def test_a_producer_that_failed_is_replaced(sink: _Produce, broker: MockBroker) -> None:
    sink.start_bundle()
    first = sink.producer
    with pytest.raises(UndeliveredError, match="too large"):
        sink.process(("alerts.v1", [line_of(alert("A7", "m" * 2_000_000))]))
    sink.start_bundle()
    assert sink.producer is not first
    sink.process(("alerts.v1", [line_of(alert("A1"))]))
    sink.finish_bundle()
    assert [message.key() for message in broker.records("alerts.v1")] == [b"A1"]


class Fatal:
    """A producer after a fatal error, such as one whose sequence the broker lost."""

    def produce(self, *_: Any, **__: Any) -> None:
        raise KafkaException(KafkaError(KafkaError._FATAL, "Local: Fatal error", fatal=True))

    def purge(self) -> None:
        pass

    def flush(self, _: float) -> int:
        return 0


def test_a_producer_after_a_fatal_error_is_replaced(sink: _Produce, broker: MockBroker) -> None:
    sink.producer = Fatal()
    sink.start_bundle()
    with pytest.raises(UndeliveredError, match="Fatal error"):
        sink.process(("alerts.v1", [line_of(alert("A0"))]))
    sink.start_bundle()
    sink.process(("alerts.v1", [line_of(alert("A0"))]))
    sink.finish_bundle()
    assert len(broker.records("alerts.v1")) == 1
