"""What each topic's values are written in: lines of JSON, or Avro behind the id that a schema registry knows it by.

A frame is Confluent's: a zero byte, the schema's id in four bytes, and the record in Avro's binary encoding. It is read
with the schema that it was written with, resolved to the reader's own.
"""

from __future__ import annotations

import io
import json
import os
import struct
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import fastavro
import msgspec
import pydantic
from cachetools import TTLCache
from fastavro.schema import SchemaParseException

from pipeline.configuration import ConfigurationError
from pipeline.kafka import secret
from schemas.codec import avro_schema, from_avro_dict, from_json, parsed_schema, to_avro, to_json
from schemas.errors import UserError
from schemas.inputs import Input
from schemas.topics import BY_NAME, WRITTEN
from transforms.parse import Decode, decode_plain, plain

# Half a second to import, which a job in JSON does not pay.
if TYPE_CHECKING:
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

#: Secrets come from here and from nowhere else; a registry without a user's name asks for none.
USERNAME, PASSWORD = "MARGIN_REGISTRY_USERNAME", "MARGIN_REGISTRY_PASSWORD"

Format = Literal["json", "avro"]

#: A topic's name and a line of JSON to what is produced.
Encode = Callable[[str, bytes], bytes]

Answer = TypeVar("Answer")

HEAD = struct.Struct(">bI")


class RegistryError(UserError, RuntimeError):
    """The registry did not answer, or not as one; what asked is run again."""


class Registry(pydantic.BaseModel, extra="forbid", frozen=True):
    """A schema registry that speaks Confluent's protocol.

    Fields:
      url: of one or more, by comma; mock://NAME is one within this process.
      ca: PEM file with the authorities that sign its certificate, on every machine; None: the well-known.
      auto_register: register the schemas of what is written; otherwise somebody else has.
    """

    url: str = pydantic.Field(pattern=r"^(https?|mock)://[^\s@]+$")
    ca: str | None = None
    auto_register: bool = True

    def client(self) -> SchemaRegistryClient:
        """The client of this process, with its cache. Raises ConfigurationError where a secret is missing."""
        user = os.environ.get(USERNAME)
        return _client(self.url, self.ca, None if user is None else f"{user}:{secret(PASSWORD)}")


#: Time for a registry to come back: an error begins the job's work since its last checkpoint again.
RETRIES = {"max.retries": 8, "retries.wait.ms": 250, "timeout": 10}


@cache
def _client(url: str, ca: str | None, login: str | None) -> SchemaRegistryClient:
    from confluent_kafka.schema_registry import SchemaRegistryClient

    settings: dict[str, Any] = {"url": url, **RETRIES}
    if ca is not None:
        settings["ssl.ca.location"] = ca
    if login is not None:
        settings["basic.auth.user.info"] = login
    return SchemaRegistryClient.new_client(settings)


class Formats(pydantic.BaseModel, extra="forbid", frozen=True):
    """The format of every topic, and the registry of those in Avro."""

    default: Format = "json"
    topics: dict[str, Format] = {}
    registry: Registry | None = None

    @pydantic.model_validator(mode="after")
    def _fits_together(self) -> Formats:
        if unknown := self.topics.keys() - BY_NAME.keys():
            known = ", ".join(sorted(BY_NAME))
            raise ValueError(f"topics: expected some of {known}, found {', '.join(sorted(unknown))}")
        if self.registry is None and self.avro:
            raise ValueError(f"registry: expected one for {', '.join(sorted(self.avro))} in Avro, found nothing")
        return self

    @property
    def avro(self) -> frozenset[str]:
        """The topics in Avro."""
        return frozenset(name for name in BY_NAME if self.topics.get(name, self.default) == "avro")

    def decoder(self) -> Decode:
        """On a worker, what turns values into records; see FrameReader."""
        if self.registry is None:
            return plain()
        return FrameReader(self.registry, self.avro)

    def encoder(self) -> Encode:
        """On a worker, what turns lines of JSON into values; see FrameWriter."""
        if self.registry is None:
            return _as_it_is
        return FrameWriter(self.registry, self.avro)

    def check(self) -> None:
        """Before anything starts, have the registry know the schema of every topic in Avro that is written.

        Raises:
          ConfigurationError: it refuses one, or does not answer.
        """
        if self.registry is None:
            return
        writer, written = FrameWriter(self.registry, self.avro), {topic.name for topic in WRITTEN}
        for topic in sorted(self.avro):
            try:
                if topic in written:
                    writer.head_of(topic)
                else:
                    # Whoever writes it registers its schemas, maybe later; here it is enough that there is an answer.
                    asked(self.registry, writer.client.get_latest_version, f"{topic}-value")
            except RegistryError as error:
                raise ConfigurationError(f"formats: {topic} in Avro: {error}") from error


#: No topic in Avro.
JSON = Formats()


def _as_it_is(_: str, text: bytes) -> bytes:
    return text


