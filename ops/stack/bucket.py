"""S3 on this machine: moto's server, as a process that keeps nothing once it ends."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from ops.stack.service import HOST, Service
from pipeline.custody import Custody
from pipeline.remote import client, code_of, insist


def bucket_service(folder: Path, port: int) -> Service:
    """The server, to be started; http://127.0.0.1:PORT takes any credentials. It is a package of the tests (dev)."""
    return Service(folder, "bucket", [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)], port)


def create_bucket(custody: Custody) -> None:
    """Create the bucket of a custody where it is not there: with object lock if the custody locks.

    Raises:
      StoreError: it cannot be created.
    """
    bucket = custody.store.removeprefix("s3://").partition("/")[0]
    s3 = client("s3", custody.patience)
    options: dict[str, Any] = {"ObjectLockEnabledForBucket": True} if custody.lock else {}
    if s3.meta.region_name not in ("us-east-1", "aws-global"):
        options["CreateBucketConfiguration"] = {"LocationConstraint": s3.meta.region_name}

    def create() -> None:
        try:
            s3.create_bucket(Bucket=bucket, **options)
        except ClientError as error:
            if code_of(error) != "BucketAlreadyOwnedByYou":
                raise

    insist(create, what=f"{custody.store}: create {bucket}", patience=custody.patience)
