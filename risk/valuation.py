"""Valuation: what a unit of each symbol gains or loses as the spot that it derives from moves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import elementwise

from risk.amounts import Floats, Ints
from risk.block import AccountBlock
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


def with_volatilities(block: AccountBlock) -> tuple[AccountBlock, NDArray[np.bool_]]:
    """The block with a volatility for each option that it holds, and (p,) whether it is told or implied.

    Where none is told it is that which the option's price implies. A price that implies none leaves the lowest there
    is, at which an option is worth what it is in the money.
    """
    market, known = block.terms, np.ones(len(block.symbols), np.bool_)
    assert market is not None
    held = np.flatnonzero((market.type[block.symbols] == OPTION) & ~block.unpriced)
    rows = np.unique(block.symbols[held])
    rows = rows[np.isnan(market.volatility[rows])]
    if not len(rows):
        return block, known
    what, volatility = market.at(rows), market.volatility.copy()
    contracts = contracts_of(what, market.price[what.underlying], block.instant, block.rules.risk_free_rate)
    found = imply_volatility(contracts, what.price)
    volatility[rows] = np.where(np.isnan(found), _LOWEST, found)
    known[held] = ~np.isin(block.symbols[held], rows[np.isnan(found)])
    return replace(block, terms=replace(market, volatility=volatility)), known


def gains(block: AccountBlock, at: Ints, moves: Floats) -> Floats:
    """(k, n) dollars that a unit of each position gains as what underlies it moves.

    Args:
      block: its options have volatilities, which they keep.
      at: (n,) places of positions that have a price.
      moves: (k, symbols) of what underlies each symbol, fractions; below -100% is -100%.

    What an option gains is what it is then worth above its price; what a convertible gains, what it converts into does.
    """
    market = block.terms
    assert market is not None
    rows, price = block.symbols[at], block.price[at]
    what = market.at(rows)
    move = np.maximum(moves[:, rows], -1.0)
    worth = np.where(what.type == CONVERTIBLE, market.price[what.underlying] * what.conversion, price)
    out = np.where(np.isnan(worth), price, worth) * move
    option = np.flatnonzero(what.type == OPTION)
    if len(option):
        symbols, row = np.unique(rows[option], return_inverse=True)
        values = _values(market.at(symbols), market, np.maximum(moves[:, symbols], -1.0), block)
        out[:, option] = values[:, row] - price[option]
    return out


def _values(what: Terms, market: Terms, moves: Floats, block: AccountBlock) -> Floats:
    """(k, n) dollars that options are worth at (k, n) moves of their spots."""
    rate = block.rules.risk_free_rate
    contracts = contracts_of(what, market.price[what.underlying], block.instant, rate)
    values = values_at(contracts, np.maximum(moves, _GONE))
    nothing = np.where(contracts.american, 1.0, np.exp(-rate * contracts.years)) * contracts.strike
    return np.where(moves > _GONE, values, np.where(contracts.sign < 0, nothing, 0.0))


def imply_volatility(contracts: Contracts, price: Floats) -> Floats:
    """(n,) the volatility at which each contract is worth its price, dollars; NaN where there is none."""
    still = np.zeros(1)

    def excess(volatility: Floats, place: Floats, price: Floats) -> Floats:
        some = replace(contracts.at(place.ravel().astype(np.int64)), volatility=volatility.ravel())
        return values_at(some, still).reshape(volatility.shape) - price

    found = elementwise.find_root(excess, (_LOWEST, _HIGHEST), args=(np.arange(float(len(price))), price))
    return np.where(found.success, found.x, np.nan)
