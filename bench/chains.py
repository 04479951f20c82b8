"""Two real option chains: puts priced from the volatility of the call of the same strike, and whole chains margined.

usage: python -m bench.chains [--whole]

Writes results/DATE-chains.md and docs/rules/chains.svg; docs/rules/chains.md says what the tables mean. --whole also
margins the American chain as one strategy-based account (see there how long that takes).
"""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import QuantLib as ql  # noqa: N813
from scipy.optimize import brentq

from ops.portfolio import calculate
from ops.real import DATA
from risk.amounts import Floats, Ints
from risk.options import Contracts, european, values_at
from risk.valuation import imply_volatility

PAGE = Path(__file__).parents[1] / "docs/rules"
STILL = np.zeros(1)
LEAST_CLOSE, CENTS, SHARE = 0.50, 0.10, 0.02
#: Of the forward: strikes nearer than this tell it.
NEAR = 0.20
#: Of the stock's price, where the price of its option is looked for.
MOVES = np.linspace(-0.04, 0.04, 41)
#: Contracts: below this a day's volume is thin. Dollars of the stock by which a price may lie outside of its day.
THIN, BESIDE = 10, 0.25


@dataclass(frozen=True, slots=True)
class Source:
    """A chain: whose, of which day, and what is stated about it because it is not in the file.

    Attributes:
      rate: a year, continuous: about that of three-month deposits in dollars on that day.
      quoted: whether closes are middles of closing quotes, and need no trade to be current.
      dividends: dates and dollars; none for a yield that accrues.
    """

    name: str
    date: dt.date
    rate: float
    american: bool
    quoted: bool
    instrument_class: str
    dividends: tuple[tuple[dt.date, float], ...] = ()

    @property
    def file(self) -> Path:
        return DATA / f"options_{self.name}_{self.date}.csv.gz"


APPLE = Source(
    "AAPL",
    dt.date(2014, 6, 2),
    0.0023,
    american=True,
    quoted=False,
    instrument_class="equity",
    dividends=(
        *((dt.date(*day), 3.29) for day in ((2014, 8, 7), (2014, 11, 6), (2015, 2, 5))),
        *((dt.date(*day), 3.64) for day in ((2015, 5, 7), (2015, 8, 6), (2015, 11, 5))),
    ),
)
INDEX = Source(
    "SPX", dt.date(2015, 12, 22), 0.0059, american=False, quoted=True, instrument_class="high_cap_broad_index"
)


@dataclass(frozen=True, slots=True)
class Chain:
    """n contracts that have a close, by expiry, strike and right; the vendor's volatility is left out."""

    source: Source
    expiry: np.ndarray
    strike: Floats
    sign: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    @property
    def years(self) -> Floats:
        return (self.expiry - np.datetime64(self.source.date)).astype(np.float64) / 365

    @property
    def traded(self) -> np.ndarray:
        return (self.volume > 0) & (self.close >= LEAST_CLOSE)

    def contracts(self, at: Ints, spot: float, forward: Floats, volatility: Floats) -> Contracts:
        """Those at the places, with the yield that makes each forward."""
        years, n = self.years[at], len(at)
        rate = np.full(n, self.source.rate)
        paid = rate - np.log(forward / spot) / years
        american = np.full(n, self.source.american)
        return Contracts(np.full(n, spot), self.strike[at], years, volatility, rate, paid, self.sign[at], american)

    def values(self, at: Ints, spot: float, forward: Floats, volatility: Floats) -> Floats:
        return values_at(self.contracts(at, spot, forward, volatility), STILL)[0]

    def implied(self, at: Ints, spot: float, forward: Floats) -> Floats:
        return imply_volatility(self.contracts(at, spot, forward, np.full(len(at), 0.3)), self.close[at])

    def discounts(self, at: Ints) -> Floats:
        return np.exp(-self.source.rate * self.years[at])


def read(source: Source) -> Chain:
    """The chain of a source. A row without an expiry is an underlying, at another time than the options' closes."""
    with gzip.open(source.file, "rt") as file:
        rows = [row for row in csv.DictReader(file) if row["#expiry"] and float(row["close"]) > 0]
    rows.sort(key=lambda row: (row["#expiry"], float(row["strike"]), row["right"]))
    days = [f"{row['#expiry'][:4]}-{row['#expiry'][4:6]}-{row['#expiry'][6:8]}" for row in rows]
    column = lambda name: np.array([float(row[name]) for row in rows])  # noqa: E731
    sign = np.array([1.0 if row["right"] == "C" else -1.0 for row in rows])
    names = ("high", "low", "close", "volume")
    return Chain(source, np.array(days, "M8[D]"), column("strike"), sign, *map(column, names))


