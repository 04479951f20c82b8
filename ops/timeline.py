"""The day of an account as a picture: its level as a band, and below it its calls as bars, with a mark at each step."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from ops.calls import Call
from ops.formats import cents, clock, dollars, moment, new_york, words
from ops.outcome import LEVELS, RANK, Outcome
from ops.plot import BLUE, COLOURS, RED, Plot, Point, hours
from schemas.outputs import Level, MarginCall

#: In pixels: a level of the band, the lane of a call, a bar of which all that was called is still due, and a letter.
STEP, LANE, BAR, GLYPH = 19, 32, 11, 6.8
MOST_CALLS = 8
GREEN, GREY = "#2e7d4f", COLOURS["NONE"]
#: Of each step: a colour, and a shape around zero, so that it also reads without colour.
_DOT, _CROSS = "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0z", "M-4,-4L4,4M-4,4L4,-4"
_UP, _DOWN, _ON = "M-4.5,4L0,-5L4.5,4z", "M-4.5,-4L0,5L4.5,-4z", "M-4,-4.5L5,0L-4,4.5z"
MARKS = {
    "INCREASED": (RED, _UP),
    "COVERED": (GREEN, _DOT),
    "MET": (GREEN, _DOT),
    "REDUCED": (GREY, _DOWN),
    "EXTENDED": (BLUE, _ON),
    "EXPIRED": (RED, _CROSS),
    "CANCELLED": (GREY, _CROSS),
    "WAIVED": (GREY, _CROSS),
}
_LEGEND = ((GREEN, "covered"), (RED, "increased or expired"), (BLUE, "extended"), (GREY, "cancelled"))


def timeline_chart(outcome: Outcome, account: str) -> str:
    """The level of a notable account over the day, and its calls from when they occurred to when they are due, or met.

    A bar is as high as what is still due of what was called.
    """
    own = (call for call in outcome.calls if call.account_id == account)
    calls = sorted(own, key=lambda call: (call.occurred_at, call.call_id))
    shown = calls[:MOST_CALLS]
    base = LANE * len(shown) + 14.0
    top = base + STEP * (len(LEVELS) - 1) + 12
    span = (outcome.begin, outcome.end)
    title = f"Level and calls of {account[:40]}" if calls else f"Level of {account[:40]}"
    title += f", the first {MOST_CALLS} of {len(calls)} calls" if len(calls) > MOST_CALLS else ""
    plot = Plot(title, "time in New York", "", span, (0, top), 536, round(top) + 90)
    levels = [(base + STEP * rank, words(level)) for level, rank in RANK.items()]
    plot.frame(hours(*span, 2), y_ticks=[(0, ""), *levels])
    for begin, end, level in _stretches(outcome, account):
        height = base + STEP * RANK[level]
        corners = [(begin, base), (begin, height), (end, height), (end, base)]
        plot.path(corners, f'fill="{COLOURS[level]}" stroke="{COLOURS[level]}"')
    for lane, call in enumerate(shown):
        _draw(plot, call, base - 14 - LANE * (lane + 1))
    if shown:
        plot.legend(_LEGEND)
    return plot.svg()


def _stretches(outcome: Outcome, account: str) -> Iterator[tuple[int, int, Level]]:
    """(begin, end, level) of the day, for as long as the account was at each."""
    changes = [alert for alert in outcome.timeline if alert.account_id == account]
    level = changes[0].previous_level if changes else outcome.current.get(account, "NONE")
    begin = int(outcome.begin)
    for alert in changes:
        yield begin, alert.as_of, level
        begin, level = alert.as_of, alert.level
    yield begin, outcome.end, level


def _draw(plot: Plot, call: Call, low: float) -> None:
    """A call as a bar that stands on low, with its name above."""
    first, last = (int(edge) for edge in plot.x)
    begin = min(max(call.occurred_at, first), last)
    end = min(call.ended_at or max([call.due_at, *(step.as_of for step in call.steps)]), last)
    colour = {"MET": GREEN, "CANCELLED": GREY, "WAIVED": GREY}.get(call.status, COLOURS["MARGIN_CALL"])
    plot.path(_outline(call, begin, end, low), f'fill="{colour}" fill-opacity="0.35" stroke="{colour}"')
    if call.alive and end < last:
        # Past its due time: it goes on, but nothing more may be waited for.
        late = f'fill="none" stroke="{RED}" stroke-width="2" stroke-dasharray="4 3"'
        plot.path([(end, low), (last, low)], late)
    left, y = plot.at(begin, low)
    right = plot.width - 18
    about = f"{words(call.type)} ${dollars(call.called)}"
    if call.alive:
        about += f", {dollars(call.due)} still" if call.due != call.called else ""
        about += f" due {moment(call.due_at)}"
    about += "" if call.status == "OPEN" else f", {words(call.status)}"
    place, anchor = (left, "start") if left + GLYPH * len(about) < right else (right, "end")
    plot.text(place, y - BAR - 4, about, anchor)
    for step in call.steps:
        if step.status in MARKS:
            _mark(plot, step, low + BAR / 2)


def _outline(call: Call, begin: int, end: int, low: float) -> list[Point]:
    """A bar as high, at each time, as what is still due; a step at its end, or after it, does not lower it."""
    steps = call.steps
    most = max((step.amount for step in steps), default=call.due) or call.called
    # What was due of a call from before the folder begins is not known until its first step here.
    due = steps[0].amount if steps and steps[0].status == "OPENED" else most
    points: list[Point] = [(begin, low), (begin, low + BAR * due / most)]
    for step in steps:
        if begin < step.as_of < end:
            points += [(step.as_of, low + BAR * due / most), (step.as_of, low + BAR * step.amount / most)]
            due = step.amount
    return [*points, (end, low + BAR * due / most), (end, low), (begin, low)]


def _mark(plot: Plot, step: MarginCall, height: float) -> None:
    colour, shape = MARKS[step.status]
    x, y = plot.at(step.as_of, height)
    means = f" by {words(step.by)}" if step.by else ""
    until = f" until {moment(step.due_at)}" if step.status == "EXTENDED" else ""
    about = f"{new_york(step.as_of):%d %b} {clock(step.as_of)} {words(step.status)}{means}{until}"
    about = escape(f"{about}: {cents(step.amount)} still due")
    stroke = f'stroke="{colour}" stroke-width="2"' if shape == _CROSS else 'stroke="#fff"'
    place = f'transform="translate({x} {y})" fill="{colour}" {stroke}'
    plot.parts.append(f'<path d="{shape}" {place}><title>{about}</title></path>')
