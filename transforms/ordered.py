"""InTimeOrder: the one way to keep state. Beam's Python SDK has no RequiresTimeSortedInput; this provides it.

A fold is a deterministic state machine over records in the order of their stamps. Bounded input is grouped, sorted and
advanced through its instants with neither state nor timers, so that every batch runner can run it. Unbounded input
waits in a bag, and a watermark timer per instant proves that everything before it has arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from transforms.fold import collect_garbage_seldom, counted
from transforms.unbounded import unbounded_dofn

#: Told how far each key has come, for a progress bar of a runner in this process: (key, microseconds).
on_advance: Callable[[Any, int], None] | None = None


@dataclass(eq=False)
class InTimeOrder(beam.PTransform):
    """(key, bytes of an element) in, outputs of the fold in time order per key out.

    Fields:
      fold: the state machine.
      name: prefixes the state and timer names, which must differ between stages (runtime.md, trap 1).
      bounded: forces a path; None asks the input.
    """

    fold: Any
    name: str
    bounded: bool | None = None

    def expand(self, elements: beam.PCollection) -> beam.PCollection:
        """Choose the path by whether the input ends."""
        bounded = elements.is_bounded if self.bounded is None else self.bounded
        if bounded:
            elements, advance = elements | "Group" >> beam.GroupByKey(), beam.ParDo(AdvanceBounded(self.fold))
        else:
            advance = beam.ParDo(unbounded_dofn(self.fold, self.name))
        return elements | "Advance" >> advance.with_output_types(self.fold.output)


@dataclass(eq=False)
class AdvanceBounded(beam.DoFn):
    """A whole key at once: the same instants as the unbounded path, up to the horizon."""

    fold: Any

    def setup(self) -> None:
        """Prepare the worker."""
        collect_garbage_seldom()

    def process(self, element: tuple[Any, Iterable[bytes]]) -> Iterator[Any]:
        """Advance a fresh state through the key's records."""
        key, payloads = element
        yield from advance_through(self.fold, key, self.fold.start(), payloads)


def advance_through(fold: Any, key: Any, state: Any, payloads: Iterable[bytes]) -> Iterator[Any]:
    """Advance a state through all of a key's payloads, up to the horizon."""
    loaded: list[Any] = []
    # Payloads sort by their first stamp: what precedes the next one's instant is complete, and the rest of the
    # day stays encoded until it is needed.
    for payload in sorted(payloads):
        seen = fold.instant_of(fold.first_stamp(payload)) - fold.interval
        parts = [fold.split(element, seen) for element in loaded]
        now = [part for part, _ in parts if part is not None]
        yield from _watched(fold, key, state, now, seen) if now else ()
        loaded = [rest for _, rest in parts if rest is not None]
        loaded.append(fold.decode(payload))
    until = fold.horizon
    if until is None:
        # What arrived last is among what is still loaded.
        until = max(fold.instant_of(stamp) for element in loaded for stamp in fold.stamps(element))
    yield from _watched(fold, key, state, loaded, until)


def _watched(fold: Any, key: Any, state: Any, arrivals: list[Any], until: int) -> Iterator[Any]:
    for output in counted(fold.advance(state, arrivals, until)):
        if on_advance is not None:
            on_advance(key, state.now)
        yield output
    if on_advance is not None:
        on_advance(key, until)
