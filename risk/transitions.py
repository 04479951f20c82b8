"""Transitions: what a step makes of a state, by a table; the table is also drawn in the handbook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

Step = TypeVar("Step", bound=str)
State = TypeVar("State", bound=str)


def state_after(table: Mapping[Step, Mapping[State | None, State]], step: Step, before: State | None, of: str) -> State:
    """The state after a step; before: None where it is the first. of: what steps, for the error.

    Raises:
      ValueError: the table does not name the step of that state.
    """
    after = table[step].get(before)
    if after is None:
        allowed = ", ".join(map(str, table[step]))
        raise ValueError(f"{of}: {step} expected of {allowed}, found {before}")
    return after
