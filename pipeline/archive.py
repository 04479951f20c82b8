"""The archive's graph: records as received in; objects, their index and hourly digests in the store.

It is a second pipeline, so that nothing that a store does can reach the risk path: what it has not taken yet waits in
Kafka. An object is written before its index, and both before the digest that names it; all of them under names and with
content that follow from the records, so that a bundle that is run again changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import msgspec
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.custody import Custody
from pipeline.day import files_of, load_manifest
from pipeline.index import entries_of, open_index
from pipeline.job import Job, LiveJob, load_job
from pipeline.kafka import Kafka, Setting
from pipeline.objects import encode_rows, rows_of
from pipeline.rules import load_rulebook, texts_of
from pipeline.sources import RECEIVED, read_file
from pipeline.store import Store, StoreError, open_store
from schemas.archive import (
    Fact,
    HourDigest,
    content_of,
    digest_name,
    digests_of,
    fact_name,
    hour_in,
    hour_of,
    read_digest,
)
from schemas.codec import to_json
from schemas.scalars import Time
from schemas.topics import BY_NAME, DIGESTS, OUTPUTS, SNAPSHOTS
from transforms.archive import Encoded, KeepPartition, block_of, decode_draft
from transforms.digests import SealHours, Written, encode_written
from transforms.ordered import InTimeOrder
from transforms.parse import Decode, Raw, decode_plain, plain


@dataclass(eq=False)
class KeepRecords(beam.PTransform):
    """Raw elements with the broker's stamps in; the digests out, once all that they name is in the store.

    Fields:
      log: whose records they are. custody: where to, and how.
      decoder: makes, on a worker, what turns values into records.
      facts: what every digest names beside its objects.
      last: the digest to go on from; None: the log begins.
      horizon: where a replayed day ends, microseconds; None live.
      kafka: where every digest is published, apart from the store (schemas.topics.DIGESTS); None: nowhere.
    """

    log: str
    custody: Custody
    decoder: Callable[[], Decode] = plain
    facts: tuple[Fact, ...] = ()
    last: HourDigest | None = None
    horizon: int | None = None
    kafka: Kafka | None = None

    def expand(self, raws: beam.PCollection) -> beam.PCollection:
        """Chain by partition, write objects, seal hours, write digests."""
        heads = () if self.last is None else self.last.heads
        keep = KeepPartition(self.log, self.custody.records, self.custody.seconds, heads, self.horizon)
        seal = SealHours(self.log, self.custody.seconds, self.facts, self.last, self.horizon)
        blocks = raws | "Block" >> beam.Map(block_of).with_output_types(tuple[str, bytes])
        drafts = blocks | "Keep" >> InTimeOrder(keep, name="keep")
        write = beam.ParDo(_WriteObjects(self.log, self.custody, self.decoder)).with_output_types(tuple[str, bytes])
        digests = drafts | "WriteObjects" >> write | "Seal" >> InTimeOrder(seal, name="seal")
        publish = beam.ParDo(_WriteDigests(self.custody, self.kafka)).with_output_types(bytes)
        return digests | "WriteDigests" >> publish


class _WriteObjects(beam.DoFn):
    _COUNTS = {name: Metrics.counter("archive", name) for name in ("records", "objects", "bytes")}

    def __init__(self, log: str, custody: Custody, decoder: Callable[[], Decode]) -> None:
        self.log, self.custody, self.decoder = log, custody, decoder

    def setup(self) -> None:
        self.decode, self.store = self.decoder(), open_store(self.custody)
        self.index = open_index(self.custody)
        self.sealed = Sealed(self.store, self.log, self.custody.seconds)

    def process(self, payload: Encoded) -> Iterator[tuple[str, bytes]]:
        draft = decode_draft(payload)
        part = draft.part
        rows = list(rows_of(self.log, part.topic, part.partition, draft.records, self.decode))
        content = encode_rows(rows)
        self.store.put(part.name, content)
        if self.index is not None:
            self.index.put(entries_of(rows, part.name))
        for name, count in (("records", len(rows)), ("objects", 1), ("bytes", len(content))):
            self._COUNTS[name].inc(count)
        part = msgspec.structs.replace(part, content=content_of(content))
        hour = int(hour_of(draft.records[-1].received_at, self.custody.seconds))
        written = Written(self.sealed.hour_of(part.name, hour), part)
        yield self.log, encode_written(written, self.custody.seconds)


class Sealed:
    """What the digests in a store name: begun again from a checkpoint, the job has to make the same ones.

    Flink may show what seals hours an object only after its hour (docs/engines.md), and in time when the same is run
    again. Another digest of an hour that has one would be refused for ever, so what is in the store holds.
    """

    def __init__(self, store: Store, log: str, seconds: int) -> None:
        self.store, self.log, self.span = store, log, seconds * 1_000_000
        self.first: int | None = None
        self.named: dict[int, frozenset[str]] = {}

    def hour_of(self, name: str, hour: int) -> int:
        """The hour whose digest names an object of this hour; where none does, the first from there on without one.
        Raises StoreError."""
        if self.first is None:
            found = hour_in(next(iter(self.store.names(digests_of(self.log))), ""))
            if found is None:
                return hour
            self.first = int(found)
        # No digest is put before the first.
        hour = max(hour, self.first)
        while (named := self._named_by(hour)) is not None and name not in named:
            hour += self.span
        return hour

    def _named_by(self, hour: int) -> frozenset[str] | None:
        if hour not in self.named:
            payload = self.store.get(digest_name(self.log, hour))
            if payload is None:
                return None
            self.named[hour] = frozenset(part.name for part in read_digest(payload).parts)
        return self.named[hour]


class _WriteDigests(beam.DoFn):
    #: Seconds that a broker may take, retries included.
    TIMEOUT = 120.0

    def __init__(self, custody: Custody, kafka: Kafka | None) -> None:
        self.custody, self.kafka = custody, kafka

    def setup(self) -> None:
        self.store = open_store(self.custody)
        self.producer: Any = None
        if self.kafka is not None:
            from confluent_kafka import Producer

            settings: dict[str, Setting] = {
                "enable.idempotence": True,
                "message.timeout.ms": round(self.TIMEOUT * 1000),
            }
            self.producer = Producer(self.kafka.client(settings))

    def process(self, payload: Encoded) -> Iterator[Encoded]:
        digest = read_digest(payload)
        self.store.put(digest_name(digest.log, digest.hour), payload)
        if self.producer is not None:
            failed: list[Any] = []
            note = lambda error, _: failed.append(error) if error is not None else None  # noqa: E731
            self.producer.produce(DIGESTS, payload, digest.log.encode(), on_delivery=note)
            if self.producer.flush(self.TIMEOUT + 5) or failed:
                raise StoreError(f"{DIGESTS}: digest {digest.digest} was not published: {failed[:1] or 'no answer'}")
        yield payload


def log_of(day: str) -> str:
    """The name of the log that a replayed day's records are of; day: its business date."""
    return f"replay-{day}"


