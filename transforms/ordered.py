"""InTimeOrder: the one way to keep state. Beam's Python SDK has no RequiresTimeSortedInput; this provides it.

A fold is a deterministic state machine over records in the order of their stamps. Bounded input is grouped, sorted and
advanced through its instants with neither state nor timers, so that every batch runner can run it. Unbounded input
waits in a bag, and a watermark timer per instant proves that everything before it has arrived.
"""

from __future__ import annotations

import gc
import inspect
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b
from heapq import heappop, heappush
from itertools import groupby
from typing import Any, Protocol

import apache_beam as beam
from apache_beam.coders import BytesCoder
from apache_beam.metrics import Metrics
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import BagStateSpec, ReadModifyWriteStateSpec, TimerSpec, on_timer
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.shared import Shared
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


def _collect_garbage_seldom() -> None:
    # A fold's state is hundreds of thousands of long-lived objects without cycles; looking for some among them took a
    # fifth of the time at Python's own thresholds (docs/performance.md).
    gc.set_threshold(100_000, 50, 100)


def _watched(fold: Any, key: Any, state: Any, arrivals: list[Any], until: int) -> Iterator[Any]:
    for output in _counted(fold.advance(state, arrivals, until)):
        if on_advance is not None:
            on_advance(key, state.now)
        yield output
    if on_advance is not None:
        on_advance(key, until)


def _counted(outputs: Generator[Any, None, Mapping[str, int]]) -> Iterator[Any]:
    """The outputs of an advance; what it counted is told to the engine once it is through."""
    for name, count in (yield from outputs).items():
        _counter(name).inc(count)


@cache
def _counter(name: str) -> Any:
    return Metrics.counter("margin", name)


def _at(microseconds: int) -> Timestamp:
    return Timestamp(micros=microseconds)


class _Worker(dict[Any, "_Kept"]):
    """What a worker's process keeps between bundles, by key; whoever works on a key takes it out."""


@dataclass(slots=True)
class _Kept:
    """A key's state and the items that wait for it, as of a token.

    Fields:
      stores: of the bundle that is working on it; cells that the state fetches later are read through them.
      journal: bytes of the items in the bag that the state has taken in and the cells have not.
      sizes: bytes of the cells that were written.
    """

    token: bytes
    stores: dict[str, Any]
    state: Any = None
    waiting: list[bytes] = field(default_factory=list)
    journal: int = 0
    sizes: dict[str, int] = field(default_factory=dict)


#: The cells are written once the journal has this many bytes and this share of theirs: rarely enough to cost little,
#: often enough that a worker that takes over has seconds of the stream to go through again (docs/performance.md).
JOURNAL, JOURNAL_SHARE = 1 << 18, 0.25


