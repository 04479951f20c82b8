"""Columns: things of one kind as arrays of one length, a field each."""

from __future__ import annotations

from typing import ClassVar, Self

from numpy.typing import NDArray


class Columns:
    """A dataclass with slots whose fields are arrays, all with the same last axis."""

    __slots__: ClassVar[tuple[str, ...]] = ()

    def at(self, places: NDArray) -> Self:
        """Those at the places, or that a mask chooses."""
        return type(self)(*(getattr(self, name)[places] for name in self.__slots__))
