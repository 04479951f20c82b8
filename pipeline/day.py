"""A day on disk: a folder with manifest.json and one sorted file a topic, and its place in the calendar."""

from __future__ import annotations

import datetime as dt
import json
from functools import cache
from pathlib import Path
from typing import Literal

import exchange_calendars
import pandas as pd
import pydantic
from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems

from risk.sessions import Sessions
from schemas.errors import UserError
from schemas.scalars import Time
from schemas.topics import INPUTS


class DayError(UserError, ValueError):
    """A day folder that cannot be replayed; the text says what to fix."""


class Manifest(pydantic.BaseModel, extra="forbid"):
    """What manifest.json says of a day."""

    business_date: dt.date
    calendar: str = "XNYS"
    interval_ms: int = pydantic.Field(250, ge=1, le=3_600_000)
    opens_at: dt.datetime
    closes_at: dt.datetime
    clock: Literal["log_append", "arrival"] = "log_append"
    rulebooks: list[str] = pydantic.Field(["seed"], min_length=1)

    @pydantic.model_validator(mode="after")
    def _on_grid(self) -> Manifest:
        if self.opens_at >= self.closes_at:
            raise ValueError(f"closes_at: expected after opens_at {self.opens_at}, found {self.closes_at}")
        if self.horizon % (self.interval_ms * 1000):
            raise ValueError(f"closes_at: expected on the grid of {self.interval_ms} ms, found {self.closes_at}")
        return self

    @property
    def horizon(self) -> int:
        """closes_at in microseconds."""
        return int(Time.parse(self.closes_at))

    @property
    def begin(self) -> int:
        """opens_at in microseconds."""
        return int(Time.parse(self.opens_at))


def load_manifest(folder: Path | str) -> Manifest:
    """The manifest of a day's folder, on this machine or at s3:// or gs://. Raises DayError."""
    path = FileSystems.join(str(folder), "manifest.json")
    try:
        with FileSystems.open(path) as file:
            return Manifest.model_validate_json(file.read())
    except (OSError, BeamIOError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DayError(f"{path}: {reason}; a day is a folder with manifest.json and <topic>.jsonl files") from error
    except pydantic.ValidationError as error:
        raise DayError(f"{path}: {error}") from error


def files_of(folder: Path | str) -> list[tuple[str, str]]:
    """(topic, path) of a day's inputs. Raises DayError for a file that is no input topic's."""
    names = {topic.name for topic in INPUTS}
    found = []
    matched = FileSystems.match([FileSystems.join(str(folder), "*")])[0].metadata_list
    for path in sorted(file.path for file in matched):
        stem, _, suffix = path.rpartition("/")[2].rpartition(".")
        if suffix not in ("jsonl", "avro"):
            continue
        topic = stem.removesuffix(".received")
        if topic not in names:
            raise DayError(f"{path}: expected one of {', '.join(sorted(names))}, found {topic}")
        found.append((topic, path))
    return found


@cache
def sessions_around(business_date: dt.date, calendar: str = "XNYS", days: int = 93) -> Sessions:
    """The sessions from a month before the date to so many days after it: by default as due dates of a day need."""
    begin, end = business_date - dt.timedelta(days=31), business_date + dt.timedelta(days=days)
    try:
        schedule = exchange_calendars.get_calendar(calendar, start=begin, end=end).schedule
    except exchange_calendars.errors.InvalidCalendarName as error:
        raise DayError(f"calendar: {error}") from error
    to_us = lambda column: schedule[column].astype("int64").to_numpy() // _per_microsecond(schedule[column])  # noqa: E731
    return Sessions(to_us("open"), to_us("close"))


def _per_microsecond(column: pd.Series) -> int:
    return {"ns": 1000, "us": 1}[column.dt.unit]


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write manifest.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest.model_dump(mode="json"), indent=1) + "\n")
