"""The firm: what its accounts come to together, in sums that are exact whatever parts they are taken in."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from risk.amounts import Ints
from risk.book import REGIMES
from risk.ladder import LEVELS

#: What is kept of each margin type and level (r, l), and of each type of call and of all together (t + 1).
_CELLS = len(REGIMES) * len(LEVELS)


@dataclass(frozen=True, slots=True)
class Columns:
    """n accounts and t types of call, as columns. Amounts are ticks; sums of them stay below 2**63,
    which is 922 trillion dollars.

    Fields:
      level: (n,) place in risk.ladder.LEVELS. regime: (n,) place in risk.book.REGIMES.
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
    """Sums over accounts, by regime (r, of REGIMES) and level (l). Counts, and amounts in ticks.

    Fields:
      accounts, equity, requirement, maintenance: (r, l).
      excess, deficiency: (r, l) what equity is above the requirement, of those where it is, and below, of the others.
      deficient: (r, l) how many lack something.
      falling, shortfall: (r, l) accounts that lack nothing now and would after the severe move, and how much.
      deepening: (r, l) how much more those that lack something now would lack.
      calls, called, due: (t + 1,) by type of call, and last of any type: calls with something due, accounts that have
        such, and how much.
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
    def none(cls, types: int) -> FirmTotals:
        """Those of no account at all. types: of calls."""
        by_level = [np.zeros((len(REGIMES), len(LEVELS)), np.int64) for _ in range(_BY_LEVEL)]
        return cls(*by_level, *(np.zeros(types + 1, np.int64) for _ in range(3)))

    @classmethod
    def of(cls, own: Columns) -> FirmTotals:
        """The totals of some accounts; of none at all, zeros."""
        excess = own.equity - own.requirement
        lacking, after = np.maximum(-excess, 0), np.maximum(-own.stressed, 0)
        falling = (lacking == 0) & (after > 0)
        columns = np.stack(
            [
                np.ones_like(own.level),
                own.equity,
                own.requirement,
                own.maintenance,
                np.maximum(excess, 0),
                lacking,
                lacking > 0,
                falling,
                np.where(falling, after, 0),
                np.where(lacking > 0, np.maximum(after - lacking, 0), 0),
            ]
        )
        cells = own.regime * len(LEVELS) + own.level
        order = np.argsort(cells, kind="stable")
        found, starts = np.unique(cells[order], return_index=True)
        # Not bincount, whose weights are float64 and no longer exact beyond 2**53.
        sums = np.zeros((_BY_LEVEL, _CELLS), np.int64)
        if len(found):
            sums[:, found] = np.add.reduceat(columns[:, order], starts, axis=1)
        calls, due = (np.vstack([column, column.sum(axis=0)]) for column in (own.calls, own.due))
        by_level = list(sums.reshape(_BY_LEVEL, len(REGIMES), len(LEVELS)))
        return cls(*[*by_level, calls.sum(axis=1), (calls > 0).sum(axis=1), due.sum(axis=1)])

    def __add__(self, other: FirmTotals) -> FirmTotals:
        """The totals of both parts; no account may be in both."""
        return FirmTotals(*(getattr(self, own.name) + getattr(other, own.name) for own in fields(self)))

    def __sub__(self, other: FirmTotals) -> FirmTotals:
        """What was added to the other's."""
        return FirmTotals(*(getattr(self, own.name) - getattr(other, own.name) for own in fields(self)))

    def __bool__(self) -> bool:
        """Whether anything is not zero."""
        return any(getattr(self, own.name).any() for own in fields(self))


#: How many fields of FirmTotals are by regime and level; they come first.
_BY_LEVEL = len(fields(FirmTotals)) - 3


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


def capital_test(aggregate: int, *, net_capital: int, multiple: int = 10) -> CapitalTest:
    """FINRA 4210(g)(12): aggregate portfolio margin requirements of at most ten times net capital; above it for more
    than three business days, no new portfolio-margin accounts from the fourth on, and notice at once.

    Args:
      aggregate: what the rule, without the house, asks of all portfolio-margin accounts, ticks.
      net_capital: of the firm, ticks. multiple: ten, by (g)(12)(A).

    Raises:
      ValueError: net capital below zero.
    """
    if net_capital < 0:
        raise ValueError(f"net capital: expected an amount of at least zero, found {net_capital / 10_000:,.2f}")
    return CapitalTest(aggregate, net_capital * multiple)


def crowding(symbols: Ints, values: Ints, count: int) -> tuple[Ints, Ints]:
    """(count,) each: how many accounts hold a symbol, and what it is worth together, long and short alike, ticks.

    Parts of the accounts add up. symbols, values: (p,) of every position that is held, each account's symbols once.
    """
    holders, gross = np.zeros(count, np.int64), np.zeros(count, np.int64)
    np.add.at(holders, symbols, 1)
    np.add.at(gross, symbols, np.abs(values))
    return holders, gross
