"""The special memorandum account: published accounts step by step, and plain arithmetic beside risk.sma.

What the tables of this topic, of intraday margin and of beta have in common is here: how a row is read, and how it
stands in the handbook.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.portfolio import calculate
from pipeline.rules import load_rulebook
from risk.sma import after_cash, after_trade, buying_power, marked, withdrawable

Row = dict[str, str]
EXAMPLES = Path(__file__).with_name("examples")
HANDBOOK = Path(__file__).parents[2] / "docs" / "rules"
FINRA = load_rulebook("finra-4210")
assert FINRA.initial is not None
RULES = FINRA.initial
TICKS = 10_000


def load(topic: str) -> list[Row]:
    with (EXAMPLES / f"{topic}.csv").open() as file:
        return list(csv.DictReader(file))


def figures(row: Row) -> dict[str, float]:
    pairs = (pair.split("=") for pair in row["expected"].split(";"))
    return {name.strip(): float(value) for name, value in pairs}


def handbook_line(row: Row) -> str:
    """The row as it stands in the page: an address becomes a link, `github:owner/name@commit path` one to the file."""
    source, url = row["source"], row["url"]
    if url.startswith("github:"):
        repository, path = url.removeprefix("github:").split(" ", 1)
        kind = "tree" if path.endswith("/") else "blob"
        url = f"https://github.com/{repository.replace('@', f'/{kind}/')}/{path}"
    linked = f"[{source}]({url})" if url.startswith("https://") or url.startswith("http://") else f"{source} ({url})"
    return f"| `{row['id']}` | {linked} | {row['basis']} | {row['steps']} | {row['expected']} |"


def handbook_table(topic: str) -> list[str]:
    """The lines of the page that are examples."""
    text = (HANDBOOK / f"{topic}.md").read_text()
    return [line for line in text.splitlines() if line.startswith("| `") and line.count(" | ") == 4]


@dataclass
class Plain:
    """An account in dollars, its SMA by risk.sma."""

    cash: float = 0.0
    sma: float = 0.0
    call: float = 0.0
    held: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def values(self) -> list[float]:
        return [quantity * price for quantity, price in self.held.values()]

    @property
    def long(self) -> float:
        return sum(value for value in self.values if value > 0)

    @property
    def short(self) -> float:
        return -sum(value for value in self.values if value < 0)

    @property
    def equity(self) -> float:
        return self.cash + self.long - self.short

    @property
    def excess(self) -> float:
        return self.equity - 0.5 * (self.long + self.short)

    @property
    def maintenance_excess(self) -> float:
        # Every short of the table is above $16.67, so that 30% is the greater.
        return self.equity - 0.25 * self.long - 0.30 * self.short

    def take(self, step: str) -> None:
        verb, *words = step.split()
        match verb:
            case "open":
                said = dict(word.split("=") for word in words)
                self.cash, self.sma = float(said.get("cash", 0)), float(said.get("sma", 0))
                for position in filter(None, said.get("pos", "").split(",")):
                    quantity, symbol, price = position.split(":")
                    self.held[symbol] = float(quantity), float(price)
            case "deposit" | "dividend" | "withdraw":
                amount = float(words[0]) * (-1 if verb == "withdraw" else 1)
                self.cash += amount
                self.sma = one(after_cash(ticks(self.sma), ticks(amount)))
            case "buy" | "sell" | "short" | "cover":
                quantity, symbol, price = float(words[0]), words[1], float(words[3])
                value, sign = quantity * price, 1 if verb in ("buy", "cover") else -1
                self.cash -= sign * value
                self.held[symbol] = self.held.get(symbol, (0.0, 0.0))[0] + sign * quantity, price
                opened, closed = (value, 0.0) if verb in ("buy", "short") else (0.0, value)
                sma, call = after_trade(*map(ticks, (self.sma, opened, closed, self.excess)), RULES)
                self.sma, self.call = one(sma), one(call)
            case "price":
                self.held[words[0]] = self.held[words[0]][0], float(words[1])
                self.sma = one(marked(ticks(self.sma), ticks(self.excess)))
            case _:
                raise ValueError(f"expected a step of the table, found {step}")

    def figures(self) -> dict[str, float]:
        sma = ticks(self.sma)
        least = ticks(RULES.minimum_equity)
        return {
            "debit": max(-self.cash, 0.0),
            "credit": max(self.cash, 0.0),
            "equity": self.equity,
            "long_market_value": self.long,
            "short_market_value": self.short,
            "reg_t_excess": self.excess,
            "maintenance_excess": self.maintenance_excess,
            "sma": self.sma,
            "reg_t_call": self.call,
            "buying_power": one(buying_power(sma, RULES)),
            "withdrawable": one(withdrawable(sma, ticks(self.maintenance_excess), ticks(self.equity), least)),
        }


def ticks(dollars: float) -> np.ndarray:
    return np.array([round(dollars * TICKS)], np.float64)


def one(amount: np.ndarray) -> float:
    return float(amount[0]) / TICKS


@pytest.mark.parametrize("row", load("sma"), ids=lambda row: row["id"])
def test_the_example_comes_out(row: Row) -> None:
    account = Plain()
    for step in row["steps"].split(";"):
        account.take(step.strip())
    found = account.figures()
    assert {name: found[name] for name in figures(row)} == figures(row)
    document = calculate(
        {
            "rulebook": "finra-4210",
            "account": {"cash": account.cash},
            "instruments": {symbol: {"price": price} for symbol, (_, price) in account.held.items()},
            "positions": [{"symbol": symbol, "quantity": quantity} for symbol, (quantity, _) in account.held.items()],
        }
    )
    same = ("equity", "long_market_value", "short_market_value", "reg_t_excess")
    assert {name: document[name] for name in same} == {name: found[name] for name in same}
    assert document["excess"] == found["maintenance_excess"]


def test_the_handbook_has_every_example() -> None:
    assert handbook_table("sma") == [handbook_line(row) for row in load("sma")]


amounts = st.integers(0, 10**10)
levels = st.integers(-(10**10), 10**10)


def column(*values: int) -> np.ndarray:
    return np.array(values, np.float64)


@given(amounts, levels)
def test_the_market_never_takes_from_it(sma: int, excess: int) -> None:
    after = marked(column(sma), column(excess))
    assert after[0] == max(sma, excess)
    assert after[0] >= sma
    assert marked(after, column(excess)) == after


@given(st.lists(st.tuples(amounts, amounts, amounts, levels), min_size=1, max_size=5))
def test_trades_equal_the_plain_sum(rows: list[tuple[int, int, int, int]]) -> None:
    """Of even amounts, whose halves are whole."""
    even = [(sma, opened * 2, closed * 2, excess) for sma, opened, closed, excess in rows]
    sma, call = after_trade(*(np.array(each, np.float64) for each in zip(*even, strict=True)), RULES)
    for at, (before, opened, closed, excess) in enumerate(even):
        left = before - opened // 2
        if closed:
            left += closed // 2
            left = max(left, excess) if excess > 0 else left
        assert (sma[at], call[at]) == ((left, 0) if left >= 0 else (0, -left))


@given(amounts)
def test_buying_power_is_what_leaves_neither_sma_nor_call(sma: int) -> None:
    power = buying_power(column(sma), RULES)
    assert power == 2 * sma
    spent, call = after_trade(column(sma), power, column(0), column(0), RULES)
    assert (spent[0], call[0]) == (0, 0)


@given(st.lists(levels, max_size=8), amounts)
def test_cash_is_taken_whole_and_never_below_zero(movements: list[int], sma: int) -> None:
    found = column(sma)
    for amount in movements:
        sma = max(0, sma + amount)
        found = after_cash(found, column(amount))
    assert found[0] == sma


@given(amounts, levels, levels)
def test_what_is_withdrawn_leaves_maintenance_and_the_minimum(sma: int, excess: int, equity: int) -> None:
    least = 2_000 * TICKS
    leaves = withdrawable(column(sma), column(excess), column(equity), column(least))[0]
    assert 0 <= leaves <= sma
    assert leaves == 0 or (excess - leaves >= 0 and equity - leaves >= least)
    # No more could leave: one of the three is used up.
    assert leaves == 0 or leaves in (sma, excess, equity - least)
