"""Intraday margin deficits: published days as documents, and the worst order against all permutations."""

from __future__ import annotations

import datetime as dt
import re
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.portfolio import calculate
from pipeline.rules import load_rulebook
from risk.intraday import UNKNOWN, intraday_deficits
from tests.risk.test_sma import Row, figures, handbook_line, handbook_table, load

NEW_YORK = ZoneInfo("America/New_York")
DAY = dt.date(2026, 6, 15)
RATE = load_rulebook("finra-4210").long_rate
#: Brokers measure the level at their own rates.
AT_HOUSE_RATES = str(Path(__file__).parent / "examples/rulebooks/intraday-house.yaml")
#: Where the table reads the rule otherwise: the figures that are ours (None: we give none). See docs/rules/intraday.md.
DISAGREEMENTS: dict[str, dict[str, float | None]] = {
    "fall-then-buy": {"intraday_deficit": 0.0},
    "order-unknown": {"intraday_deficit_with_election": None},
    "spread-together": {"intraday_deficit": 8_000.0},
}


class Day:
    """A day of the table as a document: what it opens with, its transactions, and prices at its end."""

    def __init__(self, row: Row) -> None:
        found = re.search(r"deficit on (\S+)", row["given"])
        self.date = dt.date.fromisoformat(found[1]) if found else DAY
        self.account: dict[str, Any] = {"cash": "0"}
        self.instruments: dict[str, dict[str, Any]] = {}
        self.positions: list[dict[str, Any]] = []
        self.rates: dict[str, float] = {}
        self.transactions: list[dict[str, Any]] = []
        self.prices: list[dict[str, Any]] = []
        steps = [step.strip() for step in row["steps"].split(";")]
        if steps[0].startswith("snapshot"):
            self.snapshots(steps)
        else:
            for step in steps:
                self.take(*step.split())
        if "order not shown" not in row["given"]:
            for minute, transaction in enumerate(self.transactions):
                at = dt.datetime.combine(self.date, dt.time(10, minute), NEW_YORK)
                transaction["executed_at"] = at.isoformat()

    def snapshots(self, steps: list[str]) -> None:
        """Levels of IML, each as told after a transaction, as cash that comes and goes; the first moves a dollar."""
        level = None
        for step in steps:
            said = dict(word.split("=") for word in step.split()[1:])
            reduces = said.get("reducing", "yes") == "yes"
            told = int(said["equity"]) - int(said["maintenance"])
            if level is None:
                level = told + (1 if reduces else -1)
                self.account["cash"] = str(level)
            # What lifts IML after the market rose is no transaction that reduces it; above zero nothing depends on it.
            assert reduces == (told < level) or told >= 0
            self.transactions.append({"amount": str(told - level)})
            level = told

    def take(self, verb: str, *words: str) -> None:
        match verb:
            case "open":
                self.open(dict(word.split("=") for word in words))
            case "deposit" | "withdraw":
                self.transactions.append({"amount": words[0] if verb == "deposit" else f"-{words[0]}"})
            case "buy" | "sell" | "short" | "cover":
                quantity, symbol, _, price = words
                self.describe(symbol, float(price))
                signed = quantity if verb in ("buy", "cover") else f"-{quantity}"
                self.transactions.append({"symbol": symbol, "quantity": signed, "price": float(price)})
            case "price":
                self.prices.append({"symbol": words[0], "price": float(words[1])})
            case _:
                raise ValueError(f"expected a step of the table, found {verb}")

    def open(self, said: dict[str, str]) -> None:
        self.account = {"cash": said.get("cash", "0"), "margin_type": said.get("margin", "STRATEGY")}
        for position in filter(None, said.get("pos", "").split(",")):
            quantity, symbol, price = position.split(":")
            self.describe(symbol, float(price))
            self.positions.append({"symbol": symbol, "quantity": quantity})
        if "leverage" in said:
            symbol, leverage = said["leverage"].split(":")
            self.instruments[symbol] = {"type": "ETF", "leverage": float(leverage)}
        if "house" in said:
            symbol, rate = said["house"].split(":")
            self.rates[symbol] = float(rate)

    def describe(self, symbol: str, price: float) -> None:
        """A stock, or an option such as XYZ.P.96.3m."""
        own = self.instruments.setdefault(symbol, {})
        own.setdefault("price", price)
        if "." in symbol:
            underlying, right, strike, months = symbol.split(".")
            expiry = self.date.replace(month=self.date.month + int(months.removesuffix("m")))
            own |= {"type": "OPTION", "underlying": underlying, "right": {"C": "CALL", "P": "PUT"}[right]}
            own |= {"strike": float(strike), "expiry": expiry.isoformat()}

    def document(self, rulebook: str | None = None) -> dict[str, Any]:
        return {
            "rulebook": rulebook or (AT_HOUSE_RATES if self.rates else "finra-4210"),
            "as_of": self.date.isoformat(),
            "account": self.account,
            "instruments": self.instruments,
            "positions": self.positions,
            "house": {"rates": self.rates},
            "transactions": self.transactions,
            "what_if": self.prices,
        }


