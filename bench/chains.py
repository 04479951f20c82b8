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
MOVES: Floats = np.array([step / 500 for step in range(-20, 21)])
#: Contracts: below this a day's volume is thin. Dollars of the stock that are next to nothing.
THIN, BESIDE = 10, 0.25
VOLUMES = ((1, 10), (10, 30), (30, 100), (100, 300), (300, 1000), (1000, np.inf))


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

    @property
    def active(self) -> np.ndarray:
        """Whose closes are of the day."""
        return (self.volume > 0) | self.source.quoted

    def out_of_money(self, forward: Floats) -> np.ndarray:
        """Or less than 2% in it."""
        return self.sign * (self.strike - forward) > -0.02 * forward

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
    """What the first forward, before any dividend, is worth today; else where the line of their logarithms begins."""
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


def fair(chain: Chain, told: Parity) -> Floats:
    """(n,) the smooth volatilities of options out of the money, which a late trade moves least."""
    out_of_money = chain.out_of_money(told.over(chain, np.arange(len(chain.close))))
    return smile(chain, told, chain.active & out_of_money & (chain.close >= LEAST_CLOSE))


@dataclass(frozen=True, slots=True)
class Legs:
    """Calls and puts of m pairs beside the smooth volatility of their expiry.

    Attributes:
      off: (m, 2) dollars of the close above the smooth value.
      at: (m, 2) the stock's price at which the close is the smooth value; NaN: more than 4% away.
      day: the lowest and the highest price of the stock on that day, from what was paid for the most traded pairs.
      broken: (m,) dollars by which C - P breaks S - PV(dividends) - K <= C - P <= S - D K, which needs no model.
      unlike: (m, 2) whether a close is not monotone, steeper than 1 or not convex beside more traded neighbours.
      noise: (m,) deviation, dollars, of closes in the money from smooth values, in the expiry of each pair.
    """

    off: Floats
    at: Floats
    day: tuple[float, float]
    broken: Floats
    unlike: np.ndarray
    noise: Floats


