"""The SVG plot that the pictures of the HTML report are drawn on, its colours, and its axes of time and money."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

from ops.formats import new_york
from schemas.outputs import Level
from schemas.scalars import MONEY_SCALE

INK = "#1f2d3d"
Point = tuple[float, float]
HOUR = 3_600_000_000
#: Severity grows darker, so that it also reads without colour.
COLOURS: dict[Level, str] = {
    "NONE": "#5b6b7b",
    "WARNING": "#f2c14e",
    "MARGIN_CALL": "#e07b1f",
    "RESTRICTION": "#8a5a9e",
    "LIQUIDATION": "#8c1c2b",
}
BLUE, RED = "#2166ac", "#b2182b"


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

    def frame(
        self,
        x_ticks: Iterable[tuple[float, str]],
        *,
        grid: bool = True,
        y_ticks: Iterable[tuple[float, str]] | None = None,
    ) -> None:
        """Draw the title, the axes and their labels, of y round numbers by default; behind what is drawn later."""
        left, right, bottom = 74, self.width - 18, self.height - 50
        self.text(left, 18, self.title, "start", "title")
        self.text((left + right) / 2, self.height - 10, self.x_label, style="soft")
        self.text(
            16, (40 + bottom) / 2, self.y_label, style="soft", turn=f' transform="rotate(-90 16 {(40 + bottom) / 2})"'
        )
        if y_ticks is None:
            y_ticks = [(value, f"{value:,.10g}".replace("-", "\N{MINUS SIGN}")) for value in ticks(*self.y)]
        for value, label in y_ticks:
            y = self.at(self.x[0], value)[1]
            stroke = INK if value == 0 else "#dfe5eb"
            self.parts.append(f'<line x1="{left}" x2="{right}" y1="{y}" y2="{y}" stroke="{stroke}"/>')
            self.text(left - 8, y + 4, label, "end")
        for value, label in x_ticks:
            x = self.at(value, self.y[0])[0]
            if grid:
                self.parts.append(f'<line x1="{x}" x2="{x}" y1="{bottom}" y2="{bottom + 5}" stroke="{INK}"/>')
            self.text(x, bottom + 19, label)

    def legend(self, entries: Sequence[tuple[str, str]]) -> None:
        """Name the colours at the upper right, below the title where there is no room beside it."""
        # How wide a letter is depends on the font: a name stands beside its colour, and what is left over behind it.
        x, y = self.width - 18.0 - sum(6.9 * len(name) + 30 for _, name in entries), 18 if self.width > 700 else 38
        for colour, name in entries:
            self.parts.append(f'<rect x="{x:.1f}" y="{y - 10}" width="11" height="11" fill="{colour}"/>')
            self.text(round(x + 16, 1), y, name, "start")
            x += 6.9 * len(name) + 30

    def svg(self) -> str:
        """The picture."""
        size = f'viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{escape(self.title)}"'
        return f"<svg {size}>{''.join(self.parts)}</svg>"


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """At most some seven round values from low to high."""
    span = (high - low) or 1.0
    step = next(m * 10.0**e for e in range(-6, 16) for m in (1, 2, 5) if span / (m * 10.0**e) <= most)
    return [round(n * step, 6) for n in range(int(-(-low // step)), int(high // step) + 1)]


def hours(begin: int, end: int, every: int = 1) -> list[tuple[float, str]]:
    """Where an axis of time has its ticks, microseconds, and what they say: each so many full hours of a day; of a
    longer span its days."""
    full = range(-(-begin // HOUR) * HOUR, end + 1, HOUR)
    if end - begin <= 24 * HOUR:
        return [(at, f"{new_york(at):%H:%M}") for at in full[::every]]
    return [(at, f"{new_york(at):%d %b}") for at in full if new_york(at).hour == 0]


def unit_of(amounts: Iterable[float]) -> tuple[float, str]:
    """What to divide money by for an axis, and the name of that unit."""
    most = max((abs(amount) for amount in amounts), default=0) / MONEY_SCALE
    name, size = next(u for u in (("$ million", 1e6), ("$ thousand", 1e3), ("$", 1.0)) if most >= u[1] * 2 or u[1] == 1)
    return size * MONEY_SCALE, name
