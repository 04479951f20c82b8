"""Initial margin: Regulation T (12 CFR 220.12), what FINRA asks for if that is more, and a minimum of equity."""

from __future__ import annotations

import numpy as np

from risk import lines
from risk.amounts import TICKS_PER_DOLLAR, Floats
from risk.block import AccountBlock
from risk.columns import among
from risk.lines import Lines

_STOCK = (
    lines.LONG,
    lines.SHORT,
    lines.PER_SHARE,
    lines.LOW_PRICE,
    lines.LOW_PRICE_PER_SHARE,
    lines.LEVERAGED,
    lines.HOUSE,
)
_CAPPED = (lines.COVERED_CALL, lines.CONVERSION, lines.COLLAR, lines.COLLAR_AT_CALL)
_UNRELIEVED = (lines.PROTECTIVE_PUT, lines.PROTECTIVE_CALL)


def initial_requirements(block: AccountBlock, found: Lines) -> tuple[Floats, Floats]:
    """(n,) ticks that Regulation T asks for, and that are to be deposited for the positions at first: the greater of it
    and maintenance, and the minimum equity.

    Stock held long and short at once is as good as sold, 220.4(b)(2). Of other stock Regulation T asks for a share of
    its market value, also where a call is written on it (Cboe Margin Manual, 2021, p. 47); the relief that FINRA gives
    stock with an option is of maintenance only. Of options it asks for what FINRA does.

    Args:
      found: the lines of the block, all of strategy-based accounts.
    """
    rules, accounts = block.rules.initial, len(block.accounts)
    assert rules is not None
    required, worth = found.requirement, found.equity
    rate = np.where(worth < 0, rules.short_rate, rules.long_rate)
    is_stock, capped, unrelieved = (among(found.rule, codes) for codes in (_STOCK, _CAPPED, _UNRELIEVED))
    # The first of two is the one held long.
    long = np.maximum(block.price[found.positions] * found.units, 0.0) * TICKS_PER_DOLLAR
    first = found.starts[:-1]
    by_regulation = np.select(
        [
            is_stock,
            capped,
            found.rule == lines.SAME_SECURITY,
            found.rule == lines.CONVERTIBLE_HEDGE,
            unrelieved,
            found.rule == lines.REVERSE_CONVERSION,
        ],
        [
            np.rint(np.abs(worth) * rate),
            0.0,
            0.0,
            np.rint(long[first] * rules.long_rate) if len(long) else required,
            0.0,
            _puts_in_the_money(block, found),
        ],
        required,
    )
    own = np.where(found.rule >= lines.ADDONS, 0.0, by_regulation)
    either = np.where(capped | unrelieved, own, np.maximum(own, required))
    regulation, greater = found.sums(own, accounts), found.sums(either, accounts)
    values = np.where(block.is_option(), 0.0, block.values) * TICKS_PER_DOLLAR
    shorts = block.sums_where(block.quantity < 0, ~block.unpriced) > 0
    paid_in_full = block.sums(np.rint(np.maximum(values, 0.0)))
    least = rules.minimum_equity * TICKS_PER_DOLLAR
    return regulation, np.maximum(greater, np.where(shorts, least, np.minimum(least, paid_in_full)))


def _puts_in_the_money(block: AccountBlock, found: Lines) -> Floats:
    """(m,) ticks that the short puts of each line are in the money."""
    market = block.terms
    assert market is not None
    symbols = block.symbols[found.positions]
    deep = np.maximum(market.strike[symbols] - market.price[market.underlying[symbols]], 0.0)
    amount = np.where((market.right[symbols] < 0) & (found.units < 0), -found.units * deep, 0.0)
    line = np.repeat(np.arange(len(found.rule)), np.diff(found.starts))
    return np.rint(np.bincount(line, amount, minlength=len(found.rule)) * TICKS_PER_DOLLAR)
