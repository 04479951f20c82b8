"""Calls as a replay left them: the steps of each folded into what was called, what covered it, what is still due."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ops.folder import Stamp, check_folder, read
from ops.formats import cents, moment, text_table, words
from risk.calls import BASIS, outstanding
from schemas import topics
from schemas.inputs import CallType, OpenCall, Standing
from schemas.outputs import MarginCall
from schemas.scalars import Money, Time

TYPES: tuple[CallType, ...] = get_args(CallType)
#: States in which something is still due.
ALIVE = ("OPEN", "EXTENDED", "EXPIRED")
SUMS = ("called", "covered", "cancelled", "due")
#: Columns that need a terminal of so many characters a line.
ROOM = dict.fromkeys(("basis", "by", "cancelled $", "ended", "extended by"), 120) | {"occurred": 100}
ENDS = ("MET", "CANCELLED", "WAIVED")
#: Covered by steps of earlier days, which the folder does not have.
BEFORE = "BEFORE"
STYLES = {"OPEN": "bold", "EXTENDED": "bold yellow", "EXPIRED": "bold red", "MET": "green", "CANCELLED": "cyan"}
_TITLE = "Calls: {}, of which {} with something due (times in New York)"


@dataclass(frozen=True, slots=True)
class Call:
    """A call as it is now. called = covered + cancelled + due, to the tick.

    Fields:
      by: what covered it, by means. Of a call from before the folder begins, of which no snapshot tells, BEFORE is by
        earlier steps, and DEPOSIT_OR_BEFORE by those and the first step of the folder, which does not say its own part.
      ended_at: when it was met, cancelled or waived.
      steps: in order; none, and no rule, of a call of days before that had none in the folder.
    """

    account_id: str
    call_id: str
    type: CallType
    basis: str
    rule: str | None
    occurred_at: Time
    due_at: Time
    called: Money
    covered: Money
    by: Mapping[str, Money]
    cancelled: Money
    due: Money
    status: str
    extended_by: str | None
    ended_at: Time | None
    steps: tuple[MarginCall, ...]

    @property
    def alive(self) -> bool:
        """Whether something is still due."""
        return self.status in ALIVE

    def document(self) -> dict[str, Any]:
        """The call as plain data; money and times as in the record."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "steps"}


@dataclass(frozen=True, slots=True)
class TypeTotal:
    """The calls of a type; types overlap, as one deposit counts toward each, so these are not added up."""

    type: CallType
    calls: int
    alive: int
    called: Money
    covered: Money
    cancelled: Money
    due: Money


class _Closing(Stamp, frozen=True):
    """Of a closing snapshot, the calls that go on."""

    standing: Standing | None = None


def in_order(steps: Iterable[MarginCall]) -> list[MarginCall]:
    """Steps in the order in which they were taken. A folder has those of an instant in no such order.

    What a step is of only grows: what was called, or covered, or cancelled. A call is extended, and expires, as it is.
    """
    return sorted(
        steps,
        key=lambda step: (
            step.as_of,
            step.called + step.covered + step.cancelled,
            ("EXTENDED", "EXPIRED").index(step.status) + 1 if step.status in ("EXTENDED", "EXPIRED") else 0,
        ),
    )


def fold(steps: Iterable[MarginCall]) -> list[Call]:
    """The calls that steps are of: first what is due first, then what has ended."""
    found: dict[tuple[str, str], list[MarginCall]] = {}
    for step in in_order(steps):
        found.setdefault((step.account_id, step.cause_id), []).append(step)
    return _sorted(_folded(own) for own in found.values())


def totals_of(calls: Sequence[Call]) -> list[TypeTotal]:
    """By type, of those that there are."""
    rows = []
    for kind in TYPES:
        own = [call for call in calls if call.type == kind]
        if own:
            sums = (Money(sum(getattr(call, name) for call in own)) for name in SUMS)
            rows.append(TypeTotal(kind, len(own), sum(call.alive for call in own), *sums))
    return rows


def read_calls(
    out: Path, *, kind: CallType | None = None, alive: bool = False, account: str | None = None
) -> list[Call]:
    """The calls of an output folder; of a type, with something due, of an account. Raises OutcomeError.

    With those of days before that go on and had no step: the closing snapshots tell of them.
    """
    check_folder(out)
    found = {(call.account_id, call.call_id): call for call in fold(read(out, topics.MARGIN_CALLS, account=account))}
    if (out / f"{topics.SNAPSHOTS.name}.jsonl").is_file():
        for closing in read(out, topics.SNAPSHOTS, _Closing, account):
            for call in closing.standing.calls if closing.standing else ():
                known = found.get((closing.account_id, call.call_id))
                if known is None or known.alive:
                    found[closing.account_id, call.call_id] = _going_on(closing.account_id, call, known)
    return _sorted(call for call in found.values() if kind in (None, call.type) and (call.alive or not alive))


