"""The laptop: a bounded graph on Beam's FnApiRunner, in this process."""

from __future__ import annotations

from apache_beam.options.pipeline_options import PipelineOptions


def options() -> PipelineOptions:
    """Named outright: plain DirectRunner switches engine by what the graph holds (runtime.md, trap 3)."""
    return PipelineOptions(["--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"])
