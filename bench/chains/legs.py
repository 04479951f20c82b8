"""Calls and puts beside the smooth volatility of their expiry: how far off each is, and where the stock was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.chains.chain import Chain
from bench.chains.puts import Priced
from bench.chains.smile import fair
from risk.amounts import Floats, Ints
from risk.options import values_at

#: Of the stock's price, where the price of its option is looked for.
MOVES: Floats = np.array([step / 500 for step in range(-20, 21)])


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
