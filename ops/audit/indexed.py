"""The reader of an archive in S3: the index says in which objects the answer is, and only these are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import pyarrow as pa

from ops.audit.question import Question
from ops.audit.reader import answer
from pipeline.index import SHARED, Entry, Index
from pipeline.objects import decode_rows
from pipeline.store import Store, StoreError
from schemas.archive import Row, hour_in, hour_of, topic_in
from schemas.topics import BY_NAME

_HOUR = 3_600_000_000
#: Objects that are fetched at once.
AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class IndexedReader:
    """Entries of the index for accounts and events; for the market, whose records are too many to have one each, the
    objects of the hours that are asked for. Without either bound of when it was so, objects are found by their names.
    """

    store: Store
    index: Index

    def rows(self, question: Question) -> Iterator[Row]:
        """As Reader.rows says."""
        return iter(answer(self._found(question), question))

    def _found(self, question: Question) -> Iterator[Row]:
        topics = question.topics or tuple(BY_NAME)
        of_market = tuple(name for name in topics if name in BY_NAME and BY_NAME[name].market)
        of_accounts = tuple(name for name in topics if name in BY_NAME and not BY_NAME[name].market)
        if of_accounts and (question.event_ids or question.keys):
            entries = list(self._entries(question, set(of_accounts)))
            yield from self._rows(entries)
            # What is no account's is the market's, and not in the index by its id.
            if question.event_ids and {entry.event_id for entry in entries} >= set(question.event_ids):
                return
        elif of_accounts:
            for topic in of_accounts:
                yield from self._read(self._objects(question, topic), topic)
        for topic in of_market:
            yield from self._read(self._objects(question, topic), topic)

    def _entries(self, question: Question, topics: set[str]) -> Iterator[Entry]:
        """The entries of events, or of keys, that are not ruled out by what they say."""
        if question.event_ids:
            found: Iterable[Entry] = (entry for own in question.event_ids for entry in self.index.of_event(own))
        else:
            found = (entry for key in question.keys for entry in self.index.of_key(key, question.begin, question.end))
        for entry in found:
            if entry.topic in topics and entry.row >= 0 and question.asks_for(_bare(entry)):
                yield entry

    def _objects(self, question: Question, topic: str) -> list[str]:
        """The objects in which the records of a topic are."""
        begin, end = question.begin, question.end
        if begin is None or end is None:
            names = [name for name in self.store.names(f"records/topic={topic}/") if topic_in(name) == topic]
        else:
            entries = self.index.of_topic(topic, hour_of(begin), end)
            names = list(dict.fromkeys(entry.object for entry in entries))
        return [name for name in names if _received(question, name)]

    def _rows(self, entries: Iterable[Entry]) -> Iterator[Row]:
        """The rows of entries, each object read once. Raises StoreError where an entry and its object differ."""
        by_object: dict[str, list[Entry]] = {}
        for entry in entries:
            by_object.setdefault(entry.object, []).append(entry)
        for own in by_object.values():
            own.sort(key=lambda entry: entry.row)
        wanted = {name: [entry.row for entry in own] for name, own in by_object.items()}
        for name, rows in self._contents(wanted):
            for entry, row in zip_longest(by_object[name], rows):
                if row is None or (row.place, row.link) != (entry.place, entry.link):
                    raise StoreError(
                        f"{self.store.address}/{name}: expected {entry.place} at row {entry.row}, as the index says, "
                        f"found {'none' if row is None else row.place}. What was changed says: margin audit verify"
                    )
                yield row

    def _read(self, names: list[str], topic: str) -> Iterator[Row]:
        for _, rows in self._contents(dict.fromkeys(names)):
            yield from (row for row in rows if row.topic == topic)

    def _contents(self, wanted: Mapping[str, list[int] | None]) -> Iterator[tuple[str, list[Row]]]:
        """Objects with those of their rows, or all; some are fetched at once, no more than fit in memory."""
        names = list(wanted)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for place in range(0, len(names), AT_ONCE):
                own = names[place : place + AT_ONCE]
                yield from zip(own, pool.map(self._content, own, map(wanted.get, own)), strict=True)

    def _content(self, name: str, numbers: list[int] | None) -> list[Row]:
        content = self.store.get(name)
        if content is None:
            raise StoreError(
                f"{self.store.address}/{name}: expected an object, as the index says, found none. What else is missing "
                f"says: margin audit verify"
            )
        try:
            return decode_rows(content, topic_in(name) or "", numbers)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise StoreError(
                f"{self.store.address}/{name}: {error}. What was changed says: margin audit verify"
            ) from error


def _bare(entry: Entry) -> Row:
    """A row without its value: all that a question asks of it."""
    log, _, partition, offset = entry.place.rsplit("/", 3)
    shared: dict[str, Any] = {name: getattr(entry, name) for name in SHARED}
    return Row(log=log, partition=int(partition), offset=int(offset), value=b"", **shared)


def _received(question: Question, name: str) -> bool:
    """Whether an object may have what was received when the question asks, by its hour."""
    hour = hour_in(name)
    return hour is not None and not (
        (question.received_before is not None and hour >= question.received_before)
        or (question.received_from is not None and hour + _HOUR <= question.received_from)
    )
