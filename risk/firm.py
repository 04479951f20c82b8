"""The firm: what its accounts come to together, in sums that are exact whatever parts they are taken in."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from risk.amounts import Ints
from risk.book import REGIMES
from risk.ladder import LEVELS

#: Of an account whose margin type its record does not tell.
UNKNOWN = len(REGIMES)


@dataclass(frozen=True, slots=True)
class Columns:
    """n accounts and t types of call, as columns. Amounts are ticks; sums of them stay below 2**63,
    which is 922 trillion dollars.

    Fields:
      level: (n,) place in risk.ladder.LEVELS. regime: (n,) place in risk.book.REGIMES, or UNKNOWN.
      equity, requirement, maintenance: (n,) ticks; maintenance is the requirement by the rule, without what the house
        adds to it.
      stressed: (n,) excess after a severe move, with the requirement recomputed.
      calls, due: (t, n) calls of each type with something due, and how much, ticks.
    """

    level: Ints
    regime: Ints
    equity: Ints
    requirement: Ints
    maintenance: Ints
    stressed: Ints
    calls: Ints
    due: Ints


@dataclass(frozen=True, slots=True)
class FirmTotals:
    """Sums over accounts, by regime (r, of REGIMES and UNKNOWN) and level (l). Counts, and amounts in ticks.

    Fields:
      accounts, equity, requirement, maintenance: (r, l).
      excess, deficiency: (r, l) what equity is above the requirement, of those where it is, and below, of the others.
      deficient: (r, l) how many lack something.
      falling, shortfall: (r, l) accounts that lack nothing now and would after the severe move, and how much.
      deepening: (r, l) how much more those that lack something now would lack.
      calls, called, due: (t,) by type of call: calls with something due, accounts that have such, and how much.
    """

    accounts: Ints
    equity: Ints
    requirement: Ints
    maintenance: Ints
    excess: Ints
    deficiency: Ints
    deficient: Ints
    falling: Ints
    shortfall: Ints
    deepening: Ints
    calls: Ints
    called: Ints
    due: Ints

    @classmethod
    def of(cls, own: Columns) -> FirmTotals:
        """The totals of some accounts; of none at all, zeros."""
        excess = own.equity - own.requirement
        lacking, after = np.maximum(-excess, 0), np.maximum(-own.stressed, 0)
        falling = (lacking == 0) & (after > 0)

        def total(column: Ints | NDArray[np.bool_]) -> Ints:
            # Not bincount, whose weights are float64 and no longer exact beyond 2**53.
            sums = np.zeros((len(REGIMES) + 1, len(LEVELS)), np.int64)
            np.add.at(sums, (own.regime, own.level), column)
            return sums

        return cls(
            accounts=total(np.ones_like(own.level)),
            equity=total(own.equity),
            requirement=total(own.requirement),
            maintenance=total(own.maintenance),
            excess=total(np.maximum(excess, 0)),
            deficiency=total(lacking),
            deficient=total(lacking > 0),
            falling=total(falling),
            shortfall=total(np.where(falling, after, 0)),
            deepening=total(np.where(lacking > 0, np.maximum(after - lacking, 0), 0)),
            calls=own.calls.sum(axis=1),
            called=(own.calls > 0).sum(axis=1),
            due=own.due.sum(axis=1),
        )

    def __add__(self, other: FirmTotals) -> FirmTotals:
        """The totals of both parts; no account may be in both."""
        return FirmTotals(*(getattr(self, own.name) + getattr(other, own.name) for own in fields(self)))


@dataclass(frozen=True, slots=True)
class CapitalTest:
    """What the firm asks of portfolio-margin accounts by the rule, beside the most that its net capital allows, ticks.

    room: what is left, below zero where there is too much.
    """

    aggregate: int
    limit: int

    @property
    def room(self) -> int:
        """limit - aggregate."""
        return self.limit - self.aggregate


def capital_test(totals: FirmTotals, *, net_capital: int, multiple: int = 10) -> CapitalTest:
    """FINRA 4210(g)(12): aggregate portfolio margin requirements of at most ten times net capital; above it for more
    than three business days, no new portfolio-margin accounts from the fourth on, and notice at once.

    Args:
      net_capital: of the firm, ticks. multiple: ten, by (g)(12)(A).

    Raises:
      ValueError: net capital below zero.
    """
    if net_capital < 0:
        raise ValueError(f"net capital: expected an amount of at least zero, found {net_capital / 10_000:,.2f}")
    return CapitalTest(int(totals.maintenance[REGIMES.index("PORTFOLIO")].sum()), net_capital * multiple)


def crowding(symbols: Ints, values: Ints, count: int) -> tuple[Ints, Ints]:
    """(count,) each: how many accounts hold a symbol, and what it is worth together, long and short alike, ticks.

    Parts of the accounts add up. symbols, values: (p,) of every position that is held, each account's symbols once.
    """
    holders, gross = np.zeros(count, np.int64), np.zeros(count, np.int64)
    np.add.at(holders, symbols, 1)
    np.add.at(gross, symbols, np.abs(values))
    return holders, gross
