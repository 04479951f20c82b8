"""Portfolio margin by published values: the model's own change nothing, others give the sums by hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ops.portfolio import PortfolioError, calculate
from ops.theoretical import load_values
from pipeline.rules import load_rulebook
from risk.options import Contracts, values_at
from risk.terms import years_until
from schemas.scalars import Time

PAGE = Path(__file__).parents[2] / "docs/rules/portfolio-margin.md"
RULES = load_rulebook("finra-4210")
assert RULES.portfolio is not None
MOVES = np.array(RULES.portfolio.points["equity"])
AS_OF, EXPIRY = "2026-06-15T20:00:00Z", "2026-09-18T20:00:00Z"
CALL, PUT = "XYZ C 100", "XYZ P 100"
#: Those of the file on the page: what a unit is worth at the points.
CALL_VALUES = [0.35, 0.71, 1.30, 2.17, 3.35, 6.52, 8.47, 10.63, 12.97, 15.46]
PUT_VALUES = [15.90, 13.28, 10.89, 8.76, 6.93, 4.11, 3.08, 2.27, 1.65, 1.21]


def option(right: str, **fields: Any) -> dict[str, Any]:
    return {
        "type": "OPTION",
        "underlying": "XYZ",
        "right": right,
        "strike": 100,
        "expiry": EXPIRY,
        "price": 5.0,
    } | fields


def document(*positions: tuple[str, int], **fields: Any) -> dict[str, Any]:
    return {
        "rulebook": "finra-4210",
        "as_of": AS_OF,
        "account": {"margin_type": "PORTFOLIO", "cash": 0},
        "instruments": {
            "XYZ": {"price": 100.0},
            CALL: option("CALL", implied_volatility=0.25),
            PUT: option("PUT", implied_volatility=0.30),
            "BILLS": {"type": "MONEY_MARKET", "price": 1.0},
        },
        "positions": [{"symbol": symbol, "quantity": quantity} for symbol, quantity in positions],
    } | fields


def grid(prices: dict[str, float] | None = None, **fields: Any) -> dict[str, Any]:
    asked = document(("XYZ", 500), (CALL, -5), (PUT, 3), **fields)
    for symbol, price in (prices or {}).items():
        asked["instruments"][symbol]["price"] = price
    return calculate(asked)["portfolio_margin"]


def modelled(sign: float, volatility: float, moves: np.ndarray = MOVES) -> list[float]:
    """What the model says that the option is worth at the points."""
    one = np.ones(1)
    contracts = Contracts(
        spot=100 * one,
        strike=100 * one,
        years=years_until(np.array([int(Time.parse(EXPIRY))]), int(Time.parse(AS_OF))),
        volatility=volatility * one,
        rate=RULES.risk_free_rate * one,
        dividend_yield=0 * one,
        sign=sign * one,
        american=np.ones(1, np.bool_),
    )
    return values_at(contracts, moves[:, None])[:, 0].tolist()


#: What the model says that they are worth now.
NOW = {CALL: modelled(1.0, 0.25, np.zeros(1))[0], PUT: modelled(-1.0, 0.30, np.zeros(1))[0]}


def by_hand(call: list[float], put: list[float], put_now: float = 5.0) -> list[float]:
    """Gains of long 500 of the stock, short 5 calls and long 3 puts, at the points."""
    amounts = 50_000 * MOVES - 500 * (np.array(call) - 5.0) + 300 * (np.array(put) - put_now)
    return amounts.round(4).tolist()


def test_values_of_the_model_change_nothing() -> None:
    own = {"XYZ": (100 * (1 + MOVES)).tolist(), CALL: modelled(1.0, 0.25), PUT: modelled(-1.0, 0.30)}
    without, with_them = grid(NOW), grid(NOW, theoretical_values=own)
    assert (without.pop("published_values"), sorted(with_them.pop("published_values"))) == ([], ["XYZ", CALL, PUT])
    assert with_them == without


def test_other_values_give_the_sums_by_hand() -> None:
    found = grid(theoretical_values={CALL: CALL_VALUES, PUT: PUT_VALUES})
    (group,) = found["class_groups"]
    assert group["pnl"] == pytest.approx(by_hand(CALL_VALUES, PUT_VALUES), abs=1e-4)
    # At -15%: 500 x -15.00 + 500 x 4.65 + 300 x 10.90 = -1,905; no point loses more.
    assert (group["worst_loss"], found["requirement"]) == (-1_905.0, 1_905.0)
    assert found["published_values"] == [CALL, PUT]


def test_published_and_modelled_values_are_netted_together() -> None:
    found = grid(theoretical_values={CALL: CALL_VALUES})
    assert found["class_groups"][0]["pnl"] == pytest.approx(
        by_hand(CALL_VALUES, modelled(-1.0, 0.30), NOW[PUT]), abs=2e-4
    )
    assert found["published_values"] == [CALL]


def test_stock_may_have_them_and_a_symbol_held_both_ways_nets() -> None:
    # A stock that loses 20% where the rule says 15%.
    values = {"XYZ": [80.0, 88.0, 91.0, 94.0, 97.0, 103.0, 106.0, 109.0, 112.0, 115.0]}
    found = calculate(document(("XYZ", 500), ("XYZ", -200), theoretical_values=values))["portfolio_margin"]
    assert (found["requirement"], found["published_values"]) == (6_000.0, ["XYZ"])


def test_the_page_holds(tmp_path: Path) -> None:
    """The file of docs/rules/portfolio-margin.md, and its example by hand."""
    text = PAGE.read_text()
    assert "**5,175** is required" in text
    assert "the minimum of 10 x $37.50 = 375 is charged" in text
    block = re.search(r"```csv\n(.*?)```", text, re.DOTALL)
    assert block is not None
    (tmp_path / "values.csv").write_text(block[1])
    values = load_values(tmp_path / "values.csv", {CALL: 5.0, PUT: 5.0})
    assert values == {CALL: CALL_VALUES, PUT: pytest.approx(PUT_VALUES)}
    covered = (("XYZ", 500), (CALL, -5))
    results = [calculate(document(*held, theoretical_values=values)) for held in (covered, (*covered, (PUT, 5)))]
    assert [result["portfolio_margin"]["requirement"] for result in results] == [5_175.0, 375.0]


FLAT = {"XYZ": [100.0] * 10, CALL: [5.0] * 10, PUT: [5.0] * 10}


def test_an_overlay_at_another_range_is_the_models(tmp_path: Path) -> None:
    book = tmp_path / "wide.yaml"
    book.write_text(
        "name: wide\nlayers_on: finra-4210\neffective_at: 2026-06-04T00:00:00Z\n"
        'portfolio:\n  stress_range: {value: 0.25, source: "house: a range for this test"}\n'
    )
    without, with_them = (grid(rulebook=str(book), **own) for own in ({}, {"theoretical_values": FLAT}))
    assert with_them["class_groups"][0]["worst_loss"] == 0
    assert with_them["requirement"] == without["requirement"] > 0


def test_where_a_price_moves_the_ladder_is_the_models() -> None:
    without, with_them = (
        calculate(document(("XYZ", 500), (CALL, -5), **own)) for own in ({}, {"theoretical_values": FLAT})
    )
    assert with_them["maintenance_requirement"] < without["maintenance_requirement"]
    moved, modelled_ones = (
        [own for own in result["stress"]["scenarios"] if own["move"]] for result in (with_them, without)
    )
    assert [own["requirement_restressed"] for own in moved] == [own["requirement_restressed"] for own in modelled_ones]


def test_without_a_move_the_ladder_has_the_base_requirement() -> None:
    # At the volatility that its price implies: the ladder values an option at what is told, not at its price.
    held = document(("XYZ", 500), (CALL, -5), theoretical_values={CALL: CALL_VALUES})
    held["instruments"][CALL] = option("CALL")
    result = calculate(held)
    still = [own for own in result["stress"]["scenarios"] if not own["move"]]
    assert [own["requirement_restressed"] for own in still] == [result["maintenance_requirement"]] == [5_175.0]


def test_the_trigger_takes_published_values_along() -> None:
    """Equity 10,000 with a debit of 40,000; at 20% of value the requirement meets it at 50,000."""
    values = {"XYZ": [80.0, 88.0, 91.0, 94.0, 97.0, 103.0, 106.0, 109.0, 112.0, 115.0]}
    own = {"margin_type": "PORTFOLIO", "cash": -40_000}
    result = calculate(document(("XYZ", 600), account=own, theoretical_values=values))
    assert result["trigger"] == {"value": pytest.approx(50_000), "price": pytest.approx(50_000 / 600, abs=1e-4)}


@pytest.mark.parametrize(
    ("event", "used"),
    [
        ({"symbol": "XYZ", "price": 90.0}, []),
        ({"symbol": CALL, "implied_volatility": 0.4}, [PUT]),
        ({"symbol": CALL, "price": 5.0, "quantity": 1}, [CALL, PUT]),
    ],
)
def test_what_is_supposed_is_not_what_was_published(event: dict[str, Any], used: list[str]) -> None:
    values = {CALL: CALL_VALUES, PUT: PUT_VALUES}
    held = document(("XYZ", 500), (CALL, -5), (PUT, 3), what_if=[event])
    result, without = calculate(held | {"theoretical_values": values}), calculate(held)
    assert result["portfolio_margin"]["published_values"] == used
    assert {name for name in result["reasons"] if "theoretical" in name} == {
        f"theoretical_values.{symbol}" for symbol in values if symbol not in used
    }
    if not used:
        assert result["portfolio_margin"] == without["portfolio_margin"]


def test_what_is_not_revalued_says_so() -> None:
    held = document(("BILLS", 100), (CALL, 1), theoretical_values={"BILLS": [1.0] * 10, CALL: CALL_VALUES})
    result = calculate(held)
    assert result["portfolio_margin"]["published_values"] == [CALL]
    assert "not revalued" in result["reasons"]["theoretical_values.BILLS"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({CALL: CALL_VALUES[:-1]}, "theoretical_values.XYZ C 100: expected 10 numbers, .* found 9"),
        ({CALL: [*CALL_VALUES, 1.0]}, "expected 10 numbers, one for each valuation point, found 11"),
        ({"ABC": CALL_VALUES}, "theoretical_values.ABC: expected a symbol described under instruments, found ABC"),
        ({CALL: [*CALL_VALUES[:-1], "x"]}, r"theoretical_values.XYZ C 100.9: .*valid number.*found 'x'"),
        ({CALL: [*CALL_VALUES[:-1], float("nan")]}, r"theoretical_values.XYZ C 100.9: .*finite number"),
    ],
)
def test_what_is_no_value_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(PortfolioError, match=said):
        grid(theoretical_values=values)


def test_a_book_without_class_groups_refuses_them() -> None:
    with pytest.raises(PortfolioError, match="rulebook seed has no valuation points"):
        calculate(document(("XYZ", 500), rulebook="seed", theoretical_values={"XYZ": [100.0] * 7}))
