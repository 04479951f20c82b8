"""A live run without Java's KafkaIO: the native source, Prism and the Kafka sink, on a real broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.generate import write_day
from ops.live import native_source, started
from ops.stack.broker import Broker, create_topics
from ops.stack.service import Service
from ops.stack.stack import Stack
from ops.stream import Pace, stream
from runners.engine import Run
from tests import live
from tests.engines import needed, options_of

pytestmark = pytest.mark.xdist_group("engines")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Stack]:
    """A stack of which the broker and the pulses run."""
    stack = Stack(str(live.job_file(tmp_path)), tmp_path)
    with needed("kafka"):
        stack.broker.start()
    create_topics(stack.job.kafka)
    pulse: Service = stack.pulse.start()
    yield stack
    pulse.stop()
    Broker(tmp_path, stack.broker.port).stop()


def test_what_prism_publishes_live_is_what_a_replay_gives(broker: Stack, tmp_path: Path) -> None:
    job, day = broker.job, tmp_path / "generated"
    write_day(day, scenario="disorder", accounts=40, symbols=12, seed=3, interval_ms=250)
    options_of("prism", Run(live=True))
    result = started("prism", Run(live=True), job, native_source(job))
    try:
        with live.Markers(job) as markers:
            stream(day, job.kafka, Pace(rate=500))
            markers.settle()
        # While it runs: a bundle whose alerts are out may have figures that are still on their way.
        published, replayed = live.published_and_replayed(job, tmp_path / "captured")
    finally:
        result.cancel()
    assert published["audit.v1"]
    for topic, lines in replayed.items():
        assert published[topic] == lines, topic
