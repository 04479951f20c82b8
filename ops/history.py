"""One account's day as a replay left it: where it stands, its calls, and what happened to it in time order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from ops import calls, liquidations
from ops.folder import OutcomeError, Stamp, check_folder, read
from ops.formats import STYLES, cents, clock, moment, new_york, text_table, words
from schemas import topics
from schemas.outputs import AccountState, Alert, Audit, Restriction
from schemas.scalars import Money, Time


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened: of which topic, what, the amount that it is about in ticks, and what else it says."""

    at: Time
    topic: str
    what: str
    amount: Money | None
    about: str


@dataclass(frozen=True, slots=True)
class History:
    """An account's day.

    state: its last figures. since: when it came to its level; None: it was at none all day.
    """

    state: AccountState
    since: Time | None
    calls: tuple[calls.Call, ...]
    entries: tuple[Entry, ...]

    def document(self) -> dict[str, Any]:
        """The day as plain data; money and times as in the records."""
        names = ("account_id", "as_of", "rulebook", "level", "equity", "requirement", "excess", "cash", "margin_type")
        return {
            **{name: getattr(self.state, name) for name in names},
            "since": self.since,
            "deficient_since": self.state.deficient_since,
            "calls": [call.document() for call in self.calls],
            "timeline": self.entries,
        }

    def render(self, console: Console) -> None:
        """Print where the account stands, its calls, and what happened to it."""
        state = self.state
        since = "" if self.since is None else f" since {moment(self.since)}"
        head = Text.assemble((state.account_id, "bold"), " is at ", (words(state.level), STYLES[state.level]), since)
        deficient = "" if state.deficient_since is None else f", deficient since {moment(state.deficient_since)}"
        head.append(f"{deficient}. By {state.rulebook}; times are New York's.")
        console.print(head)
        figures = text_table("", "", "$", right="$")
        for name in ("equity", "requirement", "excess", "cash"):
            amount = getattr(state, name)
            if amount is not None:
                figures.add_row(name, Text(cents(amount), "red" if name == "excess" and amount < 0 else ""))
        console.print(figures)
        console.print(f"as of {moment(state.as_of)}", style="dim")
        if self.calls:
            console.print()
            console.print(calls.table_of(self.calls, console.width))
        self._timeline(console)

    def _timeline(self, console: Console) -> None:
        if not self.entries:
            console.print("\nNothing happened to it.")
            return
        days = {new_york(entry.at).date() for entry in self.entries}
        written = clock if len(days) == 1 else lambda at: f"{new_york(at):%d %b %H:%M:%S}"
        table = text_table("\nWhat happened", "New York", "what", "$", "about", right="$")
        for entry in self.entries:
            table.add_row(written(entry.at), entry.what, cents(entry.amount), Text(entry.about))
        console.print(table)


def read_history(out: Path, account: str) -> History:
    """Read an account's day from a folder of outputs. Raises OutcomeError where there is nothing of the account."""
    check_folder(out)
    states: deque[AccountState] = deque(read(out, topics.ACCOUNTS_STATE, account=account), maxlen=1)
    if not states:
        known = sorted({stamp.account_id for stamp in read(out, topics.ACCOUNTS_STATE, Stamp)})
        raise OutcomeError(
            f"{account}: expected an account of {out}, such as {', '.join(known[:3]) or 'none, for it is empty'}. "
            f"Those that were called are listed by: margin calls {out}"
        )
    alerts: list[Alert] = list(read(out, topics.ALERTS, account=account))
    entries = [*map(_alert, alerts), *_overrides(out, account), *_calls(out, account)]
    entries += [*_restrictions(out, account), *_liquidations(out, account)]
    # The sort is stable: what an instant brought is in the order of the topics above.
    entries.sort(key=lambda entry: entry.at)
    changes = [alert.as_of for alert in alerts if alert.kind == "LEVEL"]
    (state,) = states
    since = state.since or (changes[-1] if changes else None)
    return History(state, since, tuple(calls.read_calls(out, account=account)), tuple(entries))


def _alert(alert: Alert) -> Entry:
    if alert.kind != "LEVEL":
        return Entry(alert.as_of, topics.ALERTS.name, words(alert.kind), None, alert.message)
    what = f"{words(alert.previous_level)} to {words(alert.level)}"
    excess = Money(alert.equity - alert.requirement)
    return Entry(alert.as_of, topics.ALERTS.name, what, excess, f"excess; {alert.message}")


def _overrides(out: Path, account: str) -> Iterator[Entry]:
    links: Iterator[Audit] = read(out, topics.AUDIT, account=account)
    for link in links:
        if link.kind == "OVERRIDE":
            told = link.inputs
            who = " and ".join(told[name] for name in ("operator", "approver") if told.get(name))
            parts = [f"by {who}", told.get("target", ""), told.get("reason", "")]
            parts += [f"until {told['expires_at']}" if told.get("expires_at") else ""]
            about = "; ".join(part for part in (told.get("result", ""), *parts) if part)
            yield Entry(link.as_of, topics.AUDIT.name, f"override {words(told.get('action', ''))}", None, about)


def _calls(out: Path, account: str) -> Iterator[Entry]:
    due: dict[str, int] = {}
    for step in calls.in_order(read(out, topics.MARGIN_CALLS, account=account)):
        before, due[step.cause_id] = due.get(step.cause_id), step.amount
        # What the step is about; of a step with none of its own, and of a call from before the folder, what is due.
        moved = step.amount if before is None or before == step.amount else abs(step.amount - before)
        about = [f"{cents(step.amount)} due {moment(step.due_at)}" if step.amount else "nothing due"]
        about += [f"by {words(step.by)}"] if step.by else []
        about += [f"extended by {step.extended_by}"] if step.status == "EXTENDED" else []
        about += [step.rule] if step.status == "OPENED" else []
        what = f"{words(step.type)} call {words(step.status)}"
        yield Entry(step.as_of, topics.MARGIN_CALLS.name, what, Money(moved), "; ".join(about))


def _restrictions(out: Path, account: str) -> Iterator[Entry]:
    records: Iterator[Restriction] = read(out, topics.RESTRICTIONS, account=account)
    for record in records:
        about = f"stressed equity; {record.rule}"
        what = f"restriction {words(record.status)}"
        yield Entry(record.as_of, topics.RESTRICTIONS.name, what, record.stressed_equity, about)


def _liquidations(out: Path, account: str) -> Iterator[Entry]:
    for step in liquidations.in_order(read(out, topics.LIQUIDATIONS, account=account)):
        parts = [f"to close; deficiency {cents(step.deficiency)}", *liquidations.orders_text(step.orders)]
        parts += [step.rule] if step.status == "DUE" else []
        parts += [step.reason] if step.reason else []
        parts += [f"by {step.by}"] if step.by else []
        what = f"liquidation {words(step.status)}"
        yield Entry(step.as_of, topics.LIQUIDATIONS.name, what, step.market_value_to_close, "; ".join(parts))
