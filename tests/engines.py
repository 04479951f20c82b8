"""Which engines a test may use: a missing one skips with its reason, and fails where MARGIN_REQUIRE names it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from apache_beam.options.pipeline_options import DebugOptions, PipelineOptions

from runners.artifact import EngineMissingError
from runners.engine import Run
from runners.engines import ENGINES


@contextmanager
def needed(name: str) -> Iterator[None]:
    """Skip the test where what it needs is missing, unless MARGIN_REQUIRE names it."""
    try:
        yield
    except EngineMissingError as missing:
        if name in os.environ.get("MARGIN_REQUIRE", "").split(","):
            raise
        pytest.skip(str(missing))


def splitting_prism(run: Run) -> PipelineOptions:
    """Prism's options without what the project asks of it: it splits slow bundles."""
    options = options_of("prism", run)
    options.view_as(DebugOptions).experiments = []
    return options


def options_of(name: str, run: Run) -> PipelineOptions:
    """An engine's options for a test."""
    with needed(name):
        return ENGINES[name].options(run)
