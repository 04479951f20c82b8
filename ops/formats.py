"""Formats: how times, money, ratios and levels are written in the terminal and in the HTML report."""

from __future__ import annotations

import datetime as dt
from typing import Literal
from zoneinfo import ZoneInfo

from rich.table import Table
from rich.text import Text

from schemas.outputs import Level
from schemas.scalars import EPOCH, MICROSECOND, MONEY_SCALE, RATIO_SCALE

NEW_YORK = ZoneInfo("America/New_York")
STYLES: dict[Level, str] = {
    "NONE": "dim",
    "WARNING": "yellow",
    "MARGIN_CALL": "dark_orange",
    "RESTRICTION": "magenta",
    "LIQUIDATION": "red",
}


def new_york(at: int) -> dt.datetime:
    """The time on a New York clock."""
    return (EPOCH + at * MICROSECOND).astimezone(NEW_YORK)


def clock(at: int) -> str:
    """HH:MM:SS in New York."""
    return f"{new_york(at):%H:%M:%S}"


def moment(at: int | None) -> str:
    """Day and minute in New York, such as 05 Jan 16:00; nothing for none."""
    return "" if at is None else f"{new_york(at):%d %b %H:%M}"


def moment_of(at: int, day: int) -> str:
    """The time in New York, and of another day than that of a time the day."""
    return clock(at) if new_york(at).date() == new_york(day).date() else moment(at)


def dollars(amount: int | None) -> str:
    """Whole dollars with separators and a true minus; nothing for none."""
    return "" if amount is None else f"{round(amount / MONEY_SCALE):,}".replace("-", "\N{MINUS SIGN}")


def cents(amount: int | None) -> str:
    """Dollars and cents, half to even, with separators and a true minus; nothing for none."""
    if amount is None:
        return ""
    return f"{round(amount, -2) / MONEY_SCALE:,.2f}".replace("-", "\N{MINUS SIGN}")


def percent(ratio: int) -> str:
    """A ratio as a whole percentage with its sign."""
    return f"{ratio / RATIO_SCALE:+.0%}".replace("-", "\N{MINUS SIGN}") if ratio else "0%"


def words(level: str) -> str:
    """MARGIN_CALL as margin call."""
    return level.replace("_", " ").lower()


def text_table(title: str, *columns: str, right: str = "") -> Table:
    """A table whose columns are left-justified text, except the money columns named in right."""
    table = Table(
        title=Text(title) if title else None,
        title_justify="left",
        title_style="bold",
        header_style="dim",
        box=None,
        pad_edge=False,
    )
    for column in columns:
        number = column in right.split("|")
        fixed, least = (
            number or column in ("level", "type", "status", "order"),
            9 if column == "account" else max(map(len, column.split()), default=6),
        )
        justify: Literal["right", "left"] = "right" if number else "left"
        # An amount that is cut off must not look like a smaller one.
        overflow: Literal["ellipsis", "fold"] = "ellipsis" if fixed else "fold"
        table.add_column(column, justify=justify, no_wrap=fixed, min_width=least, overflow=overflow)
    return table