def render(calls: Sequence[Call], console: Console) -> None:
    """Print a row a call, and the totals by type."""
    if not calls:
        console.print("No calls.")
        return
    console.print(table_of(calls, console.width))
    console.print(_totals(calls))
    console.print("Types overlap: one deposit counts toward each, so they are not added up.", style="dim")


def table_of(calls: Sequence[Call], width: int) -> Table:
    """A row a call, of at least one. A column in which no row has anything is left out; so are details, where a
    terminal of so many characters a line has no room for them."""
    rows: list[dict[str, Any]] = []
    for call in calls:
        rows.append(
            {
                "account": Text(call.account_id),
                "type": words(call.type),
                "basis": words(call.basis),
                "occurred": moment(call.occurred_at),
                "due": moment(call.due_at),
                "called $": cents(call.called),
                "covered $": cents(call.covered or None),
                "by": means(call),
                "cancelled $": cents(call.cancelled or None),
                "still due $": cents(call.due or None),
                "status": Text(words(call.status), STYLES.get(call.status, "")),
                "ended": moment(call.ended_at),
                "extended by": Text(call.extended_by or ""),
            }
        )
    shown = [name for name in rows[0] if any(row[name] for row in rows) and width >= ROOM.get(name, 0)]
    title = _TITLE.format(f"{len(calls):,}", f"{sum(call.alive for call in calls):,}")
    table = text_table(title, *shown, right="|".join(name for name in shown if name[-1] == "$"))
    for row in rows:
        table.add_row(*(row[name] for name in shown))
    return table


def means(call: Call) -> str:
    """What covered a call: its means, each with its amount where there are several."""
    if len(call.by) == 1:
        return words(next(iter(call.by)))
    return ", ".join(f"{words(name)} {cents(amount)}" for name, amount in call.by.items())


def _totals(calls: Sequence[Call]) -> Table:
    columns = ("type", "calls", "with something due", "called $", "covered $", "cancelled $", "still due $")
    table = text_table("\nBy type", *columns, right="|".join(columns[1:]))
    for row in totals_of(calls):
        amounts = map(cents, (getattr(row, name) for name in SUMS))
        table.add_row(words(row.type), f"{row.calls:,}", f"{row.alive:,}", *amounts)
    return table


def _folded(steps: list[MarginCall]) -> Call:
    first, last = steps[0], steps[-1]
    by: Counter[str] = Counter()
    covered = 0
    for step in steps:
        if step.covered > covered:
            carried = step is first and step.status != "OPENED"
            name = BEFORE if step.by is None else f"{step.by}_OR_{BEFORE}" if carried else step.by
            by[name] += step.covered - covered
        covered = step.covered
    return Call(
        account_id=first.account_id,
        call_id=first.cause_id,
        type=last.type,
        basis=last.basis,
        rule=last.rule,
        occurred_at=last.occurred_at or last.as_of,
        due_at=last.due_at or last.as_of,
        called=last.called,
        covered=last.covered,
        by={name: Money(amount) for name, amount in sorted(by.items())},
        cancelled=last.cancelled,
        due=last.amount,
        status=_status(steps),
        extended_by=last.extended_by,
        ended_at=last.as_of if last.status in ENDS else None,
        steps=tuple(steps),
    )


def _status(steps: list[MarginCall]) -> str:
    """The state after the last step: that of the last one which changes it."""
    for step in reversed(steps):
        if step.status in (*ENDS, "EXTENDED", "EXPIRED"):
            return step.status
    last = steps[-1]
    if steps[0].status == "OPENED":
        return "OPEN"
    # Of a call from before the folder begins: by what the step says of it.
    return "EXPIRED" if (last.due_at or last.as_of) < last.as_of else "EXTENDED" if last.extended_by else "OPEN"


def _going_on(account_id: str, call: OpenCall, known: Call | None) -> Call:
    """A call of a closing snapshot; known: as its steps in the folder have it."""
    return Call(
        account_id=account_id,
        call_id=call.call_id,
        type=call.type,
        basis=BASIS[call.type],
        rule=None if known is None else known.rule,
        occurred_at=call.opened_at,
        due_at=call.due_at,
        called=Money(call.initial + call.increased),
        covered=Money(sum(call.covered.values())),
        by={str(name): amount for name, amount in call.covered.items()},
        cancelled=call.cancelled,
        due=Money(outstanding(call)),
        status=call.state,
        extended_by=call.extended_by,
        ended_at=None,
        steps=() if known is None else known.steps,
    )


def _sorted(calls: Iterable[Call]) -> list[Call]:
    return sorted(calls, key=lambda call: (not call.alive, call.due_at, call.account_id, call.call_id))
