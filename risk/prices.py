"""The newest price of each symbol and kind, and which of them holds; prices come in any order."""

from __future__ import annotations

from collections.abc import Iterator
from operator import gt, lt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from risk.amounts import Floats, Ints
from risk.ticks import STATUSES, Ticks

MISSING, LIVE, CLOSE, HALTED, STALE = range(5)
STATE_NAMES = ("MISSING", "LIVE", "CLOSE", "HALTED", "STALE")

#: The kinds of price that are kept of each symbol, and of each of STATUSES the kind and the state that it gives.
KINDS = ("live", "indicative", "halted")
_OF_LIVE, _OF_INDICATIVE, _OF_HALTED = range(len(KINDS))
_KIND = np.array([_OF_LIVE, _OF_HALTED, _OF_INDICATIVE, _OF_LIVE])
_STATE = np.array([CLOSE, HALTED, LIVE, LIVE], np.int8)
_A_CLOSE = STATUSES.index("CLOSE")
_NOTHING = np.iinfo(np.int64).min

#: What a price says: (as_of, sequence, source, price, place of its status, volatility). Of two, the greater is newer.
Newest = tuple[int, int, str, float, int, float]

#: By symbol and kind, the kinds of a symbol adjacent.
_TOLD: dict[str, tuple[type, float]] = {
    "as_of": (np.int64, _NOTHING),
    "sequence": (np.int64, 0),
    "price": (np.float64, np.nan),
    "status": (np.int8, 0),
    "volatility": (np.float64, 0.0),
}


class Prices:
    """told: the newest price of each symbol and kind, live (which a close is, too), indicative or halted, at the place
    row x kinds + kind. sources: the sources of those that have one, by place.

    What holds follows from the three, so that no order of arrival can matter: a live price, whatever indicative one
    there is; a close or an indicative one, whichever is newer; under a halt that is newer still, what it keeps.
    """

    def __init__(self) -> None:
        self.told: dict[str, NDArray] = {name: np.full(0, fill, kind) for name, (kind, fill) in _TOLD.items()}
        self.sources: dict[int, str] = {}

    def grow(self, room: int) -> None:
        """Make room for so many more symbols."""
        for name, (kind, fill) in _TOLD.items():
            self.told[name] = np.append(self.told[name], np.full(room * len(KINDS), fill, kind))

    def take(self, rows: Ints, ticks: Ticks) -> Ints:
        """Take the prices of the symbols at the rows, in any order; the rows that have a newer one of its kind."""
        order = ticks.oldest_first()[::-1]
        # Of those of a symbol and kind the newest alone can matter, which is the first here.
        places, first = np.unique((rows * len(KINDS) + _KIND[ticks.status])[order], return_index=True)
        chosen = order[first]
        newer = self._newer(ticks, places, chosen)
        places, chosen = places[newer], chosen[newer]
        for name, column in self.told.items():
            column[places] = ticks.told(name)[chosen]
        self._name_sources(places, [ticks.sources[place] for place in chosen.tolist()])
        return np.unique(places // len(KINDS))

    def known(self) -> Ints:
        """Rows of which anything is told."""
        return np.unique(np.flatnonzero(self.told["as_of"] != _NOTHING) // len(KINDS))

    def holding(self, rows: Ints) -> tuple[Floats, NDArray[np.int8], Ints, Floats]:
        """What holds at rows of which something is told: price, state, when it was so, and volatility, NaN for none."""
        told, places = self.told, rows * len(KINDS)
        price, status, as_of, volatility = (
            told[name][places + _OF_LIVE] for name in ("price", "status", "as_of", "volatility")
        )
        others = (told["as_of"][places + kind] != _NOTHING for kind in (_OF_INDICATIVE, _OF_HALTED))
        for at in np.flatnonzero(np.logical_or(*others)).tolist():
            said, holds = self._standing(int(rows[at]))
            price[at], (as_of[at], _, _, _, status[at], volatility[at]) = said[3], holds
        return price, _STATE[status], as_of, np.where(volatility > 0, volatility, np.nan)

    def _newer(self, ticks: Ticks, places: Ints, chosen: Ints) -> NDArray[np.bool_]:
        """(places,) whether the chosen ticks are newer than what is told at the places."""
        # One after another, as tuples are compared; nearly always the first decides.
        newer, tied = np.zeros(len(places), np.bool_), np.ones(len(places), np.bool_)
        for ahead, behind in self._compared(ticks, places, chosen):
            newer |= tied & ahead
            tied &= ~(ahead | behind)
            if not tied.any():
                break
        return newer

    def _compared(
        self, ticks: Ticks, places: Ints, chosen: Ints
    ) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
        """By each part of Newest, whether the tick is greater than what is told, and whether it is less."""
        for name in self.told:
            if name == "price":
                new = [ticks.sources[tick] for tick in chosen.tolist()]
                old = [self.sources.get(place, "") for place in places.tolist()]
                yield np.array(list(map(gt, new, old))), np.array(list(map(lt, new, old)))
            column, was = ticks.told(name)[chosen], self.told[name][places]
            yield column > was, column < was

    def _name_sources(self, places: Ints, sources: list[str]) -> None:
        if not self.sources and not any(sources):
            return
        for place, source in zip(places.tolist(), sources, strict=True):
            if source:
                self.sources[place] = source
            else:
                self.sources.pop(place, None)

    def said(self, row: int) -> tuple[int, int, str]:
        """as_of, sequence and source of what says the price that holds at a row; empty where nothing is told."""
        return self._standing(row)[0][:3]

    def _standing(self, row: int) -> tuple[Newest, Newest]:
        """What says the price that holds at a row, and what says that it does: under a halt another."""
        newest, indicative, halted = (self._told(row * len(KINDS) + kind) for kind in range(len(KINDS)))
        if indicative and (not newest or (newest[4] == _A_CLOSE and indicative > newest)):
            newest = indicative
        if halted > newest:
            return newest or halted, halted
        return newest, newest

    def _told(self, place: int) -> Any:
        """What is told at a place; empty for nothing."""
        if self.told["as_of"][place] == _NOTHING:
            return ()
        as_of, sequence, price, status, volatility = (column[place].item() for column in self.told.values())
        return as_of, sequence, self.sources.get(place, ""), price, status, volatility

    def ticks(self, symbols: list[str], arrived_at: int) -> Ticks:
        """What is told of every symbol, by row, as if it arrived at one time, microseconds."""
        places = np.flatnonzero(self.told["as_of"] != _NOTHING)
        return Ticks.of(
            [symbols[row] for row in (places // len(KINDS)).tolist()],
            [self.sources.get(place, "") for place in places.tolist()],
            arrived_at=np.full(len(places), arrived_at),
            **{name: column[places] for name, column in self.told.items() if name != "volatility"},
            volatility=np.where(self.told["volatility"][places] > 0, self.told["volatility"][places], np.nan),
        )

    def to_cell(self, rows: int) -> dict:
        """What is told of so many symbols as plain data."""
        told = {name: column[: rows * len(KINDS)] for name, column in self.told.items()}
        return {"told": told, "sources": self.sources}

    def load(self, cell: dict) -> None:
        """Become what to_cell described."""
        self.told, self.sources = cell["told"], cell["sources"]
