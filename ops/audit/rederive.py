"""margin audit decision and replay: what was decided, computed again from the store alone."""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from ops.audit.options import Archive, AsJson, CustodyName, Folder, JobName
from ops.terminal import console, explained, print_json

app = typer.Typer()


@app.command()
def decision(
    event_id: Annotated[str, typer.Argument(help="of an audit record, or of a call, restriction, .. that it led to")],
    custody: CustodyName = "folder",
    store: Folder = None,
    job: JobName = None,
    json: AsJson = False,
) -> None:
    """The whole story of one decision, recomputed from the store alone beside what was recorded; 1 if they differ."""
    with explained(ValueError):
        from ops.audit.decision import decision_of, render

        archive = Archive(custody, store, job)
        found = decision_of(archive.reader, archive.store, event_id, archive.decode)
    if json:
        print_json(found.document())
    else:
        render(found, console)
    if not found.recomputed.equal:
        raise typer.Exit(1)


@app.command()
def decisions(
    log: Annotated[str, typer.Option(help="whose: a job's name, or replay-DATE")],
    custody: CustodyName = "folder",
    store: Folder = None,
    job: JobName = None,
) -> None:
    """Recompute every decision of a log from the store alone, account by account; 1 if any differs."""
    with explained(ValueError):
        from ops.audit.recompute import Inputs, Recorded, recompute_all
        from schemas.topics import AUDIT

        archive = Archive(custody, store, job)
        inputs = Inputs(archive.reader, Recorded(archive.store, log), archive.decode)
        made = records = links = 0
        wrong = []
        with console.status("recomputing") as status:
            for found in recompute_all(inputs):
                made += 1
                records += sum(map(len, found.recorded.values()))
                links += len(found.recorded.get(AUDIT.name, ()))
                status.update(f"recomputing: {made:,} accounts, {links:,} decisions")
                wrong += [(found.account_id, *difference) for difference in found.differences()]
    for account, topic, one, other in wrong[:20]:
        told = f"  recorded    {one.decode() or 'nothing'}\n  recomputed  {other.decode() or 'nothing'}"
        console.print(f"{account}, {topic}\n{told}", style="red", markup=False, highlight=False)
    if wrong:
        console.print(f"{len(wrong):,} of {records:,} records differ", style="bold red", highlight=False)
        raise typer.Exit(1)
    said = f"All {links:,} decisions on {made:,} accounts, and all {records:,} records that these accounts were told"
    console.print(f"{said}, recompute byte by byte.", style="green", highlight=False)


@app.command()
def replay(
    log: Annotated[str, typer.Option(help="whose: a job's name, or replay-DATE")],
    date: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="UTC; default: all of the log")] = None,
    shards: Annotated[int, typer.Option(help="cannot change an output", min=1, max=64)] = 8,
    keep: Annotated[
        Path | None, typer.Option(help="a folder for the day and its outputs; default: none is kept")
    ] = None,
    custody: CustodyName = "folder",
    store: Folder = None,
    job: JobName = None,
) -> None:
    """Make a day again from its stored inputs, and compare every output with the stored one; 1 if any differs."""
    with explained(ValueError):
        from ops.audit.rebuild import rebuild, render
        from ops.audit.recompute import Recorded
        from runners.engine import Run
        from runners.engines import ENGINES

        archive = Archive(custody, store, job)
        recorded = Recorded(archive.store, log)
        with tempfile.TemporaryDirectory() as work, console.status("replaying what is stored"):
            found = rebuild(
                archive.reader,
                recorded,
                keep or Path(work),
                ENGINES["direct"].options(Run()),
                date=None if date is None else date.date(),
                shards=shards,
                decode=archive.decode,
            )
    render(found, console)
    if not all(compared.equal for compared in found):
        raise typer.Exit(1)
