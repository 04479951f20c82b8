"""What a fold is, and what both paths of InTimeOrder do with one."""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Protocol

from apache_beam.metrics import Metrics


class Fold(Protocol):
    """A deterministic state machine. It never reads a clock, a random number or the network. Times are microseconds."""

    cells: tuple[str, ...]
    interval: int
    horizon: int | None
    #: What an output is, for the engine's coder.
    output: Any

    def start(self) -> Any:
        """The state before any record."""

    def stamps(self, element: Any) -> Iterable[int]:
        """When the records of an element arrived."""

    def instant_of(self, stamp: int) -> int:
        """The instant that a record is processed at."""

    def advance(self, state: Any, arrivals: Iterable[Any], until: int) -> Generator[Any, None, Mapping[str, int]]:
        """Process every instant up to and including `until`. Outputs carry their own as_of; returns what it counted."""

    def next_deadline(self, state: Any) -> int:
        """The next instant at which something happens without a record."""

    def split(self, element: Any, before: int) -> tuple[Any, Any]:
        """The part of an element that instant `before` sees, and the rest; either may be None."""

    def decode(self, payload: bytes) -> Any:
        """An element from its bytes."""

    def pieces(self, payload: bytes) -> Iterable[tuple[int, bytes]]:
        """A payload as one payload for each instant that its records are processed at."""

    def first_stamp(self, payload: bytes) -> int:
        """When the earliest record of a payload arrived; payloads as bytes sort by it."""


class Following:
    """What a fold behind another InTimeOrder has: payloads begin with the instant that they are of, eight bytes.

    What is in front tells an instant up to an interval of its own grid behind its watermark (transforms.unbounded), so
    what is of an instant is taken in when that is long past; it is still of the instant.
    """

    #: Microseconds. Longer than the grid in front.
    interval = 5_000_000

    def stamp_of(self, element: Any) -> int:
        """The instant that an element is of, microseconds."""
        raise NotImplementedError

    def instant_of(self, stamp: int) -> int:
        """When what is of the instant is taken in."""
        return (stamp // self.interval + 1) * self.interval

    def first_stamp(self, payload: bytes) -> int:
        """The instant that a payload is of."""
        return int.from_bytes(payload[:8], "big")

    def pieces(self, payload: bytes) -> Iterator[tuple[int, bytes]]:
        """The payload, which is of one instant."""
        yield self.instant_of(self.first_stamp(payload)), payload

    def stamps(self, element: Any) -> list[int]:
        """The instant that an element is of."""
        return [self.stamp_of(element)]

    def split(self, element: Any, before: int) -> tuple[Any, Any]:
        """The element, if instant `before` sees it, or what waits."""
        return (element, None) if self.stamp_of(element) < before else (None, element)


def collect_garbage_seldom() -> None:
    """Prepare a worker for many objects."""
    # A fold's state, and the records that a parser hands on, are hundreds of thousands of objects without cycles;
    # looking for some among them took a fifth of the one's time and a third of the other's at Python's own thresholds
    # (docs/performance.md).
    gc.set_threshold(100_000, 50, 100)


def counted(outputs: Generator[Any, None, Mapping[str, int]]) -> Iterator[Any]:
    """The outputs of an advance; what it counted is told to the engine once it is through."""
    for name, count in (yield from outputs).items():
        counter(name).inc(count)


@cache
def counter(name: str) -> Any:
    """A counter that the engine shows under "margin"."""
    return Metrics.counter("margin", name)
