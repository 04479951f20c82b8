"""Legs: the positions of an account that may offset each other, as columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from risk.amounts import Floats, Ints, ticks
from risk.block import matches
from risk.columns import Columns


@dataclass(frozen=True, slots=True)
class Legs(Columns):
    """p options and holdings of what underlies them, those of a group (an account and an underlying) adjacent.

    Attributes:
      group: (p,) ascending.
      right: (p,) 1.0 of a call, -1.0 of a put, 0.0 of the underlying or of what is exchanged for it.
      short: (p,)
      count: (p,) contracts, or units of the underlying; whole, not negative.
      multiplier: (p,) units of the underlying in a contract, or 1.0.
      price, spot: (p,) dollars: of a unit of the position, of the underlying.
      strike, expiry: (p,) dollars, microseconds.
      american: (p,) whether an option may be exercised early.
      rate, minimum: (p,) of the underlying that a short option requires, leverage included.
      valued: (p,) whether a long option may be given value.
      alone: (p,) dollars that a unit of the underlying requires by itself.
    """

    group: Ints
    right: Floats
    short: NDArray[np.bool_]
    count: Floats
    multiplier: Floats
    price: Floats
    spot: Floats
    strike: Floats
    expiry: Ints
    american: NDArray[np.bool_]
    rate: Floats
    minimum: Floats
    valued: NDArray[np.bool_]
    alone: Floats

    def columns(self) -> Floats:
        """(13, p) all that is told of them, but their group."""
        return np.stack([getattr(self, name) for name in self.__slots__[1:]]).astype(np.float64)

    def contracts(self, dollars: Floats) -> Floats:
        """(p,) ticks of a contract of which a unit is worth so many dollars."""
        return ticks(dollars * self.multiplier)

    def contracts_of(self, chosen: Ints, dollars: Floats) -> Floats:
        """(chosen,) the same of some."""
        return ticks(dollars * self.multiplier[chosen])

    def intrinsic(self) -> Floats:
        """(p,) dollars a unit that an option is in the money."""
        return np.maximum(self.right * (self.spot - self.strike), 0.0)

    def out_of_money(self) -> Floats:
        """(p,) dollars a unit that an option is out of the money."""
        return np.maximum(self.right * (self.strike - self.spot), 0.0)

    def terms(self, chosen: Ints) -> Floats:
        """(4, chosen) what tells options of one right apart."""
        return np.stack([self.group[chosen], self.multiplier[chosen], self.expiry[chosen], self.strike[chosen]])

    def join(self, left: Ints, right: Ints) -> tuple[Ints, Ints]:
        """Every leg of one selection with every leg of another in its group: two arrays of legs."""
        one, other = matches(self.group[left], self.group[right])
        return left[one], right[other]
