"""The unbounded path of InTimeOrder: the one DoFn of the project that has state and timers."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from heapq import heappop, heappush
from itertools import groupby
from typing import Any

import apache_beam as beam
from apache_beam.coders import BytesCoder
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import BagStateSpec, ReadModifyWriteStateSpec, TimerSpec, on_timer
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.shared import Shared
from apache_beam.utils.timestamp import Timestamp

from transforms.fold import collect_garbage_seldom, counted, counter


def _at(microseconds: int) -> Timestamp:
    return Timestamp(micros=microseconds)


class _Worker(dict[Any, "_Kept"]):
    """What a worker's process keeps between bundles, by key; whoever works on a key takes it out."""


@dataclass(slots=True)
class _Kept:
    """A key's state and the items that wait for it, as of a token.

    Fields:
      stores: of the bundle that is working on it; cells that the state fetches later are read through them.
      deadline: the next instant at which something happens without an arrival, once this worker has set a timer for
        it; who set those of a state that was made again may have had other rules.
      ahead: bytes of the items that wait.
      journal: bytes of the items in the bag that the state has taken in and the cells have not.
      sizes: bytes of the cells that were written.
    """

    token: bytes
    stores: dict[str, Any]
    state: Any = None
    deadline: int = 0
    waiting: list[bytes] = field(default_factory=list)
    ahead: int = 0
    journal: int = 0
    sizes: dict[str, int] = field(default_factory=dict)


#: The cells are written once the journal has this many bytes and this share of what is written then, which is the cells
#: and what waits: rarely enough to cost little, often enough that a worker that takes over has seconds of the stream to
#: go through again (docs/performance.md).
JOURNAL, JOURNAL_SHARE = 1 << 18, 1.0


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
            collect_garbage_seldom()
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
                kept.ahead += len(item)
            _wake_at(timer, {_instant_of(item) for item in items} | ({after} if kept.state.now >= 0 else set()))
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
                kept.ahead -= len(item)
                kept.journal += len(item)
                arrivals.append(fold.decode(item[8:]))
            for output in counted(fold.advance(state, arrivals, until)):
                yield TimestampedValue(output, fired)
            deadline = fold.next_deadline(state)
            if deadline != kept.deadline and deadline < _FOREVER:
                _wake_at(timer, {deadline, fold.instant_of(until)})
            kept.deadline = deadline
            if kept.journal > max(JOURNAL, JOURNAL_SHARE * (sum(kept.sizes.values()) + kept.ahead)):
                self._write(kept, bag)
            done = max(until.to_bytes(8, "big"), kept.token[:8])
            self._keep(key, kept, done)

        def _write(self, kept: _Kept, bag: Any) -> None:
            for cell, content in kept.state.drain():
                kept.stores[cell].write(content)
                kept.sizes[cell] = len(content)
                counter("state_bytes").inc(len(content))
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
        together = list(arrived)
        if instant > done:
            kept.waiting += together
            kept.ahead += sum(map(len, together))
            continue
        kept.journal += sum(map(len, together))
        # Deadlines before it first: a record that came late was applied after them.
        _run(fold, state, [], instant - fold.interval)
        _run(fold, state, [fold.decode(item[8:]) for item in together], instant)
    _run(fold, state, [], done)


def _wake_at(timer: Any, instants: Iterable[int]) -> None:
    """Set a key's timers.

    One of them is always for the instant right after the one that the key was woken at last. While a bundle runs,
    Flink's watermark goes on to the earliest timer that the bundle before it set, whichever key's, although what other
    timers made is still to come: so that would overtake them by as much as that timer is ahead, and what is behind
    takes a part for the whole (docs/engines.md).
    """
    for instant in instants:
        timer.set(_at(instant), dynamic_timer_tag=str(instant))


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
