"""Which engines a test may use: a missing one skips with its reason, and fails where MARGIN_REQUIRE names it."""

from __future__ import annotations

import os

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from runners import prism


def prism_options(*, streaming: bool) -> PipelineOptions:
    try:
        return prism.options(streaming=streaming)
    except prism.EngineMissingError as missing:
        if "prism" in os.environ.get("MARGIN_REQUIRE", "").split(","):
            raise
        pytest.skip(str(missing))
