"""margin audit: ask the archive what was so and known when, and whether anything was changed."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.audit.options import Archive, AsJson, CustodyName, Folder, JobName
from ops.terminal import console, explained, print_json

if TYPE_CHECKING:
    from ops.audit.question import Question

app = typer.Typer(
    help="The archive: what was so and known when, and whether anything was changed.", no_args_is_help=True
)

Log = Annotated[str | None, typer.Option(help="of one log only: a job's name, or replay-DATE")]
From = Annotated[str | None, typer.Option("--from", help="what was so from a time, or a date of New York, on")]
To = Annotated[str | None, typer.Option("--to", help="and before a time, or until the end of a date")]
Known = Annotated[str | None, typer.Option(help="only what had been received by this time")]


@app.command()
def query(
    account: Annotated[list[str] | None, typer.Option(help="of an account; may be repeated")] = None,
    symbol: Annotated[list[str] | None, typer.Option(help="of a symbol's market; may be repeated")] = None,
    begin: From = None,
    end: To = None,
    kind: Annotated[
        list[str] | None, typer.Option("--type", help="topics, such as margin.calls.v1, or kinds, such as OPENED")
    ] = None,
    as_known_at: Known = None,
    log: Log = None,
    limit: Annotated[int, typer.Option(help="records", min=1)] = 100,
    raw: Annotated[bool, typer.Option("--raw", help="print the bytes as they were received, a line each")] = False,
    sql: Annotated[bool, typer.Option("--sql", help="print the question as SQL of Athena, and do not ask it")] = False,
    custody: CustodyName = "folder",
    store: Folder = None,
    job: JobName = None,
    json: AsJson = False,
) -> None:
    """What was so from a time to a time, as it was known at a time; what was superseded by then is shown as such."""
    with explained(ValueError):
        from ops.audit.query import ask, render
        from ops.audit.question import athena_table, select

        archive = Archive(custody, store, job)
        asked = _question(begin, end, as_known_at, log, kind, account, symbol)
        if sql:
            print(f"{athena_table(archive.custody.store)};\n\n{select(asked)};")
            return
        found = ask(archive.reader, asked, archive.decode, limit)
    if raw:
        for told in found.rows:
            sys.stdout.buffer.write(told.row.value + b"\n")
    elif json:
        print_json({"records": [told.document() for told in found.rows], "more": found.more})
    else:
        render(found, console)


@app.command()
def verify(
    log: Log = None,
    digest: Annotated[
        list[str] | None, typer.Option(help="one that was published apart from the store; may be repeated")
    ] = None,
    published: Annotated[
        Path | None, typer.Option(help="a file of such digests, a line each: hexadecimal digits, or JSON")
    ] = None,
    job: Annotated[
        str | None, typer.Option(help="a live job: digests from its topic audit.digests.v1, and its formats")
    ] = None,
    custody: CustodyName = "folder",
    store: Folder = None,
    json: AsJson = False,
) -> None:
    """Whether anything was changed, removed, moved or repeated: every digest, object, record, chain, fact and entry."""
    with explained(ValueError):
        from rich.progress import Progress

        from ops.audit.digests import published_of, published_on, read_published
        from ops.audit.verify import Verification
        from pipeline.job import load_live_job

        archive, own = Archive(custody, store, job), list(map(published_of, digest or ()))
        place, now = archive.custody, datetime.now(UTC)
        if published is not None:
            own += read_published(published)
        if job is not None:
            own += (told for told in published_on(load_live_job(job).kafka) if log in (None, told.log))
        with Progress(console=console, transient=True, disable=json) as bar:
            task = bar.add_task("objects", total=None)
            found = Verification(
                store=archive.store,
                decode=archive.decode,
                index=archive.index,
                log=log,
                published=own,
                gone=lambda name: (at := place.goes_at(name)) is not None and at < now and not place.hold_of(name),
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            ).run()
    if json:
        print_json(found.document())
    else:
        found.render(console)
    if found.wrong:
        raise typer.Exit(1)


@app.command("report-4220")
def report_4220(
    date: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="of New York")],
    csv: Annotated[Path | None, typer.Option(help="also write a table for a spreadsheet")] = None,
    as_known_at: Known = None,
    log: Log = None,
    custody: CustodyName = "folder",
    store: Folder = None,
    job: JobName = None,
    json: AsJson = False,
) -> None:
    """FINRA 4220: each account where margin was required on a date, how much, and when and how it was met."""
    with explained(ValueError):
        from ops.audit.question import time_of
        from ops.audit.required import render, required_on, write_csv

        archive = Archive(custody, store, job)
        found = required_on(
            archive.reader,
            date.date(),
            archive.decode,
            log=log,
            received_before=None if as_known_at is None else time_of(as_known_at, end=True),
        )
        if csv is not None:
            write_csv(date.date(), found, csv)
    if json:
        print_json({"date": date.date().isoformat(), "required": [own.document() for own in found]})
    else:
        render(date.date(), found, console)


@app.command()
def export(
    out: Annotated[Path, typer.Argument(help="zip file to write")],
    account: Annotated[list[str], typer.Option(help="whose records; may be repeated")],
    begin: From = None,
    end: To = None,
    as_known_at: Known = None,
    log: Log = None,
    custody: CustodyName = "folder",
    store: Folder = None,
    job: JobName = None,
) -> None:
    """A bundle for an examiner: an account's records, their proofs, digests and rulebooks, signed (Ed25519)."""
    with explained(ValueError):
        from ops.audit import bundle

        key, archive = bundle.signing_key(), Archive(custody, store, job)
        asked = _question(begin, end, as_known_at, log, account=account)
        found = bundle.export(archive.reader, archive.store, asked, out, key, archive.decode)
    console.print(
        f"{out}: {found.records:,} records, {found.digests:,} digests, {found.facts:,} facts, signed with the key of "
        f"fingerprint {bundle.fingerprint(key.public_key())}",
        highlight=False,
        soft_wrap=True,
    )
    if found.unsealed:
        console.print(f"{found.unsealed:,} of the records are not sealed yet: nothing proves them", style="yellow")


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="a bundle of margin audit export")],
    key: Annotated[Path, typer.Option("--public-key", help="of who signed it, PEM")],
    json: AsJson = False,
) -> None:
    """Whether a bundle is as it was signed, and whether its records, links and digests fit together; 1 if not."""
    with explained(ValueError):
        from ops.audit.bundle import public_key
        from ops.audit.check import check

        found = check(file, public_key(key))
    if json:
        print_json(found.document())
    else:
        found.render(console)
    if found.wrong:
        raise typer.Exit(1)


def _question(
    begin: str | None,
    end: str | None,
    as_known_at: str | None,
    log: str | None,
    kind: list[str] | None = None,
    account: list[str] | None = None,
    symbol: list[str] | None = None,
) -> Question:
    """The options of a command as a question. Raises ValueError."""
    from ops.audit.question import Question, asked_of, time_of

    return Question(
        **asked_of(kind or (), account or (), symbol or ()),  # type: ignore[arg-type]
        begin=None if begin is None else time_of(begin),
        end=None if end is None else time_of(end, end=True),
        received_before=None if as_known_at is None else time_of(as_known_at, end=True),
        log=log,
    )
