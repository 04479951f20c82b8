"""The numbered examples of docs/rules/seed.md, each a row run through ops.portfolio.calculate."""

from __future__ import annotations

import io
import re
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from ops.calc import calculate_file, render, to_json
from ops.portfolio import PortfolioError, calculate

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/rules/seed.md").read_text()
#: Places on the two scales: SPY -8 -6 -4 -2 0 2 4 6%, and the grid -15 -10 -5 0 5 10 15%.
DOWN_8, DOWN_4, UP_6 = "stress.scenarios.0", "stress.scenarios.2", "stress.scenarios.7"
GRID = "portfolio_margin.class_groups.0"


def account(cash: float, *held: tuple, what_if: tuple = ()) -> dict[str, Any]:
    """A document of (symbol, quantity, price[, beta]), beta 1 unless given."""
    return {
        "account": {"cash": cash},
        "instruments": {s: {"price": price, "beta": rest[0] if rest else 1.0} for s, _, price, *rest in held},
        "positions": [{"symbol": s, "quantity": quantity} for s, quantity, *_ in held],
        "what_if": list(what_if),
    }


def scenario(path: str, pnl: float, equity: float, fixed: float, again: float, restressed: float) -> dict[str, Any]:
    names = ("pnl", "equity", "excess_fixed", "requirement_restressed", "excess_restressed")
    return {f"{path}.{n}": v for n, v in zip(names, (pnl, equity, fixed, again, restressed), strict=True)}


def margin(equity: float, maintenance: float, addon: float, excess: float, **more: Any) -> dict[str, Any]:
    head = {"equity": equity, "maintenance_requirement": maintenance, "concentration_addon": addon}
    return head | {"excess": excess, "deficiency": max(0, -excess)} | more


DEBIT = ("A", 1000, 50)
EXAMPLES: dict[int, tuple[dict, dict]] = {
    1: (
        account(20_000, ("A", 100, 100), ("B", -100, 100)),
        margin(20_000, 5_000, 2_000, 13_000, long_market_value=10_000, short_market_value=10_000, trigger=None),
    ),
    2: (
        account(-20_000, DEBIT),
        margin(30_000, 12_500, 5_000, 12_500, trigger={"value": 26_666.6667, "price": 26.6667}),
    ),
    3: (account(0, ("A", 1000, 30), ("B", 1000, 25), ("C", 1000, 25), ("D", 1000, 20)), margin(1e5, 25_000, 0, 75_000)),
    4: (
        account(0, ("A", 1000, 30.01), ("B", 1000, 25), ("C", 1000, 25), ("D", 1000, 20)),
        margin(100_010, 25_002.5, 3_001, 72_006.5),
    ),
    5: (
        account(50_000, ("A", 1000, 28), ("B", 1000, 28), ("C", -1000, 24), ("D", -1000, 20)),
        margin(62_000, 25_000, 0, 37_000, long_market_value=56_000, short_market_value=44_000),
    ),
    6: (
        account(-4_000, ("A", 100, 100, 1.5)),
        margin(6_000, 2_500, 1_000, 2_500)
        | {"stress.beta_weighted_exposure": 15_000}
        | scenario(DOWN_8, -1_200, 4_800, 1_300, 3_080, 1_720),
    ),
    7: (
        account(15_000, ("A", -100, 100)),
        margin(5_000, 2_500, 1_000, 1_500, trigger={"value": 12_000, "price": 120})
        | {"stress.beta_weighted_exposure": -10_000}
        | scenario(UP_6, -600, 4_400, 900, 3_710, 690),
    ),
    8: (
        account(0, ("A", 100, 10, 20)),
        margin(1_000, 250, 100, 650)
        | {"stress.beta_weighted_exposure": 20_000}
        | scenario(DOWN_8, -1_000, 0, -350, 0, 0)
        | scenario(UP_6, 1_200, 2_200, 1_850, 770, 1_430),
    ),
    9: (
        account(0, ("A", 200, 50, None), ("B", 100, 50, 0.5)),
        {"stress.beta_weighted_exposure": 12_500, "defaulted": ["A"], f"{DOWN_4}.pnl": -500},
    ),
    10: (
        account(0, ("A", 100, 100), ("B", 100, 50)),
        margin(15_000, 3_750, 1_500, 9_750)
        | {"portfolio_margin.requirement": 2_250, f"{GRID}.worst_loss": -2_250}
        | {f"{GRID}.pnl": [-2_250, -1_500, -750, 0, 750, 1_500, 2_250]},
    ),
    11: (
        account(10_000, ("A", 100, 100), ("B", -100, 60)),
        margin(14_000, 4_000, 1_600, 8_400)
        | {"portfolio_margin.requirement": 600, f"{GRID}.pnl.0": -600, f"{GRID}.pnl.6": 600},
    ),
    12: (
        account(30_000, ("A", 100, 60), ("B", -100, 100)),
        {"portfolio_margin.requirement": 600, f"{GRID}.pnl.0": 600, f"{GRID}.pnl.6": -600},
    ),
    13: (
        account(5_000),
        margin(5_000, 0, 0, 5_000, lines=[], trigger=None) | {"portfolio_margin.requirement": 0},
    ),
    14: (account(-1_500, ("A", 100, 10)), margin(-500, 250, 100, -850)),
    15: (
        account(-20_000, DEBIT, what_if=({"symbol": "A", "quantity": -400, "price": 50},)),
        margin(30_000, 7_500, 3_000, 19_500, trigger=None),
    ),
    16: (
        account(-20_000, DEBIT, what_if=({"symbol": "A", "price": 30},)),
        margin(10_000, 7_500, 3_000, -500, long_market_value=30_000),
    ),
    17: (
        account(0, ("A", 1, 10.0002), ("B", 1, 10.0002), ("C", 1, 10.0002)),
        margin(30.0006, 7.5, 3, 19.5006),
    ),
    18: (
        account(1_000, ("A", 100, 10), ("B", 50, None)),
        margin(2_000, 250, 100, 1_650, long_market_value=1_000, excluded=["B"], trigger=None),
    ),
}


