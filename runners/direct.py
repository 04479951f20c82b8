"""The laptop: a bounded graph on Beam's FnApiRunner, in this process."""

from __future__ import annotations

from runners.engine import Capability, Engine, Run


def _flags(_: Run) -> list[str]:
    # Named outright: plain DirectRunner switches engine by what the graph holds (runtime.md, trap 3).
    return ["--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"]


ENGINE = Engine(
    "direct",
    "replaying a day on a laptop; the one to compare others with",
    has={Capability.REPLAY: "in this process, on one core, with a progress bar"},
    lacks={
        Capability.LIVE: "Beam's FnApiRunner ends when its input does; prism streams on a laptop, flink in production",
        Capability.RECOVERY: "it keeps its state in this process alone; flink saves it",
        Capability.CLUSTER: "it is this process; flink and spark have clusters",
        Capability.PACKAGE: "there is nothing to submit it to; package for flink or spark",
    },
    flags=_flags,
)
