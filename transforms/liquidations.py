"""Liquidations in the fold: proposed, approved, filled, and proposed again (risk.liquidation, risk.proposals)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from risk import proposals
from risk.amounts import TICKS_PER_DOLLAR
from risk.ladder import LIQUIDATION
from risk.liquidation import Proposal, propose
from risk.proposals import Stepped
from risk.rulebook import LiquidationRules
from schemas import outputs
from schemas.ids import digest, identified
from schemas.inputs import LiquidationOrder, OpenProposal
from schemas.scalars import Money, Quantity, Time
from transforms.calls import Calls
from transforms.events import RULES, Out
from transforms.positions import Update

TOPIC = "liquidations.v1"
SECOND = 1_000_000
_BY_POLICY = "policy"


def proposal_phase(account_id: str, spread: int) -> int:
    """Microseconds of a spread, seconds, after which an account's turn comes: from its id, so that the shard cannot
    matter."""
    return int(digest(account_id.encode())[:8], 16) * spread * SECOND >> 32


@dataclass(frozen=True, slots=True)
class Liquidations:
    """Writes the steps of the liquidations of accounts, each at a place `at` of the block, and keeps them."""

    own: Calls

    def booked(self, update: Update) -> Iterator[Out]:
        """What fills of the instant did of proposals, whoever ordered them."""
        block, state = self.own.events.block, self.own.state
        for booking in update.bookings:
            for posting in booking.postings:
                proposal = state.standing.of(booking.account).proposal
                if proposal is None or not posting.symbol:
                    continue
                # A correction of what was done before is no fill of its orders, nor undoes one.
                if posting.corrects is None or posting.corrects > proposal.proposed_at:
                    stepped = proposals.filled(proposal, posting.symbol, posting.quantity)
                    if stepped is not None:
                        self.own.events.follow(block.place(booking.account), booking.source)
                        yield self.take(block.place(booking.account), stepped)

    def due(self, flags: np.ndarray) -> Iterator[Out]:
        """Propose what to liquidate of the accounts of the block that it is due of; withdraw what no longer is.

        flags: (n,) of the ladder.
        """
        block, state = self.own.events.block, self.own.state
        rules = block.rules.liquidation
        if rules is None:
            return
        open_now = state.market.sessions.is_open(block.instant)
        due = (flags & LIQUIDATION) != 0
        for at in np.flatnonzero(due | state.standing.proposing(block.accounts)).tolist():
            standing, account = self.own.standing(at), int(block.accounts[at])
            opened = state.ladder.opened.get(account, {}).get(LIQUIDATION)
            # What is due is why it is proposed; the link that said it is no longer, why that is withdrawn.
            self.own.events.follow(at, opened.event_id if opened else state.ladder.heads[account])
            if not due[at]:
                if standing.proposal is not None:
                    yield self.take(at, proposals.withdrawn(standing.proposal))
                self.own.keep(at, msgspec.structs.replace(self.own.standing(at), propose_at=None))
                continue
            if standing.proposal is None and standing.propose_at is None:
                # A crash makes many due at one instant; to size them all at it would hold up what else the shard says.
                self._wait(at, self._phase(at, rules))
            if standing.proposal is None and (self.own.standing(at).propose_at or 0) <= block.instant:
                reliable = block.measures["stale_share"][at] <= block.rules.max_stale_share
                if open_now and reliable:
                    yield from self._propose(at, rules)
                else:
                    self._wait(at, rules.cooldown * SECOND if open_now else 0)

    def _propose(self, at: int, rules: LiquidationRules) -> Iterator[Out]:
        events, state = self.own.events, self.own.state
        block, account, market = events.block, int(events.block.accounts[at]), state.market
        book = events.books(np.array([account]))
        last = np.isin(
            [market.symbols[row] for row in book.symbols.tolist()], state.book.liquidate_last.get(account, ())
        )
        found = propose(book, names=market.symbols, last=last, rules=rules)
        self._wait(at, rules.cooldown * SECOND)
        if not found.orders:
            # Nothing that may be sold helps: said once a session.
            self._wait(at, 0, next_session=True)
            yield self._event(at, "IMPOSSIBLE", events.cause(at, "PROPOSAL"), found=found)
            return
        proposal = OpenProposal(
            proposal_id=events.cause(at, "PROPOSAL"),
            proposed_at=Time(block.instant),
            orders=tuple(self._orders(found, book.symbols)),
        )
        yield self.take(at, proposals.proposed(proposal), found=found)
        if rules.automatic:
            yield self.take(at, proposals.approved(proposal, _BY_POLICY))

    def _orders(self, found: Proposal, symbols: np.ndarray) -> Iterator[LiquidationOrder]:
        market = self.own.state.market
        for order in found.orders:
            row = int(symbols[order.position])
            yield LiquidationOrder(
                symbol=market.symbols[row],
                quantity=Quantity(round(order.units / float(market.columns["multiplier"][row]) * 1e6)),
                price=order.price,
                limit=order.limit,
                why=order.why,
            )

    def _phase(self, at: int, rules: LiquidationRules) -> int:
        block, state = self.own.events.block, self.own.state
        return proposal_phase(state.book.ids[int(block.accounts[at])], rules.spread)

    def _wait(self, at: int, time: int, *, next_session: bool = False) -> None:
        """Propose nothing of an account for a time, microseconds, and only while the market is open."""
        block, sessions = self.own.events.block, self.own.state.market.sessions
        until, rules = block.instant + time, block.rules.liquidation
        if next_session or not sessions.is_open(until):
            # All that waits for it would come at the open.
            until = sessions.next_open(until) + (0 if rules is None else self._phase(at, rules))
        self.own.keep(at, msgspec.structs.replace(self.own.standing(at), propose_at=Time(until)))

    def take(self, at: int, stepped: Stepped, found: Proposal | None = None, by: str | None = None) -> Out:
        """The event of a step, after which the standing has the proposal, or no longer."""
        kept = stepped.proposal if stepped.alive else None
        self.own.keep(at, msgspec.structs.replace(self.own.standing(at), proposal=kept))
        proposal, rules = stepped.proposal, self.own.events.block.rules.liquidation
        if rules is not None and stepped.step in ("EXECUTED", "REJECTED"):
            self._wait(at, rules.cooldown * SECOND)
        return self._event(
            at, stepped.step, proposal.proposal_id, proposal=proposal, found=found, by=by or proposal.approved_by
        )

    def _event(
        self,
        at: int,
        step: Any,
        cause: str,
        *,
        proposal: OpenProposal | None = None,
        found: Proposal | None = None,
        by: str | None = None,
    ) -> Out:
        events = self.own.events
        measures, state = events.block.measures, self.own.state
        since = int(state.ladder.deficient_since[int(events.block.accounts[at])])
        orders = () if proposal is None else proposal.orders
        sizes = {
            row: float(state.market.columns["multiplier"][state.market.rows[row]]) for row in (o.symbol for o in orders)
        }
        value = sum(abs(o.quantity - o.filled) / 1e6 * sizes[o.symbol] * o.price for o in orders)
        return TOPIC, identified(
            outputs.Liquidation(
                **events.envelope(at, cause, RULES[LIQUIDATION], None),
                status=step,
                deficiency=Money.within(max(0.0, -measures["excess"][at])),
                deficient_since=None if since < 0 else Time(since),
                market_value_to_close=Money.within(round(value * TICKS_PER_DOLLAR)),
                orders=orders,
                unsecured_debit=Money.within(0.0 if found is None else found.unsecured_debit),
                reason="" if found is None else found.reason,
                by=by,
            )
        )
