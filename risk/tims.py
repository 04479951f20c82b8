"""The portfolio-margin grid of the seed: every price moved by each valuation point, requirement = |worst loss|."""

from __future__ import annotations

import numpy as np

from risk.amounts import ticks
from risk.block import AccountBlock


def run_tims(block: AccountBlock) -> None:
    """Add tims_pnl (points, n) and worst_loss (n,), at most zero, to the measures, in ticks."""
    points = np.asarray(block.rules.tims_moves)[:, None]
    pnl = block.sums(ticks(points * block.values))
    block.measures["tims_pnl"] = pnl
    block.measures["worst_loss"] = np.minimum(pnl.min(axis=0), 0.0)
