"""What an engine is: options for a way to run, and for every capability how it has it or why it has not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2

from schemas.errors import UserError


class EngineRefusedError(UserError, ValueError):
    """The engine cannot do what is asked; the text says why, and which can."""


class Capability(StrEnum):
    """What a user may ask of an engine."""

    REPLAY = "replay"
    LIVE = "live"
    RECOVERY = "recovery"
    CLUSTER = "cluster"
    PACKAGE = "package"


@dataclass(frozen=True, kw_only=True)
class Run:
    """A way to run the graph.

    Fields:
      live: without an end, from Kafka.
      master: address of a cluster; None runs the engine on this machine.
      parallelism: workers' slots.
      package: write an executable jar there and run nothing.
      checkpoint_ms: how often a live run saves its state; None is never.
      job_server: a jar to use in place of the assembled one, such as a released one of Beam's.
      name: of the job on a cluster.
      resume: a checkpoint or savepoint of the same graph to go on from.
    """

    live: bool = False
    master: str | None = None
    parallelism: int = 1
    package: Path | None = None
    checkpoint_ms: int | None = None
    job_server: Path | None = None
    name: str | None = None
    resume: Path | None = None

    @property
    def asks(self) -> set[Capability]:
        """The capabilities that it takes."""
        wanted = {
            Capability.REPLAY: not self.live,
            Capability.LIVE: self.live,
            Capability.RECOVERY: self.checkpoint_ms is not None or self.resume is not None,
            Capability.CLUSTER: self.master is not None,
            Capability.PACKAGE: self.package is not None,
        }
        return {capability for capability, asked in wanted.items() if asked}


@dataclass(frozen=True)
class Engine:
    """An engine.

    Fields:
      name: as `--runner` takes it.
      purpose: what to use it for.
      has, lacks: every capability is in one of them, with how or why not.
      flags: Beam's options for a run.
      broadcasts: whether a graph without an end may have side inputs.
    """

    name: str
    purpose: str
    has: Mapping[Capability, str]
    lacks: Mapping[Capability, str]
    flags: Callable[[Run], list[str]]
    broadcasts: bool = True

    def check(self, run: Run) -> None:
        """Refuse what the engine cannot do. Raises EngineRefusedError."""
        for capability in sorted(run.asks & self.lacks.keys()):
            raise EngineRefusedError(f"{self.name}, {capability}: {self.lacks[capability]}")

    def check_graph(self, pipeline: beam.Pipeline, run: Run) -> None:
        """Refuse a graph that the engine cannot run so. Raises EngineRefusedError."""
        steps = side_inputs(pipeline) if run.live and not self.broadcasts else []
        if steps:
            raise EngineRefusedError(
                f"{self.name}, live: expected no side input, found one at {', '.join(steps)}; its first checkpoint "
                "would fail for ever (runtime.md, trap 14). Send it in the stream, as BatchByShard sends the market"
            )

    def options(self, run: Run) -> PipelineOptions:
        """Beam's options. Raises EngineRefusedError, or EngineMissingError where a part of it is not here."""
        self.check(run)
        return PipelineOptions(self.flags(run))


def side_inputs(pipeline: beam.Pipeline) -> list[str]:
    """Names of the steps that take a side input."""
    found = []
    for transform in pipeline.to_runner_api().components.transforms.values():
        if transform.spec.urn == common_urns.primitives.PAR_DO.urn:
            payload = beam_runner_api_pb2.ParDoPayload.FromString(transform.spec.payload)
            if payload.side_inputs:
                found.append(transform.unique_name)
    return found
