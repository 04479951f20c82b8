"""Events: the alerts, consequences and audit links of the accounts of a block."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from risk.amounts import Ints
from risk.block import AccountBlock, Accounts
from risk.ladder import LEVELS, LIQUIDATION, MARGIN_CALL, RESTRICTION, WARNING, cushion_of, level_of
from risk.market import Quotes
from schemas import outputs
from schemas.ids import identified
from schemas.scalars import Money, Time
from transforms.figures import cushion, head_of, money, ratio
from transforms.journal import audited, episode_of, in_episode, prompted, stood, terms_of, thresholds_of
from transforms.openings import opening_of
from transforms.positions import Update
from transforms.state import ShardState

#: A topic and its record.
Out = tuple[str, Any]

TOPIC_OF = {RESTRICTION: "restrictions.v1", LIQUIDATION: "liquidations.v1"}

RULES = {
    WARNING: "cushion below the warning line",
    MARGIN_CALL: "FINRA 4210(f)(6): equity below requirement",
    RESTRICTION: "stressed equity below zero at the severe move",
    LIQUIDATION: "deficiency persisted without a break",
}


@dataclass(frozen=True)
class Events:
    """Writes the events of a block, each of the account at a place `at` of it; keeps openings and audit heads.

    Fields:
      update: what the records of the instant did.
      following: by account row, what the next step of a call or a liquidation follows from, see outputs.Audit.
      before: by account row, where it stood before what the next link of its chain is about.
      linked: rows of the accounts whose chains went on.
    """

    state: ShardState
    block: Accounts
    update: Update
    following: dict[int, str] = field(default_factory=dict)
    before: dict[int, outputs.StateBefore] = field(default_factory=dict)
    linked: set[int] = field(default_factory=set)

    @cached_property
    def _quotes(self) -> Quotes:
        return self.state.market.quotes(self.block.rules, self.block.instant)

    def books(self, accounts: Ints) -> AccountBlock:
        """The accounts at the rows (ascending, one or more) with their positions, at the instant of the block."""
        return self.state.book.block(accounts, self._quotes, self.block.rules, self.block.instant)

    def alert(
        self, at: int, kind: Any, message: str, before: int | None = None, distance_move: float | None = None
    ) -> Out:
        """Something that a person should see; before: the level that it was, if it changed. distance_move: the SPY move
        at which a warned account is called, NaN for none."""
        account = int(self.block.accounts[at])
        equity, requirement = self.block.measures["equity"][at], self.block.measures["requirement"][at]
        level = LEVELS[level_of(int(self.state.ladder.flags[account]))]
        alert = outputs.Alert(
            **head_of(self.state, self.block, account),
            kind=kind,
            level=level,
            previous_level=level if before is None else LEVELS[before],
            message=message,
            equity=Money.within(equity),
            requirement=Money.within(requirement),
            cushion=cushion(cushion_of(np.array([equity]), np.array([requirement]))[0]),
            distance=None if distance_move is None else Money.within(equity - requirement),
            distance_move=None if distance_move is None or np.isnan(distance_move) else ratio(distance_move),
        )
        return "alerts.v1", identified(alert)

    def remember(self, at: int) -> outputs.StateBefore:
        """Where an account stands before it is changed, kept for the next link of its chain."""
        account = int(self.block.accounts[at])
        if account not in self.before:
            self.before[account] = stood(self.state, account)
        return self.before[account]

    def follow(self, at: int, cause: str) -> None:
        """Say what the next steps of an account's calls and liquidations follow from."""
        self.following[int(self.block.accounts[at])] = cause

    def cause_of(self, at: int, *, step: bool = False) -> str:
        """What a decision on an account follows from: its own record, a time that came, or a price. step: of a call or
        of a liquidation, what it was said to follow."""
        account, block = int(self.block.accounts[at]), self.block
        own, followed = self.update.sources.get(account), self.following.get(account)
        told = (followed or own) if step else (own or followed)
        return told or prompted(self.state, account, block.rules, self.update.since, block.instant)

    def journal(
        self,
        at: int,
        kind: Any,
        cause: str,
        facts: dict[str, str],
        *,
        supersedes: tuple[str, ...] = (),
        before: outputs.StateBefore | None = None,
    ) -> Out:
        """The next link of the account's audit chain; fields as in Audit. before: unless it is what is remembered."""
        state, block, account = self.state, self.block, int(self.block.accounts[at])
        began = episode_of(state, account, block.instant)
        record = outputs.Audit(
            **head_of(state, block, account),
            kind=kind,
            causation_id=cause,
            correlation_id=cause if began is None else f"{state.book.ids[account]}/EPISODE/{began.text()}",
            supersedes=supersedes,
            inputs=self._compared(at) | terms_of(state, account) | facts,
            thresholds=thresholds_of(block.rules) if kind == "DECISION" else {},
            previous_state=before or self.remember(at),
            positions=audited(state, self._quotes, account, block.instant),
            previous=state.ladder.heads[account],
        )
        record = identified(record)
        self.state.ladder.heads[account] = record.event_id
        self.before.pop(account, None)
        self.linked.add(account)
        self.state.dirty.add("chains")
        return "audit.v1", record

    def end_episodes(self) -> None:
        """Forget the episodes of those whose chains went on and that have nothing left of them."""
        for account in self.linked:
            if not in_episode(self.state, account):
                self.state.ladder.episodes.pop(account, None)

    def _compared(self, at: int) -> dict[str, str]:
        """An account's figures that the ladder and calls go by."""
        measures = self.block.measures
        amounts = ("equity", "requirement", "addon", "severe_equity")
        equity, requirement, addon, severe = (money(measures[name][at]) for name in amounts)
        return {
            "cash": money(self.block.cash[at]),
            "equity": equity,
            "requirement": requirement,
            "concentration_addon": addon,
            "stressed_equity": severe,
            "stale_share": f"{measures['stale_share'][at]:.6f}",
            "unpriced_shorts": f"{measures['unpriced_shorts'][at]:.0f}",
        }

    def open(self, at: int, level: int) -> Out:
        """Open the restriction or the liquidation of an account, and keep what it rests on."""
        block, measures, account = self.block, self.block.measures, int(self.block.accounts[at])
        shortfall = Money.within(max(0.0, -measures["excess"][at]))
        envelope = self._envelope(at, level, None)
        if level == RESTRICTION:
            severe = Money.within(measures["severe_equity"][at])
            event: Any = outputs.Restriction(**envelope, status="IMPOSED", stressed_equity=severe)
        else:
            # Selling x frees rate * x and leaves equity (rules.md section 7): x = D / rate, at most all there is.
            value = np.minimum(np.ceil(shortfall / block.rules.long_rate), measures["gross"][at])
            since = int(self.state.ladder.deficient_since[account])
            event = outputs.Liquidation(
                **envelope,
                status="DUE",
                deficiency=shortfall,
                deficient_since=None if since < 0 else Time(since),
                market_value_to_close=Money.within(value),
            )
        event = identified(event)
        self.rest(at, level, event.event_id)
        return TOPIC_OF[level], event

    def rest(self, at: int, level: int, event_id: str) -> None:
        """Keep what the opening of a level rests on."""
        opening = opening_of(self.state, self.block, at, event_id)
        self.state.ladder.opened.setdefault(int(self.block.accounts[at]), {})[level] = opening
        self.state.dirty.add("chains")

    def forget(self, at: int, level: int) -> str:
        """The id of what is open at a level, which is no longer."""
        self.state.dirty.add("chains")
        return self.state.ladder.opened[int(self.block.accounts[at])].pop(level).event_id

    def end(self, at: int, level: int, status: Any = None) -> Out:
        """Close a restriction or a liquidation: lifted or cleared, or cancelled by a correction."""
        measures, envelope = self.block.measures, self._envelope(at, level, self.forget(at, level))
        if level == RESTRICTION:
            severe = Money.within(measures["severe_equity"][at])
            event: Any = outputs.Restriction(**envelope, status=status or "LIFTED", stressed_equity=severe)
        else:
            event = outputs.Liquidation(
                **envelope,
                status=status or "CLEARED",
                deficiency=Money.within(max(0.0, -measures["excess"][at])),
                deficient_since=None,
                market_value_to_close=Money(0),
            )
        return TOPIC_OF[level], identified(event)

    def _envelope(self, at: int, level: int, ends: str | None) -> dict[str, Any]:
        return self.envelope(at, ends or self.cause(at, str(LEVELS[level.bit_length()])), RULES[level], ends)

    def cause(self, at: int, kind: str) -> str:
        """The name of what an account causes now, unique by kind and instant."""
        return f"{self.state.book.ids[int(self.block.accounts[at])]}/{kind}/{Time(self.block.instant).text()}"

    def envelope(self, at: int, cause: str, rule: str, supersedes: str | None) -> dict[str, Any]:
        """What every consequence says of an account first."""
        return {
            **head_of(self.state, self.block, int(self.block.accounts[at])),
            "cause_id": cause,
            "rule": rule,
            "equity": Money.within(self.block.measures["equity"][at]),
            "requirement": Money.within(self.block.measures["requirement"][at]),
            "supersedes": supersedes,
        }
