"""Beta to SPY from daily returns: ordinary, and drawn towards what betas are usually like (rules.md section 6).

Covariance and variance are of the same sample with the same divisor. Blume (Journal of Finance 26, 1971) draws every
beta a third of the way to one; Vasicek (Journal of Finance 28, 1973) draws the uncertain ones further, by their
standard error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from risk.amounts import Floats


@dataclass(frozen=True, slots=True)
class Betas:
    """Estimates of n symbols.

    Attributes:
      beta: (n,) NaN where there are too few observations.
      error: (n,) standard error of the ordinary estimate.
      observations: (n,) pairs of returns that it rests on.
    """

    beta: Floats
    error: Floats
    observations: NDArray[np.int64]


def beta_of(returns: Floats, market: Floats) -> float:
    """Ordinary beta of paired simple returns.

    Args:
      returns, market: (days,) of the same days, fractions.

    Raises:
      ValueError: fewer than two pairs, unequal lengths, or a market that never moved.
    """
    if returns.shape != market.shape or len(returns) < 2:
        raise ValueError(f"expected two equal samples of at least 2 returns, found {len(returns)} and {len(market)}")
    if not np.ptp(market):
        raise ValueError("expected market returns that vary, found a constant")
    return float(estimate_betas(returns[None], market, least=2).beta[0])


def estimate_betas(returns: Floats, market: Floats, *, least: int) -> Betas:
    """Ordinary betas of n symbols over one window.

    Args:
      returns: (n, days) simple returns, NaN on a day without one. market: (days,) of SPY.
      least: observations below which there is no beta.
    """
    both = ~np.isnan(returns) & ~np.isnan(market)
    count = both.sum(axis=1)
    x, y = np.where(both, market, 0.0), np.where(both, returns, 0.0)
    some = np.maximum(count, 1)[:, None]
    x = np.where(both, x - x.sum(axis=1, keepdims=True) / some, 0.0)
    y = np.where(both, y - y.sum(axis=1, keepdims=True) / some, 0.0)
    variance = (x * x).sum(axis=1)
    # A market that never moved leaves only what rounding makes of it.
    moved = variance > 1e-20 * np.maximum(count, 1) + 1e-12 * (np.where(both, market, 0.0) ** 2).sum(axis=1)
    enough = (count >= max(least, 2)) & moved
    beta = np.divide((x * y).sum(axis=1), variance, out=np.full(len(returns), np.nan), where=enough)
    residual = ((y - beta[:, None] * x) ** 2).sum(axis=1)
    freedom = variance * (count - 2)
    error = np.sqrt(np.divide(residual, freedom, out=np.full(len(returns), np.nan), where=enough & (count > 2)))
    return Betas(beta, error, count)


def blume(beta: Floats, weight: float) -> Floats:
    """(n,) betas drawn to one: weight is that of one, 1/3 as published by Bloomberg."""
    return weight + (1.0 - weight) * beta


def vasicek(betas: Betas, mean: float, spread: float) -> Floats:
    """(n,) betas drawn to a prior mean by w = error^2 / (error^2 + spread^2).

    spread: standard deviation of true betas about the mean, not of estimates, which is wider.
    """
    noise = betas.error**2
    weight = np.divide(noise, noise + spread**2, out=np.zeros_like(noise), where=noise + spread**2 > 0)
    # Of an estimate without an error nothing is certain.
    weight = np.where(np.isnan(noise), 1.0, weight)
    return weight * mean + (1.0 - weight) * betas.beta


def spread_of_true(betas: Betas) -> float:
    """Standard deviation of true betas: the variance of the estimates less the mean of their squared errors."""
    known = ~np.isnan(betas.beta) & ~np.isnan(betas.error)
    noise = float(np.mean(betas.error[known] ** 2))
    return float(np.sqrt(max(float(np.var(betas.beta[known], ddof=1)) - noise, 0.0)))