def pairs_of(chain: Chain, which: np.ndarray) -> Ints:
    """(m, 2) places of the call and the put of a strike, where both are among which."""
    key = chain.expiry.astype(np.int64) * 10_000_000 + np.rint(chain.strike * 100).astype(np.int64)
    call, put = np.flatnonzero(which & (chain.sign > 0)), np.flatnonzero(which & (chain.sign < 0))
    _, one, other = np.intersect1d(key[call], key[put], return_indices=True)
    return np.stack([call[one], put[other]], axis=1)


def _middle(values: Floats, weights: Floats) -> float:
    """The weighted median."""
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


@dataclass(frozen=True, slots=True)
class Parity:
    """What put-call parity says of m pairs.

    Attributes:
      spot: dollars. forward: by expiry. own: (m,) the forward that the other pairs of its expiry say; NaN: there is none.
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
            off = np.abs(np.log(strike[some] * discount[some] / _middle(said[some], weight[some])))
            near = some[off <= NEAR] if (off <= NEAR).any() else some
            whole = _middle(said[near], weight[near])
            for pair in some.tolist():
                rest = near[near != pair] if (near != pair).any() else some[some != pair]
                own[pair] = _middle(said[rest], weight[rest]) if len(rest) else np.nan
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
    """What a forward without a dividend is worth today; else the line of the forwards' logarithms, followed to today."""
    day = np.array(sorted(forward))
    years = (day - np.datetime64(chain.source.date)).astype(np.float64) / 365
    logs = np.log([forward[one] for one in day])
    if chain.source.dividends:
        return float(np.exp(logs[0] - chain.source.rate * years[0]))
    one, other = np.triu_indices(len(day), 1)
    slope = np.median((logs[other] - logs[one]) / (years[other] - years[one]))
    return float(np.exp(np.median(logs - slope * years)))


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


@dataclass(frozen=True, slots=True)
class Legs:
    """Calls and puts of m pairs beside the smooth volatility of their expiry.

    Attributes:
      off: (m, 2) dollars of the close above the smooth value.
      at: (m, 2) the stock's price at which the close is the smooth value; NaN: more than 4% away.
      day: the lowest and the highest price of the stock on that day, from what was paid for the most traded pairs.
      broken: (m,) dollars by which C - P breaks S - PV(dividends) - K <= C - P <= S - D K, which needs no model.
      unlike: (m, 2) whether a close is not monotone, steeper than 1 or not convex beside more traded neighbours.
    """

    off: Floats
    at: Floats
    day: tuple[float, float]
    broken: Floats
    unlike: np.ndarray


