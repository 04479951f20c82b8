"""The firm as a run told it: its totals, its capital test, its calls, what is crowded, what a crash would add."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from ops.folder import OutcomeError, newest
from ops.formats import STYLES, dollars, moment, percent, text_table, words
from risk.book import REGIMES
from risk.firm import CapitalTest, capital_test
from risk.ladder import LEVELS
from schemas.outputs import FirmGroup, FirmTotals
from schemas.scalars import Money
from schemas.topics import FIRM_TOTALS


@dataclass(frozen=True, slots=True)
class Firm:
    """The firm as of its last totals. capital: None without net capital."""

    told: FirmTotals
    capital: CapitalTest | None = None

    def sums(self, *, level: str | None = None, margin_type: str | None = None) -> dict[str, Any]:
        """Every figure of the groups of a level, of a margin type, or of both; of all where neither is given."""
        groups = [
            group
            for group in self.told.groups
            if level in (None, group.level) and margin_type in (None, group.margin_type)
        ]
        return {name: kind(sum(getattr(group, name) for group in groups)) for name, kind in _FIGURES.items()}

    def summary(self) -> str:
        """In a line: what is there, what is lacking, and what a severe move would add."""
        all_of_it, move = self.sums(), percent(self.told.severe_move)
        equity, requirement, deficiency = (dollars(all_of_it[own]) for own in ("equity", "requirement", "deficiency"))
        more = dollars(all_of_it["shortfall"] + all_of_it["deepening"])
        lacking = f"{all_of_it['deficient']:,} accounts lack ${deficiency}"
        return f"equity ${equity}, required ${requirement}; {lacking}, SPY at {move} would add ${more}"

    def document(self) -> dict[str, Any]:
        """The firm as plain data; money as in the records."""
        return {
            "as_of": self.told.as_of,
            "rulebook": self.told.rulebook,
            "severe_move": self.told.severe_move,
            "total": self.sums(),
            "levels": {level: self.sums(level=level) for level in LEVELS},
            "margin_types": {name: self.sums(margin_type=name) for name in REGIMES},
            "calls": self.told.calls,
            "called_accounts": self.told.called_accounts,
            "held": self.told.held,
            "crowded": self.told.crowded,
            "capital": None
            if self.capital is None
            else {name: Money(getattr(self.capital, name)) for name in ("aggregate", "limit", "room")},
        }


_FIGURES: dict[str, type] = {
    own.name: Money if own.type is Money else int
    for own in msgspec.structs.fields(FirmGroup)
    if own.name not in ("margin_type", "level")
}


def read_firm(out: Path) -> FirmTotals:
    """The last totals of a folder of outputs. Raises OutcomeError where there are none."""
    path = out / f"{FIRM_TOTALS.name}.jsonl"
    if not path.is_file():
        raise OutcomeError(f"{out}: no {path.name}. Replay a day into it first: margin replay DAY --out {out}")
    for told in newest(out, FIRM_TOTALS).values():
        return told  # type: ignore[no-any-return]
    raise OutcomeError(f"{path} is empty, so no account was evaluated. Look at {out}/deadletter.v1.jsonl")


def firm_of(told: FirmTotals, *, net_capital: int | None = None) -> Firm:
    """The firm beside its net capital, ticks, FINRA 4210(g)(12). Raises ValueError where that is below zero."""
    if net_capital is None:
        return Firm(told)
    asked = Firm(told).sums(margin_type="PORTFOLIO")["maintenance_requirement"]
    return Firm(told, capital_test(asked, net_capital=net_capital))


def render(firm: Firm, console: Console, most: int = 10) -> None:
    """Print the firm as tables; most: crowded names."""
    told, all_of_it = firm.told, firm.sums()
    console.print(
        f"{all_of_it['accounts']:,} accounts at {moment(told.as_of)} New York, by {told.rulebook}",
        highlight=False,
        markup=False,
    )
    _by(firm, console, "level", [(words(level), STYLES[level], {"level": level}) for level in LEVELS])
    types = [name for name in REGIMES if any(group.margin_type == name for group in told.groups)]
    _by(firm, console, "margin type", [(words(name), "", {"margin_type": name}) for name in types])
    _calls(told, console)
    console.print(Text(f"\nIf SPY moves {percent(told.severe_move)}", "bold"))
    falling = all_of_it["falling"]
    who = "1 account that lacks" if falling == 1 else f"{falling:,} accounts that lack"
    text = f"{who} nothing now would lack ${dollars(all_of_it['shortfall'])}"
    if lacking := all_of_it["deficient"]:
        now = dollars(all_of_it["deficiency"])
        text += f"; the {lacking:,} that lack ${now} would lack ${dollars(all_of_it['deepening'])} more"
    console.print(f"{text}.", highlight=False)
    _crowded(told, console, most)
    _capital(firm, console)


def _by(firm: Firm, console: Console, name: str, rows: Sequence[tuple[str, str, dict[str, Any]]]) -> None:
    columns = {
        "accounts": "accounts",
        "equity": "equity $",
        "requirement": "required $",
        "excess": "excess $",
        "deficient": "lacking",
        "deficiency": "deficiency $",
    }
    table = text_table(f"\nBy {name}", "", *columns.values(), right="|".join(columns.values()))
    for label, style, which in (*rows, ("total", "bold", {})):
        sums = firm.sums(**which)
        table.add_row(Text(label, style), *_cells(sums, columns), style="bold" if label == "total" else "")
    console.print(table)


def _cells(sums: dict[str, Any], columns: dict[str, str]) -> Iterator[str]:
    for name, title in columns.items():
        yield dollars(sums[name]) if title[-1] == "$" else f"{sums[name]:,}"


def _calls(told: FirmTotals, console: Console) -> None:
    columns = ("type", "calls", "accounts", "still due $")
    table = text_table("\nCalls outstanding", *columns, right="|".join(columns[1:]))
    for own in told.calls:
        table.add_row(words(own.type), f"{own.calls:,}", f"{own.accounts:,}", dollars(own.due))
    console.print(table if told.calls else "\nNo calls outstanding.")


def _crowded(told: FirmTotals, console: Console, most: int) -> None:
    if not told.crowded:
        return
    shown = told.crowded[:most]
    # As a title it would be as narrow as the table.
    said = f"\nHeld by most of the {told.called_accounts:,} called accounts, {len(shown)} of {told.held:,} names"
    console.print(Text(said, "bold"))
    table = text_table("", "symbol", "accounts", "gross $", right="accounts|gross $")
    for crowd in shown:
        table.add_row(Text(crowd.symbol), f"{crowd.accounts:,}", dollars(crowd.gross))
    console.print(table)


def _capital(firm: Firm, console: Console) -> None:
    if (capital := firm.capital) is None:
        return
    text = f"asked for by the rule ${dollars(capital.aggregate)}, at most ${dollars(capital.limit)}: "
    if capital.room >= 0:
        found = Text(f"room for ${dollars(capital.room)}.")
    else:
        found = Text(
            f"${dollars(-capital.room)} too much. Tell the SEC and FINRA at once; if it lasts for three business days, "
            "open no portfolio-margin account from the fourth on.",
            "red",
        )
    console.print(Text("\nPortfolio margin and net capital, FINRA 4210(g)(12)", "bold"))
    console.print(Text(text) + found)
