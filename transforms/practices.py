"""Practices: of liquidating to meet calls, and of failing to meet deficits, which restrict an account for a while."""

from __future__ import annotations

from typing import Literal

import msgspec

from risk.calls import Stepped
from risk.rulebook import CallRules
from schemas.inputs import Practice, Standing
from schemas.scalars import Time

_DAY = 86_400_000_000
#: Calls whose being met by liquidation builds a practice.
_LIQUIDATED = ("REG_T", "PORTFOLIO_MARGIN")


def practised(standing: Standing, stepped: Stepped, rules: CallRules, now: int) -> Standing:
    """A standing with what a step adds to a practice, and the restriction that this leads to; now: microseconds."""
    how = _adds(stepped)
    if how is None:
        return standing
    recent = [own for own in standing.practice if own.at > now - rules.period_days * _DAY]
    practice = (*recent, Practice(at=Time(now), type=stepped.call.type, how=how))
    standing = msgspec.structs.replace(standing, practice=practice)
    if sum(own.how == how for own in practice) < (rules.liquidations if how == "LIQUIDATED" else rules.failures):
        return standing
    until = max(standing.restricted_until or 0, now + rules.restriction_days * _DAY)
    return msgspec.structs.replace(standing, restricted_until=Time(until))


def _adds(stepped: Stepped) -> Literal["LIQUIDATED", "UNMET"] | None:
    call = stepped.call
    if stepped.step == "MET" and call.type in _LIQUIDATED and "TRADE" in call.covered:
        return "LIQUIDATED"
    # A deficit fails when it expires, not with each step that it takes from then on.
    return "UNMET" if stepped.step == "EXPIRED" and call.type == "INTRADAY" else None