def calculated(document: dict[str, Any]) -> dict[str, float | str | None]:
    result = calculate(document)
    day = result["intraday"]
    found: dict[str, float | str | None] = {
        "iml_end": result["excess"],
        "maintenance_requirement": result["maintenance_requirement"],
        "intraday_deficit": 0.0,
    }
    if day is None:
        return found
    if not document["what_if"]:
        assert day["iml"] == result["excess"]
    return found | {
        "intraday_deficit": day["deficit"],
        "iml_before": day["opening_iml"],
        "iml_after": day["iml"],
        "intraday_buying_power": day["iml"] / RATE,
        "reducing_transactions": sum(step["change"] < 0 for step in day["path"]),
        "deficit_reduction": day["path"][0]["change"],
        "de_minimis": float(day["minor"]),
        "business_day_5": day["capital_charge_after"],
        "business_day_15": day["outstanding_until"],
    }


def expected(row: Row) -> dict[str, float | str]:
    """Figures of a row; a date is the close of New York on it."""
    if "business_day" not in row["expected"]:
        return dict(figures(row))
    dates = (pair.split("=") for pair in row["expected"].split(";"))
    return {name: f"{date}T20:00:00Z" for name, date in dates}


EXAMPLES = load("intraday")
BY_ID = {row["id"]: row for row in EXAMPLES}


@pytest.mark.parametrize("row", EXAMPLES, ids=lambda row: row["id"])
def test_the_example_comes_out(row: Row) -> None:
    found, ours = calculated(Day(row).document()), DISAGREEMENTS.get(row["id"], {})
    published = expected(row)
    assert {name: found.get(name) for name in published} == published | ours
    assert all(published[name] != value for name, value in ours.items())


def test_the_handbook_has_every_example() -> None:
    assert handbook_table("intraday") == [handbook_line(row) for row in EXAMPLES]


def test_a_fall_before_a_purchase_counts_where_the_document_opens_after_it() -> None:
    """The other reading of `fall-then-buy`: the opening IML is at the lower price."""
    day = Day(BY_ID["fall-then-buy"])
    for position in day.prices:
        day.instruments[position["symbol"]]["price"] = position["price"]
    day.prices = []
    assert calculated(day.document())["intraday_deficit"] == 1_100


def test_cash_may_count_as_made_at_the_start(tmp_path: Path) -> None:
    book = tmp_path / "cash-first.yaml"
    book.write_text(
        "name: cash-first\neffective_at: 2026-06-04T00:00:00Z\nlayers_on: finra-4210\n"
        "intraday: {cash_first: {value: true, source: 'FINRA 4210(d)(2)(B)'}}\n"
    )
    late = Day(BY_ID["deposit-as-timed"]).document(str(book))
    assert calculated(late)["intraday_deficit"] == figures(BY_ID["deposit-at-start"])["intraday_deficit"]


def test_only_portfolio_margin_is_without_a_deficit() -> None:
    day = Day(BY_ID["pm-excluded"])
    day.account["margin_type"] = "STRATEGY"
    assert calculated(day.document())["intraday_deficit"] == 6_500_000


