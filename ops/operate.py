"""Commands of the operator: the local stack, live runs, what they read and what they wrote."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.live import Live

from ops.terminal import console, explained

app = typer.Typer()

JobFile = Annotated[str, typer.Option("--job", help="a live job: a name in conf/jobs, or a file")]
Folder = Annotated[Path | None, typer.Option(help="where the stack keeps its logs and state; default build/stack")]


@app.command()
def up(
    job: JobFile = "live",
    day: Annotated[Path | None, typer.Option(help="a day to stream; default: one is generated")] = None,
    accounts: Annotated[int, typer.Option(help="of the generated day", min=1)] = 1000,
    symbols: Annotated[int, typer.Option(help="of the generated day", min=3)] = 200,
    speed: Annotated[float, typer.Option(help="of the stream, as a multiple of the day's own", min=0.1)] = 60,
    stream: Annotated[bool, typer.Option(help="stream a day into it")] = True,
    watch: Annotated[bool, typer.Option(help="follow it in a table until Ctrl-C; the stack goes on")] = True,
    folder: Folder = None,
) -> None:
    """Start a Kafka broker, Flink and the live job here, and stream a day into it. `margin down` ends it."""
    with explained():
        from ops.generate import write_day
        from ops.stack.service import Service
        from ops.stack.stack import FOLDER, Stack
        from ops.stream import SERVICE

        stack = Stack(job, folder or FOLDER)
        # A day sent twice would be refused fill by fill: it happens at other times, under the same ids.
        new = not stack.broker.properties.exists()
        with console.status("starting"):
            stack.start(lambda what: console.print(f"starting {what}", highlight=False))
        if stream and day is None and not new:
            console.print("the topics have a day already: --day streams another, `margin down --clean` forgets it")
        elif stream:
            if day is None:
                day = stack.folder / "day"
                write_day(day, scenario="crash", accounts=accounts, symbols=symbols, seed=7, interval_ms=250)
            command = [sys.executable, "-W", "ignore", "-m", "ops.cli", "stream", str(day), "--job", job]
            service = Service(stack.folder, SERVICE, [*command, "--speed", str(speed)])
            service.stop()
            service.start()
            console.print(f"streaming {day} at {speed:g} times its own speed", highlight=False)
        console.print(f"logs: {stack.folder}; Flink: http://{stack.job.flink}; end it with: margin down")
        if watch:
            _watch(job)


@app.command()
def down(
    folder: Folder = None,
    clean: Annotated[bool, typer.Option(help="also remove the broker's log, the checkpoints and every log")] = False,
) -> None:
    """End exactly what `margin up` started; the next one goes on where it stopped."""
    with explained():
        import shutil

        from ops.stack.stack import FOLDER, Stack

        stack = Stack("live", folder or FOLDER)
        if not stack.stop(lambda name: console.print(f"ended {name}", highlight=False)):
            console.print("nothing runs")
        if clean:
            shutil.rmtree(stack.folder, ignore_errors=True)


@app.command()
def topics(
    job: JobFile = "live",
    partitions: Annotated[int, typer.Option(help="of each topic that is created", min=1)] = 1,
) -> None:
    """Create the topics that are not there yet on the brokers that the job names, with the log-append clock."""
    with explained():
        from ops.stack.broker import create_topics
        from pipeline.job import load_live_job

        made = create_topics(load_live_job(job).kafka, partitions=partitions)
        console.print(f"created {', '.join(made)}" if made else "every topic is there", highlight=False)


@app.command("watch")
def watch_(job: JobFile = "live") -> None:
    """Follow a live run in a table: levels, calls, lag, events per second."""
    with explained():
        _watch(job)


def _watch(job: str) -> None:
    from ops.watch import Watch
    from pipeline.job import load_live_job

    follow = Watch(load_live_job(job))
    with Live(follow.render(), console=console, refresh_per_second=2) as live:
        try:
            while True:
                follow.poll(1.0)
                live.update(follow.render())
        except KeyboardInterrupt:
            pass


@app.command("stream")
def stream_(
    day: Annotated[Path, typer.Argument(help="a day's folder")],
    job: JobFile = "live",
    speed: Annotated[float, typer.Option(help="a multiple of the day's own", min=0.1)] = 1.0,
    rate: Annotated[float | None, typer.Option(help="so many records a second instead", min=1)] = None,
    limit: Annotated[int | None, typer.Option(help="stop after so many", min=1)] = None,
) -> None:
    """Send a day's records to the topics, as if it happened now."""
    with explained():
        from ops.stream import Pace, stream
        from pipeline.job import load_live_job

        with console.status("streaming") as status:
            plan = load_live_job(job)
            count = stream(
                day,
                plan.kafka,
                Pace(speed=speed, rate=rate),
                formats=plan.formats,
                limit=limit,
                on_sent=lambda sent: status.update(f"streaming: {sent:,} records"),
            )
        console.print(f"sent {count:,} records", highlight=False)


