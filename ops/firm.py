"""The firm as a replay left it: its totals, its capital test, its calls, what is crowded, what a crash would add."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from ops.calls import TYPES, Call, read_calls
from ops.folder import OutcomeError, newest
from ops.formats import STYLES, dollars, moment, percent, text_table, words
from ops.outcome import severe_move
from risk.amounts import Ints, ticks
from risk.book import REGIMES
from risk.firm import UNKNOWN, CapitalTest, Columns, FirmTotals, capital_test, crowding
from risk.ladder import LEVELS
from schemas import topics
from schemas.outputs import AccountState, MarginCalc, StressBetaSpy
from schemas.scalars import QUANTITY_SCALE, Money, Ratio, Time

_NAMES = (*REGIMES, "UNKNOWN")


@dataclass(frozen=True, slots=True)
class Crowd:
    """A symbol that called accounts hold: how many of them, and what they hold of it, long and short alike."""

    symbol: str
    accounts: int
    gross: Money


@dataclass(frozen=True, slots=True)
class Firm:
    """The firm at the last figures of every account.

    Fields:
      severe_move: of SPY, that falling and shortfall of the totals are of; None where no stress was published.
      crowded: the symbols that most called accounts hold, of `held` that any of them holds.
      partial: called accounts whose positions do not come to their gross value: without multipliers an option counts as
        one unit.
      capital: None without net capital.
    """

    as_of: Time
    rulebooks: tuple[str, ...]
    totals: FirmTotals
    severe_move: Ratio | None
    crowded: tuple[Crowd, ...]
    held: int
    called_accounts: int
    partial: int
    capital: CapitalTest | None

    def document(self) -> dict[str, Any]:
        """The firm as plain data; money as in the records."""
        totals = self.totals
        sums = ("equity", "requirement", "maintenance", "excess", "deficiency", "shortfall", "deepening")
        counts = ("accounts", "deficient", "falling")

        def figures(at: Any) -> dict[str, Any]:
            found: dict[str, Any] = {name: int(getattr(totals, name)[at].sum()) for name in counts}
            return found | {name: Money(getattr(totals, name)[at].sum()) for name in sums}

        return {
            "as_of": self.as_of,
            "rulebooks": self.rulebooks,
            "severe_move": self.severe_move,
            "total": figures(...),
            "levels": {str(level): figures(np.s_[:, place]) for place, level in enumerate(LEVELS)},
            "margin_types": {name: figures(place) for place, name in enumerate(_NAMES)},
            "calls": {
                kind: {
                    "calls": int(totals.calls[place]),
                    "accounts": int(totals.called[place]),
                    "due": Money(totals.due[place]),
                }
                for place, kind in enumerate(TYPES)
            },
            "called_accounts": self.called_accounts,
            "crowded": self.crowded,
            "capital": None
            if self.capital is None
            else {name: Money(getattr(self.capital, name)) for name in ("aggregate", "limit", "room")},
        }


def read_firm(
    out: Path, *, net_capital: int | None = None, multipliers: Mapping[str, float] | None = None, most: int = 10
) -> Firm:
    """Read a folder of outputs.

    Args:
      net_capital: of the firm, ticks, for FINRA 4210(g)(12).
      multipliers: of symbols, units in one; one of what is not named. most: crowded names.

    Raises:
      OutcomeError: the folder is not what it should be. ValueError: net capital below zero.
    """
    calls = read_calls(out, alive=True)
    states: dict[str, AccountState] = newest(out, topics.ACCOUNTS_STATE)
    if not states:
        raise OutcomeError(
            f"{out}: accounts.state.v1.jsonl is empty, so no account was evaluated. Look at {out}/deadletter.v1.jsonl"
        )
    figures: dict[str, MarginCalc] = newest(out, topics.MARGIN_CALC)
    stress: dict[str, StressBetaSpy] = newest(out, topics.STRESS_BETA_SPY)
    rulebooks = tuple(dict.fromkeys(state.rulebook for state in sorted(states.values(), key=lambda own: own.as_of)))
    moves = {scenario.move for record in stress.values() for scenario in record.scenarios}
    severe = severe_move(rulebooks[-1])
    severe = severe if severe in moves else min(moves, default=None)
    totals = FirmTotals.of(_columns(states, figures, stress, severe, calls))
    called = {call.account_id for call in calls} & states.keys()
    symbols, holders, gross = _crowding([states[account] for account in sorted(called)], multipliers or {})
    order = sorted(range(len(symbols)), key=lambda at: (-holders[at], -gross[at], symbols[at]))
    return Firm(
        as_of=max(state.as_of for state in states.values()),
        rulebooks=rulebooks,
        totals=totals,
        severe_move=severe,
        crowded=tuple(Crowd(symbols[at], int(holders[at]), Money(gross[at])) for at in order[:most]),
        held=len(symbols),
        called_accounts=len({call.account_id for call in calls}),
        partial=0 if multipliers else sum(_partial(states[own], figures.get(own)) for own in called),
        capital=None if net_capital is None else capital_test(totals, net_capital=net_capital),
    )


def _columns(
    states: Mapping[str, AccountState],
    figures: Mapping[str, MarginCalc],
    stress: Mapping[str, StressBetaSpy],
    severe: Ratio | None,
    calls: Sequence[Call],
) -> Columns:
    accounts = list(states)
    place = {account: at for at, account in enumerate(accounts)}
    counts, due = (np.zeros((len(TYPES), len(accounts)), np.int64) for _ in range(2))
    for call in calls:
        # An account that was called before the folder begins need not be in it.
        if call.account_id in place:
            at = TYPES.index(call.type), place[call.account_id]
            counts[at] += 1
            due[at] += call.due
    own = [states[account] for account in accounts]
    after = {
        account: scenario.excess_restressed
        for account, record in stress.items()
        for scenario in record.scenarios
        if scenario.move == severe
    }

    def column(values: Any) -> Ints:
        return np.fromiter(values, np.int64, len(accounts))

    return Columns(
        level=column(LEVELS.index(state.level) for state in own),
        regime=column(UNKNOWN if state.margin_type is None else REGIMES.index(state.margin_type) for state in own),
        equity=column(state.equity for state in own),
        requirement=column(state.requirement for state in own),
        maintenance=column(
            figures[account].maintenance_requirement if account in figures else state.requirement
            for account, state in zip(accounts, own, strict=True)
        ),
        stressed=column(after.get(account, states[account].excess) for account in accounts),
        calls=counts,
        due=due,
    )


def _crowding(states: Sequence[AccountState], multipliers: Mapping[str, float]) -> tuple[list[str], Ints, Ints]:
    held = [position for state in states for position in state.positions if position.quantity]
    rows = {symbol: at for at, symbol in enumerate(dict.fromkeys(position.symbol for position in held))}
    worth = [own.quantity / QUANTITY_SCALE * multipliers.get(own.symbol, 1.0) * own.price for own in held]
    values = ticks(np.array(worth, np.float64)).astype(np.int64)
    return list(rows), *crowding(np.array([rows[own.symbol] for own in held], np.int64), values, len(rows))


def _partial(state: AccountState, figure: MarginCalc | None) -> bool:
    """Whether the positions of an account, each as one unit, do not come to what is held for it."""
    gross = _crowding([state], {})[2].sum()
    return figure is not None and gross != figure.long_market_value + figure.short_market_value


def render(firm: Firm, console: Console) -> None:
    """Print the firm as tables."""
    totals = firm.totals
    console.print(
        f"{int(totals.accounts.sum()):,} accounts at {moment(firm.as_of)} New York, by {', '.join(firm.rulebooks)}",
        highlight=False,
        markup=False,
    )
    _by(firm, console, "level", [(words(level), STYLES[level], np.s_[:, at]) for at, level in enumerate(LEVELS)])
    types = [(words(name), "", at) for at, name in enumerate(_NAMES) if totals.accounts[at].any()]
    _by(firm, console, "margin type", types)
    _calls(firm, console)
    if firm.severe_move is not None:
        console.print(Text(f"\nIf SPY moves {percent(firm.severe_move)}", "bold"))
        falling, shortfall, deepening = (getattr(totals, own).sum() for own in ("falling", "shortfall", "deepening"))
        who = "1 account that lacks" if falling == 1 else f"{falling:,} accounts that lack"
        text = f"{who} nothing now would lack ${dollars(shortfall)}"
        if lacking := totals.deficient.sum():
            now = dollars(totals.deficiency.sum())
            text += f"; the {lacking:,} that lack ${now} would lack ${dollars(deepening)} more"
        console.print(f"{text}.", highlight=False)
    _crowded(firm, console)
    _capital(firm, console)


def _by(firm: Firm, console: Console, name: str, rows: Sequence[tuple[str, str, Any]]) -> None:
    columns = {
        "accounts": "accounts",
        "equity": "equity $",
        "requirement": "required $",
        "excess": "excess $",
        "deficient": "lacking",
        "deficiency": "deficiency $",
    }
    table = text_table(f"\nBy {name}", "", *columns.values(), right="|".join(columns.values()))
    for label, style, at in (*rows, ("total", "bold", ...)):
        amounts = {title: int(getattr(firm.totals, own)[at].sum()) for own, title in columns.items()}
        cells = (dollars(amount) if title[-1] == "$" else f"{amount:,}" for title, amount in amounts.items())
        table.add_row(Text(label, style), *cells, style="bold" if label == "total" else "")
    console.print(table)


def _calls(firm: Firm, console: Console) -> None:
    columns = ("type", "calls", "accounts", "still due $")
    table = text_table("\nCalls outstanding", *columns, right="|".join(columns[1:]))
    totals = firm.totals
    for at in np.flatnonzero(totals.calls).tolist():
        table.add_row(words(TYPES[at]), f"{totals.calls[at]:,}", f"{totals.called[at]:,}", dollars(int(totals.due[at])))
    console.print(table if totals.calls.any() else "\nNo calls outstanding.")


def _crowded(firm: Firm, console: Console) -> None:
    if not firm.crowded:
        return
    # As a title it would be as narrow as the table.
    said = f"\nHeld by most of the {firm.called_accounts:,} called accounts, {len(firm.crowded)} of {firm.held:,} names"
    console.print(Text(said, "bold"))
    table = text_table("", "symbol", "accounts", "gross $", right="accounts|gross $")
    for crowd in firm.crowded:
        table.add_row(Text(crowd.symbol), f"{crowd.accounts:,}", dollars(crowd.gross))
    console.print(table)
    if firm.partial:
        console.print(
            f"{firm.partial:,} of these accounts hold what has a multiplier, which is counted as one unit here: "
            "give --day, the folder of the day that was replayed.",
            style="dim",
            highlight=False,
        )


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
