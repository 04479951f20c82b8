"""The archive: what is kept of every record that came in or went out, how it is chained, and what things are named.

A *log* is what offsets are of: a Kafka cluster's topics under a job's name, or one replayed day. Of each log, topic and
partition the records form a chain: the link of a record is a hash of the record and of the link before it, so that a
record that is changed, removed, moved or repeated breaks it. Records travel in objects, each of consecutive records of
one partition and one hour. What an hour has is one digest, which names its predecessor: the digests are a chain, too,
and the last one is published apart from the store, so that a tail that was cut off is missed.

Names are of the store's root, with "/" between folders, the same in a folder and in S3:

  records/topic=fills.v1/date=2026-01-05/hour=14/LOG-00000-00000000000000000000.parquet
  digests/log=LOG/2026-01-05T14-00-00.json
  facts/HASH.json
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from schemas.scalars import Time, encode_json

#: What is before the first record of a chain, and before the first digest.
NOTHING = ""


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """A record as it was received: where, when (microseconds), its bytes, and the link of its chain."""

    offset: int
    received_at: Time
    value: bytes
    link: str


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A received record as a row of an object, with what it is found by.

    Fields:
      log, topic, partition, offset: where it was received.
      received_at: when the broker appended it; never before the record in front of it. Of a replayed day when it
        arrived at the firm, or was published.
      at: when what it says was so: an output's as_of, a fill's executed_at, a price's as_of, a beta's effective_at.
      key: the account, or the symbol; of what cannot be read, nothing.
      kind: what its topic tells apart: the kind of an audit record, the status of a call, the kind of a fill or alert.
      event_id: its own; of an input a hash of its topic and bytes, so that a record that came twice has one.
      causation_id: the event that it follows from. correlation_id: what it is about, the same for all of it: a call's
        or a liquidation's cause, a fill's original, the episode of a decision. supersedes: the event that it ends; of a
        correction's link all that it cancels, with a space between.
      value: the bytes as received. link: of its chain.
    """

    log: str
    topic: str
    partition: int
    offset: int
    received_at: Time
    at: Time
    key: str
    kind: str
    event_id: str
    causation_id: str | None
    correlation_id: str | None
    supersedes: str | None
    value: bytes
    link: str

    @property
    def place(self) -> str:
        """Where it was received, as text that sorts like it."""
        return f"{self.log}/{self.topic}/{self.partition:05d}/{self.offset:020d}"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What a digest says of an object: what it covers, and what its content is.

    Fields:
      begin, end: the offsets that it covers; the object of the partition before it ends where it begins.
      previous: the link before its first record. link: of its last record.
      content: SHA-256 of its bytes.
    """

    name: str
    topic: str
    partition: int
    begin: int
    end: int
    records: int
    previous: str
    link: str
    content: str


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """Something that decisions rest on beside records: a rulebook's texts, or how a job ran. content: SHA-256."""

    name: str
    what: str
    content: str


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """How far the chain of a partition has come: the next offset, and its last link."""

    topic: str
    partition: int
    end: int
    link: str


class HourDigest(msgspec.Struct, frozen=True, kw_only=True):
    """An hour of a log: its objects, sorted by name, and the digest of the hour before.

    hour: when it begins. seconds: how long it is; a custody may ask for digests more often than by the hour.
    heads: of every partition so far, sorted, so that the last digest vouches for the whole log.
    """

    log: str
    hour: Time
    seconds: int = 3600
    parts: tuple[Part, ...]
    facts: tuple[Fact, ...]
    previous: str
    heads: tuple[Head, ...] = ()
    digest: str = ""


def link_of(before: str, log: str, topic: str, partition: int, offset: int, received_at: int, value: bytes) -> str:
    """The link of a record: BLAKE2b-128 of the link before it, of where and when it was received, and of its bytes."""
    head = f"{before}\0{log}\0{topic}\0{partition}\0{offset}\0{received_at}\0".encode()
    return hashlib.blake2b(head + value, digest_size=16).hexdigest()


def linked(
    before: str, log: str, topic: str, partition: int, records: Iterator[tuple[int, int, bytes]]
) -> Iterator[Received]:
    """Records (offset, received_at, value) of a partition in order as links of its chain."""
    for offset, received_at, value in records:
        before = link_of(before, log, topic, partition, offset, received_at, value)
        yield Received(offset=offset, received_at=Time(received_at), value=value, link=before)


def content_of(content: bytes) -> str:
    """SHA-256 of an object's bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def sealed_digest(digest: HourDigest) -> HourDigest:
    """A digest with its own hash: SHA-256 of its canonical JSON without it."""
    plain = msgspec.structs.replace(digest, digest="")
    return msgspec.structs.replace(digest, digest=content_of(_ENCODER.encode(plain)))


def digest_json(digest: HourDigest) -> bytes:
    """A digest as it is stored: one line of JSON."""
    return _ENCODER.encode(digest) + b"\n"


def hour_of(microseconds: int, seconds: int = 3600) -> Time:
    """The beginning of the hour that a time is in, or of the span of so many seconds."""
    step = seconds * 1_000_000
    return Time(microseconds // step * step)


def object_name(log: str, topic: str, partition: int, hour: int, begin: int) -> str:
    """The name of the object of a partition's records of an hour from an offset on."""
    date, _, time = Time(hour).text().partition("T")
    return f"records/topic={topic}/date={date}/hour={time[:2]}/{log}-{partition:05d}-{begin:020d}.parquet"


def digests_of(log: str) -> str:
    """What the names of a log's digests begin with."""
    return f"digests/log={log}/"


def digest_name(log: str, hour: int) -> str:
    """The name of the digest of an hour."""
    return f"{digests_of(log)}{Time(hour).text()[:19].replace(':', '-')}.json"


def fact_name(content: str) -> str:
    """The name of a fact by its content."""
    return f"facts/{content}.json"


def topic_in(name: str) -> str | None:
    """The topic whose records an object has, by its name; None: of a digest, a fact, or what is no name of these."""
    found = _OBJECT.match(name)
    return found["topic"] if found else None


def hour_in(name: str) -> Time | None:
    """The hour that an object is of, or when a digest's begins, by its name; None: of a fact, and as topic_in."""
    found = _OBJECT.match(name) or _DIGEST.match(name)
    return Time.parse(f"{found['date']}T{found['time'].replace('-', ':')}Z") if found else None


def read_digest(text: bytes) -> HourDigest:
    """The inverse of digest_json. Raises msgspec.DecodeError."""
    return _DECODER.decode(text)


def _decode(kind: type, value: Any) -> Any:
    return kind.parse(value) if kind is Time else kind(value)


_OBJECT = re.compile(
    r"records/topic=(?P<topic>[^/]+)/date=(?P<date>\d{4}-\d\d-\d\d)/hour=(?P<time>\d\d)/[^/]+\.parquet$"
)
_DIGEST = re.compile(r"digests/log=[^/]+/(?P<date>\d{4}-\d\d-\d\d)T(?P<time>\d\d-\d\d-\d\d)\.json$")
_ENCODER = msgspec.json.Encoder(enc_hook=encode_json)
_DECODER = msgspec.json.Decoder(HourDigest, dec_hook=_decode)
