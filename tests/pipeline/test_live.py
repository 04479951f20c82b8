"""A live run: Kafka in, Flink, Kafka out; what it published is what a replay of what it consumed gives."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from confluent_kafka.admin import AdminClient, ConfigResource

from ops.archive import archive_live
from ops.capture import Log
from ops.generate import write_day
from ops.stack.stack import Stack
from ops.stream import Pace, stream
from pipeline.archive import TOPICS, last_digest
from pipeline.custody import load_custody
from pipeline.store import FolderStore
from schemas.topics import DIGESTS
from tests import archiver, deadlines, live
from tests.engines import needed

pytestmark = pytest.mark.xdist_group("live")


@pytest.fixture(scope="module")
def day(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("day")
    options = stack.job.rulebooks != ["seed"]
    write_day(folder, scenario="disorder", accounts=60, symbols=20, seed=3, interval_ms=250, options=options)
    return folder


@pytest.fixture(scope="module", params=["blocks", "records"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Each unit that Kafka is read by: one with options, calls and liquidations, the other with the seed's rules."""
    # Two slots share the workers, and no topic has one order: neither may show.
    changes = {"partitions": 2, "parallelism": 2, "shards": 3, "checkpoint_ms": 1000, "unit": request.param}
    folder = tmp_path_factory.mktemp("stack")
    if request.param == "blocks":
        changes["rulebooks"] = deadlines.write_rules(folder)
    with needed("kafka"), needed("flink"), live.stack(folder, **changes) as found:
        yield found


@pytest.mark.parametrize("stack", ["blocks"], indirect=True)
def test_deadlines_fire_on_time_and_without_an_event(stack: Stack, tmp_path: Path) -> None:
    """That of a deficiency that persists, and that of official closes."""
    deadlines.check_they_fire(stack.job, tmp_path)


def test_what_was_published_live_is_what_a_replay_gives(stack: Stack, day: Path, tmp_path: Path) -> None:
    """And a worker that is killed mid-stream changes nothing (design 6, property 5; `make chaos` has the others)."""
    job = stack.job
    with live.Markers(job) as markers:
        stream(day, job.kafka, Pace(rate=800), limit=3000)
        markers.settle()
        kill_the_worker(stack)
        stream(day, job.kafka, Pace(rate=800))
        markers.settle()
    assert stack.session.restarts(job.name) >= 1
    published, replayed = live.published_and_replayed(job, tmp_path)
    assert published["audit.v1"]
    for topic, lines in replayed.items():
        assert published[topic] == lines, topic


@pytest.mark.parametrize("stack", ["blocks"], indirect=True)
def test_what_is_on_the_topics_is_archived_whole_though_its_workers_are_killed(
    stack: Stack, day: Path, tmp_path: Path
) -> None:
    """On Flink the archive goes on by itself."""
    job, store = stack.job, tmp_path / "store"
    with live.Markers(job) as markers:
        stream(day, job.kafka, Pace(rate=800), limit=3000)
        markers.settle()
    custody = load_custody("folder").model_copy(update={"store": str(store), "seconds": 5, "records": 300})
    ends = Log(job.kafka, TOPICS).ends()
    archive_live(stack.file, custody, "flink")
    archiver.wait_until(lambda: last_digest(FolderStore(store), job.name) is not None)
    for worker in live.workers(stack, "margin-boot-python"):
        # Of those that were found, some end with others.
        with suppress(psutil.NoSuchProcess):
            worker.kill()
    now = round(time.time() * 1e6)
    archiver.wait_until(lambda: archiver.sealed(FolderStore(store), job) > now)
    archiver.check_it_is_whole(job, custody, ends, tmp_path / "again")
    # Nor is the risk job begun from a checkpoint of the archive's.
    risk, archive = (stack.session.job(name) for name in (job.name, f"{job.name}-archive"))
    assert risk is not None
    assert archive is not None
    assert stack.checkpoint is not None
    assert stack.checkpoint.parent.name == risk.id
    assert any((stack.flink.checkpoints / archive.id).glob("chk-*"))


@pytest.mark.parametrize("stack", ["blocks"], indirect=True)
def test_digests_stay_on_the_broker(stack: Stack) -> None:
    """Those of a year ago prove what the archive was then; a broker's own week would not."""
    asked = ConfigResource(ConfigResource.Type.TOPIC, DIGESTS)
    admin = AdminClient(stack.job.kafka.client())
    settings = admin.describe_configs([asked])[asked].result(30)
    assert (settings["retention.ms"].value, settings["cleanup.policy"].value) == ("-1", "delete")


def kill_the_worker(stack: Stack) -> None:
    """kill -9 of the busiest Python worker."""
    worker = live.workers(stack, "margin-boot-python")[0]
    worker.kill()
    psutil.wait_procs([worker])
