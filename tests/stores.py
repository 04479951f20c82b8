"""The named stands-in of AWS, over HTTP: moto's server for S3, DynamoDB Local for the index."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from ops.stack.bucket import bucket_service
from ops.stack.dynamodb import dynamodb_service
from ops.stack.service import HOST
from pipeline.custody import Custody
from runners.port import free_port

RETENTION = {"default": {"value": 6, "source": "of these tests"}, "alerts.v1": {"value": 3, "source": "of these tests"}}


@dataclass(frozen=True)
class Endpoints:
    """Where they listen: ports of this machine."""

    s3: int
    dynamodb: int

    @property
    def environment(self) -> dict[str, str]:
        """What leads boto3 to them."""
        return {
            "AWS_ENDPOINT_URL_S3": f"http://{HOST}:{self.s3}",
            "AWS_ENDPOINT_URL_DYNAMODB": f"http://{HOST}:{self.dynamodb}",
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_DEFAULT_REGION": "us-east-1",
        }


@contextmanager
def endpoints(folder: Path) -> Iterator[Endpoints]:
    """Both, for as long as the block runs; logs are in the folder."""
    found = Endpoints(free_port(), free_port())
    services = [bucket_service(folder, found.s3), dynamodb_service(folder, found.dynamodb)]
    try:
        for service in services:
            service.start()
        yield found
    finally:
        for service in services:
            service.stop()


def custody_of(store: Path | None = None, **changes: Any) -> Custody:
    """The custody of a folder, or of a bucket and a table that nobody else has; the bucket is not made yet."""
    own = uuid4().hex
    where = {"store": str(store)} if store else {"store": f"s3://b{own}/archive", "index": f"t{own}"}
    return Custody.model_validate({**where, "retention": RETENTION, "records": 100, **changes})
