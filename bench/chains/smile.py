"""Smooth volatilities over the strikes of each expiry, and what puts are worth at them."""

from __future__ import annotations

import numpy as np

from bench.chains.chain import LEAST_CLOSE, NEAR, Chain
from bench.chains.parity import Parity
from bench.chains.puts import Priced
from risk.amounts import Floats, Ints


def smile(chain: Chain, told: Parity, which: np.ndarray) -> Floats:
    """(n,) volatilities by a smooth curve over strikes through those of the chosen contracts; NaN where there is none.

    A polynomial for each expiry in ln(K/F) / sqrt(T), by least squares in dollars, in which what is far off weighs
    nothing (Tukey's biweight at four deviations): a trade at another time does not bend it.
    """
    at = np.arange(len(chain.close))
    forward = told.over(chain, at)
    volatility = np.full(len(at), np.nan)
    volatility[which] = chain.implied(at[which], told.spot, forward[which])
    spread = np.log(chain.strike / forward) / np.sqrt(chain.years)
    out = np.full(len(at), np.nan)
    for day in np.unique(chain.expiry):
        of = chain.expiry == day
        some = of & ~np.isnan(volatility)
        if some.sum() < 5:
            continue
        x, y = spread[some], volatility[some]
        vega = forward[some] * np.exp(-0.5 * (-x / y + 0.5 * y * np.sqrt(chain.years[some])) ** 2)
        weight = vega * np.sqrt(np.clip(chain.volume[some], 1, 300))
        kept = np.ones(len(x))
        for _ in range(30):
            fit = np.polynomial.polynomial.polyfit(x, y, 4 if len(x) >= 16 else 2, w=weight * kept)
            off = weight * (y - np.polynomial.polynomial.polyval(x, fit))
            kept = np.clip(1 - (off / (4 * 1.4826 * np.median(np.abs(off)) + 1e-12)) ** 2, 0, None)
        out[of] = np.polynomial.polynomial.polyval(np.clip(spread[of], x.min(), x.max()), fit)
    return out


def fair(chain: Chain, told: Parity) -> Floats:
    """(n,) the smooth volatilities of options out of the money, which a late trade moves least."""
    out_of_money = chain.out_of_money(told.over(chain, np.arange(len(chain.close))))
    return smile(chain, told, chain.active & out_of_money & (chain.close >= LEAST_CLOSE))


def smooth_puts(priced: Priced) -> tuple[Ints, Floats, Floats]:
    """Places of the traded puts between the strikes of calls, and what they are worth at the smooth volatilities of the
    calls, and of the puts, of their expiry. Calls far in the money say next to nothing, and are left out.
    """
    chain, told = priced.chain, priced.parity
    places = np.arange(len(chain.close))
    forward, active = told.over(chain, places), chain.active & (chain.close >= LEAST_CLOSE)
    calls, puts = active & (chain.sign > 0) & (chain.strike > (1 - NEAR) * forward), active & (chain.sign < 0)
    by_call, by_put = smile(chain, told, calls), smile(chain, told, puts)
    some = chain.traded & puts & ~np.isnan(by_call) & ~np.isnan(by_put)
    for day in np.unique(chain.expiry[some]):
        of = chain.expiry == day
        strikes = chain.strike[of & calls]
        some &= ~of | ((chain.strike >= strikes.min()) & (chain.strike <= strikes.max()))
    at = np.flatnonzero(some)
    by_call, by_put = (chain.values(at, told.spot, forward[at], found[at]) for found in (by_call, by_put))
    return at, by_call, by_put
