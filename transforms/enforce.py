"""Enforce: the ladder, its consequences, the publish policy and the audit chain, for all accounts of a block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from risk.block import AccountBlock
from risk.ladder import (
    LEVELS,
    LIQUIDATION,
    MARGIN_CALL,
    RESTRICTION,
    REVIEW,
    WARNING,
    Decision,
    cushion_of,
    decide,
    level_of,
)
from schemas import outputs
from schemas.ids import identified
from schemas.inputs import OpenedOn, PricedPosition
from schemas.scalars import Money, Quantity, Time
from transforms.close import close_day
from transforms.figures import cushion, figures_of, head_of, money, priced
from transforms.lines import PAGE, Lines, lines_by_topic
from transforms.positions import Update
from transforms.state import ShardState

Out = tuple[str, Any]
Remeasure = Callable[[AccountBlock], None]

RULES = {
    WARNING: "cushion below the warning line",
    MARGIN_CALL: "FINRA 4210(f)(6): equity below requirement",
    RESTRICTION: "stressed equity below zero at the severe move",
    LIQUIDATION: "deficiency persisted without a break",
}


@dataclass(frozen=True)
class Enforce:
    """Decides, publishes and records.

    Fields:
      measures: the sweep's own measures, to re-evaluate an opening after a correction.
      publish_all: publish every account at every instant it is touched.
    """

    measures: tuple[Remeasure, ...]
    publish_all: bool = False

    def __call__(
        self, state: ShardState, block: AccountBlock, update: Update, beats: np.ndarray, closing: bool
    ) -> Iterator[Lines]:
        """Everything that follows from the block: the events account by account in row order, then the figures."""
        ladder, rows = state.ladder, block.accounts
        old = ladder.flags[rows]
        events = list(self._cancel(state, block, update))
        decision = decide(block, ladder.flags[rows], ladder.deficient_since[rows])
        # A level that was cancelled and is entered again at once looks unchanged, but opens anew.
        changed = (decision.flags != old) | (decision.flags != ladder.flags[rows])
        published_for = self._publish(state, block, changed, np.isin(rows, beats), closing)
        if changed.any() or (ladder.deficient_since[rows] != decision.deficient_since).any():
            state.dirty.add("ladder")
        ladder.flags[rows] = decision.flags
        ladder.deficient_since[rows] = decision.deficient_since
        events.extend(self._said(state, block, update))
        for at in np.flatnonzero(changed).tolist():
            events.extend(self._change(state, block, decision, at, int(old[at])))
        yield from lines_by_topic(events)
        shown = np.flatnonzero(published_for != "")
        for first in range(0, len(shown), PAGE):
            page = shown[first : first + PAGE]
            yield from figures_of(state, block, decision, page, published_for[page].tolist())
        if closing:
            yield from close_day(state, block)

    def _said(self, state: ShardState, block: AccountBlock, update: Update) -> Iterator[Out]:
        """What the records of the instant say by themselves: an unannounced account, a late record, an override."""
        for account in sorted(update.provisional):
            yield self._alert(state, block, account, "PROVISIONAL_ACCOUNT", "account not announced on accounts.v1")
        for account, record in update.late:
            yield self._journal(
                state, block, account, "LATE", None, {"arrived_at": Time(record.arrived_at or 0).text()}
            )
        for account, override in update.overrides:
            facts = {name: str(getattr(override, name)) for name in ("override_id", "operator", "action", "reason")}
            yield self._journal(state, block, account, "OVERRIDE", override.override_id, facts)

    def _publish(
        self, state: ShardState, block: AccountBlock, changed: np.ndarray, beating: np.ndarray, closing: bool
    ) -> np.ndarray:
        """(n,) why each account is published now, empty where it is not; remembers what was."""
        measures, published = block.measures, state.ladder.published
        now = np.stack([measures["equity"], measures["requirement"]])
        last = published[:, block.accounts]
        line = block.rules.publish_move * np.maximum(np.abs(last[0]), 1.0)
        moved = np.isnan(last[0]) | (np.abs(now - last) > line).any(axis=0)
        why = np.where(moved, "MOVE", np.where(beating, "HEARTBEAT", "ALL" if self.publish_all else ""))
        why = np.where(changed, "LEVEL", why)
        if closing:
            why[:] = "CLOSE"
        shown = why != ""
        if shown.any():
            published[:, block.accounts[shown]] = now[:, shown]
            state.dirty.add("ladder")
        return why

    def _change(self, state: ShardState, block: AccountBlock, decision: Decision, at: int, old: int) -> Iterator[Out]:
        """An account's active levels changed: the alert, what opens and what closes, and the audit of the decision."""
        account, new = int(block.accounts[at]), int(decision.flags[at])
        before, after = level_of(old), level_of(new)
        causes = []
        if before != after:
            state.ladder.since[account] = block.instant if after else -1
            verb = "rose" if after > before else "fell"
            alert = self._alert(
                state, block, account, "LEVEL", f"{verb} from {LEVELS[before]} to {LEVELS[after]}", before
            )
            causes.append(alert[1].event_id)
            yield alert
        if new & REVIEW and not old & REVIEW:
            share = block.measures["stale_share"][at]
            yield self._alert(
                state, block, account, "REVIEW", f"{share:.1%} of gross value is stale, halted or missing"
            )
        for level in (LIQUIDATION, RESTRICTION, MARGIN_CALL):
            is_open = level in state.ladder.opened.get(account, {})
            if new & level and not is_open:
                event = self._open(state, block, at, level)
            elif is_open and not new & level:
                event = self._end(state, block, at, level)
            else:
                continue
            causes.append(event[1].event_id)
            yield event
        facts = {
            "level_before": LEVELS[before],
            "level_after": LEVELS[after],
            "rules": "; ".join(RULES[level] for level in RULES if new & level),
            "cash": money(block.cash[at]),
            "stressed_equity": money(block.measures["severe_equity"][at]),
            "stale_share": f"{block.measures['stale_share'][at]:.6f}",
            "causes": " ".join(causes),
        }
        yield self._journal(state, block, account, "DECISION", causes[0] if causes else None, facts)

    def _open(self, state: ShardState, block: AccountBlock, at: int, level: int) -> Out:
        account, measures = int(block.accounts[at]), block.measures
        shortfall = Money(-measures["excess"][at])
        envelope = self._envelope(state, block, at, level, None)
        if level == MARGIN_CALL:
            due = state.market.sessions.close_after(block.instant, block.rules.call_due_sessions)
            event: Any = outputs.MarginCall(**envelope, status="OPENED", amount=shortfall, due_at=Time(due))
        elif level == RESTRICTION:
            severe = Money(measures["severe_equity"][at])
            event = outputs.Restriction(**envelope, status="IMPOSED", stressed_equity=severe)
        else:
            # Selling x frees rate * x and leaves equity (rules.md section 7): x = D / rate, at most all there is.
            value = np.minimum(np.ceil(shortfall / block.rules.long_rate), measures["gross"][at])
            event = outputs.Liquidation(
                **envelope,
                status="DUE",
                deficiency=shortfall,
                deficient_since=Time(state.ladder.deficient_since[account]),
                market_value_to_close=Money(value),
            )
        event = identified(event)
        state.ladder.opened.setdefault(account, {})[level] = OpenedOn(
            event_id=event.event_id,
            opened_at=Time(block.instant),
            cash=Money(block.cash[at]),
            positions=priced(state, account, block.instant, flat=True),
        )
        return TOPIC_OF[level], event

    def _end(self, state: ShardState, block: AccountBlock, at: int, level: int, status: Any = None) -> Out:
        """Close what is open at the level: met, lifted or cleared, or cancelled by a correction."""
        account, measures = int(block.accounts[at]), block.measures
        opened = state.ladder.opened[account].pop(level)
        envelope = self._envelope(state, block, at, level, opened.event_id)
        amount = Money(max(0.0, -measures["excess"][at]))
        if level == MARGIN_CALL:
            event: Any = outputs.MarginCall(**envelope, status=status or "MET", amount=amount)
        elif level == RESTRICTION:
            severe = Money(measures["severe_equity"][at])
            event = outputs.Restriction(**envelope, status=status or "LIFTED", stressed_equity=severe)
        else:
            event = outputs.Liquidation(
                **envelope,
                status=status or "CLEARED",
                deficiency=amount,
                deficient_since=None,
                market_value_to_close=Money(0),
            )
        return TOPIC_OF[level], identified(event)

    def _envelope(
        self, state: ShardState, block: AccountBlock, at: int, level: int, ends: str | None
    ) -> dict[str, Any]:
        head = head_of(state, block, int(block.accounts[at]))
        return {
            **head,
            "cause_id": ends or f"{head['account_id']}/{LEVELS[level.bit_length()]}/{Time(block.instant).text()}",
            "rule": RULES[level],
            "equity": Money(block.measures["equity"][at]),
            "requirement": Money(block.measures["requirement"][at]),
            "supersedes": ends,
        }

    def _cancel(self, state: ShardState, block: AccountBlock, update: Update) -> Iterator[Out]:
        """Re-evaluate every opening that a corrected fill was part of; cancel what no longer holds (property 6)."""
        ladder = state.ladder
        for account in sorted({row for row, _ in update.corrections}):
            postings = [p for row, p in update.corrections if row == account]
            at = int(np.searchsorted(block.accounts, account))
            ended = []
            for level, opened in sorted(ladder.opened.get(account, {}).items()):
                undone = [p for p in postings if p.corrects is not None and p.corrects <= opened.opened_at]
                if not undone:
                    continue
                corrected = corrected_opening(opened, undone)
                ladder.opened[account][level] = corrected
                if not self._holds(state, block, account, corrected, level):
                    ended.append(level)
            for level in ended:
                ladder.flags[account] &= ~np.uint8(level)
                yield self._end(state, block, at, level, "CANCELLED")
            if MARGIN_CALL in ended:
                ladder.deficient_since[account] = -1
            state.dirty.add("ladder")
            facts = {
                "postings": "; ".join(f"{p.symbol} {p.quantity / 1e6:+g} cash {money(p.cash)}" for p in postings),
                "cancelled": " ".join(LEVELS[level.bit_length()] for level in ended),
            }
            yield self._journal(state, block, account, "CORRECTION", None, facts)

    def _holds(self, state: ShardState, block: AccountBlock, account: int, opened: OpenedOn, level: int) -> bool:
        """Whether the level's entry line is crossed on the (corrected) opening, at the opening's own prices.

        A symbol that only the correction brought in has none, and is valued at today's.
        """
        market, held = state.market, opened.positions
        symbols = np.array([market.row(p.symbol) for p in held], np.int64)
        beta = market.columns["beta"][symbols]
        now = {p.symbol: p.price for p in priced(state, account, block.instant, flat=True)}
        prices = np.array([p.price or now.get(p.symbol, 0.0) for p in held])
        opening = AccountBlock(
            instant=int(opened.opened_at),
            rules=block.rules,
            accounts=np.array([account]),
            offsets=np.array([0, len(held)]),
            symbols=symbols,
            quantity=np.array([p.quantity / 1e6 for p in held]) * market.columns["multiplier"][symbols],
            price=prices,
            beta=np.where(np.isnan(beta), block.rules.default_beta, beta),
            unreliable=np.zeros(len(held), np.bool_),
            unpriced=np.zeros(len(held), np.bool_),
            defaulted=np.isnan(beta),
            cash=np.array([float(opened.cash)]),
        )
        for measure in self.measures:
            measure(opening)
        if level == RESTRICTION:
            return bool(opening.measures["severe_equity"][0] < 0)
        return bool(opening.measures["excess"][0] < 0)

    def _alert(
        self, state: ShardState, block: AccountBlock, account: int, kind: Any, message: str, before: int | None = None
    ) -> Out:
        at = int(np.searchsorted(block.accounts, account))
        equity, requirement = block.measures["equity"][at], block.measures["requirement"][at]
        level = LEVELS[level_of(int(state.ladder.flags[account]))]
        alert = outputs.Alert(
            **head_of(state, block, account),
            kind=kind,
            level=level,
            previous_level=level if before is None else LEVELS[before],
            message=message,
            equity=Money(equity),
            requirement=Money(requirement),
            cushion=cushion(cushion_of(np.array([equity]), np.array([requirement]))[0]),
        )
        return "alerts.v1", identified(alert)

    def _journal(
        self, state: ShardState, block: AccountBlock, account: int, kind: Any, cause: str | None, facts: dict[str, str]
    ) -> Out:
        """The next link of the account's audit chain."""
        at = int(np.searchsorted(block.accounts, account))
        figures = {name: money(block.measures[name][at]) for name in ("equity", "requirement")}
        record = outputs.Audit(
            **head_of(state, block, account),
            kind=kind,
            causation_id=cause,
            inputs=figures | facts,
            positions=priced(state, account, block.instant),
            previous=state.ladder.heads[account],
        )
        record = identified(record)
        state.ladder.heads[account] = record.event_id
        state.dirty.add("ladder")
        return "audit.v1", record


TOPIC_OF = {MARGIN_CALL: "margin.calls.v1", RESTRICTION: "restrictions.v1", LIQUIDATION: "liquidations.v1"}


def corrected_opening(opened: OpenedOn, postings: list[Any]) -> OpenedOn:
    """The opening as it would have been with the corrected fills; a symbol it did not hold enters at no price."""
    held = {p.symbol: p for p in opened.positions}
    for posting in postings:
        was = held.get(posting.symbol) or PricedPosition(
            symbol=posting.symbol, quantity=Quantity(0), price=0.0, state="MISSING"
        )
        held[posting.symbol] = msgspec.structs.replace(was, quantity=Quantity(was.quantity + posting.quantity))
    cash = Money(opened.cash + sum(p.cash for p in postings))
    return msgspec.structs.replace(opened, cash=cash, positions=tuple(held[s] for s in sorted(held)))
