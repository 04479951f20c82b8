"""Custody from conf/archives: where the archive is kept, how it is locked, and for how long what must stay."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from typing import Literal

import pydantic

from pipeline.configuration import Positive, load
from schemas.archive import hour_in, topic_in
from schemas.topics import BY_NAME


class Hold(pydantic.BaseModel, extra="forbid"):
    """A legal hold: nothing of these dates, topics or accounts goes, whatever its age. None: all."""

    name: str = pydantic.Field(min_length=1)
    reason: str = pydantic.Field(min_length=10)
    ordered_by: str = pydantic.Field(min_length=1)
    begin: dt.date | None = None
    end: dt.date | None = None
    topics: list[str] | None = None
    accounts: list[str] | None = None

    @pydantic.model_validator(mode="after")
    def _in_order(self) -> Hold:
        if self.begin and self.end and self.end < self.begin:
            raise ValueError(f"holds {self.name}: expected an end from {self.begin} on, found {self.end}")
        for what, listed in (("topics", self.topics), ("accounts", self.accounts)):
            if listed == []:
                raise ValueError(f"holds {self.name}: {what}: expected one or more, or none said for all; found []")
        return self

    def keeps(self, name: str) -> bool:
        """Whether what has this name may not go: by its topic and date, both ends included."""
        hour, topic = hour_in(name), topic_in(name)
        if topic is None or hour is None:
            return True
        date = dt.date.fromisoformat(hour.text()[:10])
        return (
            (self.topics is None or topic in self.topics)
            and (self.begin is None or self.begin <= date)
            and (self.end is None or date <= self.end)
        )


class Custody(pydantic.BaseModel, extra="forbid"):
    """A custody file.

    Fields:
      store: a folder, or s3://BUCKET/PREFIX (endpoint and credentials from the environment, as boto3 takes them).
      index: a DynamoDB table, which is created where it is not there; None: a folder, whose files are queried.
      records: of one object at most. seconds: that an object and a digest cover at most; an hour, or a part of one.
      patience: seconds for which a bucket or an index that is busy or away is asked again, before the work is given up
        and begun again by the engine.
      lock: S3's object lock mode, until what the retention says; None: no lock.
      encryption: of S3's server side.
      retention: years that records are kept, by topic, each with its rule; `default` for the others.
      holds: legal holds.
    """

    store: str
    index: str | None = pydantic.Field(None, min_length=3, max_length=255, pattern=r"^[a-zA-Z0-9_.-]+$")
    records: int = pydantic.Field(10_000, ge=1, le=1_000_000)
    seconds: int = pydantic.Field(3600, ge=1, le=3600)
    patience: pydantic.PositiveFloat = 600
    lock: Literal["GOVERNANCE", "COMPLIANCE"] | None = None
    encryption: Literal["AES256", "aws:kms"] | None = None
    retention: dict[str, Positive]
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
        for name, count in Counter(hold.name for hold in self.holds).items():
            if count > 1:
                raise ValueError(f"holds: expected names that differ, found {name} twice")
        for hold in self.holds:
            if others := set(hold.topics or ()) - BY_NAME.keys():
                raise ValueError(f"holds {hold.name}: expected topics, found {', '.join(sorted(others))}")
        return self

    def years(self, topic: str) -> float:
        """How long records of a topic are kept."""
        return self.retention.get(topic, self.retention["default"]).value

    @property
    def longest(self) -> dt.timedelta:
        """How long what is of all topics is kept, digests and facts."""
        return _span(max(years.value for years in self.retention.values()))

    def goes_at(self, name: str) -> dt.datetime | None:
        """When retention no longer keeps an object or digest, by its name: years from the end of its hour.

        None: a fact, which is kept for as long as anything that rests on it.
        """
        hour, topic = hour_in(name), topic_in(name)
        if hour is None:
            return None
        end = dt.datetime.fromisoformat(hour.text()) + dt.timedelta(hours=1)
        return end + (self.longest if topic is None else _span(self.years(topic)))

    def hold_of(self, name: str) -> Hold | None:
        """The first legal hold that keeps what has this name, whatever its age. It may be one of accounts: an object is
        of many, and held for any of them; digests and facts are held by all, since what is held is proved by them."""
        return next((hold for hold in self.holds if hold.keeps(name)), None)


def _span(years: float) -> dt.timedelta:
    # In whole days, never less than so many years of the calendar.
    return dt.timedelta(days=math.ceil(365.25 * years))


def load_custody(name: str, folder: str | None = None) -> Custody:
    """A custody by name (conf/archives/NAME.yaml) or by path; folder: instead of its store. Raises
    ConfigurationError."""
    found = load("archives", name, Custody)[0]
    return found if folder is None else found.model_copy(update={"store": folder, "index": None})
