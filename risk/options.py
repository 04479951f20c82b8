"""Theoretical values of options: Black-Scholes-Merton, and for early exercise a binomial tree.

The tree is that of Cox, Ross and Rubinstein ("Option pricing: a simplified approach", Journal of Financial Economics 7,
1979), which OCC's TIMS is built on, in the form of Broadie and Detemple (Review of Financial Studies 9, 1996): the step
before the last is Black-Scholes, and two trees are extrapolated (BBSR). It is laid on the forward, so that no rate or
yield can make a probability negative, and it is as wide at its root as the spots that are asked for: one tree a
contract gives the values at all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from risk.amounts import Floats
from risk.columns import Columns

#: Steps of the finer of the two trees, by how hard a contract is; the other has half of them. A tree lets a holder
#: exercise between steps only, and misses what early exercise earns meanwhile: interest, or the dividend, beside the
#: spread of the spot until expiry. So many steps keep that below 0.1% (tests/risk/test_options.py).
STEPS = ((0.04, 48), (0.08, 80), (0.16, 128), (0.24, 192), (np.inf, 320))

#: Contracts whose trees are rolled back together: their layers stay in the processor's cache.
TOGETHER = 256


@dataclass(frozen=True, slots=True)
class Contracts(Columns):
    """n option contracts of one share each.

    Attributes:
      spot, strike: (n,) dollars.
      years: (n,) until expiry, at least 0.
      volatility, rate, dividend_yield: (n,) a year, continuous; volatility above 0.
      sign: (n,) 1.0 for a call, -1.0 for a put.
      american: (n,) whether it may be exercised early.
    """

    spot: Floats
    strike: Floats
    years: Floats
    volatility: Floats
    rate: Floats
    dividend_yield: Floats
    sign: Floats
    american: NDArray[np.bool_]

    def columns(self) -> Floats:
        """(8, n) all that is told of them."""
        return np.stack([getattr(self, name) for name in self.__slots__]).astype(np.float64)


def values_at(contracts: Contracts, moves: Floats) -> Floats:
    """(k, n) dollars of n contracts at moves of their spots, fractions; volatility and time as they are.

    moves: (k,) the same for all, or (k, n); above -1.

    An American call without a dividend is worth what the European one is, for exercise gives its time value away.
    """
    moves = np.broadcast_to(moves if moves.ndim == 2 else moves[:, None], (len(moves), len(contracts.spot)))
    out = european(contracts, contracts.spot * (1.0 + moves))
    early = contracts.american & (contracts.years > 0) & ((contracts.sign < 0) | (contracts.dividend_yield > 0))
    early &= (contracts.sign > 0) | (contracts.rate > 0)
    spread = contracts.volatility * np.sqrt(contracts.years)
    earns = np.maximum(contracts.rate, contracts.dividend_yield) * contracts.years
    hard = np.divide(earns, spread, out=np.zeros_like(spread), where=early)
    for (easier, _), (limit, steps) in pairwise(((0.0, 0), *STEPS)):
        places = np.flatnonzero(early & (hard >= easier) & (hard < limit))
        # Trees of about the same width together.
        places = places[np.argsort(spread[places])]
        for first in range(0, len(places), TOGETHER):
            some = places[first : first + TOGETHER]
            out[:, some] = _american(contracts.at(some), moves[:, some], steps)
    return out


def european(contracts: Contracts, spots: Floats) -> Floats:
    """Black-Scholes-Merton values, dollars, of n contracts at (..., n) spots; intrinsic at expiry."""
    c = contracts
    forward = spots * np.exp((c.rate - c.dividend_yield) * c.years)
    deviation = c.volatility * np.sqrt(c.years)
    return np.exp(-c.rate * c.years) * _black(forward, c.strike, deviation, c.sign)


def _black(forward: Floats, strike: Floats, deviation: Floats, sign: Floats) -> Floats:
    """Undiscounted, at a standard deviation of the logarithm until expiry."""
    # It takes 10 MB, which a day without options need not pay.
    from scipy.special import ndtr

    with np.errstate(divide="ignore", invalid="ignore"):
        d1 = np.log(forward / strike) / deviation + 0.5 * deviation
    value = sign * (forward * ndtr(sign * d1) - strike * ndtr(sign * (d1 - deviation)))
    return np.where(deviation > 0, value, np.maximum(sign * (forward - strike), 0.0))


def _american(contracts: Contracts, moves: Floats, steps: int) -> Floats:
    """(k, n) values at (k, n) moves: the European one, and what exercise adds to it by two trees, extrapolated."""
    spots = contracts.spot * (1.0 + moves)
    exercised, without = contracts.sign * (spots - contracts.strike), european(contracts, spots)
    fine, coarse = (_premium(contracts, moves, count) for count in (steps, steps // 2))
    # Where one tree exercises the price is next to where both would, and there is no error to extrapolate.
    alive = np.isfinite(fine) & np.isfinite(coarse)
    extra = np.subtract(2.0 * fine, coarse, out=np.zeros_like(fine), where=alive)
    return np.where(alive, np.maximum(without + np.maximum(extra, 0.0), exercised), exercised)


def _premium(contracts: Contracts, moves: Floats, steps: int) -> Floats:
    """(k, n) what early exercise adds by a tree, the value with it less that without, whose errors are alike.

    Infinite where the option is exercised at once.
    """
    c = contracts
    step = c.years / steps
    up = c.volatility * np.sqrt(step)  # of the logarithm
    carry = (c.rate - c.dividend_yield) * step
    discount = np.exp(-c.rate * step)
    # Of the forward, which has no drift: (1 - 1/u) / (u - 1/u).
    above = discount / (1.0 + np.exp(up))
    below = discount - above
    # The root has a node each two ups, and beyond the widest spot as many as a cubic needs on either side of it.
    places = np.log1p(moves) / (2.0 * up)
    reach = int(np.ceil(np.abs(places).max())) + 4
    nodes = 2 * reach + 1 + (steps - 1)
    # Spots, as of today's forward, of the last layer but one; those of every other layer stand between them.
    grid = c.spot * np.exp(up * (2 * np.arange(nodes) - (nodes - 1))[:, None])
    between = grid[:-1] * np.exp(up)
    spots = grid * np.exp(carry * (steps - 1))
    held = discount * _black(spots * np.exp(carry), c.strike, up, c.sign)
    value = np.maximum(held, c.sign * (spots - c.strike))
    signed_strike = c.sign * c.strike
    for narrower in range(1, steps):
        nodes_of, edge = (between, narrower // 2) if narrower % 2 else (grid, narrower // 2)
        exercise = nodes_of[edge : len(nodes_of) - edge] * (c.sign * np.exp(carry * (steps - 1 - narrower)))
        exercise -= signed_strike
        held, value = _back(held, above, below), _back(value, above, below)
        np.maximum(value, exercise, out=value)
    # A value bends where exercise begins, so no cubic is laid across. Nodes count from the one at today's spot: what a
    # contract is worth must not depend on how wide its tree is, or on the contracts beside it.
    alive = (value > exercise).sum(axis=0)
    lowest = np.where(c.sign < 0, len(value) - alive, 0) - reach
    highest = np.where(c.sign < 0, len(value), alive) - reach
    first = np.minimum(np.maximum(np.floor(places).astype(np.int64) - 1, lowest), highest - 4)
    premium = _interpolated(value - held, places - first, np.clip(first + reach, 0, len(value) - 4))
    return np.where((places > lowest - 1) & (places < highest), premium, np.inf)


def _back(value: Floats, above: Floats, below: Floats) -> Floats:
    """A layer from the one behind it; what that was is used up."""
    before = value[1:] * above
    value = value[:-1]
    value *= below
    before += value
    return before


def _interpolated(value: Floats, x: Floats, first: NDArray[np.int64]) -> Floats:
    """(k, n) of (nodes, n) values, by the cubic through four nodes from the first on; x counts nodes from the first."""
    four = [np.take_along_axis(value, first + n, axis=0) for n in range(4)]
    return (
        -four[0] * (x - 1) * (x - 2) * (x - 3) / 6
        + four[1] * x * (x - 2) * (x - 3) / 2
        - four[2] * x * (x - 1) * (x - 3) / 2
        + four[3] * x * (x - 1) * (x - 2) / 6
    )
