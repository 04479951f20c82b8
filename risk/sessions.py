"""Trading sessions as arrays: session time between two instants, staleness and due dates."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from risk.amounts import Ints


@dataclass(frozen=True)
class Sessions:
    """Opens and closes (microseconds of the epoch, ascending) of the sessions around a business date."""

    opens: Ints
    closes: Ints

    @cached_property
    def _table(self) -> tuple[list[int], list[int], list[int]]:
        """Opens, closes and session time up to each close, as lists, for who asks for one date."""
        return self.opens.tolist(), self.closes.tolist(), np.cumsum(self.closes - self.opens).tolist()

    def elapsed_until(self, instant: int) -> int:
        """Session time before the instant, microseconds since the first open."""
        opens, closes, ends = self._table
        day = bisect_right(opens, instant) - 1
        return ends[day] - max(closes[day] - instant, 0) if day >= 0 else 0

    def after(self, instant: int, duration: int) -> int:
        """When `duration` of session time has passed since the instant.

        Raises:
          ValueError: the sessions do not reach that far.
        """
        _, closes, ends = self._table
        target = self.elapsed_until(instant) + duration
        day = bisect_left(ends, target)
        if day == len(ends):
            raise ValueError(f"expected sessions that reach {duration} us beyond {instant}, found {len(ends)} of them")
        return closes[day] - (ends[day] - target)

    def after_each(self, instants: Ints, duration: int) -> Ints:
        """What `after` gives for each of the (n,) instants, nearly all of them within a session."""
        # Within a session its time is the clock's.
        day = np.searchsorted(self.opens, instants, side="right") - 1
        ends = instants + duration
        for place in np.flatnonzero((day < 0) | (ends > self.closes[day]) | (duration <= 0)).tolist():
            ends[place] = self.after(int(instants[place]), duration)
        return ends

    def is_open(self, instant: int) -> bool:
        """Whether a session is on at the instant."""
        opens, closes, _ = self._table
        day = bisect_right(opens, instant) - 1
        return day >= 0 and instant < closes[day]

    def next_open(self, instant: int) -> int:
        """The open of the first session after the instant."""
        opens, _, _ = self._table
        return opens[bisect_right(opens, instant)]

    def close_after(self, instant: int, sessions: int) -> int:
        """The close of the n-th session that opens after the instant."""
        opens, closes, _ = self._table
        return closes[bisect_right(opens, instant) + sessions - 1]
