"""Equity and requirement of every account of a block, under the rules that its rulebook has.

With one rate a side (the seed): equity = cash + long market value - short market value; the requirement is summed by
side, never netted (rules.md section 1), and a position above the concentration threshold of *gross* market value
(strictly) adds a further rate on its own value. Under stock and option rules both are the sums of lines, by the regime
of the account: strategy-based (risk.strategy) or portfolio margin (risk.tims).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from risk import lines
from risk.amounts import Floats, Ints, share, ticks
from risk.block import AccountBlock
from risk.house import add_ons, concentration, house_rates
from risk.lines import Lines, joined_lines
from risk.rulebook import IntradayRules
from risk.strategy import margin_positions
from risk.tims import ClassGroups
from risk.valuation import worth_of


def requirement_of(values: Floats, block: AccountBlock) -> tuple[Floats, Floats, Floats]:
    """Maintenance, concentration add-on and gross market value of position values, at one rate a side.

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


def lines_of(block: AccountBlock, *, house: bool = True) -> Lines:
    """What each account of a block requires, and what its positions are worth as equity beside cash.

    house: with what the house asks for beyond the rules.
    """
    held = ~block.unpriced & (block.quantity != 0)
    on_portfolio = np.zeros(len(block.accounts), np.bool_) if block.portfolio is None else block.portfolio
    by_portfolio = block.per_position(on_portfolio)
    if block.rules.options is None:
        return joined_lines([_at_one_rate(block, np.flatnonzero(held)), concentration(block)])
    rates = house_rates(block) if house else np.zeros(len(held))
    parts = [margin_positions(block, rates, ~by_portfolio)]
    if house:
        parts += [concentration(block), *add_ons(block)]
    if on_portfolio.any():
        parts = [part.at(~on_portfolio[part.account]) for part in parts]
        parts += [ClassGroups(block, by_portfolio).lines(), _at_market(block, np.flatnonzero(held & by_portfolio))]
    return joined_lines(parts)


def margin_levels(block: AccountBlock, rules: IntradayRules) -> tuple[Floats, Floats]:
    """(n,) ticks of the intraday margin level of each account, what its equity is above its requirement, and equity."""
    equity, requirement = lines_of(block, house=rules.house).margin(block.cash)
    return equity - requirement, equity


def _at_one_rate(block: AccountBlock, at: Ints) -> Lines:
    rules, values = block.rules, ticks(block.values[at])
    short = values < 0
    rule = np.where(short, lines.SHORT, lines.LONG)
    amount = np.rint(np.abs(values) * np.where(short, rules.short_rate, rules.long_rate))
    return Lines.each(block.owners()[at], rule, amount, values, at, block.quantity[at])


def _at_market(block: AccountBlock, at: Ints) -> Lines:
    """What positions on portfolio margin are worth, (g)(2): all at market."""
    rule, zero = np.full(len(at), lines.AT_MARKET), np.zeros(len(at))
    return Lines.each(block.owners()[at], rule, zero, worth_of(block)[at], at, block.quantity[at])


def _without_value(block: AccountBlock) -> NDArray[np.bool_]:
    """(p,) options of strategy-based accounts: in equity they are worth what a line says."""
    option = block.is_option()
    return option if block.portfolio is None else option & ~block.per_position(block.portfolio)


def compute_margin(block: AccountBlock) -> None:
    """Add what the ladder decides on to the block's measures: gross, requirement, equity, excess in ticks, validity."""
    _compute(block)


def itemize_margin(block: AccountBlock, found: Lines | None = None) -> None:
    """Add the measures of compute_margin and what they are made of: value by side, requirement by rule, what was left
    out.

    found: the lines of the block, where they are known already.
    """
    maintenance, net = _compute(block, found)
    add = block.measures
    gross = add["gross"]
    add["maintenance"] = maintenance
    add["long_market_value"] = (gross + net) / 2
    add["short_market_value"] = (gross - net) / 2
    if block.rules.options is not None:
        values = np.where(_without_value(block), 0.0, worth_of(block))
        add["short_market_value"] = block.sums(np.maximum(-values, 0.0))
        add["long_market_value"] = add["equity"] - block.cash + add["short_market_value"]
    add["defaulted_share"] = share(block.sums_where(block.defaulted, np.abs(ticks(block.values))), gross)
    add["excluded"] = block.sums_where(block.unpriced, block.quantity != 0)


def _compute(block: AccountBlock, found: Lines | None = None) -> tuple[Floats, Floats]:
    """Add the measures of compute_margin; (n,) each: maintenance and net value, in ticks."""
    add = block.measures
    values = ticks(block.values)
    if block.rules.options is None:
        maintenance, addon, gross = requirement_of(values, block)
        worth = net = block.sums(values)
    else:
        found, accounts = found or lines_of(block), len(block.accounts)
        beside = found.rule >= lines.ADDONS
        maintenance, addon = (
            found.sums(np.where(some, found.requirement, 0.0), accounts) for some in (~beside, beside)
        )
        gross, net = block.sums(np.abs(values)), block.sums(values)
        worth = found.sums(found.equity, accounts)
    add["gross"], add["addon"] = gross, addon
    add["requirement"] = maintenance + addon
    add["equity"] = block.cash + worth
    add["excess"] = add["equity"] - add["requirement"]
    add["stale_share"] = share(block.sums_where(block.unreliable, np.abs(values)), gross)
    add["unpriced_shorts"] = block.sums_where(block.unpriced, block.quantity < 0)
    return maintenance, net
