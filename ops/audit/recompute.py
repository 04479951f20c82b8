"""Recomputing what was decided from what is stored: the records that an account saw, and the rules in force, through
the same fold, in this process. Neither topics nor conf/ are asked.

An account is decided on by itself, so its own records and the market of what it holds are enough; that figures depend
on nothing else is a property of the graph (design 6.1) which this shows once more for every decision.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, product
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
from schemas.topics import AUDIT, FIRM_TOTALS, INPUTS, INSTRUMENTS, OUTPUTS, SNAPSHOTS
from transforms.firm import is_line
from transforms.lines import account_of, text_of
from transforms.parse import Bounds, Decode, Raw, decode_plain, parse
from transforms.records import Records

_OWN = tuple(topic.name for topic in INPUTS if not topic.market)
_MARKET = tuple(topic.name for topic in INPUTS if topic.market)
_QUOTED = tuple(name for name in _MARKET if name != INSTRUMENTS.name)
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


@dataclass(frozen=True)
class Inputs:
    """The records of a log that came in, by whose they are; asked for as they are needed, unless all were read before.

    Fields:
      all: every one, by topic and key; None: the reader is asked.
    """

    reader: Reader
    recorded: Recorded
    decode: Decode = decode_plain
    all: Mapping[tuple[str, str], list[Input]] | None = None

    def read_all(self) -> Inputs:
        """With every record in memory, for many accounts."""
        found: dict[tuple[str, str], list[Input]] = defaultdict(list)
        for row in self.reader.rows(Question(topics=(*_OWN, *_MARKET), log=self.recorded.log)):
            found[row.topic, row.key] += self._parsed(row)
        return replace(self, all=found)

    def read(self, topics: tuple[str, ...], keys: tuple[str, ...] = (), at: int | None = None) -> Iterator[Any]:
        """The records of topics and keys, all keys where none is given, that arrived before a time, microseconds."""
        if self.all is None:
            question = Question(topics=topics, keys=keys, received_before=at, log=self.recorded.log)
            found: Iterable[Any] = chain.from_iterable(map(self._parsed, self.reader.rows(question)))
        else:
            places = product(topics, keys) if keys else (place for place in self.all if place[0] in topics)
            found = chain.from_iterable(self.all.get(place, ()) for place in places)
        return (record for record in found if at is None or record.arrived_at < at)

    def of_accounts(self, account_ids: tuple[str, ...], at: int | None = None) -> Iterator[Input]:
        """What accounts' figures at an instant, or at all, rest on: their own records, and of the market what they
        hold, or ever held, and what that derives from."""
        own = list(self.read(_OWN, account_ids, at))
        yield from own
        symbols = set(_symbols(own))
        instruments = list(self.read((INSTRUMENTS.name,), (), at))
        while more := {i.underlying for i in instruments if i.symbol in symbols and i.underlying} - symbols:
            symbols |= more
        yield from (instrument for instrument in instruments if instrument.symbol in symbols)
        if symbols:
            yield from self.read(_QUOTED, tuple(sorted(symbols)), at)

    def _parsed(self, row: Row) -> list[Any]:
        # The day's own closing snapshots are what went out.
        if row.topic == SNAPSHOTS.name and row.partition and not self.recorded.facts["run"]["live"]:
            return []
        return parse(self.recorded.raw(row), self.recorded.monitor.bounds, self.decode)[0].records


def recompute(inputs: Inputs, account_id: str, at: int | None = None) -> Recomputed:
    """What an account was told at an instant, microseconds, or at every one, beside what follows from the inputs.

    Raises:
      RecomputeError, StoreError: something cannot be read.
    """
    begin, end = (None, None) if at is None else (at, at + 1)
    asked = Question(topics=_TOLD, keys=(account_id,), begin=begin, end=end, log=inputs.recorded.log)
    (found,) = _recomputed(inputs, {account_id: list(inputs.reader.rows(asked))}, at)
    return found


#: Accounts that go through the fold together: alone, each would have the day's instants gone through again.
TOGETHER = 100


def recompute_all(inputs: Inputs) -> Iterator[Recomputed]:
    """Every account that anything was decided on, with all that it was told. Raises as recompute."""
    log = inputs.recorded.log
    decided = sorted({row.key for row in inputs.reader.rows(Question(topics=(AUDIT.name,), log=log))})
    told: dict[str, list[Row]] = {account_id: [] for account_id in decided}
    for row in inputs.reader.rows(Question(topics=_TOLD, log=log)):
        if row.key in told:
            told[row.key].append(row)
    whole = inputs.read_all()
    for first in range(0, len(decided), TOGETHER):
        yield from _recomputed(whole, {own: told[own] for own in decided[first : first + TOGETHER]})


def _recomputed(inputs: Inputs, told: Mapping[str, list[Row]], at: int | None = None) -> Iterator[Recomputed]:
    """Accounts with the rows that they were told, all together."""
    records = list(inputs.of_accounts(tuple(told), at))
    fold = inputs.recorded.monitor.fold
    if at is not None:
        until = at
    elif fold.horizon is not None:
        until = fold.horizon
    else:
        until = max((fold.instant_of(int(own.arrived_at or 0)) for own in records), default=0)
    made: dict[str, dict[str, list[bytes]]] = {own: defaultdict(list) for own in told}
    for topic, lines in filter(is_line, fold.advance(fold.start(), [Records.of(records)], until)):
        for line in lines if topic in _TOLD else ():
            text = text_of(line)
            if at is None or _as_of(text) == at:
                made[account_of(line).decode()][topic].append(text)
    for account_id, rows in told.items():
        known: dict[str, list[bytes]] = defaultdict(list)
        for row in rows:
            # A live log may have been told of later instants than the last that its inputs lead to.
            if row.at <= until:
                known[row.topic].append(unframed(inputs.decode, row.topic, row.value))
        recorded, again = ({topic: sorted(own) for topic, own in side.items()} for side in (known, made[account_id]))
        yield Recomputed(account_id, recorded, again, len(records))


def _symbols(records: Iterable[Any]) -> Iterator[str]:
    for record in records:
        if hasattr(record, "symbol"):
            yield record.symbol
        for position in (*getattr(record, "positions", ()), *getattr(record, "fills", ())):
            yield position.symbol


def _as_of(text: bytes) -> int:
    return int(Time.parse(json.loads(text)["as_of"]))
