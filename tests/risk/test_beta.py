"""Beta: published figures and stress documents, and estimates against least squares, of real days where at hand."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import ndtri

from ops import bars, real
from ops.betas import adjusted
from ops.portfolio import calculate
from risk.beta import Betas, beta_of, blume, estimate_betas, spread_of_true, vasicek
from schemas.inputs import Beta
from tests.risk.test_sma import Row, figures, handbook_line, handbook_table, load

AS_OF = dt.datetime(2026, 6, 15, 20, tzinfo=dt.UTC)
#: The rulebook's moves, and those of the table that it lacks.
MOVES = (-0.30, -0.15, -0.10, -0.08, -0.06, -0.04, -0.02, 0.0, 0.01, 0.02, 0.04, 0.06)
#: Of the options of the table, whose strikes follow from their deltas.
VOLATILITY = 0.30
Found = dict[str, float | Callable[[], float]]


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("rules") / "moves.yaml"
    path.write_text(
        "name: moves\neffective_at: 2026-06-04T00:00:00Z\nlayers_on: finra-4210\n"
        f"parameters: {{spy_moves: {{value: {list(MOVES)}, source: the moves of a test}}}}\n"
    )
    return str(path)


def words(text: str) -> dict[str, str]:
    return dict(word.split("=") for word in text.split() if "=" in word)


def numbers(text: str) -> np.ndarray:
    return np.array([float(Fraction(number)) for number in re.split("[ ,]", text)])


def document_of(steps: list[str], book: str) -> dict[str, Any]:
    """`cash 10000; hold 100 AAPL @ 150 beta=1.2; hold 5 XYZ call delta=0.40 @ 80 beta=1.5`."""
    instruments: dict[str, dict[str, Any]] = {}
    positions, cash = [], "0"
    for step in steps:
        verb, first, *rest = step.split()
        if verb == "cash":
            cash = first
        elif verb == "hold":
            symbol, price, said = rest[0], float(rest[rest.index("@") + 1]), words(step)
            instruments[symbol] = {"price": price, "beta": float(said["beta"])}
            if "delta" in said:
                symbol = add_option(instruments, symbol, rest[1], float(said["delta"]))
            positions.append({"symbol": symbol, "quantity": first})
    return {
        "rulebook": book,
        "as_of": AS_OF.isoformat(),
        "account": {"cash": cash},
        "market": {"risk_free_rate": 0.0},
        "instruments": instruments,
        "positions": positions,
    }


def add_option(instruments: dict[str, dict[str, Any]], underlying: str, right: str, delta: float) -> str:
    """An option of a year with the strike of a delta: N(d1) of a call, N(d1) - 1 of a put."""
    symbol = f"{underlying} {right} {delta}"
    d1 = float(ndtri(delta if right == "call" else delta + 1))
    instruments[symbol] = {
        "type": "OPTION",
        "underlying": underlying,
        "right": right.upper(),
        "strike": instruments[underlying]["price"] * math.exp(VOLATILITY**2 / 2 - d1 * VOLATILITY),
        "expiry": (AS_OF + dt.timedelta(days=365)).isoformat(),
        "exercise": "EUROPEAN",
        "implied_volatility": VOLATILITY,
    }
    return symbol


def stressed(steps: list[str], book: str) -> Found:
    """Figures of a document; those of a move are the row's, or of the move in their name."""
    document = document_of(steps, book)
    result = calculate(document)
    ladder = {scenario["move"]: scenario for scenario in result["stress"]["scenarios"]}
    exposure = result["stress"]["beta_weighted_exposure"]
    gross = result["long_market_value"] + result["short_market_value"]
    found: Found = {
        "gross": gross,
        "dollar_delta": gross,
        "beta_weighted_exposure": exposure,
        "beta_weighted_dollars": exposure,
        "pnl_up": ladder[0.06]["pnl"],
        "pnl_down": ladder[-0.08]["pnl"],
        "worst": min(ladder[move]["pnl"] for move in ladder if move >= -0.08),
        "price_at_8": partial(price_without_excess, document, -0.08),
        "price_at_6": partial(price_without_excess, document, -0.06),
    }
    found |= {f"excess_at_{-move:.0%}"[:-1]: ladder[move]["excess_fixed"] for move in MOVES if move < -0.05}
    if gross:
        found["effective_beta"] = exposure / gross
    said = dict(step.split(maxsplit=1) for step in steps)
    if "reference" in said:
        found["spy_deltas"] = found["bw_delta"] = exposure / float(said["reference"])
    if "move" in said:
        move, *convention = said["move"].split()
        at = ladder[float(move)]
        found |= dict.fromkeys(("stress_pnl", "pnl", "dollars_per_1pct", "pnl_spy_1pct"), at["pnl"])
        found |= {"equity_stressed": at["equity"], "requirement_stressed": at["requirement_restressed"]}
        found |= {"excess_fixed": at["excess_fixed"], "excess_recomputed": at["excess_restressed"]}
        found["excess_stressed"] = at["excess_restressed" if convention else "excess_fixed"]
        found["value_stressed"] = result["long_market_value"] + at["pnl"]
    return found


