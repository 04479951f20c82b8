"""Trading sessions as arrays: session time between two instants, staleness and due dates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from risk.amounts import Ints


@dataclass(frozen=True)
class Sessions:
    """Opens and closes (microseconds of the epoch, ascending) of the sessions around a business date."""

    opens: Ints
    closes: Ints

    def elapsed_until(self, instant: int) -> int:
        """Session time before the instant, microseconds since the first open."""
        return int(np.clip(instant - self.opens, 0, self.closes - self.opens).sum())

    def after(self, instant: int, duration: int) -> int:
        """When `duration` of session time has passed since the instant.

        Raises:
          ValueError: the sessions do not reach that far.
        """
        target = self.elapsed_until(instant) + duration
        ends = np.cumsum(self.closes - self.opens)
        day = int(np.searchsorted(ends, target))
        if day == len(ends):
            raise ValueError(f"expected sessions that reach {duration} us beyond {instant}, found {len(ends)} of them")
        return int(self.closes[day] - (ends[day] - target))

    def close_after(self, instant: int, sessions: int) -> int:
        """The close of the n-th session that opens after the instant."""
        return int(self.closes[int(np.searchsorted(self.opens, instant, side="right")) + sessions - 1])