class FrameReader:
    """Values to records: frames on topics in Avro, and JSON, which a topic may hold from before it was in Avro."""

    #: Seconds until an id that the registry did not know is asked for again.
    UNKNOWN_S = 30

    def __init__(self, registry: Registry, topics: frozenset[str]) -> None:
        self.registry, self.topics = registry, topics
        self.client = registry.client()
        self.schemas: dict[int, Any] = {}
        self.unknown: TTLCache[int, str] = TTLCache(1000, self.UNKNOWN_S)

    def __call__(self, topic: str, value: Any) -> Input:
        """The record of a value.

        Raises:
          msgspec.DecodeError: naming what was expected and found.
          RegistryError: the registry did not answer, which says nothing of the value.
        """
        if topic not in self.topics or not isinstance(value, bytes) or not value.startswith(b"\0"):
            return decode_plain(topic, value)
        kind = BY_NAME[topic].record
        if len(value) <= HEAD.size:
            raise msgspec.DecodeError(
                f"expected a zero byte, a schema's id and an Avro {kind.__name__}, found {value!r}"
            )
        number = HEAD.unpack_from(value)[1]
        writer = self._writer_schema(number, kind.__name__)
        name = writer.get("name", "unnamed") if isinstance(writer, dict) else "no record"
        body = io.BytesIO(value)
        body.seek(HEAD.size)
        try:
            fields: Any = fastavro.schemaless_reader(body, writer, parsed_schema(kind))
        except fastavro.read.SchemaResolutionError as error:
            reason = f"schema {number} ({name}), which does not resolve to it: {error}"
        except (EOFError, IndexError, OverflowError, ValueError) as error:
            reason = f"{str(error) or 'a truncated payload'}, read by schema {number} ({name})"
        else:
            if body.tell() == len(value):
                return from_avro_dict(kind, fields)  # type: ignore[no-any-return]
            reason = f"{len(value) - body.tell()} more bytes than schema {number} ({name}) has"
        raise msgspec.DecodeError(f"expected one {kind.__name__} in Avro, found {reason}")

    def _writer_schema(self, number: int, expected: str) -> Any:
        if number in self.schemas:
            return self.schemas[number]
        if number not in self.unknown:
            try:
                self.schemas[number] = self._fetched(number)
                return self.schemas[number]
            except (SchemaParseException, ValueError) as error:
                self.unknown[number] = str(error)
        raise msgspec.DecodeError(f"expected one {expected} in Avro, found schema {number}: {self.unknown[number]}")

    def _fetched(self, number: int) -> Any:
        """The schema with those that it refers to; ValueError where the registry has no such Avro schema."""
        schema = asked(self.registry, self.client.get_schema, number)
        if schema is None:
            raise ValueError(f"{self.registry.url} does not know it")
        if schema.schema_type not in ("AVRO", None):
            raise ValueError(f"it is {schema.schema_type}")
        named: dict[str, Any] = {}
        self._add_references(schema, named)
        return fastavro.parse_schema(json.loads(schema.schema_str or ""), named)

    def _add_references(self, schema: Schema, named: dict[str, Any]) -> None:
        for reference in schema.references or ():
            subject, version = str(reference.subject), reference.version or "latest"
            if reference.name not in named:
                found = asked(self.registry, self.client.get_version, subject, version, True)
                if found is None:
                    raise ValueError(f"{self.registry.url} does not know its reference, {subject} {version}")
                self._add_references(found.schema, named)
                fastavro.parse_schema(json.loads(found.schema.schema_str or ""), named)


class FrameWriter:
    """Lines of JSON to what is produced: a frame on topics in Avro, the line itself on others."""

    def __init__(self, registry: Registry, topics: frozenset[str]) -> None:
        self.registry, self.topics = registry, topics
        self.client = registry.client()
        self.heads: dict[str, bytes] = {}

    def __call__(self, topic: str, text: bytes) -> bytes:
        """What is produced for a line. Raises RegistryError."""
        if topic not in self.topics:
            return text
        return self.head_of(topic) + to_avro(from_json(BY_NAME[topic].record, text))

    def head_of(self, topic: str) -> bytes:
        """The zero byte and the id of the topic's schema, registered under TOPIC-value, or looked up.

        Raises:
          RegistryError: it does not answer, or refuses the schema.
        """
        if topic not in self.heads:
            from confluent_kafka.schema_registry import Schema

            subject, schema = f"{topic}-value", Schema(json.dumps(avro_schema(BY_NAME[topic].record)), "AVRO")
            if self.registry.auto_register:
                number = asked(self.registry, self.client.register_schema, subject, schema)
            else:
                found = asked(self.registry, self.client.lookup_schema, subject, schema)
                number = None if found is None else found.schema_id
            if number is None:
                raise RegistryError(
                    f"{self.registry.url}: subject {subject}: expected schemas/avsc/{topic}.avsc, found it without; "
                    "register it, or set auto_register"
                )
            self.heads[topic] = HEAD.pack(0, number)
        return self.heads[topic]


def unframed(decode: Decode, topic: str, value: bytes) -> bytes:
    """A frame as the line of JSON that it stands for; anything else as it is. Raises RegistryError."""
    try:
        return to_json(decode(topic, value)) if value.startswith(b"\0") else value
    except ValueError:
        return value


def asked(registry: Registry, request: Callable[..., Answer], *arguments: Any) -> Answer | None:
    """What the registry answers; None where it knows no such thing. Raises RegistryError for anything else."""
    from confluent_kafka.schema_registry import SchemaRegistryError

    try:
        return request(*arguments)
    except SchemaRegistryError as error:
        # Its own 404s have five digits; another is of something that stands before it, or in its place.
        if error.http_status_code == 404 and 40400 <= (error.error_code or 0) < 40500:
            return None
        refusal = "the schema is not compatible with the last of its subject: " if error.http_status_code == 409 else ""
        raise RegistryError(f"{registry.url}: {refusal}{error}") from error
    except Exception as error:
        # Whatever else goes wrong on the way to a registry, a page of a proxy's included, says nothing of a record.
        raise RegistryError(f"{registry.url}: expected an answer, found {type(error).__name__}: {error}") from error
