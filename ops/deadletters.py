"""Dead letters of a cluster: found, shown as lines that can be corrected, and sent again to where they came from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Consumer, Producer, TopicPartition

from ops.capture import Log
from pipeline.kafka import Kafka
from pipeline.registry import JSON, Formats, unframed
from pipeline.sinks import UndeliveredError
from schemas.errors import UserError
from schemas.outputs import DeadLetter
from schemas.scalars import Time
from schemas.topics import BY_NAME, DEADLETTER

#: The header of a record that is sent again: the id of the dead letter that it was.
REPLAYED_FROM = "replayed_from"


class DeadLetterError(UserError, ValueError):
    """Corrections that cannot be used; the text says why."""


@dataclass(frozen=True)
class Letter:
    """A dead letter, and when it was written."""

    at: Time
    record: DeadLetter

    @property
    def id(self) -> str:
        """TOPIC/PARTITION/OFFSET of the record; TOPIC/DIGEST of one that the fold refused, which has no place."""
        found = self.record
        if found.partition < 0:
            return f"{found.topic}/{blake2b(found.payload, digest_size=8).hexdigest()}"
        return f"{found.topic}/{found.partition}/{found.offset}"


@dataclass(frozen=True)
class Choice:
    """Which dead letters: of a topic, a partition, offsets (first and last), with a text in their reason; None: all."""

    topic: str | None = None
    partition: int | None = None
    offsets: tuple[int, int] | None = None
    reason: str | None = None

    def takes(self, record: DeadLetter) -> bool:
        """Whether a record is chosen."""
        return (
            self.topic in (None, record.topic)
            and self.partition in (None, record.partition)
            and (self.offsets is None or self.offsets[0] <= record.offset <= self.offsets[1])
            and (self.reason is None or self.reason in record.reason)
        )


class Row(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A dead letter as a line: its payload as JSON or a string, or in base64 where it is neither."""

    id: str
    at: str = ""
    reason: str = ""
    payload: Any = None
    base64: bytes | None = None

    @property
    def value(self) -> bytes:
        """The payload's bytes."""
        if self.base64 is not None:
            return self.base64
        return self.payload.encode() if isinstance(self.payload, str) else msgspec.json.encode(self.payload)


@dataclass(frozen=True)
class Resend:
    """A dead letter as it is to be sent: its bytes, as they came or corrected.

    Fields:
      key: None where the bytes cannot be read.
      fault: why they would be refused again, as far as that can be told before they arrive.
      sent: it was sent again before, and is not once more.
    """

    letter: Letter
    value: bytes
    key: bytes | None
    fault: str | None
    sent: bool