#: (account, ticks, time): a few small ones, so that levels, times and zeros coincide.
transactions = st.lists(
    st.tuples(st.integers(0, 2), st.integers(-5, 5), st.sampled_from([UNKNOWN, UNKNOWN, 1, 2, 3])), max_size=6
)
openings = st.tuples(*[st.integers(-8, 8)] * 3)
Transactions = list[tuple[int, int, int]]


def deficits(opening: tuple[int, ...], rows: Transactions) -> list[float]:
    columns = zip(*rows, strict=True) if rows else ((), (), ())
    account, change, executed_at = (np.array(each, np.int64) for each in columns)
    found = intraday_deficits(np.array(opening, np.float64), account, change.astype(np.float64), executed_at)
    return found.tolist()


def worst(opening: int, own: list[tuple[int, int]]) -> int:
    """The highest deficit of any order that contradicts no known time."""
    highest = 0
    for order in permutations(own):
        times = [time for _, time in order if time != UNKNOWN]
        if times != sorted(times):
            continue
        level = opening
        for change, _ in order:
            level += change
            if change < 0:
                highest = max(highest, -level)
    return highest


@settings(max_examples=300)
@given(openings, transactions)
def test_the_deficit_is_that_of_the_worst_permutation(opening: tuple[int, ...], rows: Transactions) -> None:
    by_account = [[row[1:] for row in rows if row[0] == at] for at in range(3)]
    assert deficits(opening, rows) == [worst(*each) for each in zip(opening, by_account, strict=True)]


@given(openings, transactions.flatmap(lambda rows: st.tuples(st.just(rows), st.permutations(rows))))
def test_the_order_of_rows_changes_no_deficit(
    opening: tuple[int, ...], both: tuple[Transactions, Transactions]
) -> None:
    rows, shuffled = both
    assert deficits(opening, rows) == deficits(opening, shuffled)


PRICES = {"AAA": 40.0, "BBB": 12.0, "CCC": 3.0}
trades = st.tuples(st.sampled_from(list(PRICES)), st.integers(-900, 900).filter(bool))
cash = st.integers(-20_000, 20_000).map(lambda amount: (None, amount or 1))


def iml(money: float, held: dict[str, int]) -> float:
    """Equity less the maintenance of stock by FINRA 4210(c)(1)-(3)."""
    level = money
    for symbol, units in held.items():
        price, value = PRICES[symbol], units * PRICES[symbol]
        least = max(5 * -units, -0.3 * value) if price >= 5 else max(2.5 * -units, -value)
        level += value - (0.25 * value if units > 0 else least)
    return level


@settings(max_examples=60)
@given(st.integers(-20_000, 20_000), st.lists(trades | cash, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_the_path_of_a_document_is_that_of_its_levels(opening: int, events: list, random: Any) -> None:
    """At unchanged prices and known times: IML before the day, and after each transaction."""
    money, held, listed = float(opening), dict.fromkeys(PRICES, 0), []
    levels = [iml(money, held)]
    for minute, (symbol, amount) in enumerate(events):
        when = dt.datetime.combine(DAY, dt.time(10, minute), NEW_YORK).isoformat()
        if symbol is None:
            money += amount
            listed.append({"amount": amount, "executed_at": when})
        else:
            money -= amount * PRICES[symbol]
            held[symbol] += amount
            fill = {"symbol": symbol, "quantity": amount, "price": PRICES[symbol]}
            listed.append(fill | {"executed_at": when})
        levels.append(iml(money, held))
    random.shuffle(listed)
    document = {
        "rulebook": "finra-4210",
        "as_of": DAY.isoformat(),
        "account": {"cash": opening},
        "instruments": {symbol: {"price": price} for symbol, price in PRICES.items()},
        "transactions": listed,
    }
    found = calculate(document)["intraday"]
    reached = [found["opening_iml"]]
    for step in found["path"]:
        reached.append(reached[-1] + step["change"])
    assert reached == pytest.approx(levels, abs=1e-6)
    missing = [-after for before, after in pairwise(levels) if after < before - 1e-9]
    assert found["deficit"] == pytest.approx(max([0.0, *missing]), abs=1e-6)
    assert found["iml"] == pytest.approx(levels[-1], abs=1e-6)
