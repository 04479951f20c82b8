"""AccountBlock: the touched accounts of a shard at one instant, as columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from risk.amounts import Floats, Ints
from risk.rulebook import Rulebook


@dataclass(slots=True)
class AccountBlock:
    """n accounts and their p positions, those of an account adjacent, with the measures computed so far.

    Attributes:
      instant: the evaluation instant, microseconds of the epoch.
      rules: the rulebook in force at that instant.
      accounts: (n,) row of each account in the shard's account table.
      offsets: (n + 1,) first position of each account.
      symbols: (p,) row of each position's symbol in the shard's market.
      quantity: (p,) units of the underlying, signed.
      price, beta: (p,) dollars a unit; beta to SPY.
      unreliable: (p,) whether the price is stale, halted or missing.
      unpriced: (p,) whether there is no price at all; such a position is valued at nothing and excluded.
      defaulted: (p,) whether beta is the rulebook's default.
      cash: (n,) ticks.
      measures: name -> (n,) or (scenarios, n) ticks, added by the measures in turn.
    """

    instant: int
    rules: Rulebook
    accounts: Ints
    offsets: Ints
    symbols: Ints
    quantity: Floats
    price: Floats
    beta: Floats
    unreliable: NDArray[np.bool_]
    unpriced: NDArray[np.bool_]
    defaulted: NDArray[np.bool_]
    cash: Floats
    measures: dict[str, Floats] = field(default_factory=dict)
    _counts: Ints = field(init=False)
    _all_hold: bool = field(init=False)

    def __post_init__(self) -> None:
        self._counts = np.diff(self.offsets)
        self._all_hold = bool(len(self._counts)) and bool(self._counts.all())

    def sums(self, amounts: Floats) -> Floats:
        """Sum whole ticks (..., p) of the positions into (..., n) of their accounts; zero for one without any."""
        starts = self.offsets[:-1]
        if self._all_hold:
            return np.add.reduceat(amounts, starts, axis=-1)
        held = self._counts > 0
        out = np.zeros((*amounts.shape[:-1], len(starts)))
        if held.any():
            # reduceat gives the next element for an empty run, so only the runs that exist are summed.
            out[..., held] = np.add.reduceat(amounts, starts[held], axis=-1)
        return out

    def place(self, account: int) -> int:
        """Where the account at a row of the shard's table stands in the block."""
        return int(np.searchsorted(self.accounts, account))

    def per_position(self, amounts: Floats) -> Floats:
        """Spread (..., n) per-account amounts over the accounts' positions: (..., p)."""
        return np.repeat(amounts, self._counts, axis=-1)

    def at(self, places: Ints) -> AccountBlock:
        """The accounts at places of the block, ascending, with the measures so far."""
        counts = self._counts[places]
        offsets = np.append(0, np.cumsum(counts))
        found = self._part(places, offsets, runs(self.offsets[places], counts))
        found.measures = {name: column[..., places] for name, column in self.measures.items()}
        return found

    def slices(self, positions: int) -> Iterator[AccountBlock]:
        """Consecutive parts of about that many positions, unmeasured; this block itself if it has no more."""
        if len(self.symbols) <= positions:
            yield self
            return
        edges = np.searchsorted(self.offsets, np.arange(0, len(self.symbols), positions))
        for first, end in pairwise([*np.unique(edges).tolist(), len(self.accounts)]):
            low, high = self.offsets[first], self.offsets[end]
            yield self._part(slice(first, end), self.offsets[first : end + 1] - low, slice(low, high))

    def _part(self, accounts: Ints | slice, offsets: Ints, positions: Ints | slice) -> AccountBlock:
        columns = {name: getattr(self, name)[positions] for name in _POSITION_COLUMNS}
        return AccountBlock(
            self.instant, self.rules, self.accounts[accounts], offsets, **columns, cash=self.cash[accounts]
        )


def runs(starts: Ints, counts: Ints) -> Ints:
    """(sum of counts,) start, start + 1, ... of each of (n,) runs, one after another."""
    total = int(counts.sum())
    return np.arange(total) + np.repeat(starts - (np.cumsum(counts) - counts), counts)


#: Adds columns to the measures of a block.
Measure = Callable[[AccountBlock], None]

_POSITION_COLUMNS = ("symbols", "quantity", "price", "beta", "unreliable", "unpriced", "defaulted")
