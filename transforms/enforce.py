"""Enforce: the ladder, its consequences and the publish policy, for all accounts of a block."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from risk.amounts import TICKS_PER_DOLLAR
from risk.block import AccountBlock, Accounts, Measure
from risk.ladder import (
    DEFICIENCY,
    LEVELS,
    LIQUIDATION,
    MARGIN_CALL,
    OPENINGS,
    RESTRICTION,
    REVIEW,
    Decision,
    decide,
    level_of,
)
from risk.rulebook import Rulebook, rulebook_at
from risk.stress import distance_to_call
from schemas.inputs import CallType
from schemas.scalars import Time
from schemas.topics import name_of
from transforms.calls import Calls
from transforms.close import close_day
from transforms.events import RULES, Events, Out
from transforms.figures import figures_of, money
from transforms.intraday import Day
from transforms.lines import PAGE, Lines, lines_by_topic
from transforms.liquidations import Liquidations
from transforms.openings import corrected, holds, opening_of, revalued
from transforms.overrides import decided
from transforms.positions import Update
from transforms.state import ShardState

#: Why an account is published, the stronger reason last.
WHY = ("", "ALL", "HEARTBEAT", "MOVE", "LEVEL", "CLOSE")
ALL, HEARTBEAT, MOVE, LEVEL, CLOSE = (np.uint8(code) for code in range(1, len(WHY)))


@dataclass(frozen=True)
class Enforce:
    """Decides, publishes and records.

    Fields:
      measures, rulebooks: the sweep's own, to re-evaluate an opening after a correction.
      told: the measures of the accounts that are published.
      publish_all: publish every account at every instant it is touched.
    """

    measures: tuple[Measure, ...]
    told: tuple[Measure, ...]
    rulebooks: tuple[Rulebook, ...]
    publish_all: bool = False

    def __call__(
        self,
        state: ShardState,
        block: Accounts,
        update: Update,
        beats: np.ndarray,
        *,
        closing: bool,
        assessed: Day | None,
    ) -> Iterator[Lines]:
        """Everything that follows from the block: the events account by account in row order, then the figures.

        closing: the day ends. assessed: the day of which official closes are in; then the block is of all accounts.
        """
        ladder, rows, events = state.ladder, block.accounts, Events(state, block, update)
        old = ladder.flags[rows]
        said = [*self._late(events, update), *self._cancel(events, update)]
        said.extend(self._journalled(events, self._called(events, update, assessed)))
        marks = state.standing.marks(rows, block.instant)
        decision = decide(block, ladder.flags[rows], ladder.deficient_since[rows], marks)
        # A level that was cancelled and is entered again at once looks unchanged, but opens anew.
        changed = (decision.flags != old) | (decision.flags != ladder.flags[rows])
        clocked = (decision.deficient_since >= 0) != (ladder.deficient_since[rows] >= 0)
        beating = np.zeros(len(state.book.ids), np.bool_)
        beating[beats] = True
        published_for = self._publish(state, block, changed, beating[rows], closing)
        for at in np.flatnonzero(changed).tolist():
            events.remember(at)
        if changed.any() or clocked.any():
            state.dirty.add("ladder")
        ladder.flags[rows] = decision.flags
        ladder.deficient_since[rows] = decision.deficient_since
        said.extend(self._provisional(events, update))
        for at in np.flatnonzero(changed).tolist():
            said.extend(self._change(events, decision, at, int(old[at])))
        for at in np.flatnonzero(changed | clocked).tolist():
            self._clock(state, block, at)
            state.dirty.add("chains")
        said.extend(self._journalled(events, self._renewed(events, update)))
        said.extend(self._journalled(events, Liquidations(Calls(events)).due(decision.flags)))
        events.end_episodes()
        yield from lines_by_topic(said)
        shown = np.flatnonzero(published_for)
        for first in range(0, len(shown), PAGE):
            page = shown[first : first + PAGE]
            part = self._with_positions(events, page)
            severe = block.rules.spy_moves.index(block.rules.severe_move)
            ladder.published[2:, part.accounts] = part.measures["maintenance"], part.measures["stress_excess"][severe]
            yield from figures_of(
                state, part, decision.cushion[page], [WHY[code] for code in published_for[page].tolist()]
            )
        if closing:
            yield from close_day(state, block)

    def _with_positions(self, events: Events, page: np.ndarray) -> AccountBlock:
        """The accounts at the places of the page, with what is told of them."""
        part = events.books(events.block.accounts[page])
        for measure in self.told:
            measure(part)
        return part

    def _provisional(self, events: Events, update: Update) -> Iterator[Out]:
        for account in sorted(update.provisional):
            at = events.block.place(account)
            yield events.alert(at, "PROVISIONAL_ACCOUNT", "account not announced on accounts.v1")

    def _late(self, events: Events, update: Update) -> Iterator[Out]:
        for account, record in update.late:
            facts = {"arrived_at": Time(record.arrived_at or 0).text()}
            yield events.journal(events.block.place(account), "LATE", name_of(record), facts)

    def _renewed(self, events: Events, update: Update) -> Iterator[Out]:
        if events.block.rules.calls is not None:
            for account in sorted({booking.account for booking in update.bookings}):
                events.follow(events.block.place(account), update.sources[account])
                yield from Calls(events).renewed(events.block.place(account))

    def _journalled(self, events: Events, outs: Iterator[Out]) -> Iterator[Out]:
        """What is said, and of each step of a call or of a liquidation a link of the audit chain."""
        for topic, event in outs:
            yield topic, event
            kind = {"margin.calls.v1": "CALL", "liquidations.v1": "LIQUIDATION"}.get(topic)
            if kind is not None:
                at = events.block.place(events.state.book.rows[event.account_id])
                facts = {"cause_id": event.cause_id, "step": event.status, "rule": event.rule, "causes": event.event_id}
                yield events.journal(at, kind, events.cause_of(at, step=True), facts)

    def _called(self, events: Events, update: Update, assessed: Day | None) -> Iterator[Out]:
        """What operators decided, what deposits and trades cover of calls, and the assessment of official closes."""
        own, block, rules = Calls(events), events.block, events.block.rules.calls
        for account, override in update.overrides:
            yield from decided(own, block.place(account), override)
        if rules is None:
            return
        yield from own.booked(update, rules)
        yield from Liquidations(own).booked(update)
        if assessed is not None:
            for first in range(0, len(block.accounts), PAGE):
                yield from own.assessed(events.books(block.accounts[first : first + PAGE]), rules, assessed)

    def _publish(
        self, state: ShardState, block: Accounts, changed: np.ndarray, beating: np.ndarray, closing: bool
    ) -> np.ndarray:
        """(n,) why each account is published now, as places of WHY; remembers what was."""
        measures, published = block.measures, state.ladder.published
        now = np.stack([measures["equity"], measures["requirement"]])
        last = published[:2, block.accounts]
        line = block.rules.publish_move * np.maximum(np.abs(last[0]), 1.0)
        moved = np.isnan(last[0]) | (np.abs(now - last) > line).any(axis=0)
        why = np.full(len(moved), CLOSE if closing else ALL if self.publish_all else 0, np.uint8)
        for reason, applies in ((HEARTBEAT, beating), (MOVE, moved), (LEVEL, changed)):
            np.maximum(why, reason * applies, out=why)
        shown = why > 0
        if shown.any():
            published[:2, block.accounts[shown]] = now[:, shown]
            state.dirty.add("ladder")
        return why

    def _change(self, events: Events, decision: Decision, at: int, old: int) -> Iterator[Out]:
        """An account's active levels changed: the alert, what opens and what closes, and the audit of the decision."""
        block, ladder = events.block, events.state.ladder
        account, new = int(block.accounts[at]), int(decision.flags[at])
        before, after = level_of(old), level_of(new)
        causes = []
        if before != after:
            ladder.since[account] = block.instant if after else -1
            verb = "rose" if after > before else "fell"
            message, move = f"{verb} from {LEVELS[before]} to {LEVELS[after]}", None
            if LEVELS[after] == "WARNING" and block.measures["excess"][at] >= 0:
                move = self._distance(events, at)
                away = "beyond the SPY ladder" if np.isnan(move) else f"or SPY {move:+.1%}"
                message += f"; a call is ${block.measures['excess'][at] / TICKS_PER_DOLLAR:,.2f}, {away}, away"
            alert = events.alert(at, "LEVEL", message, before, move)
            causes.append(alert[1].event_id)
            yield alert
        if new & REVIEW and not old & REVIEW:
            share = block.measures["stale_share"][at]
            yield events.alert(at, "REVIEW", f"{share:.1%} of gross value is stale, halted or missing")
        for level in (LIQUIDATION, RESTRICTION, MARGIN_CALL):
            is_open = level in ladder.opened.get(account, {})
            if bool(new & level) == is_open:
                continue
            if level == MARGIN_CALL:
                call = Calls(events)
                found = list(call.released(at) if is_open else call.entered(at))
            else:
                found = [events.end(at, level) if is_open else events.open(at, level)]
            causes.extend(event.event_id for _, event in found)
            yield from found
        facts = {
            "level_before": LEVELS[before],
            "level_after": LEVELS[after],
            "rules": "; ".join(RULES[level] for level in RULES if new & level),
            "causes": " ".join(causes),
        }
        yield events.journal(at, "DECISION", events.cause_of(at), facts)

    def _distance(self, events: Events, at: int) -> float:
        """The SPY move at which an account is called; NaN for none on the ladder."""
        part = self._with_positions(events, np.array([at]))
        return float(distance_to_call(np.array(part.rules.spy_moves), part.measures["stress_excess"])[0])

    def _clock(self, state: ShardState, block: Accounts, at: int) -> None:
        """Keep what a deficiency rests on while its clock runs, and while the liquidation that it led to is open."""
        account = int(block.accounts[at])
        opened = state.ladder.opened.setdefault(account, {})
        if state.ladder.deficient_since[account] >= 0:
            if DEFICIENCY not in opened:
                opened[DEFICIENCY] = opening_of(state, block, at)
        elif LIQUIDATION not in opened:
            opened.pop(DEFICIENCY, None)

    def _cancel(self, events: Events, update: Update) -> Iterator[Out]:
        """Re-evaluate every opening that a corrected fill was part of; cancel what no longer holds (property 6)."""
        state, ladder = events.state, events.state.ladder
        for account in sorted({row for row, _ in update.corrections}):
            at, postings = events.block.place(account), [p for row, p in update.corrections if row == account]
            opened = ladder.opened.get(account, {})
            ended = set()
            events.remember(at)
            for level in list(opened):
                undone = [p for p in postings if p.corrects is not None and p.corrects <= opened[level].opened_at]
                if undone:
                    opened[level] = corrected(opened[level], undone, state, account)
                    rules = rulebook_at(self.rulebooks, int(opened[level].opened_at))
                    if not holds(opened[level], level, rules, self.measures, state, account):
                        ended.add(level)
            found, told = list[Out](), Counter[CallType]()
            if DEFICIENCY in ended:
                # The deficiency that persisted began later than its clock says: the clock starts anew.
                ended |= opened.keys() & {LIQUIDATION}
                ladder.deficient_since[account] = -1
                del opened[DEFICIENCY]
            for level in sorted(ended - {DEFICIENCY}):
                ladder.flags[account] &= ~np.uint8(level)
                if level == MARGIN_CALL:
                    found.extend(Calls(events).released(at, "CANCELLED"))
                else:
                    found.append(events.end(at, level, "CANCELLED"))
            for call in state.standing.of(account).calls:
                undone = [p for p in postings if p.corrects is not None and p.corrects <= call.opened_at]
                if call.rests_on is not None and undone:
                    rests_on = corrected(call.rests_on, undone, state, account)
                    rules = rulebook_at(self.rulebooks, int(call.opened_at))
                    before, after = (revalued(own, rules, state, account) for own in (call.rests_on, rests_on))
                    found.extend(Calls(events).corrected(at, call, rests_on, before, after, told))
            yield from found
            state.dirty.update(("ladder", "chains"))
            sources = [own.source for own in update.bookings if own.account == account and own.corrects]
            facts = {
                "postings": "; ".join(f"{p.symbol} {p.quantity / 1e6:+g} cash {money(p.cash)}" for p in postings),
                "cancelled": " ".join(OPENINGS[level] for level in sorted(ended)),
                "records": " ".join(sources),
                "causes": " ".join(event.event_id for _, event in found),
            }
            undid = tuple(event.supersedes for _, event in found if event.supersedes)
            yield events.journal(at, "CORRECTION", sources[-1], facts, supersedes=undid)
