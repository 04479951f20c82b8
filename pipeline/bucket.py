"""The archive in a bucket of S3: names are written once, locked and encrypted as the custody says."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from pipeline.custody import Custody
from pipeline.remote import client, code_of, insist
from pipeline.store import ConflictError, StoreError

_THERE = "PreconditionFailed"
_NONE = ("NoSuchKey", "404")


class S3Store:
    """A bucket under a prefix; endpoint and credentials are the environment's.

    Calls are tried again for as long as the custody is patient (pipeline.remote). A call whose answer was lost is sent
    again: it finds its own object, which is as good as having written it.
    """

    def __init__(self, custody: Custody) -> None:
        self.custody, self.address = custody, custody.store
        self.bucket, _, prefix = custody.store.removeprefix("s3://").partition("/")
        self.prefix = prefix.rstrip("/") + "/" if prefix else ""
        self.client = client("s3", custody.patience)

    def put(self, name: str, content: bytes) -> bool:
        """Keep the content; whether it was not there yet.

        Raises:
          ConflictError: other content is there. StoreError: the bucket does not take it.
        """
        if self._ask("put", name, partial(self._put, name, content)):
            return True
        # By its content and not by what is said of it, a checksum in its metadata: whoever changed one changed both.
        if self.get(name) != content:
            raise ConflictError(f"{self.address}/{name}: expected what is written now, found other content")
        if self.custody.lock and self.custody.goes_at(name) is None:
            # A fact is locked from when it was last named on.
            self._ask("lock", name, partial(self._extend, name))
        return False

    def get(self, name: str) -> bytes | None:
        """The content; None where there is none. Raises StoreError."""
        return self._ask("get", name, partial(self._get, name))

    def names(self, prefix: str = "") -> Iterator[str]:
        """Every name that begins with the prefix, sorted. Raises StoreError."""
        page: dict[str, Any] = {"Bucket": self.bucket, "Prefix": self.prefix + prefix}
        while True:
            found = self._ask("list", prefix, partial(self.client.list_objects_v2, **page))
            for entry in found.get("Contents", ()):
                yield entry["Key"].removeprefix(self.prefix)
            if not found.get("IsTruncated"):
                return
            page["ContinuationToken"] = found["NextContinuationToken"]

    def _put(self, name: str, content: bytes) -> bool:
        # S3 verifies the checksum and keeps it: a digest can be held against it without reading the object.
        options: dict[str, Any] = {"IfNoneMatch": "*", "ChecksumAlgorithm": "SHA256"}
        if self.custody.encryption:
            options["ServerSideEncryption"] = self.custody.encryption
        if self.custody.lock:
            options |= {"ObjectLockMode": self.custody.lock, "ObjectLockRetainUntilDate": self._locked_until(name)}
        try:
            self.client.put_object(Bucket=self.bucket, Key=self.prefix + name, Body=content, **options)
        except ClientError as error:
            if code_of(error) == _THERE:
                return False
            raise
        return True

    def _extend(self, name: str) -> None:
        retention = {"Mode": self.custody.lock, "RetainUntilDate": self._locked_until(name)}
        self.client.put_object_retention(Bucket=self.bucket, Key=self.prefix + name, Retention=retention)

    def _locked_until(self, name: str) -> dt.datetime:
        until = self.custody.goes_at(name) or dt.datetime.now(dt.UTC) + self.custody.longest
        # S3 refuses a lock that has ended: records of a day that is older than its retention.
        return max(until, dt.datetime.now(dt.UTC) + dt.timedelta(days=1))

    def _get(self, name: str) -> bytes | None:
        try:
            return self.client.get_object(Bucket=self.bucket, Key=self.prefix + name)["Body"].read()
        except ClientError as error:
            if code_of(error) in _NONE:
                return None
            raise

    def _ask(self, verb: str, name: str, call: Any) -> Any:
        try:
            return insist(call, what=f"{self.address}: {verb} {name}", patience=self.custody.patience)
        except StoreError as error:
            if isinstance(error.__cause__, ClientError) and code_of(error.__cause__) == "NoSuchBucket":
                lock = " with object lock" if self.custody.lock else ""
                raise StoreError(f"{self.address}: there is no bucket {self.bucket}; create it{lock}") from error
            raise
