"""Session time, against a plain walk through the calendar."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from risk.sessions import Sessions

MINUTE = 60_000_000
#: Two whole days and a half one, minutes of three days.
OPENS, CLOSES = np.array([570, 2010, 3450]) * MINUTE, np.array([960, 2400, 3660]) * MINUTE
SESSIONS = Sessions(OPENS, CLOSES)


def walked(instant: int, duration: int) -> int:
    """When that many whole minutes of session time have passed since a whole minute."""
    while duration:
        instant += MINUTE
        if any(opens < instant <= closes for opens, closes in zip(OPENS, CLOSES, strict=True)):
            duration -= MINUTE
    return instant


minutes = st.integers(0, 3000).map(lambda count: count * MINUTE)


@given(st.lists(minutes, max_size=5), st.integers(1, 60).map(lambda count: count * MINUTE))
def test_session_time_is_that_of_a_walk(instants: list[int], duration: int) -> None:
    expected = [walked(instant, duration) for instant in instants]
    assert [SESSIONS.after(instant, duration) for instant in instants] == expected
    assert SESSIONS.after_each(np.array(instants, np.int64), duration).tolist() == expected
