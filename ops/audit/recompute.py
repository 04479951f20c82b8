"""Recomputing what was decided from what is stored: the records that an account saw, and the rules in force, through
the same fold, in this process. Neither topics nor conf/ are asked.

An account is decided on by itself, so its own records and the market of what it holds are enough; that figures depend
on nothing else is a property of the graph (design 6.1) which this shows once more for every decision.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ops.audit.question import Question
from ops.audit.reader import Reader
from pipeline.archive import last_digest
from pipeline.day import Manifest, sessions_around
from pipeline.graph import MonitorMargin
from pipeline.registry import unframed
from pipeline.rules import rulebook_of
from pipeline.store import Store
from schemas.archive import Row
from schemas.errors import UserError
from schemas.inputs import Input
from schemas.scalars import Time
from schemas.topics import FIRM_TOTALS, INPUTS, OUTPUTS, SNAPSHOTS
from transforms.firm import is_line
from transforms.lines import account_of, text_of
from transforms.parse import Bounds, Decode, Raw, decode_plain, parse
from transforms.records import Records

_OWN = tuple(topic.name for topic in INPUTS if not topic.market)
_MARKET = tuple(topic.name for topic in INPUTS if topic.market)
#: What an account is told. The firm is told of all of them together, and a dead letter of none.
_TOLD = tuple(topic.name for topic in OUTPUTS if topic.key == "account_id" and topic is not FIRM_TOTALS)


class RecomputeError(UserError, ValueError):
    """Something that cannot be recomputed; the text says what is missing."""


@dataclass(frozen=True)
class Recorded:
    """A log of the archive: how its graph ran, by the facts that its digests name.

    Raises:
      RecomputeError: a fact is missing from the store.
    """

    store: Store
    log: str

    @cached_property
    def facts(self) -> dict[str, Any]:
        """By what they are: rulebook texts by label, and the run."""
        digest = last_digest(self.store, self.log)
        if digest is None:
            raise RecomputeError(f"{self.store.address}: expected digests of log {self.log}, found none")
        found: dict[str, Any] = {}
        for fact in digest.facts:
            content = self.store.get(fact.name)
            if content is None:
                raise RecomputeError(f"{self.store.address}/{fact.name}: expected {fact.what}, found nothing")
            found |= json.loads(content)
        return found

    @cached_property
    def manifest(self) -> Manifest:
        """Of the day, or of what a live log's days have in common."""
        return Manifest.model_validate(self.facts["run"]["manifest"])

    @cached_property
    def monitor(self) -> MonitorMargin:
        """The graph as it ran, on one shard."""
        run, manifest = self.facts["run"], self.manifest
        opens, closes = (None, None) if run["live"] else (manifest.begin, manifest.horizon)
        return MonitorMargin(
            rulebooks=tuple(
                sorted(
                    (rulebook_of(label, self.facts[label]) for label in run["rulebooks"]),
                    key=lambda book: book.effective_at,
                )
            ),
            sessions=sessions_around(
                manifest.business_date, manifest.calendar, *([run["days"]] if run["live"] else [])
            ),
            bounds=Bounds(opens, closes, run["price_ahead"], run["fill_ahead"]),
            interval=manifest.interval_ms * 1000,
            shards=1,
        )

    def raw(self, row: Row) -> Raw:
        """A row as it was received: with the broker's stamp where it had one."""
        stamped = self.facts["run"]["live"] or row.topic in self.facts["run"]["stamped"]
        return Raw(row.topic, row.partition, [row.offset], [row.value], [row.received_at] if stamped else None)


