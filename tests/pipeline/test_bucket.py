"""A bucket as a store: what is there is never changed, and it is locked and encrypted as the custody says."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

from ops.stack.bucket import create_bucket
from pipeline.bucket import S3Store
from pipeline.store import ConflictError, FolderStore, Store, StoreError, open_store
from schemas.archive import digest_name, fact_name, hour_in, object_name, topic_in
from schemas.scalars import Time
from tests.stores import Endpoints, custody_of

HOUR = Time.parse("2026-01-05T14:00:00Z")
ALERTS = object_name("log", "alerts.v1", 0, HOUR, 0)
FACT = fact_name("0" * 64)


def of_kind(kind: str, folder: Path) -> Store:
    custody = custody_of(folder if kind == "folder" else None)
    if kind == "bucket":
        create_bucket(custody)
        create_bucket(custody)
    return open_store(custody)


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_what_is_there_is_kept(kind: str, tmp_path: Path, aws: Endpoints) -> None:
    store = of_kind(kind, tmp_path)
    assert isinstance(store, FolderStore if kind == "folder" else S3Store)
    assert store.put("a/b/c.txt", b"one")
    assert not store.put("a/b/c.txt", b"one")
    with pytest.raises(ConflictError, match=r"c\.txt: expected what is written now, found other content"):
        store.put("a/b/c.txt", b"two")
    store.put("a/bc.txt", b"")
    assert list(store.names("a/b")) == ["a/b/c.txt", "a/bc.txt"]
    assert list(store.names("x")) == []
    assert (store.get("a/b/c.txt"), store.get("a/bc.txt"), store.get("a/x")) == (b"one", b"", None)


def test_names_come_in_order_over_many_pages(aws: Endpoints) -> None:
    custody = custody_of()
    create_bucket(custody)
    store = S3Store(custody)
    wanted = [f"n/{number:05d}" for number in range(1003)]
    for name in reversed(wanted):
        store.put(name, b"")
    assert list(store.names()) == wanted


def test_objects_are_locked_until_their_retention_ends_and_encrypted(aws: Endpoints) -> None:
    custody = custody_of(lock="COMPLIANCE", encryption="AES256")
    create_bucket(custody)
    store, s3 = S3Store(custody), boto3.client("s3")
    for name in (ALERTS, digest_name("log", HOUR), FACT):
        store.put(name, b"content")

    def head(name: str) -> dict:
        return s3.head_object(Bucket=store.bucket, Key=f"archive/{name}", ChecksumMode="ENABLED")

    alerts = head(ALERTS)
    assert (alerts["ObjectLockMode"], alerts["ServerSideEncryption"]) == ("COMPLIANCE", "AES256")
    assert alerts["ObjectLockRetainUntilDate"] == dt.datetime(2029, 1, 5, 15, tzinfo=dt.UTC)
    assert head(digest_name("log", HOUR))["ObjectLockRetainUntilDate"].year == 2032
    locked = head(FACT)["ObjectLockRetainUntilDate"]
    assert locked > dt.datetime.now(dt.UTC) + dt.timedelta(days=6 * 365)
    # Named again, it is locked for as long from then on.
    assert not store.put(FACT, b"content")
    assert head(FACT)["ObjectLockRetainUntilDate"] > locked
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.delete_object(Bucket=store.bucket, Key=f"archive/{ALERTS}", VersionId=alerts["VersionId"])


def test_a_bucket_that_is_not_there_is_told(aws: Endpoints) -> None:
    with pytest.raises(StoreError, match=r"there is no bucket b.*; create it"):
        S3Store(custody_of()).put("a", b"")


def test_other_addresses_are_refused() -> None:
    with pytest.raises(StoreError, match=r"expected a folder or s3://BUCKET/PREFIX, found ftp://x"):
        open_store(custody_of(store="ftp://x", index=None))


def test_names_are_read() -> None:
    assert (topic_in(ALERTS), hour_in(ALERTS)) == ("alerts.v1", HOUR)
    assert (topic_in(digest_name("log", HOUR)), hour_in(digest_name("log", HOUR))) == (None, HOUR)
    assert (topic_in(FACT), hour_in(FACT)) == (None, None)
