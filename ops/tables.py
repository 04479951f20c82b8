"""The tables of the HTML report: calls and what became of them, other cases, stress, changes of level."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ops.calls import Call, TypeTotal, means, totals_of
from ops.formats import cents, clock, dollars, moment, moment_of, words
from ops.outcome import LEVELS, Outcome
from ops.plot import COLOURS
from ops.show import HEADINGS, ending
from schemas.outputs import Level
from schemas.scalars import RATIO_SCALE

MOST_ROWS = 500
#: Columns that are no wider than a time.
_TIMES = ("time", "due")


def tag(level: Level) -> str:
    """A level with its colour."""
    return f'<span class="tag" style="--c:{COLOURS[level]}">{words(level)}</span>'


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], source: str = "") -> str:
    """A table of cells that are HTML already; columns that end in $ or # are numbers."""
    kinds = [' class="n"' if name[-1] in "$#" else ' class="t"' if name in _TIMES else "" for name in columns]
    head = "".join(f"<th{n}>{escape(column.removesuffix(' #'))}</th>" for n, column in zip(kinds, columns, strict=True))
    body = "".join(
        f"<tr>{''.join(f'<td{n}>{cell}</td>' for n, cell in zip(kinds, row, strict=True))}</tr>"
        for row in rows[:MOST_ROWS]
    )
    more = f"<p>The first {MOST_ROWS} of {len(rows):,}; all are in {source}.</p>" if len(rows) > MOST_ROWS else ""
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{more}'


def _signed(amount: int) -> str:
    return f'<span class="bad">{dollars(amount)}</span>' if amount < 0 else dollars(amount)


def _calls(outcome: Outcome) -> str:
    """What was called in all, and of each call; what became of it adds up to it."""
    made, calls = outcome.of("MARGIN_CALL"), outcome.calls
    before = len(calls) - len(made)
    text = f"Called: {len(made):,}, of which {sum(case.ended_at is None for case in made):,} open at the close."
    text += f" Called before, and open or ended since: {before:,}." if before > 0 else ""
    if not calls:
        return "<p>Called: none.</p>"
    amounts = ("called $", "covered $", "cancelled $", "still due $")
    totals = [(words(own.type), f"{own.calls:,}", f"{own.alive:,}", *_sums(own)) for own in totals_of(calls)]
    by_type = table(("type", "calls #", "with something due #", *amounts), totals)
    columns = ("time", "account", "type", *amounts[:2], "by", *amounts[2:], "due", "state")
    rows = [_call(call, outcome.begin) for call in calls]
    rules = dict.fromkeys((call.type, call.rule) for call in calls if call.rule)
    basis = "; ".join(f"{words(kind)}: {rule}" for kind, rule in sorted(rules))
    note = "Types overlap: one deposit counts toward each. First what is due first, then what has ended."
    return (
        f"<p>{text} {note}</p>{by_type}{table(columns, rows, 'margin.calls.v1.jsonl')}"
        f"<p><small>{escape(basis)}.</small></p>"
    )


def _sums(own: Call | TypeTotal) -> tuple[str, ...]:
    """Called, covered, cancelled, still due: to the cent, for the first is the sum of the others."""
    return cents(own.called), cents(own.covered or None), cents(own.cancelled or None), cents(own.due or None)


def _call(call: Call, today: int) -> tuple[str, ...]:
    called, covered, cancelled, due = _sums(call)
    return (
        moment_of(call.occurred_at, today),
        escape(call.account_id),
        words(call.type),
        called,
        covered,
        ", ".join(f'<span class="t">{escape(part)}</span>' for part in means(call).split(", ")),
        cancelled,
        due,
        moment(call.due_at),
        _state(call, today),
    )


def _state(call: Call, today: int) -> str:
    """Open, extended by whom, expired, or met and when."""
    by = f" by {call.extended_by}" if call.status == "EXTENDED" and call.extended_by else ""
    ended = "" if call.ended_at is None else f" {moment_of(call.ended_at, today)}"
    text = escape(f"{words(call.status)}{by}{ended}")
    return f'<span class="bad">{text}</span>' if call.status == "EXPIRED" else text


def cases_tables(outcome: Outcome) -> str:
    """What was called, restricted and due for liquidation."""
    parts = [_calls(outcome)]
    for kind, source in zip(LEVELS[3:], ("restrictions.v1", "liquidations.v1"), strict=True):
        cases = outcome.of(kind)
        name, amount = HEADINGS[kind]
        still = sum(case.ended_at is None for case in cases)
        if not cases:
            parts.append(f"<p>{name}: none.</p>")
            continue
        parts.append(f"<p>{name}: {len(cases):,}, of which {still:,} open at the close.</p>")
        columns = ("time", "account", "equity $", "requirement $", f"{amount} $", "how it ended", "rule")
        rows = [
            (
                clock(case.at),
                escape(case.account_id),
                *(dollars(figure) for figure in (case.equity, case.requirement, case.amount)),
                escape(ending(case)),
                escape(case.rule),
            )
            for case in cases
        ]
        parts.append(table(columns, rows, f"{source}.jsonl"))
    return "".join(parts)


def stressed_table(outcome: Outcome) -> str:
    """The accounts that are worst off after the severe move."""
    columns = ("account", "level", "equity $", "P&L $", "equity after $", "requirement after $", "excess after $")
    rows = [
        (
            escape(row.account_id),
            tag(row.level),
            *map(dollars, (row.equity, row.pnl)),
            *map(_signed, (row.stressed_equity, row.stressed_requirement, row.stressed_excess)),
        )
        for row in outcome.stressed[:25]
    ]
    return table(columns, rows)


def timeline_table(outcome: Outcome) -> str:
    """Every change of level."""
    columns = ("time", "account", "from", "to", "equity $", "requirement $", "cushion #", "message")
    rows = [
        (
            clock(alert.as_of),
            escape(alert.account_id),
            tag(alert.previous_level),
            tag(alert.level),
            dollars(alert.equity),
            dollars(alert.requirement),
            "" if alert.cushion is None else f"{alert.cushion / RATIO_SCALE:.1%}".replace("-", "\N{MINUS SIGN}"),
            escape(alert.message),
        )
        for alert in outcome.timeline
    ]
    return table(columns, rows, "alerts.v1.jsonl")