def at(result: Any, path: str) -> Any:
    return reduce(lambda found, key: found[int(key) if key.isdigit() else key], path.split("."), result)


@pytest.mark.parametrize("number", EXAMPLES)
def test_example(number: int) -> None:
    document, expected = EXAMPLES[number]
    result = calculate(document)
    assert {path: at(result, path) for path in expected} == expected
    ticks = [round(line["requirement"] * 10_000) for line in result["lines"]]
    assert sum(ticks) == round((result["maintenance_requirement"] + result["concentration_addon"]) * 10_000)
    assert sum("concentration" in line["rule"] for line in result["lines"]) == page_charges(result)


def page_charges(result: dict) -> int:
    """How many positions the add-on's amount says are charged, by the page's rule."""
    sizes = [line["requirement"] * 4 for line in result["lines"] if line["rule"] != "concentration_rate"]
    gross = result["long_market_value"] + result["short_market_value"]
    return sum(size > 0.3 * gross for size in sizes)


def test_every_example_of_the_page_is_a_row() -> None:
    assert [int(n) for n in re.findall(r"^### Example (\d+):", PAGE, re.M)] == list(EXAMPLES)


def test_the_page_names_every_parameter_of_the_rulebook() -> None:
    book = yaml.safe_load((ROOT / "conf/rules/seed.yaml").read_text())
    assert [name for name in book["parameters"] if f"`{name}`" not in PAGE] == []


def test_nulls_have_reasons() -> None:
    result = calculate(account(0, ("A", 100, 10), ("B", -50, None)))
    nulls = [name for name, value in result.items() if value is None]
    assert sorted(nulls) == ["initial_requirement", "intraday", "pairings", "reg_t_excess", "trigger"]
    assert {*nulls, "portfolio_margin.minimum_charge"} <= set(result["reasons"])


OPTION = {"type": "OPTION", "price": 2, "underlying": "A", "right": "PUT", "strike": 9, "expiry": "2026-12-18"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": 1}, "colour: Extra inputs"),
        ({"account": {"cash": "lots"}}, "account.cash: expected a decimal number, found 'lots'"),
        ({"positions": [{"symbol": "Z", "quantity": 1}]}, "positions.0.symbol: expected a symbol described"),
        ({"positions": [{"symbol": "A", "quantity": 1}] * 2}, "positions.1.symbol: expected each symbol once"),
        ({"instruments": {"A": OPTION}}, "A is an option, and rulebook seed has no rule"),
        ({"instruments": {"A": {"type": "OPTION", "price": 2}}}, "instruments.A: an option needs underlying, right"),
        ({"instruments": {"A": {"price": -2}}}, "instruments.A.price: .* greater than or equal to 0, found -2"),
        ({"instruments": {"A": {"price": 1e12}}}, "below \\$900 billion"),
        ({"house": {"rates": {"A": 0.4}}}, "rulebook seed has no house rates"),
        ({"rulebook": "nowhere"}, "rulebook: .* known: .*seed"),
        ({"what_if": [{"symbol": "Z", "price": 1}]}, "what_if.0.symbol"),
    ],
)
def test_refuses(change: dict, message: str) -> None:
    with pytest.raises(PortfolioError, match=message):
        calculate(account(0, ("A", 100, 10)) | change)


def test_the_example_file_calculates_and_renders() -> None:
    result = calculate_file(ROOT / "examples/portfolio.yaml")
    assert yaml.safe_load(to_json(result)) == result
    console = Console(width=160, record=True, file=io.StringIO())
    render(result, console)
    assert "37,475.00" in console.export_text()
