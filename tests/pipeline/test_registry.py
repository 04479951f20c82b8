"""Avro behind a registry's id: what is read, what is a dead letter, and what must not be one."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import apache_beam as beam
import fastavro
import msgspec
import pydantic
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient, SchemaRegistryError
from hypothesis import given
from hypothesis import strategies as st

from pipeline import registry as room
from pipeline.configuration import ConfigurationError
from pipeline.registry import HEAD, JSON, Formats, FrameReader, FrameWriter, Registry, RegistryError, unframed
from schemas.codec import avro_schema, from_json, to_avro, to_avro_dict, to_json
from schemas.inputs import Price
from schemas.outputs import Alert
from schemas.scalars import Money
from tests import days
from tests.pipeline.test_bad_input import BOUNDS, PRICE, good_day, line, parsed
from transforms.lines import line_of, text_of
from transforms.parse import DEADLETTERS, RECORDS, ParseRecords, Raw, parse

TOPIC, SUBJECT = "prices.v1", "prices.v1-value"
RECORD = from_json(Price, line(PRICE))
ALERT = to_json(
    Alert(
        event_id="e",
        account_id="A0",
        as_of=RECORD.as_of,
        rulebook="seed@1",
        kind="LEVEL",
        level="WARNING",
        previous_level="NONE",
        message="m",
        equity=Money(10_000),
        requirement=Money(-1),
        cushion=None,
    )
)


@pytest.fixture
def formats() -> Iterator[Formats]:
    """Prices and alerts in Avro; a mock registry is this process's, and here it is new."""
    room._client.cache_clear()
    yield Formats(topics={TOPIC: "avro", "alerts.v1": "avro"}, registry=Registry(url="mock://test"))
    room._client.cache_clear()


def client(formats: Formats) -> SchemaRegistryClient:
    assert formats.registry is not None
    return formats.registry.client()


def register(formats: Formats, schema: Any, *references: SchemaReference, kind: str = "AVRO") -> bytes:
    """The head of frames that are written with the schema."""
    return HEAD.pack(0, client(formats).register_schema(SUBJECT, Schema(json.dumps(schema), kind, list(references))))


