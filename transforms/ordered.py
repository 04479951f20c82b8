"""InTimeOrder: the one way to keep state. Beam's Python SDK has no RequiresTimeSortedInput; this provides it.

A fold is a deterministic state machine over records in the order of their stamps. Bounded input is grouped, sorted and
advanced through its instants with neither state nor timers, so that every batch runner can run it. Unbounded input
waits in a bag, and a watermark timer per instant proves that everything before it has arrived.
"""

from __future__ import annotations

import gc
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import apache_beam as beam
from apache_beam.coders import BytesCoder
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import BagStateSpec, ReadModifyWriteStateSpec, TimerSpec, on_timer
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import Timestamp

#: Told how far each key has come, for a progress bar of a runner in this process: (key, microseconds).
on_advance: Callable[[Any, int], None] | None = None


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

    def advance(self, state: Any, arrivals: Iterable[Any], until: int) -> Iterator[Any]:
        """Process every instant up to and including `until`. Outputs carry their own as_of."""

    def next_deadline(self, state: Any) -> int:
        """The next instant at which something happens without a record."""

    def split(self, element: Any, before: int) -> tuple[Any, Any]:
        """The part of an element that instant `before` sees, and the rest; either may be None."""

    def encode(self, element: Any) -> bytes:
        """An element as bytes."""

    def decode(self, payload: bytes) -> Any:
        """The inverse of encode."""

    def first_stamp(self, payload: bytes) -> int:
        """When the earliest record of a payload arrived; payloads as bytes sort by it."""


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
        _collect_garbage_seldom()

    def process(self, element: tuple[Any, Iterable[bytes]]) -> Iterator[Any]:
        """Advance a fresh state through the key's records."""
        key, payloads = element
        fold, state, last = self.fold, self.fold.start(), 0
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
            last = max(last, *(fold.instant_of(stamp) for stamp in fold.stamps(loaded[-1])))
        yield from _watched(fold, key, state, loaded, last if fold.horizon is None else fold.horizon)


def _collect_garbage_seldom() -> None:
    # A fold's state is hundreds of thousands of long-lived objects without cycles; looking for some among them took a
    # fifth of the time at Python's own thresholds (docs/performance.md).
    gc.set_threshold(100_000, 50, 100)


def _watched(fold: Any, key: Any, state: Any, arrivals: list[Any], until: int) -> Iterator[Any]:
    for output in fold.advance(state, arrivals, until):
        if on_advance is not None:
            on_advance(key, state.now)
        yield output
    if on_advance is not None:
        on_advance(key, until)


def _at(microseconds: int) -> Timestamp:
    return Timestamp(micros=microseconds)


def unbounded_dofn(fold: Any, name: str) -> beam.DoFn:
    """The stateful DoFn of a fold: a bag of arrivals, a cell of state each, one timer family with a tag per instant."""
    waiting = BagStateSpec(f"{name}_waiting", BytesCoder())
    cells = {cell: ReadModifyWriteStateSpec(f"{name}_{cell}", BytesCoder()) for cell in fold.cells}
    wake = TimerSpec(f"{name}_wake", TimeDomain.WATERMARK)

    class AdvanceUnbounded(beam.DoFn):
        """State is loaded once a bundle and key, advanced by each timer, and only its changed cells are written."""

        def setup(self) -> None:
            _collect_garbage_seldom()

        def start_bundle(self) -> None:
            self.loaded: dict[Any, Any] = {}

        def _state(self, key: Any, stores: Iterable[Any]) -> Any:
            state = self.loaded.get(key)
            if state is None:
                state = self.loaded[key] = fold.start()
                read = dict(zip(cells, stores, strict=True))
                state.load(lambda cell: read[cell].read())
            return state

        def process(self, element: tuple[Any, bytes], bag: Any, timer: Any, *stores: Any) -> None:
            key, payload = element
            bag.add(payload)
            state = self._state(key, stores)
            after = fold.instant_of(state.now) if state.now >= 0 else 0
            instants = {max(after, fold.instant_of(stamp)) for stamp in fold.stamps(fold.decode(payload))}
            for instant in instants:
                timer.set(_at(instant), dynamic_timer_tag=str(instant))

        def wake(self, key: Any, fired: Timestamp, bag: Any, timer: Any, **stores: Any) -> Iterator[Any]:
            until = fired.micros
            if fold.horizon is not None and until > fold.horizon:
                return
            state = self._state(key, stores.values())
            arrivals, rest = [], []
            for payload in bag.read():
                now, later = fold.split(fold.decode(payload), until)
                if now is not None:
                    arrivals.append(now)
                if later is not None:
                    rest.append(payload if now is None else fold.encode(later))
            if arrivals:
                bag.clear()
                for payload in rest:
                    bag.add(payload)
            before = fold.next_deadline(state)
            for output in fold.advance(state, arrivals, until):
                yield TimestampedValue(output, fired)
            deadline = fold.next_deadline(state)
            if deadline != before and deadline < _FOREVER:
                timer.set(_at(deadline), dynamic_timer_tag=str(deadline))
            for cell, content in state.drain():
                stores[cell].write(content)

    # Beam finds state and timers as default arguments; the cells are as many as the fold has, so the
    # signatures are written here.
    params: list[tuple[str, Any]] = [
        ("bag", beam.DoFn.StateParam(waiting)),
        ("timer", beam.DoFn.TimerParam(wake)),
        *((cell, beam.DoFn.StateParam(spec)) for cell, spec in cells.items()),
    ]
    _sign(AdvanceUnbounded.process, ["self", "element"], params)
    wake_params = [("key", beam.DoFn.KeyParam), ("fired", beam.DoFn.TimestampParam), *params]
    _sign(AdvanceUnbounded.wake, ["self"], wake_params)
    AdvanceUnbounded.wake = on_timer(wake)(AdvanceUnbounded.wake)  # type: ignore[method-assign]
    return AdvanceUnbounded()


_FOREVER = 2**62


def _sign(function: Any, positional: list[str], defaults: list[tuple[str, Any]]) -> None:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    names = [inspect.Parameter(name, kind) for name in positional]
    function.__signature__ = inspect.Signature(
        [*names, *(inspect.Parameter(name, kind, default=default) for name, default in defaults)]
    )
