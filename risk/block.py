"""AccountBlock: the touched accounts of a shard at one instant, as columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from risk.amounts import Floats, Ints
from risk.memo import Memos
from risk.rulebook import Rulebook
from risk.terms import OPTION, Terms

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(slots=True)
class Accounts:
    """n accounts and what was measured of them, without their positions.

    Attributes:
      instant: the evaluation instant, microseconds of the epoch.
      rules: the rulebook in force at that instant.
      accounts: (n,) row of each account in the shard's account table, ascending.
      cash: (n,) ticks.
      measures: name -> (n,) or (scenarios, n) ticks, added by the measures in turn.
    """

    instant: int
    rules: Rulebook
    accounts: Ints
    cash: Floats
    measures: dict[str, Floats] = field(init=False, default_factory=dict)

    def place(self, account: int) -> int:
        """Where the account at a row of the shard's table stands among these."""
        return int(np.searchsorted(self.accounts, account))

    def at(self, places: Ints) -> Accounts:
        """Those at the places."""
        found = Accounts(self.instant, self.rules, self.accounts[places], self.cash[places])
        found.measures = {name: column[..., places] for name, column in self.measures.items()}
        return found


@dataclass(slots=True)
class AccountBlock(Accounts):
    """n accounts and their p positions, those of an account adjacent.

    Attributes:
      offsets: (n + 1,) first position of each account.
      symbols: (p,) row of each position's symbol in the shard's market.
      quantity: (p,) units of the underlying, signed.
      price, beta: (p,) dollars a unit; beta to SPY.
      unreliable: (p,) whether the price is stale, halted or missing.
      unpriced: (p,) whether there is no price at all; such a position is valued at nothing and excluded.
      defaulted: (p,) whether beta is the rulebook's default.
      terms: what the symbols are, by row; None under a rulebook with one rate a side.
      portfolio: (n,) whether an account is on portfolio margin; none is unless given.
      house: (2, n) rates that the house asks each account for at least, long and short; none unless given.
      volatility: (p,) of an option, a year (NaN of all else); None until risk.valuation has found it.
      published: (points, symbols) dollars that a unit is worth at the valuation points of its class group, as another
        has published it; NaN: what the model finds. None: for no symbol.
      memos: what was found at earlier instants; None: nothing is remembered.
      values: (p,) dollars, signed.
    """

    offsets: Ints
    symbols: Ints
    quantity: Floats
    price: Floats
    beta: Floats
    unreliable: NDArray[np.bool_]
    unpriced: NDArray[np.bool_]
    defaulted: NDArray[np.bool_]
    terms: Terms | None = None
    portfolio: NDArray[np.bool_] | None = None
    house: Floats | None = None
    volatility: Floats | None = None
    published: Floats | None = None
    memos: Memos | None = None
    values: Floats = field(init=False)
    _counts: Ints = field(init=False)
    _all_hold: bool = field(init=False)

    def __post_init__(self) -> None:
        self.values = self.quantity * self.price
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

    def sums_where(self, chosen: NDArray[np.bool_], amounts: NDArray) -> Floats:
        """The sums of the amounts of the chosen positions, (p,) both."""
        # Mostly none is; to see that costs a tenth of a sum.
        return self.sums(np.where(chosen, amounts, 0.0)) if chosen.any() else np.zeros(len(self.accounts))

    def per_position(self, values: NDArray[Scalar]) -> NDArray[Scalar]:
        """Spread (..., n) values of the accounts over their positions: (..., p)."""
        return np.repeat(values, self._counts, axis=-1)

    def owners(self) -> Ints:
        """(p,) place of each position's account."""
        return self.per_position(np.arange(len(self.accounts)))

    def is_option(self) -> NDArray[np.bool_]:
        """(p,) whether each position is an option; none is under a rulebook with one rate a side."""
        if self.terms is None:
            return np.zeros(len(self.symbols), np.bool_)
        return self.terms.type[self.symbols] == OPTION

    def repeated(self, times: int, **other: Any) -> AccountBlock:
        """The same accounts so many times over, one set after another; columns of all that are other are given."""
        columns = {name: getattr(self, name) for name in _REPEATED if name not in other}
        tiled: dict[str, Any] = {
            name: None if column is None else np.tile(column, times) for name, column in columns.items()
        }
        accounts, counts = np.arange(times * len(self.accounts)), np.tile(self._counts, times)
        found = replace(self, accounts=accounts, offsets=np.append(0, np.cumsum(counts)), **tiled, **other)
        found.measures = {}
        return found


_REPEATED = (
    "cash",
    "symbols",
    "quantity",
    "price",
    "beta",
    "unreliable",
    "unpriced",
    "defaulted",
    "portfolio",
    "house",
    "volatility",
)


def joined(parts: Sequence[Accounts]) -> Accounts:
    """Consecutive parts of the accounts of an instant, one or more and measured alike, as one."""
    whole = Accounts(
        parts[0].instant,
        parts[0].rules,
        np.concatenate([part.accounts for part in parts]),
        np.concatenate([part.cash for part in parts]),
    )
    for name in parts[0].measures:
        whole.measures[name] = np.concatenate([part.measures[name] for part in parts], axis=-1)
    return whole


def runs(starts: Ints, counts: Ints) -> Ints:
    """(sum of counts,) start, start + 1, ... of each of (n,) runs, one after another."""
    total = int(counts.sum())
    return np.arange(total) + np.repeat(starts - (np.cumsum(counts) - counts), counts)


def matches(left: Ints, right: Ints) -> tuple[Ints, Ints]:
    """Places of every pair of equal keys, those of the left one in order."""
    if not len(left) or not len(right):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    order = np.argsort(right, kind="stable")
    first, end = (np.searchsorted(right[order], left, side=side) for side in ("left", "right"))
    counts = end - first
    return np.repeat(np.arange(len(left)), counts), order[runs(first, counts)]


def distinct(table: NDArray) -> tuple[NDArray, Ints]:
    """The different columns of (k, n), ascending by the first row, then by the next; (n,) which of them each is."""
    # np.unique along an axis takes several times as long, however few there are.
    order = np.lexsort(table[::-1])
    columns, of = table[:, order], np.empty(len(order), np.int64)
    new = np.ones(len(order), np.bool_)
    new[1:] = (columns[:, 1:] != columns[:, :-1]).any(axis=0)
    of[order] = np.cumsum(new) - 1
    return columns[:, new], of


#: Adds columns to the measures of a block.
Measure = Callable[[AccountBlock], None]
