"""Ticks: prices as columns, as the market takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from risk.amounts import Floats, Ints

#: What a price may be, by name; of two that are otherwise the same the later one here is the newer.
STATUSES = ("CLOSE", "HALTED", "INDICATIVE", "LIVE")

#: The columns of numbers, in their order.
_DTYPES: dict[str, type] = {
    "arrived_at": np.int64,
    "as_of": np.int64,
    "sequence": np.int64,
    "price": np.float64,
    "status": np.int8,
    "volatility": np.float64,
}


@dataclass(frozen=True, slots=True)
class Ticks:
    """n prices in any order.

    Attributes:
      symbols, sources: n names.
      arrived_at, as_of: (n,) microseconds.
      sequence: (n,) of the source.
      price: (n,) dollars.
      status: (n,) places of STATUSES.
      volatility: (n,) implied, a year; NaN: not told.
    """

    symbols: list[str]
    sources: list[str]
    arrived_at: Ints
    as_of: Ints
    sequence: Ints
    price: Floats
    status: NDArray[np.int8]
    volatility: Floats

    @classmethod
    def of(cls, symbols: list[str], sources: list[str], **columns: Any) -> Ticks:
        """Ticks of which each column of numbers is a sequence, or the bytes that `columns` gave."""
        arrays: Any = {
            name: np.frombuffer(column, _DTYPES[name]) if isinstance(column, bytes) else np.array(column, _DTYPES[name])
            for name, column in columns.items()
        }
        return cls(symbols, sources, **arrays)

    def columns(self) -> dict[str, bytes]:
        """The columns of numbers as bytes."""
        return {name: getattr(self, name).tobytes() for name in _DTYPES}

    def __len__(self) -> int:
        return len(self.symbols)

    def at(self, places: Ints) -> Ticks:
        """Those at the places."""
        chosen = places.tolist()
        return Ticks(
            [self.symbols[place] for place in chosen],
            [self.sources[place] for place in chosen],
            *(getattr(self, name)[places] for name in _DTYPES),
        )

    def between(self, first: int, end: int) -> Ticks:
        """Those from one place up to another."""
        return Ticks(*(getattr(self, field.name)[first:end] for field in fields(self)))

    def oldest_first(self) -> Ints:
        """(n,) their places by what Newest of risk.market compares: of a symbol and kind the last one holds."""
        names = sorted(set(self.sources))
        if len(names) > 1:
            rank = {name: place for place, name in enumerate(names)}
            by_source = np.array([rank[source] for source in self.sources])
        else:
            by_source = np.zeros(len(self), np.int8)
        return np.lexsort((self.told("volatility"), self.status, self.price, by_source, self.sequence, self.as_of))

    def told(self, name: str) -> NDArray:
        """(n,) a column; no volatility is 0.0, so that it compares."""
        column: NDArray = getattr(self, name)
        return np.nan_to_num(column) if name == "volatility" else column

    def conflated(self) -> Ticks:
        """The newest of each symbol and status, which is all that a market keeps of one instant."""
        order = self.oldest_first()
        kinds = zip((self.symbols[place] for place in order.tolist()), self.status[order].tolist(), strict=True)
        newest = dict(zip(kinds, order.tolist(), strict=True))
        return self if len(newest) == len(self) else self.at(np.array(sorted(newest.values())))

    def by_arrival(self) -> Ticks:
        """These, the first to arrive first."""
        ordered = bool((self.arrived_at[1:] >= self.arrived_at[:-1]).all())
        return self if ordered else self.at(np.argsort(self.arrived_at, kind="stable"))


NO_TICKS = Ticks.of([], [], **dict.fromkeys(_DTYPES, b""))


def joined_ticks(parts: Sequence[Ticks]) -> Ticks:
    """The ticks of all the parts, one part after another."""
    some = [part for part in parts if len(part)]
    if len(some) < 2:
        return some[0] if some else NO_TICKS
    return Ticks(
        [symbol for part in some for symbol in part.symbols],
        [source for part in some for source in part.sources],
        *(np.concatenate([getattr(part, name) for part in some]) for name in _DTYPES),
    )
