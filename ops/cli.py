"""The margin command: generate a day, replay it, look at what came out, calculate one portfolio."""

from __future__ import annotations

import warnings
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

# Beam's Google dependencies greet every start with future warnings that a margin desk can do nothing about.
warnings.filterwarnings("ignore", category=FutureWarning, module=r"google\..*")
warnings.filterwarnings("ignore", message=".*grpcio.*")

import typer  # noqa: E402

from ops.archive import app as archive_app  # noqa: E402
from ops.audit.cli import app as audit_app  # noqa: E402
from ops.audit.rederive import app as rederive_app  # noqa: E402
from ops.audit.retention import app as retention_app  # noqa: E402
from ops.letters import app as deadletter_app  # noqa: E402
from ops.operate import app as operate_app  # noqa: E402
from ops.review import app as review_app  # noqa: E402
from ops.submit import app as submit_app  # noqa: E402
from ops.terminal import console, explained  # noqa: E402
from schemas.inputs import Method  # noqa: E402

app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
app.add_typer(operate_app)
app.add_typer(review_app)
app.add_typer(archive_app)
app.add_typer(deadletter_app, name="deadletter")
audit_app.add_typer(rederive_app)
audit_app.add_typer(retention_app)
app.add_typer(audit_app, name="audit")
app.add_typer(submit_app, name="submit")


WhatIf = Annotated[
    list[str] | None, typer.Option(help="suppose '-50 AAPL @ 249.5', 'AAPL @ 240' or 'AAPL vol 0.4'; may be repeated")
]


class Scenario(StrEnum):
    """Markets that generate makes."""

    CALM = "calm"
    CRASH = "crash"
    SQUEEZE = "squeeze"
    DISORDER = "disorder"


class Runner(StrEnum):
    """Engines that replay runs on, here or on a cluster."""

    DIRECT = "direct"
    PRISM = "prism"
    FLINK = "flink"
    SPARK = "spark"


@app.command()
def generate(
    out: Annotated[Path, typer.Argument(help="folder to write the day to")],
    scenario: Annotated[Scenario, typer.Option(help="the market of the day")] = Scenario.CRASH,
    accounts: Annotated[int, typer.Option(min=1)] = 1000,
    symbols: Annotated[int, typer.Option(min=3)] = 200,
    seed: Annotated[int, typer.Option(help="the same seed gives the same bytes")] = 7,
    interval_ms: Annotated[int, typer.Option(help="the evaluation grid", min=1)] = 1000,
    options: Annotated[
        bool, typer.Option(help="with options and portfolio margin, by the rules of FINRA 4210")
    ] = False,
) -> None:
    """Write a market day: fills, corrections, busts, duplicates, prices, halts, betas and cash."""
    from ops.generate import write_day

    with explained(ValueError):
        write_day(
            out,
            scenario=scenario.value,
            accounts=accounts,
            symbols=symbols,
            seed=seed,
            interval_ms=interval_ms,
            options=options,
        )
    console.print(f"wrote a {scenario.value} day of {accounts} accounts and {symbols} symbols to {out}")


@app.command()
def replay(
    day: Annotated[Path, typer.Argument(help="folder with manifest.json and <topic>.jsonl")],
    out: Annotated[Path, typer.Option(help="folder for the outputs")],
    runner: Annotated[Runner, typer.Option()] = Runner.DIRECT,
    rules: Annotated[list[str] | None, typer.Option(help="rulebooks, instead of the manifest's")] = None,
    job: Annotated[str, typer.Option(help="how to run: a name in conf/jobs, or a file")] = "replay",
    shards: Annotated[
        int | None, typer.Option(help="of accounts, instead of the job's; cannot change an output", min=1, max=64)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="publish every touched account at every instant")] = False,
    master: Annotated[str | None, typer.Option(help="of a Flink (host:port) or Spark (spark://..) cluster")] = None,
    parallelism: Annotated[int, typer.Option(help="workers' slots, of Flink and Spark", min=1)] = 1,
    job_server: Annotated[Path | None, typer.Option(help="a job server's jar, instead of the one built here")] = None,
    archive: Annotated[
        str | None, typer.Option(help="archive what came in and went out: a name in conf/archives, or a file")
    ] = None,
) -> None:
    """Replay a day through the graph; the outputs are written like a day, one sorted file a topic."""
    from ops.progress import DayProgress
    from pipeline.custody import load_custody
    from pipeline.day import load_manifest
    from pipeline.job import load_job
    from pipeline.replay import replay as run
    from runners.engine import Run
    from runners.engines import ENGINES

    with explained():
        plan, custody = load_job(job), None if archive is None else load_custody(archive)
        options = ENGINES[runner].options(Run(master=master, parallelism=parallelism, job_server=job_server))
        with DayProgress(load_manifest(day), shards or plan.shards, console):
            run(day, out, options, job=plan, rules=rules, shards=shards, publish_all=everything)
    for path in sorted(out.glob("*.jsonl")):
        with path.open("rb") as lines:
            console.print(f"{sum(1 for _ in lines):>9,}  {path.name}", highlight=False)
    if custody is not None:
        from ops.archive import archive_replay

        with explained():
            archive_replay(day, out, custody, rules=rules, job=plan)


