"""Put-call parity: the spot and the forwards that the pairs of a chain say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.chains.chain import NEAR, STILL, Chain
from risk.amounts import Floats, Ints
from risk.options import european, values_at


def middle(values: Floats, weights: Floats) -> float:
    """The weighted median."""
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


@dataclass(frozen=True, slots=True)
class Parity:
    """What put-call parity says of m pairs.

    Attributes:
      spot: dollars. forward: by expiry.
      own: (m,) the forward that the other pairs of its expiry say; NaN: there are none.
    """

    spot: float
    forward: dict[np.datetime64, float]
    own: Floats

    def over(self, chain: Chain, at: Ints) -> Floats:
        """The forwards of contracts: where no pair tells it, between those of the expiries around."""
        known = np.array(sorted(self.forward))
        days = (known - np.datetime64(chain.source.date)).astype(np.float64) / 365
        logs = np.log([self.forward[day] / self.spot for day in known])
        return self.spot * np.exp(np.interp(chain.years[at], np.append(0.0, days), np.append(0.0, logs)))


def parity(chain: Chain, pairs: Ints) -> Parity:
    """Forwards F from C - P = D (F - K): the median of D F over strikes near the money, weighted by volume.

    D F is the spot less the dividends until expiry, and one for all expiries between the same two of them. Of American
    options C and P are less what early exercise adds to each by the model, which needs F: four rounds.
    """
    call, put = pairs.T
    strike, discount = chain.strike[call], chain.discounts(call)
    weight = 1 + np.minimum(chain.volume[call], chain.volume[put])
    days = np.array([day for day, _ in chain.source.dividends], "M8[D]")
    alike = np.searchsorted(days, chain.expiry[call], side="right") if len(days) else chain.expiry[call].astype(int)
    early, own, spot = np.zeros((2, len(call))), np.empty(len(call)), 0.0
    forward: dict[np.datetime64, float] = {}
    for _ in range(4 if chain.source.american else 1):
        said = strike * discount + chain.close[call] - early[0] - chain.close[put] + early[1]
        for group in np.unique(alike):
            some = np.flatnonzero(alike == group)
            off = np.abs(np.log(strike[some] * discount[some] / middle(said[some], weight[some])))
            near = some[off <= NEAR] if (off <= NEAR).any() else some
            whole = middle(said[near], weight[near])
            for pair in some.tolist():
                rest = near[near != pair] if (near != pair).any() else some[some != pair]
                own[pair] = middle(said[rest], weight[rest]) if len(rest) else np.nan
                forward[chain.expiry[call[pair]]] = whole / float(discount[pair])
        own /= discount
        spot = spot or _spot(chain, forward)
        if chain.source.american:
            volatility = chain.implied(call, spot, own)
            for side, at in enumerate((call, put)):
                found = chain.contracts(at, spot, own, np.where(np.isnan(volatility), 0.25, volatility))
                added = values_at(found, STILL)[0] - european(found, found.spot)
                early[side] = np.where(np.isnan(volatility), 0.0, added)
    return Parity(spot, forward, own)


def _spot(chain: Chain, forward: dict[np.datetime64, float]) -> float:
    """What the first forward, before any dividend, is worth today; else where the line of their logarithms begins."""
    day = np.array(sorted(forward))
    years = (day - np.datetime64(chain.source.date)).astype(np.float64) / 365
    logs = np.log([forward[one] for one in day])
    if chain.source.dividends:
        return float(np.exp(logs[0] - chain.source.rate * years[0]))
    one, other = np.triu_indices(len(day), 1)
    slope = np.median((logs[other] - logs[one]) / (years[other] - years[one]))
    return float(np.exp(np.median(logs - slope * years)))
