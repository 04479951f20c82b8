"""The beta-weighted SPY ladder (rules.md section 6).

A SPY move m moves a stock by beta x m, never below -100%. Two conventions are reported: the requirement held at
its base and the requirement recomputed at the stressed prices.
"""

from __future__ import annotations

import numpy as np

from risk.amounts import Floats, ticks
from risk.block import AccountBlock
from risk.margin import requirement_of


def run_severe(block: AccountBlock) -> None:
    """Add severe_equity (n,), after the rulebook's severe move, to the measures, in ticks."""
    pnl = _pnl(np.asarray(block.rules.severe_move), block)
    block.measures["severe_equity"] = block.measures["equity"] + block.sums(pnl)


def run_stress(block: AccountBlock) -> None:
    """Add exposure (n,), stress_pnl and stress_requirement (moves, n) to the measures, in ticks."""
    pnl = _pnl(np.asarray(block.rules.spy_moves)[:, None], block)
    maintenance, addon, _ = requirement_of(ticks(block.values) + pnl, block)
    block.measures["exposure"] = block.sums(ticks(block.values * block.beta))
    block.measures["stress_pnl"] = block.sums(pnl)
    block.measures["stress_requirement"] = maintenance + addon


def _pnl(moves: Floats, block: AccountBlock) -> Floats:
    """Of each position (..., p), in ticks."""
    return ticks(block.values * np.maximum(moves * block.beta, -1.0))
