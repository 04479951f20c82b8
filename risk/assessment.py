"""Assessment: what accounts lack at official closes, by the type of call that it is asked for with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from risk.amounts import TICKS_PER_DOLLAR, Floats
from risk.block import AccountBlock
from risk.initial import initial_requirements
from risk.margin import lines_of
from schemas.inputs import CallType

#: How a portfolio-margin account is monitored here, FINRA 4210 interpretation (b)(4)/034.
_MONITORED = "full"


@dataclass(frozen=True, slots=True)
class Levels:
    """What the rule says of n accounts, without the house, all in ticks.

    Attributes:
      equity: (n,). level: (n,) the intraday margin level: equity above what the rule asks for.
      regulation: (n,) Regulation T excess; zero on portfolio margin, and without initial rules.
    """

    equity: Floats
    level: Floats
    regulation: Floats


def levels_of(block: AccountBlock) -> Levels:
    """The levels of the accounts of a block."""
    found = lines_of(block, house=False)
    equity, requirement = found.margin(block.cash)
    regulation: Floats = np.zeros(len(equity))
    if block.rules.initial is not None:
        required, _ = initial_requirements(block, found)
        regulation = np.where(_on_portfolio(block), 0.0, equity - required)
    return Levels(equity, equity - requirement, regulation)


def deficiencies(
    block: AccountBlock, own: Levels, excess: Floats, traded: NDArray[np.bool_]
) -> Mapping[CallType, Floats]:
    """(n,) ticks, not below zero, by type: MAINTENANCE and PORTFOLIO_MARGIN, each of the accounts of its regime, by
    what the rule asks for without the house; HOUSE with it; MINIMUM_EQUITY.

    Args:
      own: the levels of the block. excess: (n,) ticks with the house, as risk.margin measures it.
      traded: (n,) whether an account bought or sold short that day; a fall below the minimum equity without a trade
        needs no deposit (FINRA 4210 interpretation (b)/022).
    """
    lacking, portfolio = np.maximum(-own.level, 0.0), _on_portfolio(block)
    least = _least_equity(block, portfolio, traded)
    return {
        "MAINTENANCE": np.where(portfolio, 0.0, lacking),
        "PORTFOLIO_MARGIN": np.where(portfolio, lacking, 0.0),
        "HOUSE": np.maximum(-excess, 0.0),
        # Of equity below zero maintenance asks alone where there is no minimum.
        "MINIMUM_EQUITY": np.where(least > 0, np.maximum(least - own.equity, 0.0), 0.0),
    }


def _on_portfolio(block: AccountBlock) -> NDArray[np.bool_]:
    return np.zeros(len(block.accounts), np.bool_) if block.portfolio is None else block.portfolio


def _least_equity(block: AccountBlock, portfolio: NDArray[np.bool_], traded: NDArray[np.bool_]) -> Floats:
    """(n,) ticks that equity must at least be: on portfolio margin always, else where something was bought on margin or
    sold short."""
    rules, empty = block.rules, block.sums((block.quantity != 0).astype(np.float64)) == 0
    least: Floats = np.zeros(len(portfolio))
    if rules.initial is not None:
        shorts = block.sums_where(block.quantity < 0, ~block.unpriced) > 0
        least += np.where(traded & (shorts | (block.cash < 0)), rules.initial.minimum_equity * TICKS_PER_DOLLAR, 0.0)
    if rules.portfolio is not None:
        floor = rules.portfolio.minimum_equity[_MONITORED] * TICKS_PER_DOLLAR
        least = np.where(portfolio & ~empty, floor, least)
    return least
