"""Theoretical values against QuantLib: European to 1e-6 relative, American within 0.1% of a fine binomial tree."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import QuantLib as ql  # noqa: N813
from hypothesis import assume, given
from hypothesis import example as also
from hypothesis import strategies as st

from risk.options import Contracts, european, values_at

MOVES = np.array([-0.15, -0.12, -0.09, -0.06, -0.03, 0.03, 0.06, 0.09, 0.12, 0.15])
TODAY = ql.Date(2, 1, 2026)
DAYS = (1, 7, 30, 91, 182, 365, 730)

#: (spot, strike, days, volatility, rate, dividend yield, sign)
terms = st.tuples(
    st.floats(50, 200),
    st.sampled_from([60.0, 95.0, 100.0, 130.0]),
    st.sampled_from(DAYS),
    st.floats(0.1, 1.0),
    st.sampled_from([0.0, 0.01, 0.05]),
    st.sampled_from([0.0, 0.01, 0.04, 0.08]),
    st.sampled_from([1.0, -1.0]),
)
Terms = tuple[float, float, int, float, float, float, float]


def contracts(rows: list[Terms], *, is_american: bool) -> Contracts:
    spot, strike, days, volatility, rate, dividend_yield, sign = (
        np.array(column, float) for column in zip(*rows, strict=True)
    )
    american = np.full(len(rows), is_american)
    return Contracts(spot, strike, days / 365, volatility, rate, dividend_yield, sign, american)


def oracle(row: Terms, spot: float, engine: str) -> float:
    """QuantLib's value: "analytic", or a binomial tree of that name, American."""
    _, strike, days, volatility, rate, dividend_yield, sign = row
    ql.Settings.instance().evaluationDate = TODAY
    day = ql.Actual365Fixed()
    curves = (ql.YieldTermStructureHandle(ql.FlatForward(TODAY, at, day)) for at in (dividend_yield, rate))
    vol = ql.BlackVolTermStructureHandle(ql.BlackConstantVol(TODAY, ql.NullCalendar(), volatility, day))
    process = ql.BlackScholesMertonProcess(ql.QuoteHandle(ql.SimpleQuote(spot)), *curves, vol)
    payoff = ql.PlainVanillaPayoff(ql.Option.Call if sign > 0 else ql.Option.Put, strike)
    expiry = TODAY + days
    if engine == "analytic":
        option = ql.VanillaOption(payoff, ql.EuropeanExercise(expiry))
        option.setPricingEngine(ql.AnalyticEuropeanEngine(process))
    else:
        option = ql.VanillaOption(payoff, ql.AmericanExercise(TODAY, expiry))
        option.setPricingEngine(ql.BinomialVanillaEngine(process, engine, 1501))
    return float(option.NPV())


@given(terms)
def test_european_values_are_quantlibs(row: Terms) -> None:
    found = european(contracts([row], is_american=False), np.array([row[0]]))
    assert found[0] == pytest.approx(oracle(row, row[0], "analytic"), rel=1e-6, abs=1e-9)


@also((137.0, 60.0, 365, 0.5, 0.0, 0.04, 1.0), 0)  # Three nodes of the root were alive, and the cubic took four.
@given(terms, st.sampled_from(range(len(MOVES))))
def test_american_values_are_those_of_a_fine_tree(row: Terms, move: int) -> None:
    spot, strike, days, volatility = row[0] * (1 + MOVES[move]), *row[1:4]
    # QuantLib's own tree fails far from the strike, where there is nothing but exercise.
    assume(abs(np.log(spot / strike)) < 8 * volatility * np.sqrt(days / 365))
    expected = oracle(row, spot, "lr")
    found = values_at(contracts([row], is_american=True), MOVES)[move, 0]
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_a_contract_is_worth_the_same_among_others() -> None:
    """To the last bit: a tree is as wide as the narrowest of its chunk needs."""
    rng = np.random.default_rng(1)
    rows = [
        (100.0, 100.0 + n % 7, DAYS[n % 7], 0.1 + 0.8 * rng.random(), 0.05, 0.02, 1.0 - 2 * (n % 2)) for n in range(60)
    ]
    together = values_at(contracts(rows, is_american=True), MOVES)
    for n in range(60):
        assert values_at(contracts([rows[n]], is_american=True), MOVES)[:, 0].tolist() == together[:, n].tolist()


def test_at_expiry_an_option_is_worth_its_exercise() -> None:
    at_expiry = contracts(
        [(100.0, 90.0, 0, 0.3, 0.05, 0.0, 1.0), (100.0, 90.0, 0, 0.3, 0.05, 0.0, -1.0)], is_american=True
    )
    assert values_at(at_expiry, np.array([-0.15, 0.15])) == pytest.approx(np.array([[0, 5], [25, 0]]))


EXAMPLES = Path(__file__).with_name("examples") / "option_values.csv"
HANDBOOK = Path(__file__).parents[2] / "docs" / "rules" / "option-values.md"


def published() -> list[dict[str, str]]:
    with EXAMPLES.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "example", published(), ids=lambda e: f"{e['source'][:24]} {e['right']} {e['strike']} {e['years']}"
)
def test_values_are_the_published_ones(example: dict[str, str]) -> None:
    spot, strike, years, rate, dividend_yield, volatility, value, tolerance = (
        float(example[name]) for name in list(example)[3:]
    )
    sign = 1.0 if example["right"] == "call" else -1.0
    columns = (np.array([x]) for x in (spot, strike, years, volatility, rate, dividend_yield, sign))
    found = values_at(Contracts(*columns, american=np.array([example["exercise"] == "American"])), np.array([0.0]))
    assert found[0, 0] == pytest.approx(value, abs=tolerance)


def test_the_handbook_has_every_example() -> None:
    text = HANDBOOK.read_text()
    for example in published():
        assert f"| {' | '.join(list(example.values())[:-1])} |" in text
