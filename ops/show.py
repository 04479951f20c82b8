"""An outcome in the terminal.

Who was warned, called, restricted, liquidated and why; who is worst under stress.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ops.formats import STYLES, clock, dollars, moment_of, new_york, percent, text_table, words
from ops.outcome import LEVELS, Case, Outcome, read_outcome
from schemas.outputs import Level

HEADINGS: dict[Level, tuple[str, str]] = {
    "WARNING": ("Warned", ""),
    "MARGIN_CALL": ("Called", "call"),
    "RESTRICTION": ("Restricted to closing", "stressed equity"),
    "LIQUIDATION": ("Liquidation due", "to close"),
}
BARS = " ▁▂▃▄▅▆▇█"


def ending(case: Case) -> str:
    """How a case ended, and when in New York: the time, and of another day the day."""
    if case.ended_at is None:
        return words(case.ended)
    return f"{words(case.ended)} {moment_of(case.ended_at, case.at)}"


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


def _levels(outcome: Outcome) -> Table:
    table = text_table(
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
    table = text_table(title, *columns, right=f"equity $|requirement $|{amount} $")
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
    table = text_table(title, *columns, right="|".join(columns[2:]))
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
