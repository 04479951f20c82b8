"""The index in DynamoDB Local: entries by event, account and topic, written once however often they are sent."""

from __future__ import annotations

import boto3
import msgspec
import pytest

from pipeline.index import DynamoIndex, Index, entries_of, open_index
from pipeline.objects import rows_of
from pipeline.store import ConflictError, StoreError
from schemas.archive import Row, hour_of, linked, object_name
from schemas.codec import to_json
from schemas.inputs import Fill, Price
from schemas.scalars import Quantity
from tests.days import OPENS, at
from tests.stores import Endpoints, custody_of
from transforms.parse import decode_plain

HOUR = 3600
DAY = 86_400


def fills(count: int, step: float = 1) -> list[Row]:
    """A fill each so many seconds, of three accounts."""
    values = (
        to_json(
            Fill(
                fill_id=f"F{n}",
                account_id=f"A{n % 3}",
                symbol="S0",
                quantity=Quantity(10**6),
                price=10.5,
                executed_at=at(n * step),
                arrived_at=at(n * step),
            )
        )
        for n in range(count)
    )
    received = linked("", "log", "fills.v1", 0, ((n, at(n * step), value) for n, value in enumerate(values)))
    return list(rows_of("log", "fills.v1", 0, received, decode_plain))


NAME = object_name("log", "fills.v1", 0, hour_of(OPENS), 0)


@pytest.fixture
def index(aws: Endpoints) -> Index:
    found = open_index(custody_of())
    assert found is not None
    return found


def test_entries_are_found_by_event_account_and_topic(index: Index) -> None:
    entries = list(entries_of(fills(1000), NAME))
    index.put(entries)
    assert index.of_event(entries[7].event_id) == [entries[7]]
    assert index.of_event("another") == []
    assert list(index.of_key("A1")) == entries[1::3]
    assert list(index.of_key("A1", at(10), at(22))) == entries[10:22:3]
    assert list(index.of_key("A1", begin=at(990))) == entries[991::3]
    assert list(index.of_key("A1", end=at(4))) == entries[1:4:3]
    assert list(index.of_topic("fills.v1", at(5), at(9))) == entries[5:9]
    assert list(index.of_topic("fills.v1", at(9), at(9))) == []
    assert list(index.of_topic("cash.v1", at(0), at(DAY))) == []
    assert sorted(index.entries(), key=lambda entry: entry.place) == entries


def test_a_topic_is_found_over_days_and_pages(index: Index) -> None:
    entries = list(entries_of(fills(6000, step=60), NAME))
    index.put(entries)
    assert list(index.of_topic("fills.v1", at(0), at(60 * 6000))) == entries
    assert list(index.of_key("A0")) == entries[::3]


def test_what_is_written_again_is_left_and_another_link_is_a_conflict(index: Index) -> None:
    entries = list(entries_of(fills(250), NAME))
    index.put(entries)
    index.put(entries)
    assert len(list(index.entries())) == 250
    other = msgspec.structs.replace(entries[120], link="other")
    with pytest.raises(ConflictError, match=f"{other.event_id} at {other.place}: expected the link other, found "):
        index.put([*entries[:120], other, *entries[121:]])
    with pytest.raises(ConflictError):
        index.put([entries[120], other])
    assert index.of_event(other.event_id) == [entries[120]]


def test_a_record_that_came_twice_has_two_entries(index: Index) -> None:
    first, *_ = entries_of(fills(1), NAME)
    second = msgspec.structs.replace(first, place=first.place[:-1] + "7", row=7, link="link")
    index.put([second, first])
    assert index.of_event(first.event_id) == [first, second]


def test_what_cannot_be_read_is_found_by_its_topic_and_hash(index: Index) -> None:
    received = linked("", "log", "fills.v1", 0, iter([(0, int(at(1)), b"{nothing")]))
    (entry,) = entries_of(list(rows_of("log", "fills.v1", 0, received, decode_plain)), NAME)
    index.put([entry])
    assert index.of_event(entry.event_id) == [entry] == list(index.of_topic("fills.v1", at(0), at(2)))


def test_of_market_topics_objects_are_found_by_the_hours_that_they_tell_of(index: Index) -> None:
    times = [at(0), at(HOUR - 2), at(1), at(HOUR - 1)]
    values = (to_json(Price(symbol="S0", price=1.0, as_of=time, arrived_at=time)) for time in times)
    received = linked("", "log", "prices.v1", 0, ((n, int(at(HOUR)), value) for n, value in enumerate(values)))
    rows = list(rows_of("log", "prices.v1", 0, received, decode_plain))
    name = object_name("log", "prices.v1", 0, hour_of(OPENS), 0)
    entries = list(entries_of(rows, name))
    assert {(entry.event_id, entry.row, entry.key, entry.at) for entry in entries} == {
        (f"object:{name}", -1, "", at(0))
    }
    index.put(entries)
    assert [entry.object for entry in index.of_topic("prices.v1", hour_of(at(HOUR - 1)), at(HOUR))] == [name]


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, False),
        ({"lock": "COMPLIANCE"}, True),
        ({"holds": [{"name": "h", "reason": "of these tests", "ordered_by": "them"}]}, True),
    ],
)
def test_entries_go_with_their_records_unless_these_may_not(aws: Endpoints, changes: dict, kept: bool) -> None:
    custody = custody_of(**changes)
    DynamoIndex(custody).put(entries_of(fills(1), NAME))
    dynamodb = boto3.client("dynamodb")
    ((item,)) = dynamodb.scan(TableName=custody.index)["Items"]
    goes_at = custody.goes_at(NAME)
    assert goes_at is not None
    assert item.get("goes_at") == (None if kept else {"N": str(int(goes_at.timestamp()))})
    described = dynamodb.describe_time_to_live(TableName=custody.index)["TimeToLiveDescription"]
    assert (described["TimeToLiveStatus"] == "ENABLED") == (custody.lock is None)


def test_an_index_that_is_not_there_is_told(index: Index) -> None:
    with pytest.raises(StoreError, match=r"index t.*: read: "):
        index.of_event("any")


def test_a_folder_has_none() -> None:
    assert open_index(custody_of(index=None)) is None
