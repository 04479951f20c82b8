"""The record of FINRA 4220: each account where margin was required on a date, how much, and how and when it was met."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from ops.audit.question import Question, day_of
from ops.audit.reader import Reader
from ops.calls import STYLES, Call, fold
from ops.formats import cents, new_york, text_table, words
from schemas.outputs import Audit, MarginCall
from schemas.scalars import MONEY_SCALE, Money, Time
from schemas.topics import AUDIT, LIQUIDATIONS, MARGIN_CALLS, Topic
from transforms.parse import Decode

#: Ends of a liquidation's orders: a trade of that instant is the liquidation's.
_SOLD = ("FILLED", "EXECUTED")


@dataclass(frozen=True, slots=True)
class Compliance:
    """How a part of what was required was met or otherwise complied with, or moved.

    Fields:
      manner: deposit, trade, liquidation, appreciation, correction, waived, extended, or expired: nothing was done.
      amount: that it took from what is due, ticks; none of what only moves when it is due.
      by: who waived or extended. until: when it is due since then.
    """

    at: Time
    manner: str
    amount: Money
    by: str | None = None
    until: Time | None = None

    def text(self) -> str:
        """On a line, with the time in New York."""
        what = [f"{new_york(self.at):%Y-%m-%d %H:%M} {self.manner}"]
        what += [f"${cents(self.amount)}"] if self.amount else []
        what += [f"to {new_york(self.until):%Y-%m-%d %H:%M}"] if self.until else []
        what += [f"by {self.by}"] if self.by else []
        return " ".join(what)


@dataclass(frozen=True, slots=True)
class Required:
    """Margin that was required of an account on a date.

    Fields:
      amount: that was called by the end of the date, ticks. outstanding: of it, what was due then.
      due, status: as known. met_at: when nothing was due any more. complied: in order. event_id: of the call.
    """

    account_id: str
    type: str
    rule: str
    rulebook: str
    called_at: Time
    amount: Money
    due_at: Time
    outstanding: Money
    due: Money
    status: str
    met_at: Time | None
    complied: tuple[Compliance, ...]
    call_id: str
    event_id: str

    def document(self) -> dict[str, Any]:
        """As plain data; money and times as in the records."""
        return {name: getattr(self, name) for name in self.__slots__}


def required_on(
    reader: Reader, date: dt.date, decode: Decode, *, log: str | None = None, received_before: int | None = None
) -> list[Required]:
    """The calls that were open at any time of a date of New York, by account and when they were called.

    How they were met is as the archive knows it, be it of days after, or as it was known at a time (received_before,
    microseconds).

    Raises:
      StoreError: the archive cannot be read.
    """
    begin, end = day_of(date)
    known = Question(log=log, received_before=received_before)

    def read(topic: Topic, kinds: tuple[str, ...] = (), of: Iterable[Call] | None = None) -> Iterator[Any]:
        keys = () if of is None else tuple(sorted({call.account_id for call in of}))
        if keys or of is None:
            for row in reader.rows(replace(known, topics=(topic.name,), kinds=kinds, keys=keys)):
                yield decode(row.topic, row.value)

    calls = [call for call in fold(read(MARGIN_CALLS)) if _open_on(call, begin, end)]
    waived = dict(_waivers(read(AUDIT, ("OVERRIDE",), (call for call in calls if _has(call, "WAIVED")))))
    sales = read(LIQUIDATIONS, _SOLD, (call for call in calls if _has(call, "TRADE")))
    sold = {(own.account_id, int(own.as_of)) for own in sales}
    found = [_required(call, end, list(_complied(call, waived, sold))) for call in calls]
    return sorted(found, key=lambda own: (own.account_id, own.called_at, own.type))


def _open_on(call: Call, begin: int, end: int) -> bool:
    return call.occurred_at < end and (call.ended_at is None or call.ended_at >= begin)


def _has(call: Call, name: str) -> bool:
    return any(name in (step.status, step.by) for step in call.steps)


def _waivers(overrides: Iterable[Audit]) -> Iterator[tuple[tuple[str, str], str]]:
    """By account and call, who waived it."""
    for own in overrides:
        told = own.inputs
        if told.get("action") == "WAIVE" and told.get("result") == "done":
            yield (own.account_id, told["target"]), _names(told.get("operator"), told.get("approver"))


def _names(*names: str | None) -> str:
    return ", ".join(name for name in names if name)


def _complied(call: Call, waived: dict[tuple[str, str], str], sold: set[tuple[str, int]]) -> Iterator[Compliance]:
    covered = cancelled = 0
    for step in call.steps:
        if step is call.steps[0] and step.status != "OPENED":
            # Of a call from before the archive begins, what was before this step is not known.
            covered, cancelled = step.covered, step.cancelled
            continue
        if (amount := step.covered - covered) > 0:
            manner = (step.by or "otherwise").lower()
            if manner == "trade" and (call.account_id, int(step.as_of)) in sold:
                manner = "liquidation"
            yield Compliance(step.as_of, manner, Money(amount))
        if (amount := step.cancelled - cancelled) > 0:
            own = step.status == "WAIVED"
            by = waived.get((call.account_id, call.call_id)) if own else None
            yield Compliance(step.as_of, "waived" if own else "correction", Money(amount), by)
        if step.status == "EXTENDED":
            yield Compliance(step.as_of, "extended", Money(0), step.extended_by, step.due_at)
        elif step.status == "EXPIRED":
            yield Compliance(step.as_of, "expired", Money(0))
        covered, cancelled = step.covered, step.cancelled


def _required(call: Call, end: int, complied: Sequence[Compliance]) -> Required:
    on_date: list[MarginCall] = [step for step in call.steps if step.as_of < end] or [call.steps[0]]
    return Required(
        account_id=call.account_id,
        type=call.type,
        rule=call.rule or "",
        rulebook=call.steps[0].rulebook,
        called_at=call.occurred_at,
        amount=on_date[-1].called,
        due_at=on_date[-1].due_at or call.due_at,
        outstanding=on_date[-1].amount,
        due=call.due,
        status=call.status,
        met_at=call.ended_at,
        complied=tuple(complied),
        call_id=call.call_id,
        event_id=call.steps[0].event_id,
    )


_COLUMNS = ("account", "type", "called", "required $", "due by", "due at the end $", "status", "met or complied with")


def render(date: dt.date, found: Sequence[Required], console: Console) -> None:
    """Print a row a call."""
    if not found:
        console.print(f"No account was required to bring margin on {date}.", highlight=False)
        return
    title = f"FINRA 4220: margin required on {date}, of {len({own.account_id for own in found}):,} accounts (New York)"
    table = text_table(title, *_COLUMNS, right="required $|due at the end $")
    for own in found:
        table.add_row(
            Text(own.account_id),
            words(own.type),
            f"{new_york(own.called_at):%Y-%m-%d %H:%M}",
            cents(own.amount),
            f"{new_york(own.due_at):%Y-%m-%d %H:%M}",
            cents(own.outstanding),
            Text(words(own.status), STYLES.get(own.status, "")),
            Text("\n".join(part.text() for part in own.complied) or "not yet"),
        )
    console.print(table)


def write_csv(date: dt.date, found: Iterable[Required], path: Path) -> None:
    """Write a line a call: dollars with their ten-thousandths, times in UTC. Raises OSError."""
    names = [name for name in Required.__slots__ if name != "complied"]
    with path.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["date", *names, "complied"])
        for own in found:
            complied = "; ".join(part.text() for part in own.complied)
            writer.writerow([date.isoformat(), *(_cell(getattr(own, name)) for name in names), complied])


def _cell(value: Any) -> str:
    if isinstance(value, Time):
        return value.text()
    if isinstance(value, Money):
        return f"{value / MONEY_SCALE:.4f}"
    return "" if value is None else str(value)
