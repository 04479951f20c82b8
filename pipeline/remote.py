"""Services of AWS, or what stands in for them: a client as the environment says, and calls that are insisted on.

One place retries (boto3 does not): a service that is busy, away or answers nonsense is asked again after a random and
growing while, so that many writers do not come back at once. A refusal is told at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ChecksumError,
    ClientError,
    ConnectionError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
)
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from pipeline.store import StoreError

T = TypeVar("T")

#: Of one call's attempts; a service that does not answer for longer is one that is not there.
ANSWER = 20.0
#: What clients do at once: chunks of an index, objects of a reader.
CONNECTIONS = 16

#: No answer, or one that broke off or was garbled.
_BROKEN = (ConnectionError, HTTPClientError, IncompleteReadError, ChecksumError, FlexibleChecksumError)
#: Busy, by the names that S3 and DynamoDB have for it (botocore's own list, and conflicts of writers).
_BUSY = {
    "BandwidthLimitExceeded",
    "ConditionalRequestConflict",
    "InternalError",
    "InternalServerError",
    "LimitExceededException",
    "OperationAborted",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "TransactionInProgressException",
}


class PartlyError(BotoCoreError):
    """Some of what was asked for at once was not done, and may be when it is asked for again."""

    fmt = "{left} of {asked} were not taken ({why})"


def client(service: Literal["s3", "dynamodb"], patience: float) -> Any:
    """A client that tries once; endpoint, region and credentials are the environment's. Raises StoreError."""
    answer = min(ANSWER, patience / 20)
    options: dict[str, Any] = {}
    if any(os.environ.get(name) for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")):
        # Bucket names are hosts of AWS's domain alone.
        options["s3"] = {"addressing_style": "path"}
    try:
        return boto3.session.Session().client(
            service,
            config=Config(
                retries={"total_max_attempts": 1},
                connect_timeout=min(5.0, answer),
                read_timeout=answer,
                max_pool_connections=CONNECTIONS,
                **options,
            ),
        )
    except (BotoCoreError, ValueError) as error:
        raise StoreError(
            f"{service}: {error}. Endpoint, region and credentials are the environment's, AWS_*"
        ) from error


def insist(call: Callable[[], T], *, what: str, patience: float) -> T:
    """What a call returns, once it succeeds.

    Args:
      call: of a client; it answers for the errors that it expects.
      what: is asked of whom, for the error.
      patience: seconds from which on it is not tried again.

    Raises:
      StoreError: it was refused, or it did not succeed for so long.
    """
    retrying = Retrying(
        retry=retry_if_exception(passes),
        wait=wait_random_exponential(multiplier=0.1, max=10),
        stop=stop_after_delay(patience),
        reraise=True,
    )
    try:
        return retrying(call)
    except (BotoCoreError, ClientError) as error:
        tried = f", tried for {patience:g} s" if passes(error) else ""
        raise StoreError(f"{what}{tried}: {error}") from error


def passes(error: BaseException) -> bool:
    """Whether what failed may succeed when it is asked again."""
    if not isinstance(error, ClientError):
        return isinstance(error, (*_BROKEN, PartlyError))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return code_of(error) in _BUSY or status >= 500


def code_of(error: ClientError) -> str:
    """What a service calls the error."""
    return str(error.response.get("Error", {}).get("Code", ""))
