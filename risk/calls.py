"""Calls: what an account owes, why, by when, and what has covered it, as the state machine of a call.

Several calls may be open on an account, of one type or of many. Those of a type add up: the younger one is for what
the older ones do not ask for already, so that nothing is called twice, and what covers them covers the oldest first.
Those of different types overlap: a deposit counts in full toward each type that it may cure (rules.md section 7).

To the tick, of every call and after every step: initial + increased = covered + cancelled + outstanding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from risk.transitions import state_after
from schemas.inputs import CallType, Means, OpenCall, changed
from schemas.scalars import Money, Time

State = Literal["OPEN", "EXTENDED", "EXPIRED", "MET", "CANCELLED", "WAIVED"]
Step = Literal["OPENED", "INCREASED", "COVERED", "MET", "EXTENDED", "EXPIRED", "REDUCED", "CANCELLED", "WAIVED"]
Basis = Literal["CLOSE", "REALTIME"]

#: When a type is assessed: by official closes once a day, or whenever prices move.
BASIS: Mapping[CallType, Basis] = {
    "REG_T": "CLOSE",
    "MAINTENANCE": "CLOSE",
    "HOUSE": "REALTIME",
    "CONCENTRATION": "REALTIME",
    "MINIMUM_EQUITY": "CLOSE",
    "PORTFOLIO_MARGIN": "CLOSE",
    "INTRADAY": "CLOSE",
}

#: The type that calls of a type add up with: what concentration adds is part of what the house asks for.
_TOGETHER: Mapping[CallType, CallType] = {"CONCENTRATION": "HOUSE"}

_ALIVE: tuple[State, ...] = ("OPEN", "EXTENDED", "EXPIRED")
#: What each step makes of a call: of a state that is not named the step is refused. None is before the call.
TRANSITIONS: Mapping[Step, Mapping[State | None, State]] = {
    "OPENED": {None: "OPEN"},
    "INCREASED": {"OPEN": "OPEN", "EXTENDED": "EXTENDED", "EXPIRED": "EXPIRED"},
    "COVERED": {"OPEN": "OPEN", "EXTENDED": "EXTENDED", "EXPIRED": "EXPIRED"},
    "REDUCED": {"OPEN": "OPEN", "EXTENDED": "EXTENDED", "EXPIRED": "EXPIRED"},
    "MET": dict.fromkeys(_ALIVE, "MET"),
    "EXTENDED": {"OPEN": "EXTENDED", "EXTENDED": "EXTENDED"},
    "EXPIRED": {"OPEN": "EXPIRED", "EXTENDED": "EXPIRED"},
    "CANCELLED": dict.fromkeys(_ALIVE, "CANCELLED"),
    "WAIVED": dict.fromkeys(_ALIVE, "WAIVED"),
}


class Stepped(NamedTuple):
    """A step that a call took: the call after it, in a state that may be its end."""

    step: Step
    state: State
    call: OpenCall
    by: Means | None = None

    @property
    def alive(self) -> bool:
        """Whether the call goes on."""
        return self.state in _ALIVE


def outstanding(call: OpenCall) -> int:
    """What is still due, ticks."""
    return call.initial + call.increased - sum(call.covered.values()) - call.cancelled


def opened(call: OpenCall) -> Stepped:
    """A new call. Raises ValueError for an amount that is not above zero."""
    if call.initial <= 0:
        raise ValueError(f"call {call.call_id}: expected an amount above zero, found {call.initial}")
    return _stepped("OPENED", None, call)


def increased(call: OpenCall, amount: int) -> Stepped:
    """The call for more, ticks: its cause grew before the day was over, or by a correction."""
    _check(call, amount)
    return _stepped("INCREASED", call.state, changed(call, increased=Money(call.increased + amount)))


def covered(call: OpenCall, by: Means, amount: int) -> Stepped:
    """The call after so much, ticks, at most what is outstanding, was covered."""
    _check(call, amount, outstanding(call))
    means = {**call.covered, by: Money(call.covered.get(by, 0) + amount)}
    after = changed(call, covered={name: means[name] for name in sorted(means)})
    return _stepped("COVERED" if outstanding(after) else "MET", call.state, after, by)


def cancelled(call: OpenCall, amount: int) -> Stepped:
    """The call without so much, ticks, at most what is outstanding: a correction says that it was never due."""
    _check(call, amount, outstanding(call))
    after = changed(call, cancelled=Money(call.cancelled + amount))
    return _stepped("REDUCED" if outstanding(after) else "CANCELLED", call.state, after)


def waived(call: OpenCall) -> Stepped:
    """The call without what is outstanding, as two persons decided."""
    after = changed(call, cancelled=Money(call.cancelled + outstanding(call)))
    return _stepped("WAIVED", call.state, after)


def extended(call: OpenCall, until: int, by: str) -> Stepped:
    """The call due later, microseconds; by: who said so. Raises ValueError for a time that is not later."""
    if until <= call.due_at:
        raise ValueError(f"call {call.call_id}: expected a time after {call.due_at.text()}, found {Time(until).text()}")
    return _stepped("EXTENDED", call.state, changed(call, due_at=Time(until), extended_by=by))


def expired(call: OpenCall) -> Stepped:
    """The call once its due time has passed."""
    return _stepped("EXPIRED", call.state, call)


def adds_to(kind: CallType) -> CallType:
    """The type that calls of a type add up as."""
    return _TOGETHER.get(kind, kind)


def of_type(calls: Sequence[OpenCall], kind: CallType) -> list[OpenCall]:
    """Those of a type and of what adds up with it, the oldest first."""
    own = (call for call in calls if adds_to(call.type) == adds_to(kind))
    return sorted(own, key=lambda call: (call.opened_at, call.call_id))


def spread(calls: Sequence[OpenCall], kind: CallType, by: Means, amount: int) -> Iterator[Stepped]:
    """Cover the calls of a type with an amount, ticks, the oldest first."""
    for call in of_type(calls, kind):
        part = min(amount, outstanding(call))
        if part > 0:
            amount -= part
            yield covered(call, by, part)


def paid(calls: Sequence[OpenCall], by: Means, amount: int, cures: Mapping[str, tuple[str, ...]]) -> Iterator[Stepped]:
    """What a deposit, or what a trade freed, ticks, covers: in full of each type that it may cure."""
    for kind in dict.fromkeys(adds_to(call.type) for call in calls):
        if by in cures.get(kind, ()):
            yield from spread(calls, kind, by, amount)


def missing(calls: Sequence[OpenCall], kind: CallType, deficiency: int) -> int:
    """What of a deficiency, ticks, the calls of its type do not ask for already."""
    return max(deficiency - sum(map(outstanding, of_type(calls, kind))), 0)


def eased(
    calls: Sequence[OpenCall], kind: CallType, deficiency: int, cures: Mapping[str, tuple[str, ...]]
) -> Iterator[Stepped]:
    """What the market covers: of calls of a type that it may cure, all that is more than is deficient now, ticks."""
    if "APPRECIATION" in cures.get(kind, ()):
        spare = sum(map(outstanding, of_type(calls, kind))) - deficiency
        yield from spread(calls, kind, "APPRECIATION", max(spare, 0))


def _stepped(step: Step, before: State | None, call: OpenCall, by: Means | None = None) -> Stepped:
    after = state_after(TRANSITIONS, step, before, f"call {call.call_id}")
    if after in _ALIVE:
        call = changed(call, state=after)
    return Stepped(step, after, call, by)


def _check(call: OpenCall, amount: int, most: int | None = None) -> None:
    if amount <= 0 or (most is not None and amount > most):
        limit = "" if most is None else f" and at most {most}"
        raise ValueError(f"call {call.call_id}: expected an amount above zero{limit}, found {amount}")
