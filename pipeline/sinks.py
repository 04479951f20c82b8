"""Where outputs go: a folder like a day, one sorted file a topic, so that diff -r compares two runs; or Kafka."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import time_ns
from typing import Any

import apache_beam as beam
import msgspec
import zstandard
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from pipeline.kafka import Kafka, Setting
from pipeline.registry import JSON, Formats
from schemas.errors import UserError
from schemas.topics import BY_NAME, DEADLETTER, WRITTEN
from transforms.lines import Lines, account_of, text_of


@dataclass(eq=False)
class WriteDay(beam.PTransform):
    """PCollections of (topic, lines) in; a file a topic, sorted. Raises OSError before it starts."""

    folder: str

    def expand(self, outputs: tuple[beam.PCollection, ...]) -> beam.PCollection:
        """Pack the lines before they leave their stage, gather each topic's, sort and write them."""
        # Beam cannot write an empty object to S3: at an address a topic without records has no file.
        if "://" not in self.folder:
            folder = Path(self.folder)
            folder.mkdir(parents=True, exist_ok=True)
            for topic in WRITTEN:
                (folder / f"{topic.name}.jsonl").write_bytes(b"")
        packed = [part | f"Pack{n}" >> beam.ParDo(_Pack()) for n, part in enumerate(outputs)]
        runs = packed | "Outputs" >> beam.Flatten()
        return runs | "ByTopic" >> beam.GroupByKey() | "Write" >> beam.Map(write_topic, self.folder)


class _Pack(beam.DoFn):
    """Sorted runs of a topic's lines, compressed behind the sorting key of the first: a day fits in memory packed."""

    FLUSH = 1 << 20

    def start_bundle(self) -> None:
        self.lines: dict[str, list[bytes]] = {}
        self.size: dict[str, int] = {}

    def process(self, element: Lines) -> Iterator[tuple[str, bytes]]:
        topic, lines = element
        self.lines.setdefault(topic, []).extend(lines)
        self.size[topic] = self.size.get(topic, 0) + sum(map(len, lines))
        if self.size[topic] >= self.FLUSH:
            yield topic, self._run(topic)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for topic in list(self.lines):
            run = topic, self._run(topic)
            yield WindowedValue(run, GlobalWindow().max_timestamp(), (GlobalWindow(),))

    def _run(self, topic: str) -> bytes:
        lines = sorted(self.lines.pop(topic))
        del self.size[topic]
        return lines[0].partition(b"\0")[0] + b"\0" + zstandard.compress(b"\n".join([*lines, b""]), 1)