def unbounded_dofn(fold: Any, name: str) -> beam.DoFn:
    """The stateful DoFn of a fold: a bag of arrivals, a cell of state each, one timer family with a tag per instant.

    What is committed is the cells as of some instant and, in the bag, every arrival since: the fold is deterministic,
    so the state is the cells advanced through that journal. An instant thus writes next to nothing, and the cells only
    when the journal has outgrown them. A worker keeps the state between bundles, and a token beside it, the instant
    that was processed last and a hash of all that ever arrived, says whether what it keeps is what was committed last;
    where it is not (a bundle failed, the key was elsewhere) the state is made again.

    An item of the bag is the instant that it is processed at, eight bytes, and its payload.
    """
    waiting = BagStateSpec(f"{name}_waiting", BytesCoder())
    cells = {cell: ReadModifyWriteStateSpec(f"{name}_{cell}", BytesCoder()) for cell in (*fold.cells, _TOKEN)}
    wake = TimerSpec(f"{name}_wake", TimeDomain.WATERMARK)

    class AdvanceUnbounded(beam.DoFn):
        """One key's arrivals and instants, as the engine gives them."""

        def __init__(self) -> None:
            # An engine may give a key's bundles to one instance now and to another then, in one process.
            self.worker = Shared()

        def setup(self) -> None:
            _collect_garbage_seldom()
            self.kept: _Worker = self.worker.acquire(_Worker)

        def _take(self, key: Any, bag: Any, stores: Iterable[Any]) -> _Kept:
            """What was committed last; whoever changes it puts it back with its new token."""
            mine = dict(zip(cells, stores, strict=True))
            committed = mine[_TOKEN].read() or _NEVER
            kept = self.kept.pop(key, None)
            if kept is None or kept.token != committed:
                kept = _Kept(committed, mine)
                _load(fold, kept, bag.read())
            kept.stores = mine
            return kept

        def process(self, element: tuple[Any, bytes], bag: Any, timer: Any, *stores: Any) -> None:
            key, payload = element
            kept = self._take(key, bag, stores)
            # Not before what has passed, evaluated or not: what is then in the bag counts as taken in.
            after = fold.instant_of(max(kept.state.now, _instant_of(kept.token)))
            items = [max(after, instant).to_bytes(8, "big") + piece for instant, piece in fold.pieces(payload)]
            for item in items:
                bag.add(item)
                heappush(kept.waiting, item)
            for instant in {_instant_of(item) for item in items}:
                timer.set(_at(instant), dynamic_timer_tag=str(instant))
            self._keep(key, kept, kept.token[:8], payload)

        def wake(self, key: Any, fired: Timestamp, bag: Any, timer: Any, **stores: Any) -> Iterator[Any]:
            until = fired.micros
            if fold.horizon is not None and until > fold.horizon:
                return
            kept = self._take(key, bag, stores.values())
            state, arrivals = kept.state, []
            # An instant without arrivals has to be gone through again, too.
            kept.journal += len(kept.token)
            while kept.waiting and _instant_of(kept.waiting[0]) <= until:
                item = heappop(kept.waiting)
                kept.journal += len(item)
                arrivals.append(fold.decode(item[8:]))
            before = fold.next_deadline(state)
            for output in _counted(fold.advance(state, arrivals, until)):
                yield TimestampedValue(output, fired)
            deadline = fold.next_deadline(state)
            if deadline != before and deadline < _FOREVER:
                timer.set(_at(deadline), dynamic_timer_tag=str(deadline))
            if kept.journal > max(JOURNAL, JOURNAL_SHARE * sum(kept.sizes.values())):
                self._write(kept, bag)
            done = max(until.to_bytes(8, "big"), kept.token[:8])
            self._keep(key, kept, done)

        def _write(self, kept: _Kept, bag: Any) -> None:
            for cell, content in kept.state.drain():
                kept.stores[cell].write(content)
                kept.sizes[cell] = len(content)
                _counter("state_bytes").inc(len(content))
            bag.clear()
            for item in kept.waiting:
                bag.add(item)
            kept.journal = 0

        def _keep(self, key: Any, kept: _Kept, done: bytes, arrived: bytes = b"") -> None:
            chain = blake2b(arrived, key=kept.token[8:], digest_size=16).digest() if arrived else kept.token[8:]
            if done + chain != kept.token:
                kept.token = done + chain
                kept.stores[_TOKEN].write(kept.token)
            self.kept[key] = kept

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


def _load(fold: Any, kept: _Kept, items: Iterable[bytes]) -> None:
    """Make a key's state again: its cells, advanced through the journal as it was the first time."""
    state = kept.state = fold.start()
    state.load(lambda cell: kept.stores[cell].read())
    done = _instant_of(kept.token)
    for instant, arrived in groupby(sorted(items), key=_instant_of):
        if instant > done:
            kept.waiting.extend(arrived)
            continue
        together = list(arrived)
        kept.journal += sum(map(len, together))
        # Deadlines before it first: a record that came late was applied after them.
        _run(fold, state, [], instant - fold.interval)
        _run(fold, state, [fold.decode(item[8:]) for item in together], instant)
    _run(fold, state, [], done)


def _run(fold: Any, state: Any, arrivals: list[Any], until: int) -> None:
    # What comes out was committed, and counted, with what is now gone through again.
    deque(fold.advance(state, arrivals, until), maxlen=0)


_FOREVER = 2**62
_NEVER = bytes(8)
_TOKEN = "token"


def _instant_of(item: bytes) -> int:
    return int.from_bytes(item[:8], "big")


def _sign(function: Any, positional: list[str], defaults: list[tuple[str, Any]]) -> None:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    names = [inspect.Parameter(name, kind) for name in positional]
    function.__signature__ = inspect.Signature(
        [*names, *(inspect.Parameter(name, kind, default=default) for name, default in defaults)]
    )
