"""Faults of S3 and DynamoDB: whatever happens to requests, in the end everything is there, and nothing twice."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from ops.stack.bucket import create_bucket
from pipeline.bucket import S3Store
from pipeline.custody import Custody
from pipeline.index import DynamoIndex, entries_of
from pipeline.objects import encode_rows
from pipeline.store import ConflictError, StoreError
from schemas.archive import hour_of, object_name
from tests.days import OPENS
from tests.faults import (
    BROKEN,
    LOST,
    OF_DYNAMODB,
    OF_S3,
    PARTLY,
    RESET,
    SLOW_DOWN,
    THROTTLED,
    UNAVAILABLE,
    Fault,
    FaultProxy,
    first,
    proxy,
    storm,
)
from tests.pipeline.test_index import fills
from tests.stores import Endpoints, custody_of

ROWS = fills(500)
OBJECTS = {
    object_name("log", "fills.v1", 0, hour_of(OPENS), begin): ROWS[begin : begin + 250] for begin in range(0, 500, 250)
}
CONTENT = {name: encode_rows(rows) for name, rows in OBJECTS.items()}
ENTRIES = [entry for name, rows in OBJECTS.items() for entry in entries_of(rows, name)]
#: With it a silent service is given two seconds to answer (pipeline.remote).
PATIENCE = 40.0


class Kept:
    """An archive behind two proxies, and what is in it."""

    def __init__(self, custody: Custody, s3: FaultProxy, dynamodb: FaultProxy) -> None:
        self.custody, self.s3, self.dynamodb = custody, s3, dynamodb
        self.store, self.index = S3Store(custody), DynamoIndex(custody)

    def write(self) -> None:
        """Objects and their entries, as the archive's graph writes them: an engine runs it again where it fails."""
        for name, content in CONTENT.items():
            self.store.put(name, content)
            self.index.put(entries_of(OBJECTS[name], name))

    def is_whole(self) -> bool:
        """Whether everything is there, once: of each object one version, of each record one entry."""
        self.s3.follow(first())
        self.dynamodb.follow(first())
        versions = self.store.client.list_object_versions(Bucket=self.store.bucket).get("Versions", ())
        names = sorted(version["Key"].removeprefix(self.store.prefix) for version in versions)
        entries = sorted(self.index.entries(), key=lambda entry: entry.place)
        return (
            {name: self.store.get(name) for name in names} == CONTENT
            and len(names) == len(CONTENT)
            and (entries == ENTRIES)
        )


@pytest.fixture
def kept(aws: Endpoints, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    custody = custody_of(lock="GOVERNANCE", patience=PATIENCE)
    create_bucket(custody)
    with proxy(aws.s3) as s3, proxy(aws.dynamodb) as dynamodb:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.url)
        yield Kept(custody, s3, dynamodb)


@pytest.mark.parametrize("fault", OF_S3, ids=lambda fault: fault.name)
def test_a_fault_of_s3_is_outlasted(kept: Kept, fault: Fault) -> None:
    kept.s3.follow(first(fault))
    kept.write()
    assert kept.is_whole()
    kept.s3.follow(first(fault))
    name = next(iter(CONTENT))
    assert kept.store.get(name) == CONTENT[name]
    kept.s3.follow(first(fault, *[] if fault.ending == "silent" else [fault] * 3))
    assert list(kept.store.names("records/")) == sorted(CONTENT)


@pytest.mark.parametrize("fault", OF_DYNAMODB, ids=lambda fault: fault.name)
def test_a_fault_of_dynamodb_is_outlasted(kept: Kept, fault: Fault) -> None:
    kept.index.put(())
    # Some of the requests that are under way at once.
    kept.dynamodb.follow(first(*[fault] * 4))
    kept.write()
    assert kept.is_whole()
    # All are there: they are read, and held against what was to be written.
    kept.dynamodb.follow(lambda number: fault if number in (1, 2) else None)
    kept.index.put(ENTRIES[:25])
    kept.dynamodb.follow(first(fault))
    assert kept.index.of_event(ENTRIES[7].event_id) == [ENTRIES[7]]


@pytest.mark.parametrize("fault", [LOST, THROTTLED, BROKEN], ids=lambda fault: fault.name)
def test_a_table_is_made_whatever_happens(kept: Kept, fault: Fault) -> None:
    kept.dynamodb.follow(lambda number: None if number % 3 == 2 else fault)
    kept.index.put(ENTRIES[:1])
    kept.dynamodb.follow(first())
    assert list(kept.index.entries()) == ENTRIES[:1]


@pytest.mark.parametrize("seed", range(2))
def test_storms_over_both_are_outlasted(kept: Kept, seed: int) -> None:
    noisy = [tuple(fault for fault in faults if fault.ending != "silent") for faults in (OF_S3, OF_DYNAMODB)]
    kept.s3.follow(storm(noisy[0], seed, 0.4))
    kept.dynamodb.follow(storm(noisy[1], seed, 0.4))
    kept.write()
    assert kept.is_whole()


@pytest.mark.parametrize("which", ["s3", "dynamodb"])
def test_one_that_is_down_is_an_error_and_the_work_is_done_again(kept: Kept, which: str) -> None:
    kept.write() if which == "dynamodb" else None
    kept.custody.patience = 2
    service: FaultProxy = getattr(kept, which)
    service.down()
    with pytest.raises(StoreError, match=r"tried for 2 s: .*Could not connect to the endpoint"):
        kept.write()
    service.up()
    kept.custody.patience = PATIENCE
    kept.write()
    assert kept.is_whole()


def test_one_that_comes_back_in_time_is_waited_for(kept: Kept) -> None:
    kept.s3.follow(lambda number: UNAVAILABLE if 1 <= number < 7 else None)
    kept.dynamodb.follow(lambda number: RESET if 3 <= number < 12 else None)
    kept.write()
    assert kept.is_whole()


def test_other_content_is_told_at_once_whatever_else_happens(kept: Kept) -> None:
    kept.write()
    name = next(iter(CONTENT))
    kept.s3.follow(first(SLOW_DOWN, LOST, RESET))
    with pytest.raises(ConflictError):
        kept.store.put(name, b"other")
    # Three that failed; the put that was refused and the content that it was held against.
    assert kept.s3.count <= 6
    other = msgspec.structs.replace(ENTRIES[3], link="other")
    kept.dynamodb.follow(first(THROTTLED, PARTLY))
    with pytest.raises(ConflictError, match="expected the link other, found"):
        kept.index.put([*ENTRIES[:3], other, *ENTRIES[4:50]])
    # Two that failed; of two requests' entries the writing, and the reading of those that were there.
    assert kept.dynamodb.count <= 6
    assert kept.is_whole()


def test_a_refusal_is_told_at_once(kept: Kept) -> None:
    denied = Fault("denied", answer=(403, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"))
    kept.s3.follow(lambda _: denied)
    with pytest.raises(StoreError, match=r"put a: .*AccessDenied"):
        kept.store.put("a", b"")
    assert kept.s3.count == 1
