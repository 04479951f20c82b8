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
class Assessment:
    """n accounts, all in ticks.

    Attributes:
      deficiency: (n,) by type, not below zero: MAINTENANCE and PORTFOLIO_MARGIN, each of the accounts of its regime, by
        what the rule asks for without the house; HOUSE with it; MINIMUM_EQUITY.
      equity: (n,) by the rule. level: (n,) the intraday margin level: equity above what the rule asks for.
      regulation: (n,) Regulation T excess; zero on portfolio margin, and without initial rules.
    """

    deficiency: Mapping[CallType, Floats]
    equity: Floats
    level: Floats
    regulation: Floats


def assess(block: AccountBlock, traded: NDArray[np.bool_]) -> Assessment:
    """Assess the accounts of a block.

    traded: (n,) whether an account bought or sold short that day; a fall below the minimum equity without a trade needs
      no deposit (FINRA 4210 interpretation (b)/022).
    """
    accounts, rules = len(block.accounts), block.rules
    found, asked = lines_of(block, house=False), lines_of(block)
    equity = block.cash + found.sums(found.equity, accounts)
    level = equity - found.sums(found.requirement, accounts)
    portfolio = np.zeros(accounts, np.bool_) if block.portfolio is None else block.portfolio
    lacking = np.maximum(-level, 0.0)
    house = block.cash + asked.sums(asked.equity - asked.requirement, accounts)
    regulation: Floats = np.zeros(accounts)
    if rules.initial is not None:
        required, _ = initial_requirements(block, found)
        regulation = np.where(portfolio, 0.0, equity - required)
    return Assessment(
        deficiency={
            "MAINTENANCE": np.where(portfolio, 0.0, lacking),
            "PORTFOLIO_MARGIN": np.where(portfolio, lacking, 0.0),
            "HOUSE": np.maximum(-house, 0.0),
            "MINIMUM_EQUITY": np.maximum(_least_equity(block, portfolio, traded) - equity, 0.0),
        },
        equity=equity,
        level=level,
        regulation=regulation,
    )


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
