"""Market value, equity and the seed's maintenance requirement.

Equity = cash + long market value - short market value. The requirement is summed by side, never netted
(rules.md section 1), at the rulebook's rates; a position above the concentration threshold of *gross* market
value (strictly) adds a further rate on its own value (rules.md section 5, seed rule).
"""

from __future__ import annotations

import numpy as np

from risk.amounts import Floats, share, ticks
from risk.block import AccountBlock


def requirement_of(values: Floats, block: AccountBlock) -> tuple[Floats, Floats, Floats]:
    """Maintenance, concentration add-on and gross market value of position values.

    Args:
      values: (..., p) signed market values in ticks; leading axes are scenarios.
      block: the accounts they belong to.

    Returns:
      three (..., n) arrays in ticks.
    """
    rules = block.rules
    sizes = np.abs(values)
    gross = block.sums(sizes)
    rates = (
        rules.long_rate
        if rules.long_rate == rules.short_rate
        else np.array([rules.long_rate, rules.short_rate]).take(np.signbit(values))
    )
    maintenance = block.sums(np.rint(sizes * rates))
    heavy = sizes > block.per_position(np.rint(gross * rules.concentration_threshold))
    addon = block.sums(np.where(heavy, np.rint(sizes * rules.concentration_rate), 0.0))
    return maintenance, addon, gross


def compute_margin(block: AccountBlock) -> None:
    """Add what the ladder decides on to the block's measures: gross, requirement, equity, excess in ticks, validity."""
    _compute(block)


def itemize_margin(block: AccountBlock) -> None:
    """Add the measures of compute_margin and what they are made of: value by side, requirement by rule, what was left
    out."""
    maintenance, addon, net = _compute(block)
    add = block.measures
    gross = add["gross"]
    add["maintenance"], add["addon"] = maintenance, addon
    add["long_market_value"] = (gross + net) / 2
    add["short_market_value"] = (gross - net) / 2
    add["defaulted_share"] = share(block.sums_where(block.defaulted, np.abs(ticks(block.values))), gross)
    add["excluded"] = block.sums_where(block.unpriced, block.quantity != 0)


def _compute(block: AccountBlock) -> tuple[Floats, Floats, Floats]:
    """Add the measures of compute_margin; (n,) each: maintenance, add-on and net value, in ticks."""
    add = block.measures
    values = ticks(block.values)
    maintenance, addon, gross = requirement_of(values, block)
    net = block.sums(values)
    add["gross"] = gross
    add["requirement"] = maintenance + addon
    add["equity"] = block.cash + net
    add["excess"] = add["equity"] - add["requirement"]
    add["stale_share"] = share(block.sums_where(block.unreliable, np.abs(values)), gross)
    add["unpriced_shorts"] = block.sums_where(block.unpriced, block.quantity < 0)
    return maintenance, addon, net