def in_order(runs: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of sorted runs with their line feeds, sorted and each once; of the runs only those that overlap are
    unpacked."""
    previous: bytes | None = None
    waiting: list[bytes] = []
    for run, following in pairwise([*sorted(runs), b""]):
        packed = memoryview(run)[run.index(b"\0") + 1 :]
        waiting.extend(zstandard.decompress(packed).splitlines(keepends=True))
        waiting.sort()
        # What sorts before the next run's first key is complete.
        ready = bisect_left(waiting, following[: following.index(b"\0")]) if following else len(waiting)
        for line in waiting[:ready]:
            # Delivery is at least once: a repeated line is the same record.
            if line != previous:
                yield line
            previous = line
        del waiting[:ready]


def write_topic(group: tuple[str, Iterable[bytes]], folder: str) -> str:
    """Write a topic's file in place of what was there; the path."""
    topic, runs = group
    path, part = (FileSystems.join(folder, f"{topic}.{suffix}") for suffix in ("jsonl", "part"))
    with FileSystems.create(part, compression_type=CompressionTypes.UNCOMPRESSED) as out:
        for line in in_order(runs):
            out.write(text_of(line))
    FileSystems.rename([part], [path])
    return path


class UndeliveredError(UserError, RuntimeError):
    """Records that the brokers did not take, with the topic, key and size of some; their bundle is run again."""


@dataclass(eq=False)
class WriteKafka(beam.PTransform):
    """PCollections of (topic, lines) in; each line to its topic, by one idempotent producer, delivered when its bundle
    ends. Delivery is at least once: consumers know a repeated record by its event_id.

    Fields:
      kafka: the cluster.
      formats: what each topic's values are written in.
    """

    kafka: Kafka
    formats: Formats = JSON

    def expand(self, outputs: tuple[beam.PCollection, ...]) -> None:
        """Produce each part where it is made, so that nothing but acknowledgements crosses a stage."""
        for n, part in enumerate(outputs):
            _ = part | f"Produce{n}" >> beam.ParDo(_Produce(self.kafka, self.formats))


class _Produce(beam.DoFn):
    #: Time to deliver a bundle in, retries included: longer than a broker takes to come back.
    TIMEOUT_MS = 120_000
    #: Seconds after which what has timed out is certainly told of, by name.
    TOLD_S = 5

    def __init__(self, kafka: Kafka, formats: Formats) -> None:
        self.kafka = kafka
        self.formats = formats

    def setup(self) -> None:
        self.encode = self.formats.encoder()
        self.producer: Any = None

    def start_bundle(self) -> None:
        # Each bundle has a list of its own, which its callbacks hold: those of an earlier one may still come.
        self.failed: list[str] = []
        if self.producer is None:
            self.producer = self._connected()

    def process(self, element: Lines) -> None:
        topic, lines = element
        headers: list[tuple[str, Any]] = [("schema", topic), ("produced_at", str(time_ns() // 1000))]
        for line in lines:
            text = text_of(line)
            value, key = self.encode(topic, text), key_of(topic, line, text)
            self._produce(topic, value, key, [*headers, *_identity(text)])

    def finish_bundle(self) -> None:
        left = self.producer.flush(self.TIMEOUT_MS / 1000 + self.TOLD_S)
        if left or self.failed:
            error = UndeliveredError(f"{left + len(self.failed)} undelivered: {', '.join(self.failed[:3])}")
            self._abandon()
            raise error

    def teardown(self) -> None:
        if self.producer is not None:
            self._abandon()

    def _connected(self) -> Any:
        from confluent_kafka import Producer

        settings: dict[str, Setting] = {
            "enable.idempotence": True,
            "linger.ms": 5,
            "compression.type": "lz4",
            "message.timeout.ms": self.TIMEOUT_MS,
            "queue.buffering.max.messages": 1_000_000,
            "delivery.report.only.error": True,
        }
        return Producer(self.kafka.client(settings))

    def _produce(self, topic: str, value: bytes, key: bytes, headers: list[tuple[str, Any]]) -> None:
        from confluent_kafka import KafkaException

        delivered = partial(_note, self.failed)
        while True:
            try:
                self.producer.produce(topic, value, key, headers=headers, on_delivery=delivered)
                return
            except BufferError:
                self.producer.poll(0.1)
            except KafkaException as error:
                self._abandon()
                raise UndeliveredError(_named(error.args[0], topic, key, len(value))) from error

    def _abandon(self) -> None:
        # What waits in a failed producer comes again with its bundle, and one that met a fatal error sends no more.
        self.producer.purge()
        self.producer.flush(self.TOLD_S)
        self.producer = None


def _note(failed: list[str], error: Any, message: Any) -> None:
    if error is not None:
        failed.append(_named(error, message.topic(), message.key(), len(message.value())))


def _named(error: Any, topic: str, key: bytes, size: int) -> str:
    return f"{topic}, key {key.decode(errors='replace')!r}, {size} bytes: {error.str()}"


def key_of(topic: str, line: bytes, text: bytes) -> bytes:
    """The partitioning key of a line: its account, or of a dead letter the topic that it came from."""
    if topic == DEADLETTER.name:
        return msgspec.json.decode(text, type=BY_NAME[topic].record).topic.encode()  # type: ignore[attr-defined]
    return account_of(line)


def _identity(text: bytes) -> list[tuple[str, bytes]]:
    # Every event's JSON begins with its id (schemas.ids.seal).
    head = b'{"event_id":"'
    return [("event_id", text[len(head) : len(head) + 32])] if text.startswith(head) else []
