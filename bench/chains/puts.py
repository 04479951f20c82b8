"""Puts priced from the volatility of the call of the same strike."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import QuantLib as ql  # noqa: N813
from scipy.optimize import brentq

from bench.chains.chain import Chain, pairs_of
from bench.chains.parity import Parity, middle, parity
from risk.amounts import Floats, Ints

CENTS, SHARE = 0.10, 0.02


@dataclass(frozen=True, slots=True)
class Priced:
    """m pairs whose puts were priced from their calls' volatilities (NaN: the call's close implies none)."""

    chain: Chain
    parity: Parity
    pairs: Ints
    volatility: Floats
    value: Floats

    @property
    def error(self) -> Floats:
        return self.value - self.chain.close[self.pairs[:, 1]]

    @property
    def beyond(self) -> tuple[np.ndarray, np.ndarray]:
        """Beyond 10 cents; beyond 2%. A miss is beyond both, and read strictly beyond either."""
        size = np.abs(np.where(np.isnan(self.error), np.inf, self.error))
        return size > CENTS, size > SHARE * self.chain.close[self.pairs[:, 1]]


def price_puts(chain: Chain, which: np.ndarray | None = None) -> Priced:
    """Each put from the volatility of its call, at the forward that the other pairs say.

    which: the contracts that are paired; unless given those traded, at no less than $0.50. The forward of a chain of
    quotes is from all of its pairs.
    """
    which = chain.traded if which is None else which
    pairs = pairs_of(chain, which | chain.source.quoted)
    found = parity(chain, pairs)
    told = ~np.isnan(found.own) & which[pairs].all(axis=1)
    pairs, own = pairs[told], found.own[told]
    volatility = chain.implied(pairs[:, 0], found.spot, own)
    value = chain.values(pairs[:, 1], found.spot, own, np.where(np.isnan(volatility), 0.25, volatility))
    return Priced(chain, replace(found, own=own), pairs, volatility, np.where(np.isnan(volatility), np.nan, value))


def cash_dividends(priced: Priced) -> tuple[np.ndarray, Floats]:
    """Pairs that a dividend falls into, and the errors of their puts if dividends are paid in cash on their days.

    By QuantLib's finite differences, with the dividends stated, times what centres the errors near the money.
    """
    chain, today = priced.chain, ql.Date(priced.chain.source.date.isoformat(), "%Y-%m-%d")
    ql.Settings.instance().evaluationDate = today
    day, spot, volatility = ql.Actual365Fixed(), priced.parity.spot, ql.SimpleQuote(0.3)
    flat = (ql.YieldTermStructureHandle(ql.FlatForward(today, rate, day)) for rate in (0.0, chain.source.rate))
    level = ql.BlackConstantVol(today, ql.NullCalendar(), ql.QuoteHandle(volatility), day)
    quote = ql.QuoteHandle(ql.SimpleQuote(spot))
    process = ql.BlackScholesMertonProcess(quote, *flat, ql.BlackVolTermStructureHandle(level))
    call = priced.pairs[:, 0]
    some = chain.expiry[call] >= np.datetime64(chain.source.dividends[0][0])
    errors = np.full(len(call), np.nan)

    def errors_of(rows: Ints, expiry: Any, scale: float) -> Floats:
        paid = [(ql.Date(on.isoformat(), "%Y-%m-%d"), amount * scale) for on, amount in chain.source.dividends]
        fixed = ql.DividendSchedule([ql.FixedDividend(amount, on) for on, amount in paid if on <= expiry])
        engine = ql.FdBlackScholesVanillaEngine(process, fixed, 60, 200)
        out = np.full(len(rows), np.nan)
        for place, row in enumerate(rows.tolist()):
            strike, closes = float(chain.strike[call[row]]), chain.close[priced.pairs[row]]
            payoffs = (ql.PlainVanillaPayoff(right, strike) for right in (ql.Option.Call, ql.Option.Put))
            options = [ql.VanillaOption(payoff, ql.AmericanExercise(today, expiry)) for payoff in payoffs]
            for option in options:
                option.setPricingEngine(engine)

            def excess(at: float, option: Any = options[0], close: float = float(closes[0])) -> float:
                volatility.setValue(at)
                return float(option.NPV()) - close

            if excess(0.05) < 0 < excess(1.0):
                volatility.setValue(brentq(excess, 0.05, 1.0, xtol=1e-4))
                out[place] = options[1].NPV() - closes[1]
        return out

    for one in np.unique(chain.expiry[call[some]]):
        rows = np.flatnonzero(chain.expiry[call] == one)
        near = rows[np.abs(np.log(chain.strike[call[rows]] / priced.parity.forward[one])) < 0.05]
        weight = 1 + np.minimum(*chain.volume[priced.pairs[near]].T)
        expiry, scale = ql.Date(str(one), "%Y-%m-%d"), 1.0
        total = sum(amount for on, amount in chain.source.dividends if np.datetime64(on) <= one)
        for _ in range(3):
            found = errors_of(near, expiry, scale)
            told = ~np.isnan(found)
            scale -= middle(found[told], weight[told]) / total
        errors[rows] = errors_of(rows, expiry, scale)
    return some, errors
