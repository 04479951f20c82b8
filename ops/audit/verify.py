"""Verification of an archive: that nothing in it was changed, removed, moved or repeated since it was written."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache

import pyarrow as pa
import pyarrow.parquet as pq

from ops.audit.chains import AccountChains, own_id
from ops.audit.digests import Chains, check_chains, check_facts, check_published, read_chains
from ops.audit.entries import Entries
from ops.audit.findings import MOST, Findings
from pipeline.index import Index
from pipeline.objects import SCHEMA, decode_rows, rows_of
from pipeline.store import Store
from schemas.archive import (
    NOTHING,
    HourDigest,
    Part,
    Received,
    Row,
    content_of,
    hour_in,
    hour_of,
    link_of,
    object_name,
)
from schemas.inputs import Snapshot
from schemas.outputs import Audit
from schemas.scalars import Time
from schemas.topics import AUDIT, SNAPSHOTS
from transforms.parse import Decode

_NAME = re.compile(
    r"records/topic=(?P<topic>[^/]+)/date=(?P<date>\d{4}-\d\d-\d\d)/hour=(?P<hour>\d\d)/"
    r"(?P<log>.+)-(?P<partition>\d{5})-(?P<begin>\d{20})\.parquet"
)
_HOUR = 3_600_000_000


def _kept(name: str) -> bool:
    """Nothing need not be there."""
    return False


def _ignore(done: int, total: int) -> None:
    """Of so many objects so many are done."""


@dataclass(slots=True)
class Verification:
    """Looks at every object that digests name, and at what they do not name.

    Fields:
      store: of the archive. decode: what the topics' values are read with. index: of the archive, if it has one.
      log: only this one. published: digests that were kept apart from the store.
      gone: whether retention keeps an object or digest of a name no longer, so that it need not be there.
      progress: is told how many objects are done, of how many.
    """

    store: Store
    decode: Decode
    index: Index | None = None
    log: str | None = None
    published: Iterable[str | HourDigest] = ()
    gone: Callable[[str], bool] = _kept
    progress: Callable[[int, int], None] = _ignore
    findings: Findings = field(default_factory=Findings)
    _accounts: dict[str, AccountChains] = field(default_factory=dict)
    _rulebooks: dict[str, dict[str, str]] = field(default_factory=dict)
    _entries: Entries = field(default_factory=Entries)
    #: Logs whose beginning is not there, and need not be, or was told of.
    _trimmed: set[str] = field(default_factory=set)
    #: Objects of which the index may have entries that are not held against their rows.
    _passed_over: set[str] = field(default_factory=set)

    def run(self) -> Findings:
        """Verify all of it. Raises StoreError where the store does not answer."""
        chains = read_chains(self.store, self.log, self.findings)
        check_chains(chains, self.findings, self.gone)
        self._trimmed = {log for log, chain in chains.items() if chain[0].previous != NOTHING}
        self._objects(chains)
        labels = check_facts(self.store, chains, self.findings)
        for log, own in self._accounts.items():
            own.open |= log in self._trimmed
            own.check(self.findings)
            for label, place in self._rulebooks.get(log, {}).items():
                if label not in labels.get(log, ()):
                    self.findings.add(place, f"the texts of rulebook {label}, which it names, among the facts", "none")
        if self.index is not None:
            # A live archive goes on meanwhile: what it has written since waits for its digest.
            # An object has thousands of entries, and is looked at once.
            passed_over = cache(lambda name: name in self._passed_over or _waits(chains, name))
            self._entries.check(self.index, passed_over, self.log, self.findings)
        check_published(chains, self.published, self.findings)
        return self.findings

    def _objects(self, chains: Chains) -> None:
        parts = [(log, part) for log, chain in chains.items() for digest in chain for part in digest.parts]
        parts.sort(key=lambda own: (own[0], own[1].topic, own[1].partition, own[1].begin))
        before: tuple[str, Part] | None = None
        for done, (log, part) in enumerate(parts):
            self.progress(done, len(parts))
            same = before is not None and (before[0], before[1].topic, before[1].partition) == (
                log,
                part.topic,
                part.partition,
            )
            if before is not None and same:
                self._joins(part, before[1].end, before[1].link, before[1].name)
            elif log not in self._trimmed:
                self._joins(part, part.begin, NOTHING, "the beginning of its partition")
            self._object(log, part)
            before = log, part
        self.progress(len(parts), len(parts))
        self._unnamed(chains, {part.name for _, part in parts})

    def _joins(self, part: Part, begin: int, link: str, behind: str) -> None:
        """That a part begins where the one before it ends."""
        if part.begin != begin:
            self.findings.add(part.name, f"offsets from {begin} on, behind {behind}", f"offsets from {part.begin} on")
        elif part.previous != link:
            self.findings.add(part.name, f"the link before it, {link or 'none'}, of {behind}", part.previous or "none")

    def _object(self, log: str, part: Part) -> None:
        findings = self.findings
        findings.counts["objects"] += 1
        content = self.store.get(part.name)
        if self.gone(part.name):
            # The index may have let go of its entries already.
            self._passed_over.add(part.name)
            if content is None:
                findings.counts["objects that retention no longer keeps"] += 1
                self._trimmed.add(log)
                return
        if content is None:
            findings.add(
                part.name, f"an object of {part.records} records, offsets {part.begin} to {part.end - 1}", "none"
            )
            return
        if content_of(content) != part.content:
            findings.add(part.name, f"content of SHA-256 {part.content}", content_of(content))
        rows = self._read(part.name, part.topic, content)
        if rows is None:
            self._passed_over.add(part.name)
            return
        if self.index is not None and part.name not in self._passed_over:
            self._entries.take(rows, part.name)
        findings.counts["records"] += len(rows)
        told = len(findings.wrong)
        for where, expected, found in (*self._links(log, part, rows), *self._columns(log, part, rows)):
            if len(findings.wrong) - told == MOST:
                findings.add(part.name, f"no more than {MOST} findings", "more of them")
                break
            findings.add(where, expected, found)
        self._remember(log, part, rows)

    def _read(self, name: str, topic: str, content: bytes) -> list[Row] | None:
        try:
            if not (schema := pq.read_schema(io.BytesIO(content))).equals(SCHEMA):
                self.findings.add(name, f"columns {', '.join(SCHEMA.names)}, of their types", str(schema))
                return None
            return decode_rows(content, topic)
        except (pa.ArrowException, OSError, ValueError) as error:
            self.findings.add(name, "a Parquet file", str(error))
            return None

    def _links(self, log: str, part: Part, rows: list[Row]) -> Iterator[tuple[str, str, str]]:
        """That the rows are a chain from the link before the part to that of the part."""
        link, offset, received_at = part.previous, part.begin - 1, 0
        for row in rows:
            where, behind = row.place, f"behind offset {offset}"
            if (row.log, row.partition) != (log, part.partition):
                yield where, f"a record of {log}/{part.topic}/{part.partition:05d}", f"one of another, in {part.name}"
            if row.offset <= offset:
                yield where, f"an offset {behind}", "one that came before: it was repeated, or moved"
            if row.received_at < received_at:
                yield where, f"received at {Time(received_at).text()} or later", row.received_at.text()
            own = link_of(link, log, part.topic, part.partition, row.offset, row.received_at, row.value)
            if own != row.link:
                gap = row.offset > offset + 1
                lost = f"; offsets {offset + 1} to {row.offset - 1} are not there" if gap else ""
                yield where, f"link {own}, of its content {behind}", f"{row.link}{lost}"
            link, offset, received_at = row.link, row.offset, row.received_at
        if link != part.link:
            yield part.name, f"a last link {part.link}", link or "none"
        if offset + 1 != part.end:
            yield part.name, f"offsets up to {part.end - 1}", f"up to {offset}"
        if len(rows) != part.records:
            yield part.name, f"{part.records} records", f"{len(rows)}"
        name = object_name(log, part.topic, part.partition, hour_of(received_at), part.begin)
        if rows and name != part.name:
            yield part.name, f"an object of this name, found at {name} of its content", "one that was moved"

    def _columns(self, log: str, part: Part, rows: list[Row]) -> Iterator[tuple[str, str, str]]:
        """That what a row is found by follows from its value, and an event's own id from its content."""
        received = (
            Received(offset=row.offset, received_at=row.received_at, value=row.value, link=row.link) for row in rows
        )
        for row, own in zip(rows, rows_of(log, part.topic, part.partition, received, self.decode), strict=True):
            if row != own:
                names = [name for name in row.__struct_fields__ if getattr(row, name) != getattr(own, name)]
                expected, found = (", ".join(f"{name} {getattr(one, name)}" for name in names) for one in (own, row))
                yield row.place, f"{expected}, of its value", found
            event_id = own_id(row.value)
            if event_id is not None and event_id != own.event_id:
                yield row.place, f"event {event_id}, of its content", own.event_id

    def _remember(self, log: str, part: Part, rows: list[Row]) -> None:
        """What chains of accounts are checked with, once all of it is read."""
        if not rows or rows[0].topic not in (AUDIT.name, SNAPSHOTS.name):
            return
        chains = self._accounts.setdefault(log, AccountChains(log))
        begins = part.topic == AUDIT.name and part.previous == NOTHING
        chains.open |= begins and not chains.replayed and rows[0].offset > 0
        for row in rows:
            try:
                record = self.decode(row.topic, row.value)
            except ValueError:
                continue
            if isinstance(record, Audit | Snapshot):
                chains.take(row, record)
            if isinstance(record, Audit):
                self._rulebooks.setdefault(log, {}).setdefault(record.rulebook, row.place)

    def _unnamed(self, chains: Chains, named: set[str]) -> None:
        """Objects that no digest names: of hours that are not sealed yet, or somebody else put them there."""
        waiting = 0
        for name in self.store.names("records/"):
            found = _NAME.fullmatch(name)
            if found is None:
                self.findings.add(name, "no such object; its name is none of an archive's", "one")
            elif name not in named and self.log in (None, found["log"]):
                if _waits(chains, name):
                    waiting += 1
                else:
                    self.findings.add(name, "no such object; no digest of its hour or later names it", "one")
        if waiting:
            self.findings.notes.append(f"{waiting:,} objects are of hours that are not sealed yet, and not verified.")


def _waits(chains: Chains, name: str) -> bool:
    """Whether an object by its name is of an hour that is not sealed yet, behind all that its partition has."""
    found = _NAME.fullmatch(name)
    hour = hour_in(name)
    if found is None or hour is None:
        return False
    chain = chains.get(found["log"])
    if chain is None:
        return True
    end = max(
        (own.end for own in chain[-1].heads if (own.topic, own.partition) == (found["topic"], int(found["partition"]))),
        default=0,
    )
    return hour + _HOUR > chain[-1].hour + chain[-1].seconds * 1_000_000 and int(found["begin"]) >= end
