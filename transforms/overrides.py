"""Overrides: what an operator decides on an account, refused with a reason where that is not allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from risk import calls, proposals
from schemas.inputs import OpenCall, OpenProposal, Override
from schemas.scalars import Time
from schemas.topics import name_of
from transforms.calls import Calls
from transforms.events import Out
from transforms.liquidations import Liquidations

#: What takes a second person.
_BY_TWO = ("EXTEND", "WAIVE", "EXEMPT", "RELEASE", "APPROVE")
#: What ends by itself.
_UNTIL = ("EXTEND", "EXEMPT", "RESTRICT")


def decided(own: Calls, at: int, override: Override) -> Iterator[Out]:
    """Do what an override says of the account at a place of the block, or refuse it; either is in the audit."""
    block, events, source = own.events.block, own.events, name_of(override)
    events.follow(at, source)
    before = events.remember(at)
    names = ("override_id", "operator", "approver", "action", "target", "reason", "expires_at")
    facts = {name: _text(getattr(override, name)) for name in names}
    found: list[Out] = []
    try:
        _check(override, block.instant)
        found.extend(_ACTIONS[override.action](own, at, override))
        facts["result"] = "done"
    except ValueError as error:
        facts["result"] = f"refused: {error}"
        yield events.alert(at, "OVERRIDE_REFUSED", f"{override.action} by {override.operator}: {error}")
    facts["causes"] = " ".join(event.event_id for _, event in found)
    yield from found
    yield events.journal(at, "OVERRIDE", source, facts, before=before)


def _check(override: Override, instant: int) -> None:
    if override.action in _BY_TWO and override.approver in (None, override.operator):
        raise ValueError(f"{override.action} takes a second person: expected an approver other than the operator")
    if override.action in _UNTIL and (override.expires_at is None or override.expires_at <= instant):
        raise ValueError(f"{override.action}: expected expires_at after {Time(instant).text()}")
    if not override.reason.strip():
        raise ValueError(f"{override.action}: expected a reason")


def _target(own: Calls, at: int, override: Override) -> OpenCall:
    """The call that an override is of."""
    known = {call.call_id: call for call in own.standing(at).calls}
    if override.target not in known:
        listed = ", ".join(sorted(known)) or "none"
        raise ValueError(f"target: expected the call_id of an open call ({listed}), found {override.target}")
    return known[override.target]


def _extend(own: Calls, at: int, override: Override) -> Iterator[Out]:
    assert override.expires_at is not None
    by = f"{override.operator}, {override.approver}"
    yield own.take(at, calls.extended(_target(own, at, override), override.expires_at, by))


def _waive(own: Calls, at: int, override: Override) -> Iterator[Out]:
    yield own.take(at, calls.waived(_target(own, at, override)))


def _until(name: str) -> Callable[[Calls, int, Override], Iterator[Out]]:
    def put(own: Calls, at: int, override: Override) -> Iterator[Out]:
        own.keep(at, msgspec.structs.replace(own.standing(at), **{name: override.expires_at}))
        return iter(())

    return put


def _restrict(own: Calls, at: int, override: Override) -> Iterator[Out]:
    until, asked = own.standing(at).restricted_until, override.expires_at
    if until is not None and asked is not None and asked < until:
        # One person alone would end what takes two to end.
        raise ValueError(f"RESTRICT: expected expires_at after the restriction that ends {until.text()}")
    yield from _until("restricted_until")(own, at, override)


def _release(own: Calls, at: int, override: Override) -> Iterator[Out]:
    standing = own.standing(at)
    if standing.restricted_until is None or standing.restricted_until <= own.events.block.instant:
        raise ValueError("RELEASE: expected a restriction by a practice or an operator, found none")
    own.keep(at, msgspec.structs.replace(standing, restricted_until=None))
    return iter(())


def _proposal(own: Calls, at: int, override: Override) -> OpenProposal:
    """The proposal that an override is of."""
    proposal = own.standing(at).proposal
    if proposal is None or proposal.proposal_id != override.target:
        known = "none" if proposal is None else proposal.proposal_id
        raise ValueError(f"target: expected the proposal_id of what is proposed ({known}), found {override.target}")
    return proposal


def _approve(own: Calls, at: int, override: Override) -> Iterator[Out]:
    by = f"{override.operator}, {override.approver}"
    yield Liquidations(own).take(at, proposals.approved(_proposal(own, at, override), by))


def _reject(own: Calls, at: int, override: Override) -> Iterator[Out]:
    yield Liquidations(own).take(at, proposals.rejected(_proposal(own, at, override)), by=override.operator)


_ACTIONS: dict[str, Callable[[Calls, int, Override], Iterator[Out]]] = {
    "EXTEND": _extend,
    "WAIVE": _waive,
    "EXEMPT": _until("exempt_until"),
    "RESTRICT": _restrict,
    "RELEASE": _release,
    "APPROVE": _approve,
    "REJECT": _reject,
}


def _text(value: Any) -> str:
    return value.text() if isinstance(value, Time) else "" if value is None else str(value)
