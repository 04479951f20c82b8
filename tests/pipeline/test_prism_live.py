"""A live run without Java's KafkaIO: the native source, Prism and the Kafka sink, on a real broker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.capture import Log
from ops.generate import write_day
from ops.live import native_source, started
from ops.stack.broker import create_topics
from ops.stack.stack import Stack
from ops.stream import Pace, stream
from pipeline.archive import TOPICS, last_digest
from pipeline.custody import load_custody
from pipeline.job import LiveJob
from pipeline.store import FolderStore
from runners.engine import Run
from tests import archiver, deadlines, live
from tests.engines import needed, options_of

pytestmark = pytest.mark.xdist_group("prism")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveJob]:
    """A job that runs on Prism, beside a stack of which the broker and the pulses run."""
    options_of("prism", Run(live=True))
    folder = tmp_path_factory.mktemp("stack")
    stack = Stack(str(live.job_file(folder, rulebooks=deadlines.write_rules(folder))), folder)
    try:
        with needed("kafka"):
            stack.broker.start()
        create_topics(stack.job.kafka)
        stack.pulse.start()
        result = started("prism", Run(live=True), stack.job, native_source(stack.job))
        try:
            yield stack.job
        finally:
            result.cancel()
    finally:
        stack.stop()


def test_deadlines_fire_on_time_and_without_an_event(job: LiveJob, tmp_path: Path) -> None:
    deadlines.check_they_fire(job, tmp_path)


def test_what_prism_publishes_live_is_what_a_replay_gives(job: LiveJob, tmp_path: Path) -> None:
    day = tmp_path / "generated"
    write_day(day, scenario="disorder", accounts=40, symbols=12, seed=3, interval_ms=250)
    with live.Markers(job) as markers:
        stream(day, job.kafka, Pace(rate=500))
        markers.settle()
    # While it runs: a bundle whose alerts are out may have figures that are still on their way.
    published, replayed = live.published_and_replayed(job, tmp_path / "captured")
    assert published["audit.v1"]
    for topic, lines in replayed.items():
        assert published[topic] == lines, topic


def test_what_was_on_the_topics_is_archived_whole_though_the_archiver_is_killed(job: LiveJob, tmp_path: Path) -> None:
    """kill -9 in the middle; what the next one makes of it vouches for every record, and gives the outputs again."""
    settings = {"store": str(tmp_path / "store"), "seconds": 5, "records": 300}
    custody = load_custody("folder").model_copy(update=settings)
    store = FolderStore(tmp_path / "store")
    day = tmp_path / "generated"
    write_day(day, scenario="disorder", accounts=30, symbols=12, seed=4, interval_ms=250)
    with live.Markers(job) as markers:
        stream(day, job.kafka, Pace(rate=500), limit=3500)
        markers.settle()
    ends = Log(job.kafka, TOPICS).ends()
    with archiver.running(job, tmp_path, custody):
        archiver.wait_until(lambda: last_digest(store, job.name) is not None)
    with archiver.running(job, tmp_path, custody):
        now = round(time.time() * 1e6)
        archiver.wait_until(lambda: archiver.sealed(store, job) > now)
    archiver.check_it_is_whole(job, custody, ends, tmp_path / "again")