def price_without_excess(document: dict[str, Any], move: float) -> float:
    """The price of the only symbol at which the excess after a move is zero, the requirement held at its base."""
    (own,) = document["instruments"].values()

    def excess(price: float) -> float:
        own["price"] = round(price, 6)
        scenarios = calculate(document)["stress"]["scenarios"]
        return next(s["excess_fixed"] for s in scenarios if s["move"] == move)

    return float(brentq(excess, own["price"] / 2, own["price"] * 2, xtol=1e-4))


def estimated(steps: list[str]) -> Found:
    """`market ...; stock ...`: of returns. `covariance`, `correlation`: of a sample that has them."""
    said = dict(step.split(maxsplit=1) for step in steps)
    if "market" in said:
        market, stock = numbers(said["market"]), numbers(said["stock"])
        return {"beta": beta_of(stock, market), "beta_wrong": np.cov(stock, market)[0, 1] / np.var(market)}
    variance, stock_variance = float(said["market_variance"]), float(said.get("stock_variance", 1))
    covariance = float(said.get("covariance", "nan"))
    if "correlation" in said:
        covariance = float(said["correlation"]) * math.sqrt(variance * stock_variance)
    # Two patterns of mean 0 and variance 1 that do not covary.
    one, other = np.array([1.0, 1.0, -1.0, -1.0]), np.array([1.0, -1.0, 1.0, -1.0])
    slope = covariance / math.sqrt(variance)
    sample = slope * one + math.sqrt(stock_variance - slope**2) * other
    return {"beta": beta_of(sample, math.sqrt(variance) * one)}


def drawn(step: str) -> Found:
    """`blume weight= raw=`, or `vasicek raw= error= mean= spread=` (variance= for the square of the error)."""
    said = {name: numbers(value) for name, value in words(step).items()}
    raw = said["raw"]
    if step.startswith("blume"):
        after, weights = blume(raw, said["weight"][0]), {}
    else:
        error = said["error"] if "error" in said else np.sqrt(said["variance"])
        after = vasicek(Betas(raw, error, np.full(len(raw), 60)), said["mean"][0], said["spread"][0])
        share = (raw - after) / (raw - said["mean"])
        weights = {f"weight_prior_{'abc'[at]}": value for at, value in enumerate(share.tolist())}
    named = {f"beta_{'abc'[at]}": value for at, value in enumerate(after.tolist())}
    return {"beta_adjusted": after[0], **named, **weights}


EXAMPLES = load("beta")


@pytest.mark.parametrize("row", EXAMPLES, ids=lambda row: row["id"])
def test_the_example_comes_out(row: Row, book: str) -> None:
    steps = [step.strip() for step in row["steps"].split(";")]
    if steps[0].split()[0] in ("hold", "cash"):
        found = stressed(steps, book)
    elif steps[0].split()[0] in ("blume", "vasicek"):
        found = drawn(steps[0])
    else:
        found = estimated(steps)
    own = {name: found[name] for name in figures(row)}
    values = {name: value() if callable(value) else value for name, value in own.items()}
    # An amount is exact; a beta is a quotient.
    assert values == pytest.approx(figures(row), rel=0, abs=float(row["tolerance"] or 1e-9))


def test_the_handbook_has_every_example() -> None:
    assert handbook_table("beta") == [handbook_line(row) for row in EXAMPLES]


