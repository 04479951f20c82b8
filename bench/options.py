"""Theoretical values: 20,000 contracts at the ten valuation points, beside QuantLib one contract at a time.

usage: python -m bench.options

The accuracy is that of `tests/risk/test_options.py`, with the same number of steps.
"""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path

import numpy as np
import QuantLib as ql  # noqa: N813

from risk.options import STEPS, Contracts, values_at

CONTRACTS, UNDERLYINGS, SAMPLE = 20_000, 500, 400
MOVES = np.array([-0.15, -0.12, -0.09, -0.06, -0.03, 0.03, 0.06, 0.09, 0.12, 0.15])
TODAY = ql.Date(2, 1, 2026)
DAYS = np.array([7, 14, 30, 60, 91, 182, 365, 730])


def listed(rng: np.random.Generator) -> tuple[Contracts, np.ndarray]:
    """Contracts as exchanges list them: strikes around the spot of each underlying, a few expiries; and their days."""
    owner = rng.integers(0, UNDERLYINGS, CONTRACTS)
    days = rng.choice(DAYS, CONTRACTS)
    spot = np.exp(rng.normal(4.3, 0.8, UNDERLYINGS))[owner]
    pays = (rng.random(UNDERLYINGS) < 0.6)[owner]
    contracts = Contracts(
        spot=spot,
        strike=spot * np.exp(rng.normal(0.0, 0.15, CONTRACTS)),
        years=days / 365,
        volatility=rng.uniform(0.15, 0.8, CONTRACTS),
        rate=np.full(CONTRACTS, 0.04),
        dividend_yield=np.where(pays, rng.uniform(0.005, 0.04, UNDERLYINGS)[owner], 0.0),
        sign=rng.choice([-1.0, 1.0], CONTRACTS),
        american=(rng.random(UNDERLYINGS) < 0.95)[owner],
    )
    return contracts, days


def one_by_one(contracts: Contracts, days: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(10, places) by QuantLib's binomial tree (Leisen-Reimer) of as many steps, American or analytic."""
    ql.Settings.instance().evaluationDate = TODAY
    day, out = ql.Actual365Fixed(), np.empty((len(MOVES), len(places)))
    for column, place in enumerate(places.tolist()):
        one = contracts.at(np.array([place]))
        quote = ql.SimpleQuote(1.0)
        flat = (
            ql.YieldTermStructureHandle(ql.FlatForward(TODAY, at.item(), day)) for at in (one.dividend_yield, one.rate)
        )
        vol = ql.BlackVolTermStructureHandle(ql.BlackConstantVol(TODAY, ql.NullCalendar(), one.volatility.item(), day))
        process = ql.BlackScholesMertonProcess(ql.QuoteHandle(quote), *flat, vol)
        payoff = ql.PlainVanillaPayoff(ql.Option.Call if one.sign[0] > 0 else ql.Option.Put, one.strike.item())
        expiry = TODAY + int(days[place])
        if one.american[0]:
            option = ql.VanillaOption(payoff, ql.AmericanExercise(TODAY, expiry))
            option.setPricingEngine(ql.BinomialVanillaEngine(process, "lr", STEPS[-1][1] + 1))
        else:
            option = ql.VanillaOption(payoff, ql.EuropeanExercise(expiry))
            option.setPricingEngine(ql.AnalyticEuropeanEngine(process))
        for row, move in enumerate(MOVES.tolist()):
            quote.setValue(one.spot.item() * (1.0 + move))
            out[row, column] = option.NPV()
    return out


def main() -> None:
    """Time both, compare what they give, print the table and keep it."""
    rng = np.random.Generator(np.random.PCG64(7))
    contracts, days = listed(rng)
    places = rng.choice(CONTRACTS, SAMPLE, replace=False)
    ours, theirs = [], []
    for _ in range(5):
        begun = time.process_time()
        found = values_at(contracts, MOVES)
        ours.append(time.process_time() - begun)
        begun = time.process_time()
        expected = one_by_one(contracts, days, places)
        theirs.append((time.process_time() - begun) * CONTRACTS / SAMPLE)
    dear = expected > 0.05
    errors = np.abs(found[:, places] - expected)[dear] / expected[dear]
    early = (contracts.american & ((contracts.sign < 0) | (contracts.dividend_yield > 0))).mean()
    ratio = np.median(np.array(theirs) / np.array(ours))
    rows = [
        (
            f"{CONTRACTS:,} contracts ({early:.0%} by trees, {STEPS[0][1]} to {STEPS[-1][1]} steps), ten points: CPU s",
            f"{np.median(ours):.2f}",
            "under 1",
        ),
        (
            f"QuantLib, a tree of {STEPS[-1][1] + 1} steps a contract and point, from {SAMPLE}: CPU s",
            f"{np.median(theirs):.1f}",
            "",
        ),
        ("QuantLib / ours", f"{ratio:.0f}x", ""),
        ("difference above $0.05: median; 99%", f"{np.median(errors):.1e}; {np.percentile(errors, 99):.1e}", ""),
    ]
    table = (
        "\n".join(["| what | measured | target |", "|---|---:|---|", *(f"| {' | '.join(row)} |" for row in rows)])
        + "\n"
    )
    print(table)
    (Path(__file__).with_name("results") / f"{dt.datetime.now(dt.UTC).date()}-options.md").write_text(table)


if __name__ == "__main__":
    main()
