"""Beta to SPY: Cov(r, r_SPY) / Var(r_SPY), the same sample and the same ddof in both (rules.md section 6)."""

from __future__ import annotations

from risk.amounts import Floats


def beta_of(returns: Floats, market: Floats) -> float:
    """Ordinary beta of paired simple returns.

    Args:
      returns, market: (days,) of the same days, fractions.

    Raises:
      ValueError: fewer than two pairs, unequal lengths, or a market that never moved.
    """
    if returns.shape != market.shape or len(returns) < 2:
        raise ValueError(f"expected two equal samples of at least 2 returns, found {len(returns)} and {len(market)}")
    centred = market - market.mean()
    variance = float((centred * centred).sum())
    if variance == 0:
        raise ValueError("expected market returns that vary, found a constant")
    return float((centred * (returns - returns.mean())).sum()) / variance
