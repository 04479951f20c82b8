"""The index of an archive in S3: where in which object a record is, by its id, its account or its topic, in DynamoDB.

An entry follows from a record and its object, so that writing it again changes nothing. It is written once the object
is there, and no entry names what is not.
"""

from __future__ import annotations

import datetime as dt
import heapq
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol
from zlib import crc32

import msgspec
from botocore.exceptions import ClientError

from pipeline.custody import Custody
from pipeline.remote import PartlyError, client, code_of, insist
from pipeline.store import ConflictError, StoreError
from schemas.archive import Row, hour_of
from schemas.scalars import EPOCH, Time
from schemas.topics import BY_NAME


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """Where a record is, and what it is found by; the fields are those of its Row.

    Of a market topic there is an entry for each object and each hour that its records tell of: event_id is "object:"
    and the name, place and the rest are those of the first record of the hour, key and kind are empty, row is -1.

    Fields:
      object: the name of its object. row: its number there, from 0.
    """

    event_id: str
    place: str
    key: str
    topic: str
    at: Time
    received_at: Time
    kind: str
    object: str
    row: int
    link: str
    causation_id: str | None = None
    correlation_id: str | None = None
    supersedes: str | None = None


def entries_of(rows: Sequence[Row], object_name: str) -> Iterator[Entry]:
    """The entries of an object's rows, which are all of one topic."""
    if rows and BY_NAME[rows[0].topic].market:
        hours: dict[int, Row] = {}
        for row in rows:
            first = hours.setdefault(hour_of(row.at), row)
            if row.at < first.at:
                hours[hour_of(row.at)] = row
        for row in hours.values():
            entry = _entry(row, object_name, -1)
            yield msgspec.structs.replace(
                entry,
                event_id=f"object:{object_name}",
                key="",
                kind="",
                causation_id=None,
                correlation_id=None,
                supersedes=None,
            )
        return
    for number, row in enumerate(rows):
        yield _entry(row, object_name, number)


#: What an entry has of its row.
SHARED = tuple(name for name in Row.__struct_fields__ if name in Entry.__struct_fields__)


def _entry(row: Row, object_name: str, number: int) -> Entry:
    shared: dict[str, Any] = {name: getattr(row, name) for name in SHARED}
    return Entry(place=row.place, object=object_name, row=number, **shared)


class Index(Protocol):
    """Entries by event, by account and by topic; begin and end are microseconds: begin <= at < end."""

    def put(self, entries: Iterable[Entry]) -> None:
        """Keep entries; those that are there already are left as they are.

        Raises:
          ConflictError: a record of that id and place has another link. StoreError: the index does not take them.
        """

    def of_event(self, event_id: str) -> list[Entry]:
        """The entries of a record, one for each time that it came, by place. Raises StoreError."""

    def of_key(self, key: str, begin: int | None = None, end: int | None = None) -> Iterator[Entry]:
        """The entries of an account, by (at, place). Raises StoreError."""

    def of_topic(self, topic: str, begin: int, end: int) -> Iterator[Entry]:
        """The entries of a topic, by (at, place). Raises StoreError.

        Of a market topic ask from the beginning of an hour on: the entry of an object's hour is at the first record of
        the hour, and there may be later ones in the object.
        """

    def entries(self) -> Iterator[Entry]:
        """Every entry, in no order: for who verifies them. Raises StoreError."""


BY_KEY, BY_TOPIC = "by-key", "by-topic"
#: A partition of an index takes 1,000 writes a second, and a topic's day would be one: it is spread over so many.
SPREAD = 8
#: Of a request, DynamoDB's bound; and how many are under way at once.
CHUNK, AT_ONCE = 25, 8
#: Before and after every time as text.
FIRST, LAST = "0", ":"
#: Why an entry of a request was not taken that may be when it is sent again.
_BUSY = {
    "InternalServerError",
    "ProvisionedThroughputExceeded",
    "RequestLimitExceeded",
    "ThrottlingError",
    "TransactionConflict",
}
#: Fields of text that may be absent; an index's key may not be empty.
_OPTIONAL = ("key", "kind", "causation_id", "correlation_id", "supersedes")


