"""How an outcome is shown: in the terminal, and the formats and the SVG plot that the HTML report shares.

Who was warned, called, restricted, liquidated and why; who is worst under stress.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ops.outcome import LEVELS, Case, Outcome, read_outcome
from schemas.outputs import Level
from schemas.scalars import EPOCH, MICROSECOND, MONEY_SCALE, RATIO_SCALE

NEW_YORK = ZoneInfo("America/New_York")
HEADINGS: dict[Level, tuple[str, str]] = {
    "WARNING": ("Warned", ""),
    "MARGIN_CALL": ("Called", "call"),
    "RESTRICTION": ("Restricted to closing", "stressed equity"),
    "LIQUIDATION": ("Liquidation due", "to close"),
}
STYLES: dict[Level, str] = {
    "NONE": "dim",
    "WARNING": "yellow",
    "MARGIN_CALL": "dark_orange",
    "RESTRICTION": "magenta",
    "LIQUIDATION": "red",
}
INK = "#1f2d3d"
Point = tuple[float, float]
BARS = " ▁▂▃▄▅▆▇█"


def new_york(at: int) -> dt.datetime:
    """The time on a New York clock."""
    return (EPOCH + at * MICROSECOND).astimezone(NEW_YORK)


def clock(at: int) -> str:
    """HH:MM:SS in New York."""
    return f"{new_york(at):%H:%M:%S}"


def dollars(amount: int | None) -> str:
    """Whole dollars with separators and a true minus; nothing for none."""
    return "" if amount is None else f"{round(amount / MONEY_SCALE):,}".replace("-", "\N{MINUS SIGN}")


def percent(ratio: int) -> str:
    """A ratio as a whole percentage with its sign."""
    return f"{ratio / RATIO_SCALE:+.0%}".replace("-", "\N{MINUS SIGN}") if ratio else "0%"


def words(level: str) -> str:
    """MARGIN_CALL as margin call."""
    return level.replace("_", " ").lower()


def ending(case: Case) -> str:
    """How a case ended, and when in New York."""
    return words(case.ended) + (f" {clock(case.ended_at)}" if case.ended_at is not None else "")


def show(out: Path, console: Console, limit: int = 15) -> None:
    """Print what came out of a replay, with at most limit rows a table. Raises OutcomeError."""
    outcome = read_outcome(out)
    begin = new_york(outcome.begin)
    console.print(
        f"{begin:%A %d %B %Y}, {clock(outcome.begin)} to {clock(outcome.end)} New York. Rulebook "
        f"{', '.join(outcome.rulebooks)}. {len(outcome.current):,} accounts.",
        highlight=False,
        markup=False,
    )
    console.print(_levels(outcome))
    _timeline(outcome, console)
    for kind in HEADINGS:
        if cases := outcome.of(kind):
            console.print(_cases(kind, cases, limit))
    console.print(_stressed(outcome, limit))
    notices = [f"{words(kind)} {count}" for kind, count in sorted(outcome.notices.items())]
    notices += [f"dead letters {outcome.dead_letters}"] if outcome.dead_letters else []
    notices += [f"ended today, opened before {outcome.carried}"] if outcome.carried else []
    if notices:
        console.print("Also: " + ", ".join(notices) + ".", highlight=False)


def _table(title: str, *columns: str, right: str = "") -> Table:
    """A table whose columns are left-justified text, except the money columns named in right."""
    table = Table(
        title=Text(title), title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False
    )
    for column in columns:
        number = column in right.split("|")
        fixed, least = number or column == "level", 9 if column == "account" else None
        justify: Literal["right", "left"] = "right" if number else "left"
        table.add_column(column, justify=justify, no_wrap=fixed, min_width=least, overflow="fold")
    return table


def _levels(outcome: Outcome) -> Table:
    table = _table(
        "\nAccounts by level", "level", "highest reached", "at the close", right="highest reached|at the close"
    )
    highest, current = list(outcome.highest.values()), list(outcome.current.values())
    for level in LEVELS:
        table.add_row(Text(words(level), STYLES[level]), f"{highest.count(level):,}", f"{current.count(level):,}")
    return table


def _cases(kind: Level, cases: list[Case], limit: int) -> Table:
    name, amount = HEADINGS[kind]
    columns = ["New York", "account", "equity $", "requirement $", f"{amount} $", "how it ended", "rule"]
    if not amount:
        columns.remove(f"{amount} $")
    ended = sum(case.ended_at is not None for case in cases)
    shown = f"; the first {limit}" if len(cases) > limit else ""
    title = f"\n{name}: {len(cases):,}, of which {len(cases) - ended:,} open at the close{shown}"
    rules = {case.rule for case in cases}
    if len(rules) == 1:
        columns.remove("rule")
        title += f"\nRule: {cases[0].rule}"
    table = _table(title, *columns, right=f"equity $|requirement $|{amount} $")
    for case in cases[:limit]:
        figures = [dollars(case.equity), dollars(case.requirement), *([dollars(case.amount)] if amount else [])]
        style = "bold" if case.ended_at is None else "cyan" if case.ended == "cancelled" else ""
        why = [Text(case.rule)] if len(rules) > 1 else []
        account, end = Text(case.account_id, STYLES[kind]), Text(ending(case), style)
        table.add_row(clock(case.at), account, *figures, end, *why)
    return table


def _stressed(outcome: Outcome, limit: int) -> Table:
    title = f"\nWorst at the close if SPY moves {percent(outcome.severe_move)} (requirement recomputed)"
    columns = ("account", "level", "equity $", "P&L $", "after $", "required $", "excess $")
    table = _table(title, *columns, right="|".join(columns[2:]))
    for row in outcome.stressed[:limit]:
        excess = Text(dollars(row.stressed_excess), "red" if row.stressed_excess < 0 else "")
        figures = (row.equity, row.pnl, row.stressed_equity, row.stressed_requirement)
        table.add_row(
            Text(row.account_id), Text(words(row.level), STYLES[row.level]), *(dollars(f) for f in figures), excess
        )
    return table


def _timeline(outcome: Outcome, console: Console) -> None:
    """A bar a stretch of the day and level, each level on its own scale: the most accounts at it in that stretch."""
    totals = outcome.totals
    width = max(10, min(console.width - 32, len(totals)))
    step = -(-len(totals) // width)
    stretches = [totals[at : at + step] for at in range(0, len(totals), step)]
    console.print(Text("\nThrough the day (each row on its own scale)", "bold"))
    for level in LEVELS[1:]:
        counts = [max(total.levels[level] for total in stretch) for stretch in stretches]
        most = max(counts)
        bars = "".join(BARS[-(-count * 8 // most)] if most else " " for count in counts)
        console.print(
            Text(f"{words(level):<12}", STYLES[level]), Text(bars, STYLES[level]), f" most {most:,}", end="\n"
        )
    axis = [" "] * (len(stretches) + 6)
    hours = [new_york(stretch[0].at).hour for stretch in stretches]
    for place, hour in enumerate(hours):
        if place and hour != hours[place - 1] and not "".join(axis[place - 1 : place + 5]).strip():
            axis[place : place + 5] = f"{hour:02d}:00"
    console.print(" " * 13 + "".join(axis).rstrip(), style="dim", highlight=False)


@dataclass
class Plot:
    """A chart with axes: x and y are the ranges of the data; what is drawn collects in parts."""

    title: str
    x_label: str
    y_label: str
    x: Point
    y: Point
    width: int = 1092
    height: int = 290
    parts: list[str] = field(default_factory=list)

    def at(self, x: float, y: float) -> Point:
        """The place of a data point."""
        across = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1)
        up = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1)
        return round(74 + across * (self.width - 92), 1), round(self.height - 50 - up * (self.height - 90), 1)

    def text(self, x: float, y: float, text: str, anchor: str = "middle", style: str = "", turn: str = "") -> None:
        """Write text at a place of the picture."""
        self.parts.append(f'<text x="{x}" y="{y}" text-anchor="{anchor}" class="{style}"{turn}>{escape(text)}</text>')

    def path(self, points: Iterable[Point], style: str) -> None:
        """Draw a line, or with a fill an area, through data points."""
        places = " ".join(f"{x},{y}" for x, y in (self.at(*point) for point in points))
        self.parts.append(f'<polyline points="{places}" {style}/>')

    def bar(self, x: float, width: float, y: float, colour: str, label: str) -> None:
        """Draw a bar from zero, width pixels wide and centred on x, with its label at its end."""
        (middle, top), (_, zero) = self.at(x, y), self.at(x, 0)
        up, tall = min(top, zero), max(abs(top - zero), 0.5)
        self.parts.append(f'<rect x="{middle - width / 2}" y="{up}" width="{width}" height="{tall}" fill="{colour}"/>')
        self.text(middle, up - 4 if y >= 0 else up + tall + 13, label)

    def frame(self, x_ticks: Iterable[tuple[float, str]], *, grid: bool = True) -> None:
        """Draw the title, the axes and their labels; behind what is drawn later."""
        left, right, bottom = 74, self.width - 18, self.height - 50
        self.text(left, 18, self.title, "start", "title")
        self.text((left + right) / 2, self.height - 10, self.x_label, style="soft")
        self.text(
            16, (40 + bottom) / 2, self.y_label, style="soft", turn=f' transform="rotate(-90 16 {(40 + bottom) / 2})"'
        )
        for value in ticks(*self.y):
            y = self.at(self.x[0], value)[1]
            stroke = INK if value == 0 else "#dfe5eb"
            self.parts.append(f'<line x1="{left}" x2="{right}" y1="{y}" y2="{y}" stroke="{stroke}"/>')
            self.text(left - 8, y + 4, f"{value:,.10g}".replace("-", "\N{MINUS SIGN}"), "end")
        for value, label in x_ticks:
            x = self.at(value, self.y[0])[0]
            if grid:
                self.parts.append(f'<line x1="{x}" x2="{x}" y1="{bottom}" y2="{bottom + 5}" stroke="{INK}"/>')
            self.text(x, bottom + 19, label)

    def legend(self, entries: Sequence[tuple[str, str]]) -> None:
        """Name the colours at the upper right, below the title where there is no room beside it."""
        x, y = self.width - 18.0, 18 if self.width > 700 else 38
        for colour, name in reversed(entries):
            self.text(x, y, name, "end")
            x -= 7.2 * len(name) + 16
            self.parts.append(f'<rect x="{x}" y="{y - 10}" width="11" height="11" fill="{colour}"/>')
            x -= 14

    def svg(self) -> str:
        """The picture."""
        size = f'viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{escape(self.title)}"'
        return f"<svg {size}>{''.join(self.parts)}</svg>"


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """At most some seven round values from low to high."""
    span = (high - low) or 1.0
    step = next(m * 10.0**e for e in range(-6, 16) for m in (1, 2, 5) if span / (m * 10.0**e) <= most)
    return [round(n * step, 6) for n in range(int(-(-low // step)), int(high // step) + 1)]
