"""Why puts are missed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bench.chains.legs import Legs, legs
from bench.chains.puts import CENTS, Priced

#: Contracts: below this a day's volume is thin. Dollars of the stock that are next to nothing.
THIN, BESIDE = 10, 0.25


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


def misses(priced: Priced) -> Iterator[tuple[int, str, Cause]]:
    """Each pair beyond 10 cents or 2%: its row, which of them, its cause."""
    found, (cents, share) = legs(priced), priced.beyond
    for row in np.flatnonzero(cents | share).tolist():
        beyond = "both" if cents[row] and share[row] else "10 cents" if cents[row] else "2%"
        yield row, beyond, cause(priced, found, row)
