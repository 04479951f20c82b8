"""margin audit retention: what the archive would let go of and when, and what a legal hold keeps; nothing is removed.

All of it follows from names and the custody: no object is opened, and none is changed. An object is of many accounts,
so a hold of accounts keeps every object of its topics and dates; a hold keeps digests and facts, too, since they prove
what is held.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from itertools import groupby
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from ops.audit.options import Archive, AsJson, CustodyName, Folder
from ops.formats import text_table
from ops.terminal import console, explained, print_json
from pipeline.custody import Custody
from schemas.archive import hour_in, topic_in

app = typer.Typer()

#: What facts and digests are listed as.
DIGESTS, FACTS = "digests", "facts"


class Keeping(msgspec.Struct, frozen=True, kw_only=True):
    """How long something of the archive is kept.

    Fields:
      name: of the object. what: its topic, or that it is a digest or a fact. date: UTC; of a fact, none.
      goes_at: when retention ends; a fact's does with the last of what rests on it.
      hold: the legal hold that keeps it from then on. due: whether it may go by the time of the report.
    """

    name: str
    what: str
    date: dt.date | None
    goes_at: dt.datetime | None
    hold: str | None
    due: bool


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a topic and date: goes_at is the last hour's."""

    what: str
    date: dt.date | None
    objects: int
    due: int
    goes_at: dt.datetime | None
    hold: str | None


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """A report: as of a time, what may go and what stays, by name, and by topic and date, what goes first first."""

    store: str
    as_of: dt.datetime
    groups: list[Group]
    keepings: list[Keeping]


def retention(names: Iterable[str], custody: Custody, as_of: dt.datetime) -> Retention:
    """What would go by a time, of what has these names."""
    found = sorted((_keeping(name, custody, as_of) for name in names), key=_order)
    groups = []
    for (what, date), members in groupby(found, key=lambda own: (own.what, own.date)):
        listed = list(members)
        groups.append(
            Group(
                what=what,
                date=date,
                objects=len(listed),
                due=sum(own.due for own in listed),
                goes_at=listed[-1].goes_at,
                hold=listed[0].hold,
            )
        )
    groups.sort(key=lambda group: (group.goes_at or dt.datetime.max.replace(tzinfo=dt.UTC), group.what))
    return Retention(store=custody.store, as_of=as_of, groups=groups, keepings=found)


def _keeping(name: str, custody: Custody, as_of: dt.datetime) -> Keeping:
    topic, hour, goes_at = topic_in(name), hour_in(name), custody.goes_at(name)
    hold = custody.hold_of(name)
    return Keeping(
        name=name,
        what=topic or (FACTS if hour is None else DIGESTS),
        date=None if hour is None else dt.date.fromisoformat(hour.text()[:10]),
        goes_at=goes_at,
        hold=None if hold is None else hold.name,
        due=hold is None and goes_at is not None and goes_at <= as_of,
    )


def _order(own: Keeping) -> tuple[str, str, str]:
    return own.what, str(own.date or ""), own.name


def render(report: Retention, to: Console, limit: int) -> None:
    """Print a row a topic and date, and what is due in all."""
    table = text_table(
        f"What {report.store} would let go of, as of {report.as_of:%Y-%m-%d}; nothing is removed",
        *("what", "date", "objects", "due", "goes from", "held by"),
        right="objects|due",
    )
    for group in report.groups[:limit]:
        goes = "with the last that rests on it" if group.goes_at is None else f"{group.goes_at:%Y-%m-%d}"
        held = "" if group.hold is None else group.hold
        cells = (group.what, str(group.date or ""), f"{group.objects:,}", f"{group.due:,}", goes, held)
        table.add_row(*(Text(cell, "bold" if group.due else "") for cell in cells))
    to.print(table)
    due = sum(own.due for own in report.keepings)
    kept = sum(own.hold is not None for own in report.keepings)
    more = f"; {len(report.groups) - limit:,} rows more, --limit says how many" if len(report.groups) > limit else ""
    told = f"{due:,} of {len(report.keepings):,} may go, {kept:,} are held{more}"
    to.print(told, style="dim", highlight=False)


@app.command("retention")
def command(
    as_of: Annotated[
        dt.datetime | None, typer.Option("--as-of", formats=["%Y-%m-%d"], help="UTC; default: today")
    ] = None,
    limit: Annotated[int, typer.Option(help="rows; JSON has all", min=1)] = 50,
    custody: CustodyName = "folder",
    store: Folder = None,
    json: AsJson = False,
) -> None:
    """What would go, and when, by the custody's retention and legal holds; it only tells, nothing is removed."""
    with explained(ValueError):
        archive = Archive(custody, store)
        time = dt.datetime.now(dt.UTC) if as_of is None else as_of.replace(tzinfo=dt.UTC)
        report = retention(archive.store.names(), archive.custody, time)
    if json:
        print_json(report)
    else:
        render(report, console, limit)
