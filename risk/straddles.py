"""Straddles: short calls with short puts, FINRA 4210(f)(2)(G): the greater of the two requirements, and what the other
option is worth.

So an uncovered option that requires no less relieves one of the other right of all but its worth, whichever it is. As
those that can relieve an option can relieve each that requires less, options find partners as soon as of those that
require at least so much as any of them no more are relieved than there are to relieve them (Hall's condition for
nested sets). That takes a column and a row for each option, where pairs would take a column each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from risk import lines
from risk.amounts import Floats, Ints
from risk.block import distinct, matches
from risk.columns import among
from risk.legs import Legs
from risk.lines import Lines
from risk.offsets import Offsets


@dataclass(frozen=True, slots=True)
class Straddles:
    """s short options that may be relieved, and who may relieve them.

    Attributes:
      group: (s,) of each.
      row, column, value: (e,) entries of s rows that are not below zero: those that relieve less those relieved.
      relieving, relieved: (n,), (s,) columns of the offsets, those that require more first.
      key, relieved_key: (n,), (s,) of which size of contract, group and right the relieved are; ascending.
    """

    group: Ints
    row: Ints
    column: Ints
    value: Floats
    relieving: Ints
    relieved: Ints
    key: Ints
    relieved_key: Ints

    def lines(self, legs: Legs, offsets: Offsets, units: Floats) -> tuple[Lines, Floats]:
        """The straddles taken, a line each, and the units that are left of the other columns."""
        some, other = units[self.relieving], units[self.relieved]
        one, two, size = _shared(self.key, some, self.relieved_key, other)
        one, two = self.relieving[one], self.relieved[two]
        left = units.copy()
        np.subtract.at(left, one, size)
        left[self.relieved] = 0.0
        shorts = np.stack([offsets.legs[one, 0], offsets.legs[two, 0]], axis=1)
        return Lines(
            account=legs.group[shorts[:, 0]],
            rule=np.full(len(one), lines.STRADDLE),
            requirement=(offsets.requirement[one] + offsets.requirement[two]) * size,
            equity=np.zeros(len(one)),
            starts=np.arange(0, 2 * len(one) + 1, 2),
            positions=shorts.ravel(),
            units=-np.repeat(size, 2),
        ), left


def straddles_of(legs: Legs, offsets: Offsets) -> Straddles:
    """Of the columns of the uncovered options those that relieve, and of the straddles those that are relieved."""
    uncovered, relieved = (
        np.flatnonzero(among(offsets.rule, rules)) for rules in ((lines.NAKED, lines.NAKED_MINIMUM), (lines.STRADDLE,))
    )
    leg = offsets.legs[:, 0]
    alike = distinct(np.stack([legs.group[leg], legs.multiplier[leg]]))[1]
    by_leg, is_call = np.zeros(len(legs.group)), legs.right[leg] > 0
    by_leg[leg[uncovered]] = offsets.requirement[uncovered]
    required = by_leg[leg]
    # By who is relieved: a call relieves puts.
    key, relieved_key = 2 * alike + ~is_call, 2 * alike + is_call
    relieving = uncovered[np.isin(key[uncovered], relieved_key[relieved])]
    relieving = relieving[np.lexsort((-required[relieving], key[relieving]))]
    relieved = relieved[np.lexsort((-required[relieved], relieved_key[relieved]))]
    entries = []
    for columns, own, value in ((relieving, key, 1.0), (relieved, relieved_key, -1.0)):
        row, place = matches(relieved_key[relieved], own[columns])
        column = columns[place]
        keep = required[column] >= required[relieved[row]]
        entries.append((row[keep], column[keep], np.full(int(keep.sum()), value)))
    row, column, value = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    return Straddles(
        legs.group[leg[relieved]], row, column, value, relieving, relieved, key[relieving], relieved_key[relieved]
    )


def _shared(key: Ints, count: Floats, other_key: Ints, other_count: Floats) -> tuple[Ints, Ints, Floats]:
    """Which of one selection meet which of another, and in how many units, where both are laid end to end by key."""
    if not len(key) or not len(other_key):
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    keys = np.union1d(key, other_key)
    one, other = np.searchsorted(keys, key), np.searchsorted(keys, other_key)
    totals = np.maximum(*(np.bincount(of, n, len(keys)) for of, n in ((one, count), (other, other_count))))
    begins = np.append(0.0, np.cumsum(totals))
    ends = []
    for of, n in ((one, count), (other, other_count)):
        total = np.append(0.0, np.cumsum(n))
        ends.append(begins[of] + total[1:] - total[np.searchsorted(of, of)])
    edges = np.unique(np.concatenate([*ends, begins]))
    at = edges[:-1]
    a, b = (np.searchsorted(end, at, side="right") for end in ends)
    both = (a < len(key)) & (b < len(other_key))
    a, b, at, size = a[both], b[both], at[both], np.diff(edges)[both]
    met = (ends[0][a] - count[a] <= at) & (ends[1][b] - other_count[b] <= at)
    return a[met], b[met], size[met]
