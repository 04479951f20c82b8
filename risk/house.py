"""What a firm asks for beyond the rules: rates that stock must at least be margined at, and add-ons.

FINRA sets no numbers, but a duty to ask for substantially more where a security moves violently, is held in a size that
cannot be sold promptly, or is concentrated: 4210(f)(1). Tiers are in conf/rules, with whose they are.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from risk import lines
from risk.amounts import TICKS_PER_DOLLAR, Floats, Ints, share, ticks
from risk.block import AccountBlock
from risk.columns import among
from risk.lines import Lines
from risk.rulebook import Tiers
from risk.terms import EXEMPT_FUND, MONEY_MARKET, OPTION

#: What is as good as cash has no rate of the house but its own.
_MONEY = (MONEY_MARKET, EXEMPT_FUND)


def house_rates(block: AccountBlock) -> Floats:
    """(p,) the rate of value that the house asks for at least: the firm's, the account's, the symbol's, the price's."""
    rules, market = block.rules.house, block.terms
    assert market is not None
    short = block.quantity < 0
    rate = np.where(short, rules.short_rate, rules.long_rate)
    if block.house is not None:
        rate = np.maximum(rate, np.where(short, *map(block.per_position, block.house[::-1])))
    rate = np.maximum(rate, _tier(block.price, rules.price_rates))
    rate = np.where(among(market.type[block.symbols], _MONEY), 0.0, rate)
    return np.maximum(rate, market.house_rate[block.symbols])


def add_ons(block: AccountBlock) -> Iterator[Lines]:
    """What is asked for besides of stock, as lines; options count in gross value alone, funds of money not at all.

    The bounds of a tier are shares of the account's gross value, days of average volume, or shares of what is
    outstanding; its rate is of the value held.
    """
    rules, market, accounts = block.rules.house, block.terms, len(block.accounts)
    assert market is not None
    if not (rules.issuer_long or rules.issuer_short or rules.liquidity or rules.ownership or rules.sector):
        return
    values = np.where(block.unpriced, 0.0, ticks(block.values))
    gross = block.sums(np.abs(values))
    charged = np.maximum(-block.cash, 0.0) >= rules.debit_above * TICKS_PER_DOLLAR
    owner = block.owners()
    stock = ~among(market.type[block.symbols], (OPTION, *_MONEY)) & (values != 0) & charged[owner]
    weight = share(np.abs(values), gross[owner])
    held = np.abs(block.quantity)
    days = held / market.average_daily_volume[block.symbols]
    owned = held / market.shares_outstanding[block.symbols]
    for rule, measured, tiers, which in (
        (lines.ISSUER_LONG, weight, rules.issuer_long, stock & (values > 0)),
        (lines.ISSUER_SHORT, weight, rules.issuer_short, stock & (values < 0)),
        (lines.LIQUIDITY, days, rules.liquidity, stock & ~np.isnan(days)),
        (lines.OWNERSHIP, owned, rules.ownership, stock & ~np.isnan(owned)),
    ):
        at = np.flatnonzero(which)
        yield _lines(block, rule, at, np.rint(np.abs(values[at]) * _tier(measured[at], tiers)), owner)
    if rules.sector:
        heaviest = np.zeros(accounts)
        np.maximum.at(heaviest, owner[stock], weight[stock])
        at = np.flatnonzero(stock & (market.sector[block.symbols] >= 0) & (heaviest <= rules.sector_unless)[owner])
        key = owner[at] * (int(market.sector.max(initial=0)) + 1) + market.sector[block.symbols[at]]
        _, of = np.unique(key, return_inverse=True)
        # Ticks, which sum exactly, and not shares.
        together = share(np.bincount(of, np.abs(values[at])).astype(np.float64)[of], gross[owner[at]])
        yield _lines(block, lines.SECTOR, at, np.rint(np.abs(values[at]) * _tier(together, rules.sector)), owner)


def concentration(block: AccountBlock) -> Lines:
    """The seed's add-on on what is strictly above a share of gross value, as lines."""
    sizes = np.where(block.unpriced, 0.0, np.abs(ticks(block.values)))
    limit = block.per_position(np.rint(block.sums(sizes) * block.rules.concentration_threshold))
    at = np.flatnonzero(sizes > limit)
    owner = block.owners()
    return _lines(block, lines.CONCENTRATION, at, np.rint(sizes[at] * block.rules.concentration_rate), owner)


def _tier(measured: Floats, tiers: Tiers) -> Floats:
    """The rate of the first tier whose bound is not exceeded; zero without tiers."""
    if not tiers:
        return np.zeros(len(measured))
    bounds, rates = np.array(tiers).T
    return rates[np.searchsorted(bounds, measured, side="left")]


def _lines(block: AccountBlock, rule: int, at: Ints, amount: Floats, owner: NDArray[np.int64]) -> Lines:
    some = amount > 0
    at = at[some]
    codes, zero = np.full(len(at), rule), np.zeros(len(at))
    return Lines.each(owner[at], codes, amount[some], zero, at, block.quantity[at])