@dataclass(frozen=True)
class DeadLetters:
    """The dead letters of a cluster whose topics have these formats."""

    kafka: Kafka
    formats: Formats = JSON

    @cached_property
    def _decode(self) -> Any:
        return self.formats.decoder()

    def chosen(self, choice: Choice) -> list[Letter]:
        """Those that are chosen, each once, by time.

        Raises:
          CaptureError, KafkaException, RegistryError: no such topic, or something does not answer.
        """
        found: dict[str, Letter] = {}
        for message in Log(self.kafka, (DEADLETTER.name,)).records():
            record = self._decode(DEADLETTER.name, message.value())
            if choice.takes(record):
                letter = Letter(Time(message.timestamp()[1] * 1000), record)
                # Delivery is at least once, and a job that begins at an earlier offset refuses the same records again.
                found.setdefault(letter.id, letter)
        return sorted(found.values(), key=lambda letter: (letter.at, letter.id))

    def row_of(self, letter: Letter) -> Row:
        """The line of a dead letter; Avro that can be read is shown as JSON. Raises RegistryError."""
        record, payload = letter.record, letter.record.payload
        row = Row(id=letter.id, at=letter.at.text(), reason=record.reason)
        try:
            row.payload = msgspec.json.decode(unframed(self._decode, record.topic, payload))
        except ValueError:
            try:
                row.payload = payload.decode()
            except UnicodeDecodeError:
                row.base64 = payload
        return row

    def planned(self, chosen: Collection[Letter], edits: Mapping[str, bytes] = {}) -> list[Resend]:
        """What is to be sent for each; a correction that is JSON goes to a topic in Avro as Avro.

        Raises:
          DeadLetterError: a correction of none of them.
          CaptureError, KafkaException, RegistryError: something does not answer.
        """
        if strange := edits.keys() - {letter.id for letter in chosen}:
            known = "those of dead letters that are chosen"
            raise DeadLetterError(f"corrections: id: expected {known}, found {', '.join(sorted(strange))}")
        encode, sent = self.formats.encoder(), self._sent(chosen)
        plan = []
        for letter in chosen:
            topic, value = letter.record.topic, edits.get(letter.id, letter.record.payload)
            key = fault = None
            try:
                key = str(getattr(self._decode(topic, value), BY_NAME[topic].key)).encode()
                if letter.id in edits and not value.startswith(b"\0"):
                    value = encode(topic, value)
            except ValueError as error:
                fault = str(error)
            plan.append(Resend(letter, value, key, fault, letter.id.encode() in sent))
        return plan

    def send(self, plan: Iterable[Resend]) -> int:
        """Send what was not sent before; how many.

        Raises:
          UndeliveredError: the brokers refuse some, which it names.
          KafkaException: a client cannot be had.
        """
        producer = Producer(self.kafka.client({"enable.idempotence": True}))
        due = [resend for resend in plan if not resend.sent]
        refused: list[str] = []
        for resend in due:
            record, id = resend.letter.record, resend.letter.id

            def told(error: Any, _: Any, id: str = id) -> None:
                if error is not None:
                    refused.append(f"{id}: {error.str()}")

            headers: list[tuple[str, Any]] = [(REPLAYED_FROM, id)]
            # To the partition that it came from, where it is looked for before it is sent again; -1 is any.
            producer.produce(record.topic, resend.value, resend.key, record.partition, told, headers=headers)
        left = producer.flush(60)
        if left or refused:
            raise UndeliveredError(f"{left + len(refused)} of {len(due)} undelivered: {', '.join(refused[:3])}")
        return len(due)

    def _sent(self, chosen: Collection[Letter]) -> set[Any]:
        """The ids of all that were sent again, in each partition behind the first record that is chosen."""
        firsts: dict[tuple[str, int], int] = {}
        for letter in chosen:
            place = letter.record.topic, letter.record.partition
            firsts[place] = min(letter.record.offset, firsts.get(place, letter.record.offset))
        topics = tuple({topic for topic, _ in firsts})
        begin = {}
        for (topic, partition), (low, high) in self._watermarks(topics).items():
            # What the fold refused may have gone to any partition, and at any time.
            first = low if (topic, -1) in firsts else firsts.get((topic, partition), high)
            begin[topic, partition] = min(max(first, low), high)
        headers = (dict(message.headers() or ()) for message in Log(self.kafka, topics).records(begin))
        return {found[REPLAYED_FROM] for found in headers if REPLAYED_FROM in found}

    def _watermarks(self, topics: Iterable[str]) -> dict[tuple[str, int], tuple[int, int]]:
        consumer = Consumer(self.kafka.client({"group.id": self.kafka.group + ".deadletter"}))
        try:
            known = consumer.list_topics(timeout=30).topics
            places = [(topic, number) for topic in topics if topic in known for number in known[topic].partitions]
            return {place: consumer.get_watermark_offsets(TopicPartition(*place), timeout=30) for place in places}
        finally:
            consumer.close()


def load_edits(file: Path) -> dict[str, bytes]:
    """Corrected payloads by id, from lines as `margin deadletter list --json` prints them.

    Raises:
      DeadLetterError: a line is not such a one, with its number.
      OSError: the file cannot be read.
    """
    found: dict[str, bytes] = {}
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        try:
            row = msgspec.json.decode(line, type=Row)
        except msgspec.DecodeError as error:
            expected = "a line of margin deadletter list --json, with its payload corrected"
            raise DeadLetterError(f"{file}:{number}: expected {expected}: {error}") from error
        found[row.id] = row.value
    return found