def test_the_example_by_hand() -> None:
    """That of docs/rules/beta.md."""
    market, stock = np.array([1, -2, 3, 0, -1]) / 100, np.array([2, -3, 5, 1, -2]) / 100
    found = estimate_betas(stock[None], market, least=2)
    assert (found.beta[0], found.error[0]) == pytest.approx((24.4 / 14.8, 0.1480), abs=5e-5)
    assert blume(found.beta, 1 / 3)[0] == pytest.approx(1.4324, abs=5e-5)
    assert vasicek(found, 1.0, 0.5)[0] == pytest.approx(1.5964, abs=5e-5)


returns = st.integers(-2_000, 2_000).map(lambda basis: basis / 1e4)
missing = st.just(math.nan)
days = st.integers(0, 40).flatmap(
    lambda count: st.tuples(
        st.lists(returns | missing, min_size=count, max_size=count),
        st.lists(st.lists(returns | returns | missing, min_size=count, max_size=count), min_size=1, max_size=3),
    )
)


def least_squares(stock: np.ndarray, market: np.ndarray) -> tuple[float, float]:
    """Slope and its standard error, by the textbook: s sqrt of (X'X)^-1, s^2 = residuals'residuals / (n - 2)."""
    design = np.column_stack([np.ones(len(market)), market])
    (alpha, slope), *_ = np.linalg.lstsq(design, stock, rcond=None)
    if len(stock) == 2:
        return float(slope), math.nan
    residuals = stock - alpha - slope * market
    variance = residuals @ residuals / (len(stock) - 2)
    return float(slope), math.sqrt(variance * np.linalg.inv(design.T @ design)[1, 1])


@settings(max_examples=200)
@given(days, st.integers(0, 20))
def test_estimates_are_those_of_least_squares(sample: tuple[list, list], least: int) -> None:
    market, stocks = np.array(sample[0], np.float64), np.array(sample[1], np.float64)
    found = estimate_betas(stocks, market, least=least)
    for at, stock in enumerate(stocks):
        pairs = [(x, y) for x, y in zip(market, stock, strict=True) if not (math.isnan(x) or math.isnan(y))]
        assert found.observations[at] == len(pairs)
        if len(pairs) < max(least, 2):
            assert np.isnan([found.beta[at], found.error[at]]).all()
            continue
        x, y = np.array(pairs).T
        if np.ptp(x) < 1e-3:
            continue
        slope, error = least_squares(y, x)
        assert found.beta[at] == pytest.approx(slope, rel=1e-8, abs=1e-8)
        assert found.beta[at] == pytest.approx(np.polyfit(x, y, 1)[0], rel=1e-8, abs=1e-8)
        assert found.error[at] == pytest.approx(error, rel=1e-6, abs=1e-8, nan_ok=True)


@given(days, st.randoms(use_true_random=False))
def test_the_order_of_days_changes_no_beta(sample: tuple[list, list], random: Any) -> None:
    order = list(range(len(sample[0])))
    random.shuffle(order)
    market, stocks = np.array(sample[0], np.float64), np.array(sample[1], np.float64)
    assume(len(set(market[~np.isnan(market)])) > 1)
    one, other = (estimate_betas(stocks[:, days], market[days], least=20) for days in (slice(None), order))
    assert one.beta == pytest.approx(other.beta, rel=1e-6, abs=1e-8, nan_ok=True)
    assert one.error == pytest.approx(other.error, rel=1e-6, abs=1e-8, nan_ok=True)


raws = st.lists(st.tuples(st.floats(-5, 5), st.floats(0, 3)), min_size=1, max_size=6)


def betas_of(pairs: list[tuple[float, float]]) -> Betas:
    beta, error = np.array(pairs).T
    return Betas(beta, error, np.full(len(pairs), 60))


@given(raws, st.floats(-2, 3), st.floats(0, 2))
def test_vasicek_lies_between_the_estimate_and_the_mean(pairs: list, mean: float, spread: float) -> None:
    betas = betas_of(pairs)
    after = vasicek(betas, mean, spread)
    low, high = np.minimum(betas.beta, mean), np.maximum(betas.beta, mean)
    assert (low - 1e-9 <= after).all()
    assert (after <= high + 1e-9).all()