def facts_of(store: Store, rulebooks: list[str], run: Mapping[str, Any]) -> tuple[Fact, ...]:
    """Put rulebooks and how the graph ran into the store, as what every digest names.

    Args:
      rulebooks: names or paths. run: what a replay of the records needs beside them.

    Raises:
      ConfigurationError, StoreError.
    """
    labels = [load_rulebook(name).label for name in rulebooks]
    found: dict[str, Any] = {label: texts_of(name) for label, name in zip(labels, rulebooks, strict=True)}
    found["run"] = {**run, "rulebooks": labels}
    facts = []
    for what, told in found.items():
        text = json.dumps({what: told}, sort_keys=True, indent=1).encode() + b"\n"
        content = content_of(text)
        store.put(fact_name(content), text)
        facts.append(Fact(name=fact_name(content), what=what, content=content))
    return tuple(facts)


def archive_day(
    day: str,
    out: str,
    custody: Custody,
    options: PipelineOptions,
    *,
    rules: list[str] | None = None,
    job: Job | None = None,
) -> HourDigest:
    """Archive a day that was replayed, what came in and what went out, as a log of its own.

    Args:
      day, out: folders of the day and of its outputs.
      rules, job: that it was replayed by, where not by its manifest's and the job "replay".

    Returns:
      The last digest. Keep it apart from the store.

    Raises:
      DayError, ConfigurationError, StoreError: before anything is written, or where the store has something else.
    """
    manifest, store = load_manifest(day), open_store(custody)
    log = log_of(str(manifest.business_date))
    bounds, rulebooks = (job or load_job("replay")).bounds(manifest), rules or manifest.rulebooks
    inputs = files_of(day)
    run = {
        "log": log,
        "live": False,
        # Of these the broker said when they arrived; of the others their own records.
        "stamped": sorted(topic for topic, path in inputs if path.endswith(RECEIVED)),
        "manifest": manifest.model_dump(mode="json"),
        "price_ahead": bounds.price_ahead,
        "fill_ahead": bounds.fill_ahead,
    }
    facts = facts_of(store, rulebooks, run)
    seconds = custody.seconds * 1_000_000
    horizon = int(hour_of(manifest.horizon, custody.seconds)) + seconds
    files = [(topic, path, 0) for topic, path in inputs]
    files += [(topic.name, f"{out}/{topic.name}.jsonl", 0) for topic in OUTPUTS]
    files.append((SNAPSHOTS.name, f"{out}/{SNAPSHOTS.name}.jsonl", 1))
    with beam.Pipeline(options=options) as pipeline:
        read = beam.FlatMap(read_stamped, manifest.begin).with_output_types(Raw)
        raws = pipeline | "Files" >> beam.Create(files, reshuffle=False) | "Read" >> read
        _ = raws | "KeepRecords" >> KeepRecords(log, custody, facts=facts, horizon=horizon)
    found = last_digest(store, log)
    assert found is not None, "a day has at least the digest of its last hour"
    return found


