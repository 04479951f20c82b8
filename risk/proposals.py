"""Proposals: a liquidation from what is proposed to what is filled, as a state machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from risk.transitions import state_after
from schemas.inputs import LiquidationOrder, OpenProposal, changed
from schemas.scalars import Quantity

State = Literal["PROPOSED", "APPROVED", "REJECTED", "EXECUTED", "WITHDRAWN"]
Step = Literal["PROPOSED", "APPROVED", "REJECTED", "FILLED", "EXECUTED", "WITHDRAWN"]

_ALIVE: tuple[State, ...] = ("PROPOSED", "APPROVED")
#: What each step makes of a proposal: of a state that is not named the step is refused. None is before the proposal.
TRANSITIONS: Mapping[Step, Mapping[State | None, State]] = {
    "PROPOSED": {None: "PROPOSED"},
    "APPROVED": {"PROPOSED": "APPROVED"},
    "REJECTED": {"PROPOSED": "REJECTED"},
    # A customer who sells what is proposed leaves less to approve.
    "FILLED": {"PROPOSED": "PROPOSED", "APPROVED": "APPROVED"},
    "EXECUTED": dict.fromkeys(_ALIVE, "EXECUTED"),
    "WITHDRAWN": dict.fromkeys(_ALIVE, "WITHDRAWN"),
}


class Stepped(NamedTuple):
    """A step that a proposal took: the proposal after it, in a state that may be its end."""

    step: Step
    state: State
    proposal: OpenProposal

    @property
    def alive(self) -> bool:
        """Whether the proposal goes on."""
        return self.state in _ALIVE


def proposed(proposal: OpenProposal) -> Stepped:
    """A new proposal. Raises ValueError for one without orders."""
    if not proposal.orders:
        raise ValueError(f"proposal {proposal.proposal_id}: expected an order, found none")
    return _stepped("PROPOSED", None, proposal)


def approved(proposal: OpenProposal, by: str) -> Stepped:
    """The proposal as approved by two persons, or by policy."""
    return _stepped("APPROVED", proposal.state, changed(proposal, approved_by=by))


def rejected(proposal: OpenProposal) -> Stepped:
    """The proposal turned down."""
    return _stepped("REJECTED", proposal.state, proposal)


def withdrawn(proposal: OpenProposal) -> Stepped:
    """The proposal once nothing is due any more."""
    return _stepped("WITHDRAWN", proposal.state, proposal)


def filled(proposal: OpenProposal, symbol: str, quantity: int) -> Stepped | None:
    """The proposal after a fill, signed millionths, of a symbol; None where that is of none of its orders.

    A fill that is undone gives back what it had filled.
    """
    orders, left = list[LiquidationOrder](), quantity
    for order in proposal.orders:
        part = 0
        if order.symbol == symbol:
            low, high = sorted((-order.filled, order.quantity - order.filled))
            part = min(max(left, low), high)
        left -= part
        orders.append(changed(order, filled=Quantity(order.filled + part)))
    if left == quantity:
        return None
    after = changed(proposal, orders=tuple(orders))
    done = all(order.filled == order.quantity for order in orders)
    return _stepped("EXECUTED" if done else "FILLED", proposal.state, after)


def _stepped(step: Step, before: State | None, proposal: OpenProposal) -> Stepped:
    after = state_after(TRANSITIONS, step, before, f"proposal {proposal.proposal_id}")
    if after in _ALIVE:
        proposal = changed(proposal, state=after)
    return Stepped(step, after, proposal)
