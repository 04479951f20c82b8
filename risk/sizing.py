"""Sizing: how many lots of each hedge group of an account to close, so that it is just above its line.

Best is what trades least of what is to be liquidated last, then least market value and cost, then fewest orders, then
most of what is first in the alphabet. Every candidate is valued by the rules themselves, never by a rate.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from risk.amounts import Floats, Ints
from risk.whatif import WhatIf

#: Books of an account up to which all are candidates.
LATTICE = 20_000
#: Sizes of an order that are tried together, and parts of one where the whole gains nothing.
_PROBES, _PARTS = 15, 8
#: How often all but the last lot of a group is tried.
_FILLS = 3
#: Groups between which lots are exchanged: the dearest.
_NEAR = 4


class Sizing:
    """The search over lots (g,) of the hedge groups of an account.

    Attributes:
      none: (g,) nothing closed.
    """

    def __init__(self, account: WhatIf, last: NDArray[np.bool_]) -> None:
        """last: (p,) positions that are to be liquidated last."""
        self._account, self._groups, self._last = account, account.groups, last
        self.none = np.zeros(len(self._groups.lots))
        self._is_last = np.zeros(len(self.none), np.bool_)
        np.logical_or.at(self._is_last, self._groups.group, last[self._groups.position])

    def cures(self, lots: Floats) -> NDArray[np.bool_]:
        """(b,) whether so many lots (b, g) do."""
        return self._account.beyond(lots) >= 0

    def best(self) -> Floats | None:
        """The best lots there are; None where there are too many to look at all of them, or none cures."""
        if self.cures(self.none[None])[0]:
            return self.none
        room = self._groups.room(self.none, self._account.cap)
        if not len(room) or np.prod(room + 1) > LATTICE or self._account.hopeless():
            return None
        lots = np.stack(np.meshgrid(*(np.arange(most + 1) for most in room), indexing="ij"), axis=-1)
        lots = lots.reshape(-1, len(room))
        lots = lots[(self._account.traded(lots) <= self._account.cap).all(axis=1)]
        lots = lots[self._ranked(lots)]
        at, size = 0, 32
        while at < len(lots):
            cured = np.flatnonzero(self.cures(lots[at : at + size]))
            if len(cured):
                return lots[at + int(cured[0])]
            at, size = at + size, 2 * size
        return None

    def in_rounds(self) -> Floats:
        """Lots that cure, with no group's one less; where none are found, those that each gain something."""
        lots: Floats = self.none
        for may in (~self._is_last, np.ones(len(lots), np.bool_)):
            lots, found = self._closed(lots, may)
            every = self._all_of(lots, may)
            # Where nothing gains by itself, together it may: all that is left requires nothing.
            if not found and self.cures(every[None])[0]:
                found = [(every, [])]
            if found:
                pruned = np.stack([self._pruned(*own) for own in found])
                return self._exchanged(pruned[self._ranked(pruned)[0]], may)
        return lots

    def _ranked(self, lots: Floats) -> Ints:
        """(b,) places of so many lots (b, g), the best first."""
        traded = self._account.traded(lots)
        values, costs = self._account.values(traded), self._account.costs(traded)
        orders, total = np.count_nonzero(traded, axis=1), (values + costs).sum(axis=1)
        return np.lexsort((*-traded.T[::-1], orders, total, values[:, self._last].sum(axis=1)))

    def _closed(self, lots: Floats, may: NDArray[np.bool_]) -> tuple[Floats, list[tuple[Floats, list[int]]]]:
        """Lots, more and more of the groups that may be; and of each round the best lots that one more group cures by,
        with the groups in the order in which they were taken.

        What gains most for a dollar traded goes first. One group that cures by itself may trade more than it and such
        as gain more do together, so what cures in any round is a candidate.
        """
        taken, found, fills = list[int](), list[tuple[Floats, list[int]]](), 0
        while True:
            room = self._groups.room(lots, self._account.cap)
            at = np.flatnonzero(may & (room > lots))
            if not len(at):
                return lots, found
            books = self._books(lots, at, room[at, None])
            beyond = self._account.beyond(books)
            cured = at[beyond >= 0]
            least = self._least(lots, cured, lots[cured], room[cured])
            if len(cured):
                sized = self._books(lots, cured, least[:, None])
                place = int(self._ranked(sized)[0])
                found.append((sized[place], [*taken, int(cured[place])]))
            rate = self._gained(lots, books, beyond)
            if rate.max() <= 0:
                # What gains nothing as a whole may gain in part, where a tier ends.
                parts = np.arange(1, _PARTS) / _PARTS
                books = self._books(lots, at, np.ceil(lots[at, None] + (room - lots)[at, None] * parts))
                at, beyond = np.repeat(at, len(parts)), self._account.beyond(books)
                rate = self._gained(lots, books, beyond)
            place = int(np.argmax(rate))
            group = int(at[place])
            if rate[place] <= 0:
                return lots, found
            taken.append(group)
            lots = books[place]
            if beyond[place] >= 0:
                found = found or [(lots, taken)]
                if fills == _FILLS or group not in cured:
                    return lots, found
                # Its last lot may be dear: all but that, and what is then missing by the others.
                lots = self._books(lots, at[place : place + 1], least[cured == group, None] - 1)[0]
                may, fills = may & (np.arange(len(may)) != group), fills + 1

    def _gained(self, lots: Floats, books: Floats, beyond: Floats) -> Floats:
        """(b,) what each of (b, g) books gains on lots (g,) by the dollar traded; beyond: (b,) ticks."""
        traded = self._account.traded(np.append(lots[None], books, axis=0))
        total = (self._account.values(traded) + self._account.costs(traded)).sum(axis=1)
        return (beyond - self._account.beyond(lots[None])[0]) / np.maximum(total[1:] - total[0], 1.0)

    def _least(self, lots: Floats, at: Ints, low: Floats, high: Floats) -> Floats:
        """(n,) lots of each of the groups (n,), the others at lots (g,) or (n, g), that cure where one less does not.

        low: (n,) lots that do not cure. high: (n,) lots that do.
        """
        low, high = low.copy(), high.copy()
        parts = np.arange(1, _PROBES + 1) / (_PROBES + 1)
        while (wide := np.flatnonzero(high - low > 1)).size:
            below, above = low[wide, None], high[wide, None]
            sizes = np.clip(below + np.floor((above - below) * parts), below + 1, above - 1)
            beside = lots[wide] if lots.ndim > 1 else lots
            cured = self.cures(self._books(beside, at[wide], sizes)).reshape(sizes.shape)
            # Rules need not be monotone: what is kept is that one bound cures and the other does not.
            first = np.where(cured.any(axis=1), np.argmax(cured, axis=1), _PROBES)
            bounds, rows = np.concatenate([below, sizes, above], axis=1), np.arange(len(wide))
            low[wide], high[wide] = bounds[rows, first], bounds[rows, first + 1]
        return high

    def _pruned(self, lots: Floats, taken: list[int]) -> Floats:
        """Lots that cure, with no group's one less nor left out: cut what is liquidated last, then what was taken
        latest, then the dearest."""
        turn = {group: number for number, group in enumerate(taken)}
        while (at := np.flatnonzero(lots)).size:
            sizes = np.stack([np.zeros(len(at)), lots[at] - 1], axis=1)
            cured = self.cures(self._books(lots, at, sizes)).reshape(sizes.shape)
            able = np.flatnonzero(cured.any(axis=1)).tolist()
            if not able:
                break
            value = self._values(lots)[at].tolist()
            order = [
                (self._is_last[own], turn.get(own, len(turn)), value[n], -own) for n, own in enumerate(at.tolist())
            ]
            place = max(able, key=order.__getitem__)
            one = at[place : place + 1]
            least: Floats = np.zeros(1)
            if not cured[place, 0]:
                least = self._least(lots, one, np.zeros(1), sizes[place, 1:])
            lots = self._books(lots, one, least[:, None])[0]
        return lots

    def _exchanged(self, lots: Floats, may: NDArray[np.bool_]) -> Floats:
        """Better lots, as long as there are: less of one of the dearest groups, and what is then missing by another.

        Where tiers end, some of two positions may free more than all of one.
        """
        dearest = np.argsort(-self._values(self._groups.lots), kind="stable")
        dearest = dearest[may[dearest]][:_NEAR]
        while True:
            most = np.argsort(-self._values(lots), kind="stable")[:_NEAR]
            given = [(one, other) for one in most[lots[most] > 0] for other in dearest if one != other]
            if not given:
                return lots
            one, other = (np.repeat(column, _PARTS) for column in np.array(given).T)
            base = np.repeat(lots[None], len(one), axis=0)
            less = np.tile(np.arange(_PARTS) / _PARTS, len(given))
            base[np.arange(len(one)), one] = np.minimum(np.floor(lots[one] * less), lots[one] - 1)
            room = np.array([self._groups.room(own, self._account.cap)[h] for own, h in zip(base, other, strict=True)])
            full = base.copy()
            full[np.arange(len(one)), other] = np.maximum(room, lots[other])
            able = np.flatnonzero(self.cures(full))
            low = np.where(self.cures(base[able]), -1.0, lots[other[able]])
            least = self._least(base[able], other[able], low, full[able, other[able]])
            found = np.append(lots[None], self._books(base[able], other[able], least[:, None]), axis=0)
            best = found[self._ranked(found)[0]]
            if (best == lots).all():
                return lots
            lots = self._pruned(best, [])

    def _values(self, lots: Floats) -> Floats:
        """(g,) ticks that are traded of each group."""
        return self._account.values(self._account.traded(np.diag(lots))).sum(axis=1)

    def _all_of(self, lots: Floats, may: NDArray[np.bool_]) -> Floats:
        """As many lots as may be traded, of the groups that may be."""
        lots = lots.copy()
        for group in np.flatnonzero(may).tolist():
            lots[group] = max(lots[group], self._groups.room(lots, self._account.cap)[group])
        return lots

    def _books(self, lots: Floats, at: Ints, sizes: Floats) -> Floats:
        """(n x k, g) lots, those given (g,) or (n, g), with one of the groups (n,) at each of its sizes (n, k)."""
        books = np.repeat(np.broadcast_to(lots, (len(at), lots.shape[-1])), sizes.shape[1], axis=0)
        books[np.arange(sizes.size), np.repeat(at, sizes.shape[1])] = sizes.ravel()
        return books
