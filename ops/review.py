"""Commands that look at what a replay came to: its calls, one account's day, its liquidations, the whole firm."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ops.terminal import console, explained, print_json
from schemas.inputs import CallType
from schemas.scalars import Money, decode_scalar

app = typer.Typer()

Out = Annotated[Path, typer.Argument(help="folder of a replay's outputs")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]


@app.command()
def calls(
    out: Out,
    kind: Annotated[CallType | None, typer.Option("--type", help="of one type")] = None,
    alive: Annotated[bool, typer.Option("--open", help="with something due")] = False,
    account: Annotated[str | None, typer.Option(help="of one account")] = None,
    json: AsJson = False,
) -> None:
    """Calls: what was called, what covered it, what is still due and when; what is due first comes first."""
    from ops.calls import read_calls, render, totals_of

    with explained(ValueError):
        found = read_calls(out, kind=kind, alive=alive, account=account)
    if json:
        print_json({"calls": [call.document() for call in found], "totals": totals_of(found)})
    else:
        render(found, console)


@app.command()
def account(out: Out, account: Annotated[str, typer.Argument(help="account id")], json: AsJson = False) -> None:
    """One account's day: its level, its figures, and what happened to it in time order."""
    from ops.history import read_history

    with explained(ValueError):
        found = read_history(out, account)
    if json:
        print_json(found.document())
    else:
        found.render(console)


@app.command()
def liquidations(out: Out, json: AsJson = False) -> None:
    """Liquidations by account: what is deficient since when, what is to be closed, and how each ended."""
    from ops.liquidations import read_liquidations, render

    with explained(ValueError):
        found = read_liquidations(out)
    if json:
        print_json(found)
    else:
        render(found, console)


@app.command()
def firm(
    out: Annotated[Path | None, typer.Argument(help="folder of a replay's outputs")] = None,
    job: Annotated[str | None, typer.Option(help="a live job instead: a name in conf/jobs, or a file")] = None,
    net_capital: Annotated[float | None, typer.Option(help="of the firm, in dollars, for FINRA 4210(g)(12)")] = None,
    limit: Annotated[int, typer.Option(help="crowded names", min=1, max=20)] = 10,
    json: AsJson = False,
) -> None:
    """The firm: totals by level and margin type, calls, net capital, crowded names, and what a crash would add."""
    from ops.firm import firm_of, read_firm, render

    if (out is None) == (job is None):
        raise typer.BadParameter("expected OUT, the folder of a replay's outputs, or --job of a live run")
    with explained(ValueError):
        capital = None if net_capital is None else int(decode_scalar(Money, net_capital))
        found = firm_of(read_firm(out) if out is not None else _published_firm(job or ""), net_capital=capital)
    if json:
        print_json(found.document())
    else:
        render(found, console, limit)


def _published_firm(name: str) -> Any:
    """The last totals that a live job published. Raises ValueError where it published none."""
    # They need Beam, which takes seconds to start.
    from ops.standing import published
    from pipeline.job import load_live_job
    from schemas.topics import FIRM_TOTALS
    from transforms.firm import FIRM

    told = published(load_live_job(name), FIRM_TOTALS, FIRM)
    if told is None:
        raise ValueError(f"{FIRM_TOTALS.name}: expected totals of job {name}, found none yet; is it running?")
    return told
