"""Valuation: what a unit of each symbol gains or loses as the spot that it derives from moves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from risk.amounts import Floats, Ints, ticks
from risk.block import AccountBlock, distinct
from risk.memo import asked_columns
from risk.options import Contracts, values_at
from risk.terms import CONVERTIBLE, OPTION, SECURITY_FUTURE, Terms, years_until

#: Volatilities that an implied one is looked for between; without one an option is worth what it is in the money.
LOWEST, _HIGHEST = 0.01, 10.0
#: Microseconds: theoretical values are those of the minute's beginning, for most ticks leave most options as they were.
_MINUTE = 60_000_000
#: A spot that fell further is as good as nothing.
_GONE = -0.99


def worth_of(block: AccountBlock) -> Floats:
    """(p,) ticks of each position at market; a future is settled every day, so that what it is worth is in the cash."""
    values = np.where(block.unpriced, 0.0, ticks(block.values))
    if block.terms is None:
        return values
    return np.where(block.terms.type[block.symbols] == SECURITY_FUTURE, 0.0, values)


def contracts_of(what: Terms, spot: Floats, instant: int, rate: float) -> Contracts:
    """Options as they are valued at an instant, microseconds; spot: (n,) dollars; rate: risk-free, a year."""
    return Contracts(
        spot=spot,
        strike=what.strike,
        years=years_until(what.expiry, instant - instant % _MINUTE),
        volatility=what.volatility,
        rate=np.full(len(spot), rate),
        dividend_yield=what.dividend_yield,
        sign=what.right,
        american=what.american,
    )


def with_volatilities(block: AccountBlock) -> AccountBlock:
    """The block with a volatility for each option, which it keeps as prices move.

    Where none is told it is that which the option's price implies. A price that implies none leaves the lowest there
    is, at which an option is worth what it is in the money.
    """
    market = block.terms
    assert market is not None
    if block.volatility is not None:
        return block
    volatility = market.volatility[block.symbols]
    without = np.flatnonzero(block.is_option() & ~block.unpriced & np.isnan(volatility))
    if len(without):
        # Where there is no quote an account's own last fill says the price.
        pairs = np.stack([block.symbols[without], block.price[without]])
        (rows, price), of = distinct(pairs)
        what = market.at(rows.astype(np.int64))
        contracts = contracts_of(what, market.price[what.underlying], block.instant, block.rules.risk_free_rate)
        told = np.append(contracts.columns(), price[None], axis=0)
        memo = None if block.memos is None else block.memos.volatilities
        find = lambda places: imply_volatility(contracts.at(places), price[places])[None]  # noqa: E731
        found = asked_columns(memo, told, find)[0]
        volatility[without] = np.where(np.isnan(found), LOWEST, found)[of]
    return replace(block, volatility=volatility)


def gains(block: AccountBlock, at: Ints, moves: Floats) -> Floats:
    """(k, n) dollars that a unit of each position gains as what underlies it moves.

    Args:
      block: its options have volatilities.
      at: (n,) places of positions that have a price.
      moves: (k, symbols) of what underlies each symbol, fractions; below -100% is -100%.

    What an option gains is what it is then worth above what it is worth now, both by the model: a told volatility need
    not be that of the price. What a convertible gains, what it converts into does.
    """
    market, volatility = block.terms, block.volatility
    assert market is not None
    assert volatility is not None
    rows, price = block.symbols[at], block.price[at]
    what = market.at(rows)
    move = np.maximum(moves[:, rows], -1.0)
    worth = np.where(what.type == CONVERTIBLE, market.price[what.underlying] * what.conversion, price)
    out = np.where(np.isnan(worth), price, worth) * move
    option = np.flatnonzero(what.type == OPTION)
    if len(option):
        pairs = np.stack([rows[option], volatility[at[option]]])
        (symbols, vols), of = distinct(pairs)
        some = symbols.astype(np.int64)
        # The last row is where the spot is now.
        shifts = np.append(np.maximum(moves[:, some], -1.0), np.zeros((1, len(some))), axis=0)
        values = _values(replace(market.at(some), volatility=vols), shifts, block)
        # Nothing long can lose more than it costs.
        out[:, option] = np.maximum((values[:-1] - values[-1])[:, of], -price[option])
    return out


def _values(what: Terms, moves: Floats, block: AccountBlock) -> Floats:
    """(k, n) dollars that options are worth at (k, n) moves of their spots."""
    market, rate = block.terms, block.rules.risk_free_rate
    assert market is not None
    contracts = contracts_of(what, market.price[what.underlying], block.instant, rate)
    shifts = np.maximum(moves, _GONE)
    memo, asked = None if block.memos is None else block.memos.values, np.append(contracts.columns(), shifts, axis=0)
    values = asked_columns(memo, asked, lambda places: values_at(contracts.at(places), shifts[:, places]))
    nothing = np.where(contracts.american, 1.0, np.exp(-rate * contracts.years)) * contracts.strike
    return np.where(moves > _GONE, values, np.where(contracts.sign < 0, nothing, 0.0))


def imply_volatility(contracts: Contracts, price: Floats) -> Floats:
    """(n,) the volatility at which each contract is worth its price, dollars; NaN where there is none."""
    # It takes 20 MB, which a day without options need not pay.
    from scipy.optimize import elementwise

    still = np.zeros(1)

    def excess(volatility: Floats, place: Floats, price: Floats) -> Floats:
        some = replace(contracts.at(place.ravel().astype(np.int64)), volatility=volatility.ravel())
        return values_at(some, still).reshape(volatility.shape) - price

    found = elementwise.find_root(excess, (LOWEST, _HIGHEST), args=(np.arange(float(len(price))), price))
    return np.where(found.success, found.x, np.nan)
