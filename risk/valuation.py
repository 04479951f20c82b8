"""Valuation: what a unit of each symbol gains or loses as the spot that it derives from moves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import elementwise

from risk.amounts import Floats, Ints
from risk.options import Contracts, values_at
from risk.terms import CONVERTIBLE, OPTION, Terms, years_until

#: Volatilities that an implied one is looked for between; without one an option is worth what it is in the money.
_LOWEST, _HIGHEST = 0.01, 10.0
#: A spot that fell further is as good as nothing.
_GONE = -0.99


def contracts_of(what: Terms, spot: Floats, instant: int, rate: float) -> Contracts:
    """Options as they are valued at an instant, microseconds; spot: (n,) dollars; rate: risk-free, a year."""
    return Contracts(
        spot=spot,
        strike=what.strike,
        years=years_until(what.expiry, instant),
        volatility=what.volatility,
        rate=np.full(len(spot), rate),
        dividend_yield=what.dividend_yield,
        sign=what.right,
        american=what.american,
    )


def with_volatility(market: Terms, rows: Ints, instant: int, rate: float) -> tuple[Terms, NDArray[np.bool_]]:
    """The market with a volatility for each option among the symbols at the rows, and (n,) whether it is known.

    Where none is told it is that which the option's price implies. A price that implies none leaves the lowest there
    is, at which an option is worth what it is in the money.
    """
    without = np.flatnonzero((market.type[rows] == OPTION) & np.isnan(market.volatility[rows]))
    known = np.ones(len(rows), np.bool_)
    if not len(without):
        return market, known
    what = market.at(rows[without])
    found = imply_volatility(contracts_of(what, market.price[what.underlying], instant, rate), what.price)
    known[without] = ~np.isnan(found)
    volatility = market.volatility.copy()
    volatility[rows[without]] = np.where(np.isnan(found), _LOWEST, found)
    return replace(market, volatility=volatility), known


def gains(market: Terms, rows: Ints, moves: Floats, instant: int, rate: float) -> Floats:
    """(k, n) dollars that a unit of each symbol gains at (k, n) moves of what underlies it.

    Args:
      market: every symbol; its options have volatilities, which they keep.
      rows: (n,) symbols, each with a price and an underlying with one.
      moves: fractions; below -100% is -100%.
      instant: microseconds. rate: risk-free, a year, continuous.

    What an option gains is what it is then worth above its price.
    """
    moves = np.maximum(moves, -1.0)
    what = market.at(rows)
    out = what.price * moves
    exchanged = what.type == CONVERTIBLE
    if exchanged.any():
        out[:, exchanged] = (market.price[what.underlying] * what.conversion)[exchanged] * moves[:, exchanged]
    option = np.flatnonzero(what.type == OPTION)
    if len(option):
        what, moves = what.at(option), moves[:, option]
        contracts = contracts_of(what, market.price[what.underlying], instant, rate)
        values = values_at(contracts, np.maximum(moves, _GONE))
        nothing = np.where(contracts.american, 1.0, np.exp(-rate * contracts.years)) * contracts.strike
        out[:, option] = np.where(moves > _GONE, values, np.where(contracts.sign < 0, nothing, 0.0)) - what.price
    return out


def imply_volatility(contracts: Contracts, price: Floats) -> Floats:
    """(n,) the volatility at which each contract is worth its price, dollars; NaN where there is none."""
    still = np.zeros(1)

    def excess(volatility: Floats, place: Floats, price: Floats) -> Floats:
        some = replace(contracts.at(place.ravel().astype(np.int64)), volatility=volatility.ravel())
        return values_at(some, still).reshape(volatility.shape) - price

    found = elementwise.find_root(excess, (_LOWEST, _HIGHEST), args=(np.arange(float(len(price))), price))
    return np.where(found.success, found.x, np.nan)
