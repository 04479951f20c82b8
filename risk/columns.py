"""Columns: things of one kind as arrays of one length, a field each."""

from __future__ import annotations

from functools import cache
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

#: There are fewer rules of lines, and fewer types.
_CODES = 64


class Columns:
    """A dataclass with slots whose fields are arrays, all with the same last axis."""

    __slots__: ClassVar[tuple[str, ...]] = ()

    def at(self, places: NDArray) -> Self:
        """Those at the places, or that a mask chooses."""
        return type(self)(*(getattr(self, name)[places] for name in self.__slots__))


def among(codes: NDArray, chosen: tuple[int, ...]) -> NDArray[np.bool_]:
    """(n,) whether each of (n,) small numbers, not negative, is one of those chosen."""
    # np.isin makes such a table anew each time, which for few positions took a fifth of their margin.
    return _table(chosen)[codes]


@cache
def _table(chosen: tuple[int, ...]) -> NDArray[np.bool_]:
    table = np.zeros(_CODES, np.bool_)
    table[list(chosen)] = True
    return table
