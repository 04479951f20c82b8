"""Maintenance of each position that is no option, by itself: FINRA 4210(c), leverage, and the house's rates."""

from __future__ import annotations

import numpy as np

from risk import lines, terms
from risk.amounts import Floats, Ints, ticks
from risk.columns import among
from risk.rulebook import Rulebook, StockRules
from risk.terms import Terms

_BY_TYPE = (terms.SECURITY_FUTURE, terms.MONEY_MARKET, terms.EXEMPT_FUND)


def maintain_stock(units: Floats, price: Floats, what: Terms, house: Floats, rules: Rulebook) -> tuple[Floats, Ints]:
    """What each position requires by itself, and by which rule.

    Args:
      units: (p,) signed. price: (..., p) dollars a unit. what: (p,) terms of each. house: (p,) a rate at least asked
        for.
      rules: a rulebook with stock rules.

    Returns:
      (..., p) ticks; (..., p) places of risk.lines.RULES.
    """
    stock = rules.stock
    assert stock is not None
    values = ticks(np.abs(units) * price)
    short = np.broadcast_to(units < 0, values.shape)
    rate, rule = _rates(units < 0, what, stock, rules)
    amount, rule = np.rint(values * rate), np.broadcast_to(rule, values.shape).copy()
    whole = (what.type != terms.MONEY_MARKET) | (price >= 1.0)
    amount = np.where(whole, amount, np.rint(values * stock.broken_fund_rate))
    rule[~np.broadcast_to(whole, values.shape)] = lines.BROKEN_FUND
    # By type of security there is no minimum a share.
    by_share = short & ~among(what.type, _BY_TYPE)
    low = by_share & (price < stock.low_price)
    floors = (
        (by_share & ~low, ticks(np.abs(units) * stock.per_share), lines.PER_SHARE),
        (low, np.rint(values * stock.low_price_rate), lines.LOW_PRICE),
        (low, ticks(np.abs(units) * stock.low_price_per_share), lines.LOW_PRICE_PER_SHARE),
        (np.True_, np.rint(values * house), lines.HOUSE),
    )
    for applies, floor, code in floors:
        binds = applies & (floor > amount)
        amount, rule = np.where(binds, floor, amount), np.where(binds, code, rule)
    return amount, rule


def _rates(short: np.ndarray, what: Terms, stock: StockRules, rules: Rulebook) -> tuple[Floats, Ints]:
    """(p,) fraction of value, and the rule it is from."""
    factor = np.maximum(np.abs(what.leverage), 1.0)
    rate = np.where(short, rules.short_rate * factor, np.minimum(rules.long_rate * factor, stock.leveraged_cap))
    rule = np.where(factor > 1, lines.LEVERAGED, np.where(short, lines.SHORT, lines.LONG))
    ineligible = ~short & ~what.eligible
    rate, rule = np.where(ineligible, stock.ineligible_rate, rate), np.where(ineligible, lines.INELIGIBLE, rule)
    for name, given in stock.type_rates.items():
        of_type = what.type == terms.TYPES.index(name)
        rate, rule = np.where(of_type, given, rate), np.where(of_type, lines.BY_TYPE, rule)
    return rate, rule