#: What a live log is of.
TOPICS = tuple(BY_NAME)


def live_archive(
    job: LiveJob, custody: Custody, source: beam.PTransform, options: PipelineOptions, facts: tuple[Fact, ...]
) -> beam.Pipeline:
    """The archive of a live job's topics, to be run; it goes on from the last digest of the job's log, if there is one.

    Args:
      source: of TOPICS, by the log-append clock, beginning where that digest ends (heads_of).

    Raises:
      StoreError: the store cannot be read.
    """
    pipeline = beam.Pipeline(options=options)
    keep = KeepRecords(
        job.name,
        custody,
        job.formats.decoder,
        facts=facts,
        last=last_digest(open_store(custody), job.name),
        kafka=job.kafka,
    )
    _ = pipeline | "ReadKafka" >> source | "KeepRecords" >> keep
    return pipeline


def read_stamped(file: tuple[str, str, int], begin: int) -> Iterator[Raw]:
    """A file of a day or of its outputs, each record with when it arrived or was published, or when the one in front of
    it did where it does not say.

    Args:
      file: topic, path, and the partition that a file without any has. begin: of the day, microseconds.
    """
    topic, path, partition = file
    latest = begin
    for raw in read_file((topic, path)):
        values = [own if isinstance(own, bytes) else to_json(decode_plain(topic, own)) for own in raw.values]
        stamps = []
        for stamp in raw.arrived_at or map(_stamp, values):
            stamps.append(latest := max(latest, stamp))
        yield Raw(topic, raw.partition or partition, raw.offsets, values, stamps)


class _Head(msgspec.Struct):
    arrived_at: str | int | None = None
    as_of: str | int | None = None


_HEAD = msgspec.json.Decoder(_Head)


def _stamp(value: bytes) -> int:
    try:
        head = _HEAD.decode(value)
        return int(Time.parse(head.arrived_at or head.as_of or 0))
    except (msgspec.DecodeError, ValueError):
        return 0


def last_digest(store: Store, log: str) -> HourDigest | None:
    """The newest digest of a log; None where it has none. Raises StoreError."""
    name = max(store.names(digests_of(log)), default=None)
    return None if name is None else read_digest(store.get(name) or b"")
