"""AWS: requests that are checked without a network, and sent with boto3; credentials come from its chain alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import boto3
import botocore.session
from botocore import xform_name
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from botocore.validate import ParamValidator

from runners.submission import SubmissionError

#: botocore puts these in itself when it sends, a new one each time.
FILLED_IN = ("clientToken",)


@dataclass(frozen=True)
class Request:
    """A call of an AWS service.

    Fields:
      service, operation: as botocore names them, such as emr and RunJobFlow.
      parameters: the operation's own.

    Raises:
      SubmissionError: the parameters are not what AWS's own model of the operation asks for.
    """

    service: str
    operation: str
    parameters: dict[str, Any]

    def __post_init__(self) -> None:
        model = botocore.session.get_session().get_service_model(self.service).operation_model(self.operation)
        filled = {name: "-" for name in FILLED_IN if name in model.input_shape.members}
        report = ParamValidator().validate(filled | self.parameters, model.input_shape)
        if report.has_errors():
            raise SubmissionError(f"{self.service} {self.operation}: {report.generate_report()}")

    @property
    def content(self) -> dict[str, Any]:
        """What a dry run shows."""
        return {"service": self.service, "operation": self.operation, "parameters": self.parameters}


def send(request: Request, region: str) -> dict[str, Any]:
    """The answer to a request. Raises SubmissionError without credentials, or where AWS refuses."""
    try:
        client = boto3.client(request.service, region_name=region)
        return getattr(client, xform_name(request.operation))(**request.parameters)
    except NoCredentialsError as error:
        raise SubmissionError(
            "no AWS credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from error
    except (BotoCoreError, ClientError) as error:
        raise SubmissionError(f"{request.service} {request.operation} in {region}: {error}") from error


def check_objects(fields: Iterable[tuple[str, str]], region: str) -> None:
    """See that the s3:// objects of some (field, address) can be read. Raises SubmissionError."""
    for field, address in fields:
        bucket, key = address.removeprefix("s3://").split("/", 1)
        try:
            send(Request("s3", "HeadObject", {"Bucket": bucket, "Key": key}), region)
        except SubmissionError as error:
            if not isinstance(error.__cause__, ClientError):
                raise  # The object may be there: AWS was not reached.
            raise SubmissionError(
                f"{field}: expected an object that can be read, found none at {address} ({error}); "
                f"put it there: aws s3 cp FILE {address}"
            ) from error
