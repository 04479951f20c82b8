"""Job files from conf/jobs: how a graph is run, as against the rules that it applies."""

from __future__ import annotations

import pydantic

from pipeline.configuration import Parameter, load
from pipeline.day import Manifest
from transforms.parse import Bounds

Seconds = Parameter[pydantic.PositiveFloat]


class Job(pydantic.BaseModel, extra="forbid"):
    """A job file: the number of account shards, and how far ahead of its arrival a record's own time may be."""

    shards: int = pydantic.Field(ge=1, le=64)
    price_ahead: Seconds
    fill_ahead: Seconds

    def bounds(self, manifest: Manifest) -> Bounds:
        """What the times of a day's records must lie in."""
        ahead = (round(seconds.value * 1_000_000) for seconds in (self.price_ahead, self.fill_ahead))
        return Bounds(manifest.begin, manifest.horizon, *ahead)


def load_job(name: str) -> Job:
    """A job by name (conf/jobs/NAME.yaml) or by path. Raises ConfigurationError."""
    return load("jobs", name, Job)[0]