@app.command()
def show(
    out: Annotated[Path, typer.Argument(help="folder of a replay's outputs")],
    html: Annotated[Path | None, typer.Option(help="also write a self-contained report")] = None,
    limit: Annotated[int, typer.Option(help="rows per table", min=1)] = 10,
) -> None:
    """Who was warned, called, restricted, liquidated and why; who is worst under stress."""
    from ops.report import write_report
    from ops.show import show as render

    with explained(ValueError):
        render(out, console, limit=limit)
        if html is not None:
            write_report(out, html)
            console.print(f"report: {html}")


@app.command()
def calc(
    file: Annotated[Path, typer.Argument(help="a portfolio in YAML or JSON; see examples/portfolio.yaml")],
    json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    theoretical: Annotated[
        Path | None,
        typer.Option(help="a CSV of published theoretical values, plain or .gz; docs/rules/portfolio-margin.md"),
    ] = None,
    what_if: WhatIf = None,
) -> None:
    """Every measure of one portfolio."""
    from ops.calc import calculate_file, render, to_json

    with explained(ValueError):
        result = calculate_file(file, theoretical, what_if or ())
    if json:
        print(to_json(result))
    else:
        render(result, console)


@app.command()
def explain(
    day: Annotated[Path, typer.Argument(help="day folder")],
    account: Annotated[str, typer.Argument(help="account id")],
    at: Annotated[
        str | None, typer.Option(help="instant, such as 2026-01-05T15:50:00Z; default: the day's end")
    ] = None,
    since: Annotated[str | None, typer.Option(help="say what changed the figures since this instant, and why")] = None,
    what_if: WhatIf = None,
    json: Annotated[bool, typer.Option("--json", help="print the account as a document for `margin calc`")] = False,
) -> None:
    """What an account of a day requires at an instant, line by line, and why that changed."""
    from ops.account import AccountDay
    from ops.calc import render, render_changes, to_json
    from ops.document import supposed
    from ops.portfolio import calculate
    from schemas.scalars import Time

    with explained(ValueError):
        own = AccountDay.read(day, account)
        instant = own.horizon if at is None else int(Time.parse(at))
        document = own.document(instant) | {"what_if": [supposed(text) for text in what_if or ()]}
        result = calculate(document)
        changes = [] if since is None else own.changes(int(Time.parse(since)), instant)
    if json:
        print(to_json(document))
        return
    render(result, console)
    if changes:
        render_changes(changes, console)


@app.command("check-order")
def check_order(
    account: Annotated[str, typer.Argument(help="account id")],
    leg: Annotated[list[str], typer.Option(help="'-1 XYZ-P95 @ 2.10', or '-50 AAPL' at its price; may be repeated")],
    out: Annotated[Path | None, typer.Option(help="folder of a replay's outputs, with --day")] = None,
    day: Annotated[Path | None, typer.Option(help="the day that was replayed: instruments and prices")] = None,
    job: Annotated[str | None, typer.Option(help="a live job instead: a name in conf/jobs, or a file")] = None,
    rules: Annotated[list[str] | None, typer.Option(help="rulebooks, instead of the day's or the job's")] = None,
    json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Would an order be admitted, and what would it leave? All of its legs are taken together."""
    from ops.calc import to_json
    from ops.desk import OrderDesk
    from ops.order import leg_of
    from ops.standing import of_job, of_replay
    from pipeline.day import load_manifest
    from pipeline.job import load_live_job
    from pipeline.rules import load_rulebooks

    if (out is None) != (day is None) or (out is None) == (job is None):
        raise typer.BadParameter("expected --out and --day of a replay, or --job of a live run")
    with explained(ValueError):
        legs = [leg_of(text) for text in leg]
        symbols = {own.symbol for own in legs}
        if out is not None and day is not None:
            books, records = load_manifest(day).rulebooks, of_replay(out, day, account, symbols)
        else:
            plan = load_live_job(job or "live")
            books, records = plan.rulebooks, of_job(plan, account, symbols)
        desk = OrderDesk(load_rulebooks(rules or books))
        desk.take(records)
        found = desk.check(account, legs)
    if json:
        print(to_json(found.document()))
    else:
        found.render(console)


@app.command()
def scenario(
    file: Annotated[Path, typer.Argument(help="a scenario; see examples/days")],
) -> None:
    """A story of some days, and what follows from it: calls, restrictions, liquidations."""
    from ops.scenario import Scenario

    with explained(ValueError):
        told = Scenario.read(file)
        lines = told.lines()
    console.print(told.story, style="italic", markup=False)
    for line in lines:
        console.print(line, markup=False, highlight=False)
    if told.expected != lines:
        console.print("not what the file expects", style="red")
        raise typer.Exit(1)


@app.command()
def bars(
    files: Annotated[list[Path], typer.Argument(help="CSV files of minute bars, daily bars and factors, plain or .gz")],
    out: Annotated[Path, typer.Option(help="day folder to write the market to")],
    date: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="default: the last with bars")] = None,
    window: Annotated[int, typer.Option(help="daily returns a beta is estimated from", min=60)] = 2520,
    beta: Annotated[Method, typer.Option(help="how betas are drawn to what they are usually like")] = "ordinary",
) -> None:
    """Turn price bars into a day's manifest, prices, betas and instruments; fills and cash are yours to add."""
    from ops.bars import convert

    with explained(ValueError):
        counts = convert(files, out, date.date() if date else None, window=window, method=beta)
    for topic, count in counts.items():
        console.print(f"{count:>9,}  {topic}.jsonl", highlight=False)


if __name__ == "__main__":
    app()