@app.command()
def live(
    job: JobFile = "live",
    runner: Annotated[str, typer.Option(help="flink or prism")] = "flink",
    resume: Annotated[Path | None, typer.Option(help="a checkpoint or savepoint to go on from")] = None,
    snapshot: Annotated[Path | None, typer.Option(help="start cold from what `margin snapshot` wrote")] = None,
    job_server: Annotated[Path | None, typer.Option(help="a job server's jar, instead of the one built here")] = None,
) -> None:
    """Submit the live job to the cluster that it names, or run it here on prism; broker and topics must be there."""
    with explained():
        from ops.live import run_here, submit

        if runner == "flink":
            found = submit(job, resume=resume, opening=snapshot, job_server=job_server)
            console.print(f"job {found.name} runs: {found.id}", highlight=False)
        else:
            console.print("running; Ctrl-C ends it")
            run_here(job, runner)


@app.command("snapshot")
def snapshot_(
    out: Annotated[Path, typer.Argument(help="folder to write it to")],
    job: JobFile = "live",
    base: Annotated[Path | None, typer.Option(help="an earlier snapshot to go on from")] = None,
) -> None:
    """Write state and offsets, made from the topics; another graph or number of shards starts cold from it."""
    with explained():
        from ops.snapshot import Snapshot, take_snapshot
        from pipeline.job import load_live_job
        from schemas.scalars import Time

        with console.status("going through the topics"):
            found = take_snapshot(load_live_job(job), out, Snapshot(base) if base else None)
        console.print(f"{out}: as of {Time(found.cut).text()}; start from it: margin live --snapshot {out}")


@app.command()
def savepoint(job: JobFile = "live") -> None:
    """Take a savepoint of the live job and end it; `margin live --resume` goes on from it."""
    with explained():
        from pipeline.job import load_live_job
        from runners.session import FlinkSession

        plan = load_live_job(job)
        console.print(str(FlinkSession(plan.flink).stop(plan.name)), highlight=False, soft_wrap=True)


@app.command()
def cancel(job: JobFile = "live") -> None:
    """End the live job at once; `margin up` goes on from its last checkpoint."""
    with explained():
        from pipeline.job import load_live_job
        from runners.session import FlinkSession

        plan = load_live_job(job)
        FlinkSession(plan.flink).cancel(plan.name)


@app.command()
def capture(
    out: Annotated[Path, typer.Argument(help="folder of the day to write")],
    job: JobFile = "live",
    outputs: Annotated[Path | None, typer.Option(help="also what the job published, like a replay's outputs")] = None,
) -> None:
    """Write what the input topics hold, with offsets and log-append times, as a day that `margin replay` takes."""
    with explained():
        from ops.capture import capture_day, capture_outputs
        from pipeline.job import load_live_job

        plan = load_live_job(job)
        manifest = capture_day(plan, out)
        console.print(f"captured {manifest.opens_at} to {manifest.closes_at} in {out}", highlight=False)
        if outputs is not None:
            for topic, count in capture_outputs(plan, outputs).items():
                console.print(f"{count:>9,}  {topic}.jsonl", highlight=False)


@app.command()
def exporter(
    job: JobFile = "live",
    port: Annotated[int, typer.Option(help="that Prometheus scrapes")] = 9464,
    host: Annotated[str, typer.Option(help="to listen on; the metrics have no password")] = "127.0.0.1",
) -> None:
    """Serve a live job's metrics for Prometheus."""
    with explained():
        from ops.exporter import export
        from pipeline.job import load_live_job

        export(load_live_job(job), port, host)


@app.command()
def expansion(port: Annotated[int, typer.Option(help="to listen on", min=1)] = 8097) -> None:
    """Run KafkaIO's expansion service in the foreground; `margin up` does so by itself."""
    with explained():
        import os

        from ops.stack.expansion import command

        words = command(port)
        os.execvp(words[0], words)


@app.command()
def runners() -> None:
    """What each engine can do, how, and why not."""
    with explained():
        from ops.engines import table

        console.print(table())


@app.command()
def package(
    runner: Annotated[str, typer.Option(help="flink or spark")],
    out: Annotated[Path, typer.Option(help="the jar to write")],
    job: Annotated[str | None, typer.Option(help="a live job, for flink")] = None,
    day: Annotated[Path | None, typer.Option(help="a day to replay, and")] = None,
    to: Annotated[Path | None, typer.Option(help="where its outputs go")] = None,
) -> None:
    """Write the graph as an executable jar, to be submitted where no Python is."""
    with explained():
        from ops.live import package as write

        size = write(runner, out, job=job, day=day, to=to)
        console.print(f"{out}: {size / 1e6:,.0f} MB", highlight=False)