class DynamoIndex:
    """A table of DynamoDB, made where it is not there; endpoint, region and credentials are the environment's.

    The table is by event_id and place. An index of it is by key and time, another by topic, day and time. Entries go
    when their records do (time to live), but never where objects are locked or a legal hold keeps them.
    """

    def __init__(self, custody: Custody) -> None:
        assert custody.index is not None
        self.custody, self.table = custody, custody.index
        self.client = client("dynamodb", custody.patience)
        self._made = False

    def put(self, entries: Iterable[Entry]) -> None:
        """As Index.put says: 25 in a request, some requests at once. An entry that is there is read, not replaced."""
        if not self._made:
            self._make()
            self._made = True
        unique: dict[tuple[str, str], Entry] = {}
        for entry in entries:
            there = unique.setdefault((entry.event_id, entry.place), entry)
            if there.link != entry.link:
                raise self._conflict(entry, there.link)
        wanted = list(unique.values())
        chunks = [wanted[begin : begin + CHUNK] for begin in range(0, len(wanted), CHUNK)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            try:
                for _ in pool.map(self._write, chunks):
                    pass
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def of_event(self, event_id: str) -> list[Entry]:
        """As Index.of_event says."""
        values = {":id": {"S": event_id}}
        asked = {
            "KeyConditionExpression": "event_id = :id",
            "ExpressionAttributeValues": values,
            "ConsistentRead": True,
        }
        return list(self._pages(self.client.query, asked))

    def of_key(self, key: str, begin: int | None = None, end: int | None = None) -> Iterator[Entry]:
        """As Index.of_key says."""
        return self._range(BY_KEY, "key", key, begin, end)

    def of_topic(self, topic: str, begin: int, end: int) -> Iterator[Entry]:
        """As Index.of_topic says: its days one after another, the parts of a day merged."""
        day, last = _date(begin), _date(end - 1)
        while day <= last:
            parts = (
                self._range(BY_TOPIC, "topic_day", _topic_day(topic, day, part), begin, end) for part in range(SPREAD)
            )
            yield from heapq.merge(*parts, key=lambda entry: (entry.at, entry.place))
            day += dt.timedelta(days=1)

    def entries(self) -> Iterator[Entry]:
        """As Index.entries says."""
        return self._pages(self.client.scan, {"ConsistentRead": True})

    def _range(self, index: str, name: str, value: str, begin: int | None, end: int | None) -> Iterator[Entry]:
        # "at_place" is a time, "#" and a place: the time alone is before all of its places.
        lower, upper = FIRST if begin is None else _sortable(begin), LAST if end is None else _sortable(end)
        if lower >= upper:
            return iter(())
        asked = {
            "IndexName": index,
            "KeyConditionExpression": "#own = :own AND at_place BETWEEN :begin AND :end",
            "ExpressionAttributeNames": {"#own": name},
            "ExpressionAttributeValues": {":own": {"S": value}, ":begin": {"S": lower}, ":end": {"S": upper}},
        }
        return self._pages(self.client.query, asked)

    def _pages(self, operation: Callable[..., Any], asked: dict[str, Any]) -> Iterator[Entry]:
        while True:
            found = self._ask("read", partial(operation, TableName=self.table, **asked))
            yield from map(_read, found["Items"])
            if "LastEvaluatedKey" not in found:
                return
            asked = asked | {"ExclusiveStartKey": found["LastEvaluatedKey"]}

    def _write(self, chunk: Sequence[Entry]) -> None:
        # Statements and not a transaction, which costs twice as much and is refused whole where one item is.
        left, there = list(chunk), list[Entry]()

        def send() -> None:
            found = self.client.batch_execute_statement(Statements=[self._insert(entry) for entry in left])
            codes = [answer.get("Error", {}).get("Code") for answer in found["Responses"]]
            there.extend(entry for entry, code in zip(left, codes, strict=True) if code == "DuplicateItem")
            if refused := {code for code in codes if code} - _BUSY - {"DuplicateItem"}:
                raise StoreError(f"index {self.table}: entries are refused: {', '.join(sorted(refused))}")
            left[:] = [entry for entry, code in zip(left, codes, strict=True) if code in _BUSY]
            if left:
                raise PartlyError(left=len(left), asked=len(codes), why=", ".join(sorted(_BUSY.intersection(codes))))

        self._ask("write", send)
        if there:
            self._compare(there)

    def _compare(self, entries: Sequence[Entry]) -> None:
        links: dict[tuple[str, str], str] = {}
        left = [{"event_id": {"S": entry.event_id}, "place": {"S": entry.place}} for entry in entries]

        def read() -> None:
            found = self.client.batch_get_item(RequestItems={self.table: {"Keys": left, "ConsistentRead": True}})
            for item in found["Responses"][self.table]:
                links[item["event_id"]["S"], item["place"]["S"]] = item["link"]["S"]
            asked, left[:] = len(left), found.get("UnprocessedKeys", {}).get(self.table, {}).get("Keys", [])
            if left:
                raise PartlyError(left=len(left), asked=asked, why="not read")

        self._ask("read", read)
        for entry in entries:
            if (link := links.get((entry.event_id, entry.place))) != entry.link:
                raise self._conflict(entry, link)

    def _insert(self, entry: Entry) -> dict[str, Any]:
        item = self._item(entry)
        values = ", ".join(f"'{name}': ?" for name in item)
        return {"Statement": f'INSERT INTO "{self.table}" VALUE {{{values}}}', "Parameters": list(item.values())}

    def _conflict(self, entry: Entry, link: str | None) -> ConflictError:
        return ConflictError(
            f"index {self.table}: {entry.event_id} at {entry.place}: expected the link {entry.link}, "
            f"found {link or 'none'}"
        )

    def _item(self, entry: Entry) -> dict[str, Any]:
        texts = {
            "event_id": entry.event_id,
            "place": entry.place,
            "topic": entry.topic,
            "object": entry.object,
            "link": entry.link,
            "received_at": _sortable(entry.received_at),
            "at_place": f"{_sortable(entry.at)}#{entry.place}",
            "topic_day": _topic_day(entry.topic, _date(entry.at), crc32(entry.place.encode()) % SPREAD),
        }
        for name in _OPTIONAL:
            if value := getattr(entry, name):
                texts[name] = value
        item: dict[str, Any] = {name: {"S": value} for name, value in texts.items()}
        item["row"] = {"N": str(entry.row)}
        if self.custody.lock is None and self.custody.hold_of(entry.object) is None:
            goes_at = self.custody.goes_at(entry.object)
            if goes_at is not None:
                item["goes_at"] = {"N": str(int(goes_at.timestamp()))}
        return item

    def _make(self) -> None:
        while (status := self._ask("describe", self._status)) in (None, "CREATING"):
            if status is None:
                self._ask("create", self._create)
            else:
                time.sleep(0.5)
        if self.custody.lock is None:
            self._ask("let entries go", self._let_go)

    def _status(self) -> str | None:
        try:
            return self.client.describe_table(TableName=self.table)["Table"]["TableStatus"]
        except ClientError as error:
            if code_of(error) == "ResourceNotFoundException":
                return None
            raise

    def _create(self) -> None:
        try:
            self.client.create_table(TableName=self.table, **_TABLE, DeletionProtectionEnabled=bool(self.custody.lock))
        except ClientError as error:
            # Another writer has.
            if code_of(error) != "ResourceInUseException":
                raise

    def _let_go(self) -> None:
        found = self.client.describe_time_to_live(TableName=self.table)["TimeToLiveDescription"]
        if found["TimeToLiveStatus"] == "DISABLED":
            wanted = {"Enabled": True, "AttributeName": "goes_at"}
            self.client.update_time_to_live(TableName=self.table, TimeToLiveSpecification=wanted)

    def _ask(self, verb: str, call: Callable[[], Any]) -> Any:
        return insist(call, what=f"index {self.table}: {verb}", patience=self.custody.patience)


def open_index(custody: Custody) -> Index | None:
    """The index of a custody; None where it has none, whose files are queried. Raises StoreError."""
    return DynamoIndex(custody) if custody.index else None


def _read(item: dict[str, Any]) -> Entry:
    texts = {name: next(iter(value.values())) for name, value in item.items()}
    return Entry(
        event_id=texts["event_id"],
        place=texts["place"],
        key=texts.get("key", ""),
        topic=texts["topic"],
        at=Time.parse(texts["at_place"].partition("#")[0]),
        received_at=Time.parse(texts["received_at"]),
        kind=texts.get("kind", ""),
        object=texts["object"],
        row=int(texts["row"]),
        link=texts["link"],
        causation_id=texts.get("causation_id"),
        correlation_id=texts.get("correlation_id"),
        supersedes=texts.get("supersedes"),
    )


def _keys(first: str, second: str) -> list[dict[str, str]]:
    return [{"AttributeName": first, "KeyType": "HASH"}, {"AttributeName": second, "KeyType": "RANGE"}]


_TABLE = {
    "BillingMode": "PAY_PER_REQUEST",
    # Entries are kept for years and seldom read: keeping them costs more than writing them (bench/archive.py).
    "TableClass": "STANDARD_INFREQUENT_ACCESS",
    "KeySchema": _keys("event_id", "place"),
    "AttributeDefinitions": [
        {"AttributeName": name, "AttributeType": "S"} for name in ("event_id", "place", "key", "topic_day", "at_place")
    ],
    "GlobalSecondaryIndexes": [
        {"IndexName": name, "KeySchema": _keys(key, "at_place"), "Projection": {"ProjectionType": "ALL"}}
        for name, key in ((BY_KEY, "key"), (BY_TOPIC, "topic_day"))
    ],
}


def _date(microseconds: int) -> dt.date:
    return (EPOCH + dt.timedelta(microseconds=microseconds)).date()


def _sortable(microseconds: int) -> str:
    """A time as text of one length, which sorts like it; Time.text leaves out decimals that are nought."""
    found = (EPOCH + dt.timedelta(microseconds=microseconds)).replace(tzinfo=None)
    return f"{found.isoformat(timespec='microseconds')}Z"


def _topic_day(topic: str, day: dt.date, part: int) -> str:
    return f"{topic}#{day.isoformat()}#{part}"
