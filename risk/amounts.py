"""Exact money in float64: every per-position amount is rounded to a tick (1e-4 dollar) before any sum.

Sums of integers below 2**53 are exact, so neither order nor shape of a block can change a bit (design E).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TICKS_PER_DOLLAR = 10_000.0
RATIO_SCALE = 1_000_000


def ticks(dollars: Floats) -> Floats:
    """Dollars rounded half-even to whole ticks, as float64 integers."""
    return np.rint(dollars * TICKS_PER_DOLLAR)


def share(part: Floats, whole: Floats) -> Floats:
    """part / whole elementwise, zero where whole is zero."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole != 0)
