"""Betas as they are published: ordinary, or drawn to what betas are usually like."""

from __future__ import annotations

import msgspec
import numpy as np

from risk.beta import Betas, blume, spread_of_true, vasicek
from schemas.inputs import Beta, Method

#: Of one, in Blume's adjustment as Bloomberg publishes it (rules.md section 6).
BLUME_WEIGHT = 1 / 3


def adjusted(betas: list[Beta], method: Method) -> list[Beta]:
    """The betas drawn to one (Blume), or by their standard errors to the mean of them all (Vasicek)."""
    if method == "ordinary" or not betas:
        return betas
    beta = np.array([own.beta for own in betas])
    if method == "blume":
        drawn = blume(beta, BLUME_WEIGHT)
    else:
        error = np.array([own.standard_error for own in betas], np.float64)
        found = Betas(beta, error, np.array([own.observations or 0 for own in betas]))
        drawn = vasicek(found, float(beta.mean()), spread_of_true(found) if len(betas) > 1 else 0.0)
    return [
        msgspec.structs.replace(own, beta=round(value, 6), method=method)
        for own, value in zip(betas, drawn.tolist(), strict=True)
    ]
