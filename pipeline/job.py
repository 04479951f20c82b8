"""Job files from conf/jobs: how a graph is run, as against the rules that it applies."""

from __future__ import annotations

from typing import Literal

import pydantic

from pipeline.configuration import Positive, load
from pipeline.day import Manifest
from pipeline.kafka import Kafka
from pipeline.registry import JSON, Formats
from transforms.parse import Bounds

Clock = Literal["log_append", "arrival"]
Unit = Literal["blocks", "records"]
ADDRESS = r"^[^:\s]+:\d+$"


class Job(pydantic.BaseModel, extra="forbid"):
    """A job file: the number of account shards, and how far ahead of its arrival a record's own time may be."""

    shards: int = pydantic.Field(ge=1, le=64)
    price_ahead: Positive
    fill_ahead: Positive

    def bounds(self, manifest: Manifest | None) -> Bounds:
        """What the times of a day's records must lie in; None live."""
        ahead = (round(seconds.value * 1_000_000) for seconds in (self.price_ahead, self.fill_ahead))
        day = (manifest.begin, manifest.horizon) if manifest else (None, None)
        return Bounds(*day, *ahead)


class LiveJob(Job):
    """A job without an end.

    Fields:
      interval_ms: the evaluation grid.
      clock: when a record arrived: when the broker appended it, or when the source read it.
      unit: what KafkaIO's source gives out: blocks of records, or each by itself through a Java worker.
      checkpoint_ms: how often the state is saved.
      formats: JSON or framed Avro, by topic.
      flink, expansion: addresses of the session cluster's REST endpoint and of KafkaIO's expansion service.
      metrics_port: of Flink's Prometheus reporter, which listens on every interface; None has none.
      pulse_ms: how often every partition has a sign of life, which the log-append clock waits for; 0 is never.
    """

    name: str = pydantic.Field("margin", pattern=r"^[\w-]+$")
    calendar: str = "XNYS"
    rulebooks: list[str] = pydantic.Field(min_length=1)
    interval_ms: int = pydantic.Field(250, ge=1, le=3_600_000)
    clock: Clock = "log_append"
    unit: Unit = "blocks"
    checkpoint_ms: int = pydantic.Field(5_000, ge=100)
    parallelism: int = pydantic.Field(1, ge=1)
    kafka: Kafka
    formats: Formats = JSON
    flink: str = pydantic.Field(pattern=ADDRESS)
    expansion: str = pydantic.Field(pattern=ADDRESS)
    metrics_port: int | None = pydantic.Field(None, ge=1, le=65_000)
    pulse_ms: int = pydantic.Field(100, ge=0)


def load_job(name: str) -> Job:
    """A job by name (conf/jobs/NAME.yaml) or by path. Raises ConfigurationError."""
    return load("jobs", name, Job)[0]


def load_live_job(name: str) -> LiveJob:
    """A live job, the same way. Raises ConfigurationError."""
    return load("jobs", name, LiveJob)[0]