@dataclass(frozen=True)
class Recomputed:
    """What an account was told at some instants, as recorded and as recomputed: lines of JSON by topic."""

    account_id: str
    recorded: Mapping[str, list[bytes]]
    recomputed: Mapping[str, list[bytes]]
    inputs: int

    @property
    def equal(self) -> bool:
        """Whether they are equal, byte by byte."""
        return self.recorded == self.recomputed

    def differences(self) -> Iterator[tuple[str, bytes, bytes]]:
        """(topic, recorded, recomputed) of lines that are not in both; one of the two is empty."""
        for topic in sorted(self.recorded.keys() | self.recomputed.keys()):
            one, other = set(self.recorded.get(topic, ())), set(self.recomputed.get(topic, ()))
            yield from ((topic, line, b"") for line in sorted(one - other))
            yield from ((topic, b"", line) for line in sorted(other - one))


def recompute(
    reader: Reader,
    recorded: Recorded,
    account_id: str,
    at: int | None = None,
    decode: Decode = decode_plain,
    topics: tuple[str, ...] = _TOLD,
) -> Recomputed:
    """What an account was told at an instant, microseconds, or at every one, beside what follows from the inputs.

    Raises:
      RecomputeError, ArchiveError, StoreError: something cannot be read.
    """
    monitor, run = recorded.monitor, recorded.facts["run"]
    records = list(inputs_of(reader, recorded, account_id, at, decode))
    fold = monitor.fold
    if at is not None:
        until = at
    elif fold.horizon is not None:
        until = fold.horizon
    else:
        until = max((fold.instant_of(int(own.arrived_at or 0)) for own in records), default=0)
    found: dict[str, list[bytes]] = defaultdict(list)
    for topic, lines in filter(is_line, fold.advance(fold.start(), [Records.of(records)], until)):
        if topic in topics:
            own = (text_of(line) for line in lines if account_of(line) == account_id.encode())
            found[topic] += [text for text in own if at is None or _as_of(text) == at]
    begin, end = (None, None) if at is None else (at, at + 1)
    told = Question(topics=topics, keys=(account_id,), begin=begin, end=end, log=run["log"])
    known: dict[str, list[bytes]] = defaultdict(list)
    for row in reader.rows(told):
        known[row.topic].append(_json(row, decode))
    recorded_lines, made = ({t: sorted(lines) for t, lines in side.items() if lines} for side in (known, found))
    return Recomputed(account_id, recorded_lines, made, len(records))


def inputs_of(
    reader: Reader, recorded: Recorded, account_id: str, at: int | None = None, decode: Decode = decode_plain
) -> Iterator[Input]:
    """The records that an account's figures at an instant, or at all, rest on: its own, and of the market what it
    holds, or ever held, and what that derives from."""
    log = recorded.facts["run"]["log"]

    def read(topics: tuple[str, ...], keys: tuple[str, ...] = ()) -> Iterator[Any]:
        for row in reader.rows(Question(topics=topics, keys=keys, received_before=at, log=log)):
            # The day's own closing snapshots are what went out.
            if row.topic != SNAPSHOTS.name or row.partition == 0 or recorded.facts["run"]["live"]:
                yield from parse(recorded.raw(row), recorded.monitor.bounds, decode)[0].records

    own = list(read(_OWN, (account_id,)))
    yield from own
    symbols = set(_symbols(own))
    instruments = list(read(("instruments.v1",)))
    while more := {i.underlying for i in instruments if i.symbol in symbols and i.underlying} - symbols:
        symbols |= more
    yield from (instrument for instrument in instruments if instrument.symbol in symbols)
    if symbols:
        yield from read(tuple(name for name in _MARKET if name != "instruments.v1"), tuple(sorted(symbols)))


def _symbols(records: Iterable[Any]) -> Iterator[str]:
    for record in records:
        if hasattr(record, "symbol"):
            yield record.symbol
        for position in (*getattr(record, "positions", ()), *getattr(record, "fills", ())):
            yield position.symbol


def _as_of(text: bytes) -> int:
    return int(Time.parse(json.loads(text)["as_of"]))


def _json(row: Row, decode: Decode) -> bytes:
    return unframed(decode, row.topic, row.value)