def legs(priced: Priced) -> Legs:
    chain, told, pairs = priced.chain, priced.parity, priced.pairs
    active = chain.traded | chain.source.quoted
    forward = told.over(chain, np.arange(len(chain.close)))
    out_of_money = chain.sign * (chain.strike - forward) > -0.02 * forward
    smooth = smile(chain, told, active & out_of_money & (chain.close >= CENTS))
    off, at = np.empty(pairs.shape), np.empty(pairs.shape)
    for side, places in enumerate(pairs.T):
        found = values_at(chain.contracts(places, told.spot, forward[places], smooth[places]), MOVES)
        off[:, side] = chain.close[places] - found[len(MOVES) // 2]
        for row, place in enumerate(places.tolist()):
            sign = chain.sign[place]
            move = np.interp(
                sign * chain.close[place], sign * found[:, row], MOVES, left=np.nan, right=np.nan
            )
            at[row, side] = told.spot * (1 + move)
    call, put = pairs.T
    first = np.flatnonzero(chain.expiry[call] == chain.expiry[call].min())
    most = first[np.argsort(-np.minimum(chain.volume[call[first]], chain.volume[put[first]]), kind="stable")[:5]]
    call, put, strike = call[most], put[most], chain.strike[call[most]]
    day = tuple(
        float(np.median(strike + one[call] - other[put]))
        for one, other in ((chain.low, chain.high), (chain.high, chain.low))
    )
    call, put = pairs.T
    discount, gap = chain.discounts(call), chain.close[call] - chain.close[put]
    least = most_ = (forward[call] - chain.strike[call]) * discount
    if chain.source.american:
        least, most_ = forward[call] * discount - chain.strike[call], told.spot - chain.strike[call] * discount
    broken = gap - np.clip(gap, least, most_)
    unlike = np.stack([_unlike(chain, places, active) for places in pairs.T], axis=1)
    return Legs(off, at, day, broken, unlike)


def _unlike(chain: Chain, places: Ints, active: np.ndarray) -> np.ndarray:
    """Whether each close breaks a bound with the nearest contract on either side that traded more, by over 5 cents."""
    out = np.zeros(len(places), np.bool_)
    for row, place in enumerate(places.tolist()):
        strike, close, sign = chain.strike[place], chain.close[place], chain.sign[place]
        same = active & (chain.expiry == chain.expiry[place]) & (chain.sign == sign)
        same &= chain.volume > chain.volume[place]
        below, above = np.flatnonzero(same & (chain.strike < strike))[-1:], np.flatnonzero(same & (chain.strike > strike))[:1]
        beside = np.concatenate([below, above])
        # What a contract is worth more than the one beside it, of the strikes' distance: 0 to 1.
        rise = sign * (close - chain.close[beside]) * np.sign(chain.strike[beside] - strike)
        out[row] = ((rise < -0.05) | (rise > np.abs(chain.strike[beside] - strike) + 0.05)).any()
        if len(beside) == 2:
            out[row] |= close > np.interp(strike, chain.strike[beside], chain.close[beside]) + 0.05
    return out


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a put is missed: in a word, at what price of the stock a leg last traded, and by what else that shows."""

    name: str
    legs: str
    stock: str
    shown: str


#: What each word and letter means, in the order in which they are tried.
CAUSES = {
    "cents": "off by no more than 10 cents: a tick or two of an option below $5",
    "spread": "closes are middles of quotes: off by less than 0.1% of the dearer leg, well inside of its spread",
    "exercise": "the call's last trade is below what its exercise is worth at the close, so that it implies no volatility",
    "late": "a leg last traded at what it was worth with the stock elsewhere in its range of that day",
    "extreme": "a leg last traded at what it was worth with the stock less than 1% outside of that range",
    "unknown": "none of these",
}
SHOWN = {
    "p": "C - P breaks the parity bounds by more than 10 cents: no model of one stock price gives both closes",
    "n": "the leg breaks a bound (monotone, slope, convex) with a neighbour that traded more",
    "t": "the leg traded fewer than 10 contracts all day",
    "d": "the leg traded at its smooth value on that day, before its last trade",
}


def cause(priced: Priced, found: Legs, row: int) -> Cause:
    """Of the leg further from its smooth value; of both where neither is twice as far as the other."""
    chain, places = priced.chain, priced.pairs[row]
    error, off, at = priced.error[row], np.abs(found.off[row]), found.at[row]
    none = np.isnan(error)
    sides = [0] if none else [side for side in (0, 1) if off[side] * 2 > off[1 - side]]
    which = "both" if len(sides) == 2 else ("call", "put")[sides[0]]
    low, high = found.day
    stock = " ".join(f"{at[side]:.2f}" for side in sides)
    inside = all(low - BESIDE <= at[side] <= high + BESIDE for side in sides)
    wider = all(low * 0.99 <= at[side] <= high * 1.01 for side in sides)
    shown = "p" * (abs(found.broken[row]) > CENTS)
    shown += "n" * bool(found.unlike[row, sides].any()) + "t" * bool((chain.volume[places[sides]] < THIN).any())
    smooth = chain.close[places] - np.array([1, 1]) * found.off[row]
    traded = (chain.low[places] <= smooth) & (smooth <= chain.high[places])
    shown += "d" * bool(traded[sides].all())
    if abs(error) <= CENTS:
        name = "cents"
    elif chain.source.quoted:
        name = "spread" if abs(error) <= 0.001 * chain.close[places].max() else "unknown"
    elif none and inside:
        name = "exercise"
    else:
        name = "late" if inside else "extreme" if wider else "unknown"
    return Cause(name, which, stock, shown)