@given(raws, st.floats(-2, 3), st.floats(0, 2), st.floats(0.01, 3))
def test_the_less_certain_is_drawn_further(pairs: list, mean: float, spread: float, more: float) -> None:
    betas = betas_of(pairs)
    wider = Betas(betas.beta, betas.error + more, betas.observations)
    drawn_less, drawn_more = (np.abs(vasicek(each, mean, spread) - mean) for each in (betas, wider))
    assert (drawn_more <= drawn_less + 1e-9).all()


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=6), st.floats(-2, 3), st.floats(0, 2))
def test_no_error_leaves_the_estimate(raw: list[float], mean: float, spread: float) -> None:
    exact = betas_of([(beta, 0.0) for beta in raw])
    assert vasicek(exact, mean, spread).tolist() == raw


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=6), st.floats(0, 1))
def test_blume_draws_to_one(raw: list[float], weight: float) -> None:
    assert blume(np.array(raw), weight) - 1 == pytest.approx((1 - weight) * (np.array(raw) - 1), abs=1e-12)


def test_the_spread_of_true_betas_is_narrower_than_that_of_estimates() -> None:
    estimates = betas_of([(0.6, 0.1), (1.0, 0.2), (1.4, 0.2)])
    # (0.4^2 + 0.4^2) / 2 = 0.16, less (0.01 + 0.04 + 0.04) / 3 = 0.03.
    assert spread_of_true(estimates) == pytest.approx(math.sqrt(0.13))
    assert spread_of_true(betas_of([(1.0, 0.5), (1.1, 0.5)])) == 0


SYMBOLS = ("AAPL", "IBM", "BAC", "AIG")
#: The days of the test: quiet years, the crisis, the last day of the data.
DATES = (dt.date(2006, 6, 1), dt.date(2010, 6, 1), dt.date(2021, 3, 31))
needs_data = pytest.mark.skipif(not real.DATA.is_dir(), reason=f"the real market data is absent: {real.DATA}")


@pytest.fixture(scope="module")
def history() -> bars.History:
    return real.load()


@needs_data
@pytest.mark.parametrize("day", DATES, ids=str)
@pytest.mark.parametrize("window", [252, bars.WINDOW])
def test_real_betas(history: bars.History, day: dt.date, window: int) -> None:
    ordinary = [beta for symbol in SYMBOLS if (beta := history.beta(symbol, day, window))]
    assert [beta.symbol for beta in ordinary] == list(SYMBOLS)
    market = history.returns(bars.MARKET, day)
    for beta in ordinary:
        own = history.returns(beta.symbol, day)
        shared = sorted(market.keys() & own.keys())[-window:]
        slope, error = least_squares(*(np.array([each[span] for span in shared]) for each in (own, market)))
        assert (beta.beta, beta.standard_error) == pytest.approx((slope, error), abs=1e-6)
        assert beta.observations == len(shared)
        assert 0.3 < beta.beta < 3
        assert 0.01 < beta.standard_error < (0.1 if window == bars.WINDOW else 0.5)
    mean = sum(beta.beta for beta in ordinary) / len(ordinary)
    assert_between(ordinary, adjusted(ordinary, "blume"), 1.0)
    assert_between(ordinary, adjusted(ordinary, "vasicek"), mean)


@needs_data
def test_the_least_certain_real_beta_is_drawn_furthest(history: bars.History) -> None:
    """AIG in the year after its reverse split: it rose by 63% on a day on which SPY fell."""
    day = DATES[1]
    ordinary = [beta for symbol in SYMBOLS if (beta := history.beta(symbol, day, 252))]
    errors = [beta.standard_error or 0.0 for beta in ordinary]
    pulled = [abs(a.beta - b.beta) for a, b in zip(ordinary, adjusted(ordinary, "vasicek"), strict=True)]
    assert SYMBOLS[int(np.argmax(errors))] == SYMBOLS[int(np.argmax(pulled))] == "AIG"
    longer = [beta.standard_error or 0.0 for symbol in SYMBOLS if (beta := history.beta(symbol, day))]
    assert all(long < short for long, short in zip(longer, errors, strict=True))


def assert_between(ordinary: list[Beta], after: list[Beta], centre: float) -> None:
    for before, now in zip(ordinary, after, strict=True):
        assert min(before.beta, centre) - 1e-6 <= now.beta <= max(before.beta, centre) + 1e-6
        assert now.beta != before.beta
        assert (now.symbol, now.standard_error) == (before.symbol, before.standard_error)