def written(schema: Any, value: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return out.getvalue()


def records_of(formats: Formats, *values: bytes) -> list[Any]:
    good, bad = parse(Raw(TOPIC, 0, range(len(values)), values), BOUNDS, formats.decoder())
    assert bad == []
    return good.records


def reason_of(formats: Formats, value: bytes) -> str:
    good, (letter,) = parse(Raw(TOPIC, 3, [41], [value]), BOUNDS, formats.decoder())
    assert good.records == []
    assert (letter.topic, letter.partition, letter.offset, letter.payload) == (TOPIC, 3, 41, value)
    return letter.reason


def with_fields(change: Callable[[list[Any]], list[Any]]) -> dict[str, Any]:
    schema = avro_schema(Price)
    return schema | {"fields": change(schema["fields"])}


def test_frames_and_lines_of_one_topic_are_the_same_record(formats: Formats) -> None:
    frame = register(formats, avro_schema(Price)) + to_avro(RECORD)
    assert records_of(formats, frame, to_json(RECORD)) == [RECORD, RECORD]


def test_a_frame_is_read_by_its_writers_schema(formats: Formats) -> None:
    schema = with_fields(lambda fields: [{"name": "desk", "type": "string"}, *reversed(fields)])
    frame = register(formats, schema) + written(schema, to_avro_dict(RECORD) | {"desk": "options"})
    assert records_of(formats, frame) == [RECORD]


def test_a_schema_brings_those_that_it_refers_to(formats: Formats) -> None:
    desk = {"type": "enum", "name": "Desk", "namespace": "firm", "symbols": ["CASH", "OPTIONS"]}
    client(formats).register_schema("desk", Schema(json.dumps(desk), "AVRO"))
    schemas = [
        with_fields(lambda fields, t=kind: [{"name": "desk", "type": t}, *fields]) for kind in ("firm.Desk", desk)
    ]
    head = register(formats, schemas[0], SchemaReference("firm.Desk", "desk", 1))
    assert records_of(formats, head + written(schemas[1], to_avro_dict(RECORD) | {"desk": "CASH"})) == [RECORD]


def test_bad_frames_are_dead_letters_that_say_why(formats: Formats) -> None:
    good = register(formats, avro_schema(Price)) + to_avro(RECORD)
    priceless = with_fields(lambda fields: [field for field in fields if field["name"] != "price"])
    cases = {
        good[:4]: ["expected a zero byte, a schema's id and an Avro Price", r"b'\x00"],
        good[:9]: ["expected one Price in Avro", "read by schema 1 (margin.Price)"],
        good + b"12": ["2 more bytes than schema 1 (margin.Price) has"],
        HEAD.pack(0, 77) + good[5:]: ["schema 77", "mock://test does not know it"],
        register(formats, priceless) + good[5:]: ["schema 2 (margin.Price), which does not resolve to it", "price"],
        register(formats, avro_schema(Alert)) + good[5:]: ["schema 3 (margin.Alert), which does not resolve to it"],
        register(formats, {}, kind="PROTOBUF") + good[5:]: ["schema 4: it is PROTOBUF"],
        register(formats, "nonsense") + good[5:]: ["schema 5"],
        good[:5] + to_avro(msgspec.structs.replace(RECORD, price=float("nan"))): ["found nan - at `$.price`"],
    }
    for value, said in cases.items():
        reason = reason_of(formats, value)
        assert reason.startswith("Price: ")
        for words in said:
            assert words in reason


@given(st.binary(max_size=60))
def test_any_bytes_behind_a_head_are_a_record_or_a_dead_letter(body: bytes) -> None:
    registry = Registry(url="mock://any")
    number = registry.client().register_schema(SUBJECT, Schema(json.dumps(avro_schema(Price)), "AVRO"))
    reader = FrameReader(registry, frozenset([TOPIC]))
    parse(Raw(TOPIC, 0, [0], [HEAD.pack(0, number) + body]), BOUNDS, reader)


def test_a_frame_on_a_topic_in_json_is_a_dead_letter(formats: Formats) -> None:
    frame = register(formats, avro_schema(Price)) + to_avro(RECORD)
    assert "expected one Price in JSON" in reason_of(JSON, frame)


def test_an_unknown_id_is_asked_for_once_in_a_while(formats: Formats, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    known = client(formats).get_schema
    monkeypatch.setattr(client(formats), "get_schema", lambda number: asked.append(number) or known(number))
    reader, value = formats.decoder(), HEAD.pack(0, 9) + b"12345"
    _, letters = parse(Raw(TOPIC, 0, range(3), [value] * 3), BOUNDS, reader)
    assert (len(letters), asked) == (3, [9])
    assert isinstance(reader, FrameReader)
    reader.unknown.clear()
    parse(Raw(TOPIC, 0, [3], [value]), BOUNDS, reader)
    assert asked == [9, 9]


# Over HTTP.


@contextmanager
def registry_that_answers(status: int, body: str) -> Iterator[Registry]:
    """A server with one answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Registry(url=f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "RETRIES", {"max.retries": 1, "retries.wait.ms": 1, "timeout": 10})


FRAME = HEAD.pack(0, 1) + to_avro(RECORD)


def test_a_schema_comes_over_http() -> None:
    with registry_that_answers(200, json.dumps({"schema": json.dumps(avro_schema(Price))})) as registry:
        assert records_of(Formats(topics={TOPIC: "avro"}, registry=registry), FRAME) == [RECORD]


def test_what_the_registry_does_not_know_is_a_dead_letter() -> None:
    with registry_that_answers(404, '{"error_code":40403,"message":"Schema 1 not found"}') as registry:
        assert "does not know it" in reason_of(Formats(topics={TOPIC: "avro"}, registry=registry), FRAME)


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, "<html>no such page</html>"),
        (404, '{"error_code":404,"message":"HTTP 404 Not Found"}'),
        (401, '{"error_code":401,"message":"Unauthorized"}'),
        (503, '{"error_code":50302,"message":"Error in the backend data store"}'),
        (200, "<html>the proxy's greeting</html>"),
    ],
)
def test_a_registry_that_does_not_answer_as_one_makes_no_dead_letter(status: int, body: str) -> None:
    with registry_that_answers(status, body) as registry:
        decode = Formats(topics={TOPIC: "avro"}, registry=registry).decoder()
        with pytest.raises(RegistryError, match=registry.url):
            parse(Raw(TOPIC, 0, [0], [FRAME]), BOUNDS, decode)


@pytest.mark.usefixtures("_impatient")
def test_an_unreachable_registry_fails_the_bundle_and_its_records_are_read_when_it_is_back(formats: Formats) -> None:
    away = Formats(topics={TOPIC: "avro"}, registry=Registry(url="http://127.0.0.1:1"))
    raws = [Raw(TOPIC, 0, [0], [FRAME])]
    with pytest.raises(Exception, match=r"http://127\.0\.0\.1:1: expected"), TestPipeline("FnApiRunner") as pipeline:
        _ = pipeline | beam.Create(raws) | ParseRecords(BOUNDS, away.decoder)
    register(formats, avro_schema(Price))
    with TestPipeline("FnApiRunner") as pipeline:
        outputs = pipeline | beam.Create(raws) | ParseRecords(BOUNDS, formats.decoder)
        records = outputs[RECORDS] | beam.FlatMap(lambda found: found.records)
        assert_that(records, equal_to([RECORD]), "Records")
        assert_that(outputs[DEADLETTERS], equal_to([]), "DeadLetters")


# What is written.


def test_lines_of_topics_in_avro_are_framed_and_others_are_not_touched(formats: Formats) -> None:
    encode = formats.encoder()
    value = encode("alerts.v1", ALERT)
    assert value.startswith(b"\0")
    found = client(formats).get_latest_version("alerts.v1-value")
    assert value[:5] == HEAD.pack(0, found.schema_id)
    read = fastavro.schemaless_reader(io.BytesIO(value[5:]), avro_schema(Alert), None)
    assert read["event_id"] == "e"
    assert isinstance(encode, FrameWriter)
    assert encode("audit.v1", b"as it is") == b"as it is" == JSON.encoder()("alerts.v1", b"as it is")


def test_every_output_comes_back_from_its_frame_byte_for_byte() -> None:
    formats = Formats(default="avro", registry=Registry(url="mock://outputs"))
    encode, decode = formats.encoder(), formats.decoder()
    outputs = days.run(parsed(good_day())[0])
    assert {"margin.calc.v1", "stress.tims.v1", "accounts.state.v1", "margin.calls.v1"} <= {
        topic for topic, _ in outputs
    }
    for topic, record in outputs:
        line = text_of(line_of(record))
        assert unframed(decode, topic, encode(topic, line)) == line
    assert unframed(decode, TOPIC, b"\0cut") == b"\0cut"
    assert unframed(decode, TOPIC, b"{}") == b"{}"


def test_the_schemas_of_what_is_written_are_known_before_anything_starts(formats: Formats) -> None:
    formats.check()
    assert client(formats).get_subjects() == ["alerts.v1-value"]
    JSON.check()


def test_an_incompatible_schema_is_refused_before_anything_starts(
    formats: Formats, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> int:
        raise SchemaRegistryError(409, 409, "Schema being registered is incompatible: READER_FIELD_MISSING text")

    monkeypatch.setattr(client(formats), "register_schema", refuse)
    with pytest.raises(ConfigurationError, match=r"alerts\.v1 in Avro: mock://test: .*not compatible.*_MISSING text"):
        formats.check()


def test_a_schema_that_somebody_else_registers_is_looked_up(formats: Formats) -> None:
    others = formats.model_copy(update={"registry": Registry(url="mock://test", auto_register=False)})
    with pytest.raises(ConfigurationError, match=r"expected schemas/avsc/alerts\.v1\.avsc.* set auto_register"):
        others.check()
    formats.check()
    others.check()


@pytest.mark.usefixtures("_impatient")
def test_an_absent_registry_is_told_before_anything_starts() -> None:
    away = Formats(topics={TOPIC: "avro"}, registry=Registry(url="http://127.0.0.1:1"))
    with pytest.raises(ConfigurationError, match=r"prices\.v1 in Avro: http://127\.0\.0\.1:1"):
        away.check()


# The job file.


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"topics": {"price.v1": "avro"}}, r"expected some of .*prices\.v1.*, found price\.v1"),
        ({"topics": {TOPIC: "xml"}}, "'json' or 'avro'"),
        ({"topics": {TOPIC: "avro"}}, r"registry: expected one for prices\.v1 in Avro"),
        ({"registry": {"url": "https://user:secret@registry"}}, "url"),
        ({"registry": {"url": "registry:8081"}}, "url"),
    ],
)
def test_formats_that_do_not_fit_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=said):
        Formats(**fields)


def test_all_topics_may_be_in_avro_but_some() -> None:
    formats = Formats(default="avro", topics={"deadletter.v1": "json"}, registry=Registry(url="mock://x"))
    assert "deadletter.v1" not in formats.avro
    assert {"fills.v1", "alerts.v1"} <= formats.avro


def test_the_login_is_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry(url="mock://login")
    assert "basic.auth.user.info" not in registry.client().config()
    monkeypatch.setenv(room.USERNAME, "margin")
    with pytest.raises(ConfigurationError, match=room.PASSWORD):
        registry.client()
    monkeypatch.setenv(room.PASSWORD, "pass:word")
    assert registry.client().config()["basic.auth.user.info"] == "margin:pass:word"
    assert "pass:word" not in registry.model_dump_json()
