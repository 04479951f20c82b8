"""Custody from conf/archives: where the archive is kept, how it is locked, and for how long what must stay."""

from __future__ import annotations

import datetime as dt
from typing import Literal

import pydantic

from pipeline.configuration import Parameter, load
from schemas.topics import BY_NAME

Years = Parameter[pydantic.PositiveFloat]


class Hold(pydantic.BaseModel, extra="forbid"):
    """A legal hold: nothing of these dates, topics or accounts goes, whatever its age. None: all."""

    name: str = pydantic.Field(min_length=1)
    reason: str = pydantic.Field(min_length=10)
    ordered_by: str = pydantic.Field(min_length=1)
    begin: dt.date | None = None
    end: dt.date | None = None
    topics: list[str] | None = None
    accounts: list[str] | None = None


class Custody(pydantic.BaseModel, extra="forbid"):
    """A custody file.

    Fields:
      store: a folder, or s3://BUCKET/PREFIX (endpoint and credentials from the environment, as boto3 takes them).
      index: a DynamoDB table, which is created where it is not there; None: a folder, whose files are queried.
      records: of one object at most. seconds: that an object and a digest cover at most; an hour, or a part of one.
      lock: S3's object lock mode, until what the retention says; None: no lock.
      encryption: of S3's server side.
      retention: years that records are kept, by topic, each with its rule; `default` for the others.
      holds: legal holds.
    """

    store: str
    index: str | None = pydantic.Field(None, min_length=3, max_length=255, pattern=r"^[a-zA-Z0-9_.-]+$")
    records: int = pydantic.Field(10_000, ge=1, le=1_000_000)
    seconds: int = pydantic.Field(3600, ge=1, le=3600)
    lock: Literal["GOVERNANCE", "COMPLIANCE"] | None = None
    encryption: Literal["AES256", "aws:kms"] | None = None
    retention: dict[str, Years]
    holds: list[Hold] = []

    @pydantic.model_validator(mode="after")
    def _fits_together(self) -> Custody:
        unknown = self.retention.keys() - BY_NAME.keys() - {"default"}
        if unknown or "default" not in self.retention:
            raise ValueError(f"retention: expected topics and default, found {', '.join(sorted(self.retention))}")
        if 3600 % self.seconds:
            raise ValueError(f"seconds: expected a part of an hour, found {self.seconds}")
        of_s3 = self.store.startswith("s3://")
        if (self.index or self.lock or self.encryption) and not of_s3:
            raise ValueError(f"index, lock, encryption: expected with a store at s3://, found with {self.store}")
        for hold in self.holds:
            if others := set(hold.topics or ()) - BY_NAME.keys():
                raise ValueError(f"holds {hold.name}: expected topics, found {', '.join(sorted(others))}")
        return self

    def years(self, topic: str) -> float:
        """How long records of a topic are kept."""
        return self.retention.get(topic, self.retention["default"]).value


def load_custody(name: str, folder: str | None = None) -> Custody:
    """A custody by name (conf/archives/NAME.yaml) or by path; folder: instead of its store. Raises
    ConfigurationError."""
    found = load("archives", name, Custody)[0]
    return found if folder is None else found.model_copy(update={"store": folder, "index": None})
