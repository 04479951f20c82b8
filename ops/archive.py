"""The archive, run: of a day that was replayed, or of a live job's topics, on Flink or in this process."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ops.audit.options import CustodyName, Folder
from ops.terminal import console, explained
from schemas.archive import HourDigest

app = typer.Typer()


@app.command()
def archive(
    day: Annotated[Path | None, typer.Argument(help="a day that was replayed")] = None,
    out: Annotated[Path | None, typer.Argument(help="the outputs of its replay")] = None,
    job: Annotated[str | None, typer.Option(help="a live job instead: a name in conf/jobs, or a file")] = None,
    runner: Annotated[
        str, typer.Option(help="of a live job: prism (in this process) or flink (its cluster)")
    ] = "prism",
    custody: CustodyName = "folder",
    store: Folder = None,
    backlog: Annotated[bool, typer.Option(help="of a live job: say what is not sealed yet, and run nothing")] = False,
) -> None:
    """Archive what came in and what went out: chained, sealed by the hour, in a folder or in S3 and DynamoDB."""
    from pipeline.custody import load_custody

    if (day is None or out is None) == (job is None):
        raise typer.BadParameter("expected DAY and OUT of a replay, or --job of a live run")
    with explained(ValueError):
        kept = load_custody(custody, store)
        if day is not None and out is not None:
            archive_replay(day, out, kept)
        elif backlog:
            show_backlog(job or "", kept)
        else:
            archive_live(job or "", kept, runner)


def archive_replay(day: Path, out: Path, custody: Any, *, rules: list[str] | None = None, job: Any = None) -> None:
    """Archive a day that was replayed, and say its last digest. Raises DayError, ConfigurationError, StoreError."""
    from pipeline.archive import archive_day
    from runners.engine import Run
    from runners.engines import ENGINES

    with console.status("archiving"):
        options = ENGINES["direct"].options(Run())
        last = archive_day(str(day), str(out), custody, options, rules=rules, job=job)
    told = f"archived in {custody.store} as {last.log}; keep its last digest apart from it:"
    console.print(f"{told}\n{last.digest}", highlight=False)


def archive_live(file: str, custody: Any, runner: str) -> None:
    """Archive a live job's topics until it is interrupted (prism), or hand that to the job's cluster (flink).

    Raises:
      ConfigurationError, StoreError, EngineMissingError, SessionError: with what to do.
    """
    from ops.live import live_run
    from pipeline.archive import TOPICS, facts_of, last_digest, live_archive
    from pipeline.job import load_live_job
    from pipeline.partitions import ReadPartitions
    from pipeline.sources import ReadKafkaIO
    from pipeline.store import open_store
    from runners.engine import Run
    from runners.engines import ENGINES
    from runners.session import FlinkSession, SessionError

    job = load_live_job(file)
    job.formats.check()
    store = open_store(custody)
    facts = facts_of(store, job.rulebooks, run_of(job))
    # The group of the risk job says where that begins.
    kafka = job.kafka.model_copy(update={"group": f"{job.kafka.group}.archive"})
    last = last_digest(store, job.name)
    if last is not None:
        kafka.begin_at({(head.topic, head.partition): head.end for head in last.heads})
    name, engine = f"{job.name}-archive", ENGINES[runner]
    if runner == "flink":
        session = FlinkSession(job.flink)
        if session.job(name) is not None:
            raise SessionError(f"job {name} runs on {job.flink} already")
        run = live_run(job.model_copy(update={"name": name, "parallelism": 1}))
        source: Any = ReadKafkaIO(kafka, "log_append", job.expansion, job.unit, TOPICS)
    else:
        run, source = Run(live=True), ReadPartitions(kafka, "log_append", TOPICS)
    pipeline = live_archive(job, custody, source, engine.options(run), facts)
    engine.check_graph(pipeline, run)
    result = pipeline.run()
    if runner == "flink":
        console.print(f"{session.wait(name).name} runs on {job.flink}", highlight=False)
    else:
        result.wait_until_finish()


def run_of(job: Any) -> dict[str, Any]:
    """What a replay of a live job's log needs beside its records."""
    from ops.capture import manifest_of
    from pipeline.live import REACH

    now = round(dt.datetime.now(dt.UTC).timestamp()) * 1_000_000
    bounds = job.bounds(None)
    return {
        "log": job.name,
        "live": True,
        "stamped": [],
        "days": REACH,
        "manifest": manifest_of(job, now, now).model_dump(mode="json"),
        "price_ahead": bounds.price_ahead,
        "fill_ahead": bounds.fill_ahead,
    }


def show_backlog(file: str, custody: Any) -> None:
    """Print, by topic, how many records of a live job's topics no digest has sealed yet."""
    from ops.capture import Log
    from ops.formats import text_table
    from pipeline.archive import TOPICS, last_digest
    from pipeline.job import load_live_job
    from pipeline.store import open_store

    job = load_live_job(file)
    last = last_digest(open_store(custody), job.name)
    waiting = unsealed(last, Log(job.kafka, TOPICS).ends())
    until = "none yet" if last is None else f"{last.hour.text()}, {last.seconds} s"
    table = text_table(f"last digest: {until}", "topic", "not sealed yet", right="not sealed yet")
    for topic, count in waiting.items():
        if count:
            table.add_row(topic, f"{count:,}")
    console.print(table if any(waiting.values()) else f"last digest: {until}; nothing waits")


def unsealed(last: HourDigest | None, ends: Mapping[tuple[str, int], int]) -> dict[str, int]:
    """By topic, how many records lie between a log's last digest, if it has one, and the ends of its partitions."""
    sealed = {} if last is None else {(own.topic, own.partition): own.end for own in last.heads}
    waiting: dict[str, int] = {}
    for place, end in ends.items():
        waiting[place[0]] = waiting.get(place[0], 0) + end - sealed.get(place, 0)
    return waiting
