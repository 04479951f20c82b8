"""The beta-weighted SPY ladder (rules.md section 6).

A SPY move m moves a stock by beta x m, never below -100%. Two conventions are reported: the requirement held at
its base and the requirement recomputed at the stressed prices.
"""

from __future__ import annotations

import numpy as np

from risk.amounts import ticks
from risk.block import AccountBlock
from risk.margin import requirement_of


def run_stress(block: AccountBlock) -> None:
    """Add exposure (n,), stress_pnl and stress_requirement (moves, n) to the measures, in ticks."""
    moves = np.asarray(block.rules.spy_moves)[:, None]
    values = block.quantity * block.price
    base = ticks(values)
    stock_moves = np.maximum(moves * block.beta, -1.0)
    pnl = ticks(values * stock_moves)
    maintenance, addon, _ = requirement_of(base + pnl, block)
    block.measures["exposure"] = block.sums(ticks(values * block.beta))
    block.measures["stress_pnl"] = block.sums(pnl)
    block.measures["stress_requirement"] = maintenance + addon
    severe = block.rules.spy_moves.index(block.rules.severe_move)
    block.measures["severe_equity"] = block.measures["equity"] + block.measures["stress_pnl"][severe]
