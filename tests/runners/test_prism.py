"""What the project asks of Prism beyond Beam's options, and why."""

from __future__ import annotations

import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.coders import VarIntCoder
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec

from runners.engine import Run
from tests.engines import options_of, splitting_prism

pytestmark = pytest.mark.xdist_group("prism")

#: What each job's elements found in the state; the workers are threads of this process.
FOUND: defaultdict[str, list[int]] = defaultdict(list)


class Count(beam.DoFn):
    """Counts a key's elements, slowly."""

    SEEN = ReadModifyWriteStateSpec("seen", VarIntCoder())

    def __init__(self, job: str) -> None:
        self.job = job

    def process(self, _: tuple[str, int], seen: Any = beam.DoFn.StateParam(SEEN)) -> Iterator[int]:
        before = seen.read() or 0
        time.sleep(0.5)
        seen.write(before + 1)
        FOUND[self.job].append(before)
        yield before


@pytest.mark.parametrize("whole", [True, False], ids=["whole bundles", "Prism's own"])
def test_prism_loses_a_keys_state_where_it_splits_a_slow_bundle(whole: bool) -> None:
    """Each element finds those before it; once Prism does without the option, too, the option can go."""
    job, options = uuid.uuid4().hex, options_of("prism", Run()) if whole else splitting_prism(Run())
    with beam.Pipeline(options=options) as pipeline:
        elements = pipeline | beam.Create([("key", n) for n in range(4)], reshuffle=False)
        _ = elements | beam.ParDo(Count(job)).with_output_types(int)
    assert (sorted(FOUND[job]) == [0, 1, 2, 3]) is whole
