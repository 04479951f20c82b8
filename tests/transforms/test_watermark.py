"""What a stage tells is not overtaken by its watermark, by more than an interval, where the engine is Flink.

Beam's operator lets a stage's watermark go on while a bundle runs: up to the earliest timer that the bundle before it
set. Timers that were set earlier may be in the running bundle, and what they tell comes after that watermark. With a
worker that stood still for a second and a half now and then, a total of some shards was published beside that of all.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any

from apache_beam.utils.timestamp import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transforms.test_ordered import Key, worker_of
from transforms.fold import Following

#: Instants are multiples of the one; a deadline is the other after what arrived last.
STEP, AHEAD = 10, 100
KEYS = 3


@dataclass
class Heard:
    """now: as of when. deadline: the next."""

    now: int = -1
    deadline: int = 2**62

    def load(self, _: Any) -> None:
        """Nothing was kept."""

    def drain(self) -> Iterator[tuple[str, bytes]]:
        """Nothing is."""
        yield from ()


class Hear(Following):
    """Tells the instant of whatever arrives, and of a deadline after it."""

    interval = STEP
    horizon = None
    cells = ()
    start = Heard

    def stamp_of(self, element: int) -> int:
        """Itself."""
        return element

    def decode(self, payload: bytes) -> int:
        """A stamp."""
        return self.first_stamp(payload)

    def next_deadline(self, state: Heard) -> int:
        """Far beyond what arrived last."""
        return state.deadline

    def advance(self, state: Heard, arrivals: Iterable[int], until: int) -> Generator[int, None, Mapping[str, int]]:
        """The instant, for every arrival, and the deadline."""
        if state.deadline <= until:
            yield state.deadline
            state.deadline = 2**62
        for _ in arrivals:
            yield until
            state.deadline = until + AHEAD
        state.now = until
        return {}


class Operator:
    """Flink's of a stage with state, as far as its watermark goes (Beam 2.70, ExecutableStageDoFnOperator)."""

    def __init__(self) -> None:
        self.worker, self.keys = worker_of(Hear()), [Key(Hear()) for _ in range(KEYS)]
        #: Watermarks: in front of the stage, behind it, and in front of it when the running bundle began.
        self.input = self.output = self.before = -1.0
        #: What the running bundle told; None: there is none.
        self.bundle: list[int] | None = None
        #: The earliest timer that the bundle before it set, and that it has set itself.
        self.last = self.current = inf

    def _call(self, key: int, call: Callable[[Key], Iterable[Any] | None]) -> None:
        if self.bundle is None:
            self.bundle, self.before = [], self.input
        own = self.keys[key]
        known, own.timers = own.timers, set()
        self.bundle += [told.value for told in call(own) or ()]
        self.current, own.timers = min([self.current, *own.timers]), own.timers | known

    def record(self, key: int, stamp: int) -> None:
        """A record of a key."""
        element = (key, stamp.to_bytes(8, "big"))
        self._call(key, lambda own: self.worker.process(element, own.bag, own, *own.cells.values()))

    def watermark(self, time: float) -> None:
        """The watermark in front of the stage goes on, and the one behind it as far as it may."""
        self.input = time
        hold = self.input if self.bundle is None else self.before
        for at, key in sorted((at, key) for key, own in enumerate(self.keys) for at in own.timers if at <= hold):
            self.keys[key].timers.discard(at)
            self._call(key, partial(self._wake, key, Timestamp(micros=at)))
        if self.bundle is None:
            self.output = max(self.output, hold)
        elif self.last < inf:
            self.output = max(self.output, min(self.last - 1, hold))

    def _wake(self, key: int, fired: Timestamp, own: Key) -> Iterable[Any]:
        return self.worker.wake(key, fired, own.bag, own, **own.cells)

    def finish(self) -> None:
        """The bundle ends, and what it told leaves the stage."""
        for instant in self.bundle or ():
            assert self.output < instant + STEP, "what a timer told was overtaken"
        self.bundle, self.last, self.current = None, self.current, inf
        self.watermark(self.input)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("record"), st.integers(0, KEYS - 1), st.integers(0, 60)),
        st.tuples(st.just("watermark"), st.integers(0, 100)),
        st.tuples(st.just("finish")),
    ),
    max_size=30,
)


@settings(max_examples=1000)
@given(STEPS)
def test_no_instant_is_overtaken_by_more_than_an_interval(steps: list[Any]) -> None:
    operator, now = Operator(), 0
    for key in range(KEYS):
        operator.record(key, 0)
    operator.finish()
    for what, *told in steps:
        if what == "record":
            operator.record(told[0], now + told[1])
        elif what == "watermark":
            now += told[0]
            operator.watermark(now)
        else:
            operator.finish()
    while operator.bundle is not None:
        operator.finish()