def legs(priced: Priced) -> Legs:
    chain, told, pairs = priced.chain, priced.parity, priced.pairs
    forward, smooth = told.over(chain, np.arange(len(chain.close))), fair(chain, told)
    inside = chain.active & ~chain.out_of_money(forward)
    known = np.flatnonzero(~np.isnan(smooth))
    values = np.full((len(MOVES), len(smooth)), np.nan)
    values[:, known] = values_at(chain.contracts(known, told.spot, forward[known], smooth[known]), MOVES)
    off = chain.close - values[len(MOVES) // 2]
    move = np.full(len(smooth), np.nan)
    for place in np.unique(pairs).tolist():
        sign = chain.sign[place]
        looked, valued = sign * chain.close[place], sign * values[:, place]
        move[place] = np.interp(looked, valued, MOVES, left=np.nan, right=np.nan)
    call, put = pairs.T
    first = np.flatnonzero(chain.expiry[call] == chain.expiry[call].min())
    most = first[np.argsort(-np.minimum(chain.volume[call[first]], chain.volume[put[first]]), kind="stable")[:5]]
    # The lowest call and the highest put are of the same moment: that of the lowest stock.
    lowest = chain.strike[call] + chain.low[call] - chain.high[put]
    highest = chain.strike[call] + chain.high[call] - chain.low[put]
    discount, gap = chain.discounts(call), chain.close[call] - chain.close[put]
    least = greatest = (forward[call] - chain.strike[call]) * discount
    if chain.source.american:
        least, greatest = forward[call] * discount - chain.strike[call], told.spot - chain.strike[call] * discount
    days = np.unique(chain.expiry[call])
    noise = {day: 1.4826 * np.nanmedian(np.abs(off[inside & (chain.expiry == day)])) for day in days}
    return Legs(
        off=off[pairs],
        at=told.spot * (1 + move[pairs]),
        day=(float(np.median(lowest[most])), float(np.median(highest[most]))),
        broken=gap - np.clip(gap, least, greatest),
        unlike=np.stack([_unlike(chain, side) for side in (call, put)], axis=1),
        noise=np.array([noise[day] for day in chain.expiry[call]]),
    )


def _unlike(chain: Chain, places: Ints) -> np.ndarray:
    """Whether each close breaks a bound with the nearest contract on either side that traded more, by over 5 cents."""
    out = np.zeros(len(places), np.bool_)
    for row, place in enumerate(places.tolist()):
        strike, close, sign = chain.strike[place], chain.close[place], chain.sign[place]
        same = chain.active & (chain.expiry == chain.expiry[place]) & (chain.sign == sign)
        same &= chain.volume > chain.volume[place]
        below, above = np.flatnonzero(same & (chain.strike < strike)), np.flatnonzero(same & (chain.strike > strike))
        beside = np.concatenate([below[-1:], above[:1]])
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
    "cents": "off by no more than 10 cents: a tick or two of a put below $5",
    "quote": "closes are middles of quotes: within three deviations of those in the money from a smooth curve",
    "exercise": "the call's last trade is below what it is worth exercised at the close: it implies no volatility",
    "near": "the leg last traded as with the stock within 25 cents of its close: late, or at one side of a quote",
    "late": "the leg last traded at what it was worth with the stock elsewhere in its range of that day",
    "extreme": "the same, with the stock less than 1% outside of that range: late, and bought or sold at a wide quote",
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
    sides = [0] if np.isnan(error) else [side for side in (0, 1) if off[side] * 2 > off[1 - side]]
    low, high = found.day
    inside = all(low - BESIDE <= at[side] <= high + BESIDE for side in sides)
    around = all(low * 0.99 <= at[side] <= high * 1.01 for side in sides)
    if abs(error) <= CENTS:
        name = "cents"
    elif chain.source.quoted:
        name = "quote" if abs(error) <= 3 * found.noise[row] else "unknown"
    elif np.isnan(error) and inside:
        name = "exercise"
    elif all(abs(at[side] - priced.parity.spot) <= BESIDE for side in sides):
        name = "near"
    else:
        name = "late" if inside else "extreme" if around else "unknown"
    smooth = chain.close[places] - found.off[row]
    traded = (chain.low[places] <= smooth) & (smooth <= chain.high[places])
    signs = {
        "p": abs(found.broken[row]) > CENTS,
        "n": found.unlike[row, sides].any(),
        "t": not chain.source.quoted and (chain.volume[places[sides]] < THIN).any(),
        "d": not chain.source.quoted and traded[sides].all(),
    }
    which = "both" if len(sides) == 2 else ("call", "put")[sides[0]]
    stock = " ".join(f"{at[side]:.2f}" for side in sides)
    return Cause(name, which, stock, "".join(letter for letter, is_so in signs.items() if is_so))


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
            scale -= _middle(found[told], weight[told]) / total
        errors[rows] = errors_of(rows, expiry, scale)
    return some, errors


KINDS = {
    "short": "short one of each contract that traded",
    "hedged": "the same, and long what underlies each call",
    "alternating": "short one and long one in turn, along the strikes of each expiry and right",
}


def account(priced: Priced, kind: str, margin_type: str, expiry: np.datetime64 | None = None) -> dict[str, Any]:
    """A document that holds the chain, or an expiry of it. What underlies the index is SPY at a tenth of it."""
    chain, told, source = priced.chain, priced.parity, priced.chain.source
    last = max(told.forward)
    years = float((last - np.datetime64(source.date)).astype(np.float64)) / 365
    own = {
        "type": "STOCK" if source.american else "INDEX",
        "class": source.instrument_class,
        "price": round(told.spot, 2),
        "dividend_yield": round(source.rate - np.log(told.forward[last] / told.spot) / years, 4),
    }
    instruments: dict[str, Any] = {source.name: own}
    which = chain.volume > 0 if expiry is None else (chain.volume > 0) & (chain.expiry == expiry)
    positions = []
    places = np.flatnonzero(which)
    for turn, at in enumerate(places[np.lexsort((chain.strike[places], chain.sign[places], chain.expiry[places]))]):
        right = "CALL" if chain.sign[at] > 0 else "PUT"
        symbol = f"{source.name} {chain.expiry[at]} {chain.strike[at]:g} {right}"
        instruments[symbol] = {
            "type": "OPTION",
            "underlying": source.name,
            "right": right,
            "strike": float(chain.strike[at]),
            "expiry": str(chain.expiry[at]),
            "price": float(chain.close[at]),
        }
        positions.append({"symbol": symbol, "quantity": 1 if kind == "alternating" and turn % 2 else -1})
    if kind == "hedged":
        calls, hedge = int((chain.sign[places] > 0).sum()), source.name if source.american else "SPY"
        if not source.american:
            price = round(told.spot / 10, 2)
            instruments[hedge] = {"type": "ETF", "class": source.instrument_class, "price": price}
        positions.append({"symbol": hedge, "quantity": calls * (100 if source.american else 1_000)})
    return {
        "rulebook": "finra-4210",
        "as_of": str(source.date),
        "account": {"margin_type": margin_type, "cash": 10_000_000},
        "market": {"risk_free_rate": source.rate},
        "instruments": instruments,
        "positions": positions,
    }


@dataclass(frozen=True, slots=True)
class Margined:
    """What accounts require together, in dollars; exact: whether the lines of each sum to its requirement."""

    contracts: int
    requirement: float
    minimum: float
    lines: int
    pairings: int
    seconds: float
    exact: bool


def margin(documents: Sequence[dict[str, Any]]) -> Margined:
    begun, found = time.perf_counter(), [calculate(document) for document in documents]
    seconds = time.perf_counter() - begun
    ticks = [round(one["maintenance_requirement"] * 10_000) for one in found]
    held = [[name for name in (p["symbol"] for p in one["positions"]) if " " in name] for one in documents]
    return Margined(
        contracts=sum(map(len, held)),
        requirement=sum(ticks) / 10_000,
        minimum=sum(one["portfolio_margin"]["minimum_charge"] for one in found),
        lines=sum(len(one["lines"]) for one in found),
        pairings=sum(len(one["pairings"] or []) for one in found),
        seconds=seconds,
        exact=ticks == [sum(round(line["requirement"] * 10_000) for line in one["lines"]) for one in found],
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def _spread(error: Floats, close: Floats) -> list[str]:
    """Median, 90%, 99% and worst, in dollars and in per cent; how many are within and how many beyond either."""
    size = np.abs(error)
    dollars, share = (np.quantile(one, [0.5, 0.9, 0.99, 1.0]) for one in (size, size / close))
    beyond = size > CENTS, size > SHARE * close
    miss, strict = int((beyond[0] & beyond[1]).sum()), int((beyond[0] | beyond[1]).sum())
    return [
        "; ".join(f"{one:.2f}" for one in dollars),
        "; ".join(f"{one:.1%}" for one in share),
        f"{len(size) - miss} ({1 - miss / len(size):.0%})",
        f"{len(size) - strict} ({1 - strict / len(size):.0%})",
    ]


def distribution(studies: dict[str, Priced]) -> str:
    rows = []
    for name, priced in studies.items():
        known, put = ~np.isnan(priced.error), priced.chain.close[priced.pairs[:, 1]]
        rows.append([name, len(known), int((~known).sum()), *_spread(priced.error[known], put[known])])
        if len(known) == 1:
            continue
        if not priced.chain.source.quoted:
            found, least = legs(priced), np.minimum(*priced.chain.volume[priced.pairs].T)
            for low, high in VOLUMES:
                some = known & (least >= low) & (least < high)
                size = f"{low} to {high - 1}" if high < np.inf else f"{low} and more"
                none = int((~known & (least >= low) & (least < high)).sum())
                rows.append(
                    [f"of {size} contracts a side", some.sum() + none, none, *_spread(priced.error[some], put[some])]
                )
            some = known & (np.abs(found.broken) <= CENTS)
            rows.append(
                ["within the parity bounds by 10 cents", some.sum(), 0, *_spread(priced.error[some], put[some])]
            )
        at, by_call, by_put = smooth_puts(priced)
        close = priced.chain.close[at]
        rows.append(["traded puts from the smooth volatility of calls", len(at), 0, *_spread(by_call - close, close)])
        near = np.abs(np.log(priced.chain.strike[at] / priced.parity.over(priced.chain, at))) < 0.05
        both = by_put[near], by_call[near]
        rows.append(
            ["smooth puts from smooth calls, within 5% of F", near.sum(), 0, *_spread(both[1] - both[0], both[0])]
        )
        if priced.chain.source.dividends:
            some, cash = cash_dividends(priced)
            some &= known & ~np.isnan(cash)
            rows.append(["pairs with a dividend: as a yield", some.sum(), 0, *_spread(priced.error[some], put[some])])
            rows.append(["the same: in cash (QuantLib)", some.sum(), 0, *_spread(cash[some], put[some])])
            for rate in (0.0, 2 * priced.chain.source.rate):
                again = price_puts(replace(priced.chain, source=replace(priced.chain.source, rate=rate)))
                some = ~np.isnan(again.error)
                name = f"all pairs at a rate of {rate:.2%}"
                rows.append([name, len(some), (~some).sum(), *_spread(again.error[some], put[some])])
    heads = ("pairs", "number", "no volatility", "$: median; 90%; 99%; worst", "of the put's close: the same")
    return _table((*heads, "within 10 cents or 2%", "within both"), rows)


def forwards(priced: Priced) -> str:
    """By expiry: its pairs, the forward, and what the spread of single pairs is around it."""
    chain, call = priced.chain, priced.pairs[:, 0]
    rows = []
    for day, forward in sorted(priced.parity.forward.items()):
        some = chain.expiry[call] == day
        error = np.abs(priced.error[some & ~np.isnan(priced.error)])
        middle = f"{np.median(error):.2f}" if len(error) else ""
        rows.append([day, int(some.sum()), f"{forward:.2f}", middle])
    return _table(("expiry", "pairs", "forward", "median error, $"), rows)


def lateness(priced: Priced) -> str:
    """By volume of a leg: how far from its close the stock was at the leg's last trade, by the smooth volatility."""
    rows, volume = [], priced.chain.volume[priced.pairs]
    away = np.abs(legs(priced).at - priced.parity.spot)
    for low, high in VOLUMES:
        some = (volume >= low) & (volume < high) & ~np.isnan(away)
        middle, most = np.quantile(away[some], [0.5, 0.9])
        rows.append([low, some.sum(), f"{middle:.2f}", f"{most:.2f}", f"{(away[some] <= BESIDE).mean():.0%}"])
    return _table(("contracts traded, at least", "legs", "median, $", "90%, $", "within 25 cents"), rows)


def misses(priced: Priced) -> Iterator[tuple[int, str, Cause]]:
    """Each pair beyond 10 cents or 2%: its row, which of them, its cause."""
    found, (cents, share) = legs(priced), priced.beyond
    for row in np.flatnonzero(cents | share).tolist():
        beyond = "both" if cents[row] and share[row] else "10 cents" if cents[row] else "2%"
        yield row, beyond, cause(priced, found, row)


def every_miss(priced: Priced) -> str:
    rows, chain = [], priced.chain
    for row, beyond, why in misses(priced):
        call, put = priced.pairs[row]
        error = priced.error[row]
        told = (
            ["", "", ""]
            if np.isnan(error)
            else [f"{priced.value[row]:.2f}", f"{error:+.2f}", f"{error / chain.close[put]:+.1%}"]
        )
        volumes = f"{chain.volume[call]:.0f} {chain.volume[put]:.0f}"
        head = [chain.expiry[put], f"{chain.strike[put]:g}", f"{chain.close[call]:.2f}", f"{chain.close[put]:.2f}"]
        rows.append([*head, *told, beyond, volumes, f"{why.name}: {why.legs}", why.stock, why.shown])
    heads = ("expiry", "strike", "call", "put", "put by the model", "error", "of the put", "beyond", "volumes")
    return _table((*heads, "cause", "stock at", "shown by"), rows)


def causes(studies: dict[str, Priced]) -> str:
    counts: dict[tuple[str, str], list[int]] = {}
    for name, priced in studies.items():
        for _, beyond, why in misses(priced):
            count = counts.setdefault((name, f"{why.name}: {why.legs}"), [0] * 4)
            both = beyond == "both"
            for place, so in enumerate(
                (True, both, both and "p" in why.shown, both and bool(set("pn") & set(why.shown)))
            ):
                count[place] += so
    rows = [[*key, *count] for key, count in sorted(counts.items())]
    return _table(("pairs", "cause", "beyond either", "beyond both", "of these p", "of these p or n"), rows)


def margins(studies: Sequence[Priced], *, whole: bool) -> str:
    """Each account in both regimes. A whole American chain is too much for one pairing: an account an expiry."""
    rows = []
    for priced in studies:
        chain = priced.chain
        days = np.unique(chain.expiry[chain.volume > 0])
        for kind in KINDS:
            for regime in ("PORTFOLIO", "STRATEGY"):
                by_expiry = [account(priced, kind, regime, day) for day in days]
                cases = {f"{len(days)}": by_expiry}
                if regime == "PORTFOLIO" or chain.source.quoted or (whole and kind != "alternating"):
                    cases["1"] = [account(priced, kind, regime)]
                for count, documents in cases.items():
                    row: list[object] = [f"{chain.source.name}, {kind}", regime, count]
                    try:
                        found = margin(documents)
                    except RuntimeError as error:
                        rows.append([*row, f"fails: {error}", *[""] * 5])
                        continue
                    assert found.exact
                    amounts = [f"{found.requirement:,.2f}", f"{found.minimum:,.2f}", found.lines, found.pairings]
                    rows.append([*row, found.contracts, *amounts, f"{found.seconds:.1f}"])
                    print(*rows[-1], flush=True)
    heads = ("account", "regime", "accounts", "contracts", "requirement, $", "minimum charge, $", "lines", "pairings")
    return _table((*heads, "seconds"), rows)


def _panel(
    at: tuple[int, int], title: str, axes: tuple[str, str], dots: dict[str, tuple[Floats, Floats]], line: Any
) -> str:
    """A plot of 440 by 300 as SVG: dots by colour, and a line."""
    x, y = (np.concatenate([each[side] for each in dots.values()]) for side in (0, 1))
    spans = [(float(one.min()), float(one.max())) for one in (x, y)]
    place = lambda value, side: (value - spans[side][0]) / (spans[side][1] - spans[side][0] or 1.0)  # noqa: E731
    across, up = (lambda value: 50 + 370 * place(value, 0)), (lambda value: 260 - 220 * place(value, 1))
    out = [f'<g transform="translate({at[0]} {at[1]})"><text x="50" y="22" font-size="14">{title}</text>']
    out.append('<path d="M50 40V260H420" fill="none" stroke="#888"/>')
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        one, other = (low + share * (high - low) for low, high in spans)
        out.append(f'<text x="{across(one):.0f}" y="275" text-anchor="middle">{one:.4g}</text>')
        out.append(f'<text x="45" y="{up(other) + 4:.0f}" text-anchor="end">{other:.3g}</text>')
    out.append(f'<text x="420" y="291" text-anchor="end">{axes[0]}</text><text x="50" y="37">{axes[1]}</text>')
    for number, (name, (xs, ys)) in enumerate(dots.items()):
        colour = ("#1f6fb4", "#d9541e")[number % 2]
        out += [
            f'<circle cx="{across(a):.1f}" cy="{up(b):.1f}" r="2.2" fill="{colour}" fill-opacity="0.7"/>'
            for a, b in zip(xs.tolist(), ys.tolist(), strict=True)
        ]
        out.append(f'<text x="{420 - 70 * number}" y="37" text-anchor="end" fill="{colour}">{name}</text>')
    if line is not None:
        path = " ".join(f"{across(a):.1f},{up(b):.1f}" for a, b in zip(*line, strict=True))
        out.append(f'<polyline points="{path}" fill="none" stroke="#333"/>')
    return "\n".join([*out, "</g>"])


def picture(shown: Sequence[tuple[Priced, str]]) -> str:
    """Of each chain the implied volatilities of one expiry by strike, and the errors of all of its puts."""
    parts = []
    for number, (priced, day) in enumerate(shown):
        chain, told, name = priced.chain, priced.parity, priced.chain.source.name
        forward, smooth = told.over(chain, np.arange(len(chain.close))), fair(chain, told)
        some = np.flatnonzero(chain.active & (chain.expiry == np.datetime64(day)) & (chain.close >= LEAST_CLOSE))
        some = some[np.abs(np.log(chain.strike[some] / forward[some])) < 1.5 * NEAR]
        found = chain.implied(some, told.spot, forward[some])
        some, found = some[~np.isnan(found)], found[~np.isnan(found)]
        dots = {
            side: (chain.strike[some][chain.sign[some] == sign], found[chain.sign[some] == sign])
            for side, sign in (("calls", 1.0), ("puts", -1.0))
        }
        line = chain.strike[some], smooth[some]
        parts.append(_panel((0, 310 * number), f"{name} {day}", ("strike", "implied volatility"), dots, line))
        known = ~np.isnan(priced.error)
        least = np.log10(1 + np.minimum(*chain.volume[priced.pairs[known]].T))
        errors = {"error": (least, priced.error[known])}
        if chain.source.quoted:
            at, by_call, _ = smooth_puts(priced)
            errors = {"error": (np.log10(1 + chain.volume[at]), by_call - chain.close[at])}
        title = f"{name}: errors of puts" + (" from smooth calls" if chain.source.quoted else "")
        parts.append(_panel((450, 310 * number), title, ("log10 of contracts traded", "$"), errors, None))
    style = 'font-family="sans-serif" font-size="10" viewBox="0 0 900 620" width="900" height="620"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {style}>\n<rect width="900" height="620" fill="#fff"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def main() -> None:
    """Price, margin, print the tables and keep them."""
    missing = [str(source.file) for source in (APPLE, INDEX) if not source.file.is_file()]
    if missing:
        sys.exit(f"error: the real option chains are absent: {', '.join(missing)}")
    index, apple = read(INDEX), read(APPLE)
    quoted = price_puts(index, index.close >= LEAST_CLOSE)
    studies = {"AAPL, traded": price_puts(apple), "SPX, traded": price_puts(index), "SPX, quoted": quoted}
    for chain in (apple, index):
        calls = chain.sign > 0
        print(f"{chain.source.name}: {len(chain.close)} contracts with a close, {(chain.volume > 0).sum()} traded, ")
        print(f"{(chain.traded & calls).sum()} calls and {(chain.traded & ~calls).sum()} puts of $0.50 or more")
    parts = {
        "Errors": distribution(studies),
        "Forwards, AAPL": f"spot {studies['AAPL, traded'].parity.spot:.2f}\n\n" + forwards(studies["AAPL, traded"]),
        "Forwards, SPX": f"spot {quoted.parity.spot:.2f}\n\n" + forwards(quoted),
        "The stock at the last trade, AAPL": lateness(studies["AAPL, traded"]),
        "Causes": causes(studies),
        "Margin": margins((studies["AAPL, traded"], quoted), whole="--whole" in sys.argv),
        "Every miss, AAPL": every_miss(studies["AAPL, traded"]),
        "Every miss, SPX": every_miss(quoted),
    }
    text = "\n".join(f"## {title}\n\n{part}" for title, part in parts.items())
    print(text)
    (Path(__file__).with_name("results") / f"{dt.datetime.now(dt.UTC).date()}-chains.md").write_text(text)
    (PAGE / "chains.svg").write_text(picture([(studies["AAPL, traded"], "2014-10-18"), (quoted, "2016-02-19")]))


if __name__ == "__main__":
    main()
