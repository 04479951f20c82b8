"""Events: the alerts, consequences and audit links of the accounts of a block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from risk.block import Accounts
from risk.ladder import LEVELS, LIQUIDATION, MARGIN_CALL, RESTRICTION, WARNING, cushion_of, level_of
from schemas import outputs
from schemas.ids import identified
from schemas.scalars import Money, Time
from transforms.figures import cushion, head_of, money, priced
from transforms.openings import opening_of
from transforms.state import ShardState

#: A topic and its record.
Out = tuple[str, Any]

TOPIC_OF = {MARGIN_CALL: "margin.calls.v1", RESTRICTION: "restrictions.v1", LIQUIDATION: "liquidations.v1"}

RULES = {
    WARNING: "cushion below the warning line",
    MARGIN_CALL: "FINRA 4210(f)(6): equity below requirement",
    RESTRICTION: "stressed equity below zero at the severe move",
    LIQUIDATION: "deficiency persisted without a break",
}


@dataclass(frozen=True, slots=True)
class Events:
    """Writes the events of a block, each of the account at a place `at` of it; keeps openings and audit heads."""

    state: ShardState
    block: Accounts

    def alert(self, at: int, kind: Any, message: str, before: int | None = None) -> Out:
        """Something that a person should see; before: the level that it was, if it changed."""
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
        )
        return "alerts.v1", identified(alert)

    def journal(self, at: int, kind: Any, cause: str | None, facts: dict[str, str]) -> Out:
        """The next link of the account's audit chain."""
        account = int(self.block.accounts[at])
        figures = {name: money(self.block.measures[name][at]) for name in ("equity", "requirement")}
        record = outputs.Audit(
            **head_of(self.state, self.block, account),
            kind=kind,
            causation_id=cause,
            inputs=figures | facts,
            positions=priced(self.state, account, self.block.instant),
            previous=self.state.ladder.heads[account],
        )
        record = identified(record)
        self.state.ladder.heads[account] = record.event_id
        self.state.dirty.add("chains")
        return "audit.v1", record

    def open(self, at: int, level: int) -> Out:
        """Open the consequence of a level, and keep what it rests on."""
        block, measures, account = self.block, self.block.measures, int(self.block.accounts[at])
        shortfall = Money.within(-measures["excess"][at])
        envelope = self._envelope(at, level, None)
        if level == MARGIN_CALL:
            due = self.state.market.sessions.close_after(block.instant, block.rules.call_due_sessions)
            event: Any = outputs.MarginCall(**envelope, status="OPENED", amount=shortfall, due_at=Time(due))
        elif level == RESTRICTION:
            severe = Money.within(measures["severe_equity"][at])
            event = outputs.Restriction(**envelope, status="IMPOSED", stressed_equity=severe)
        else:
            # Selling x frees rate * x and leaves equity (rules.md section 7): x = D / rate, at most all there is.
            value = np.minimum(np.ceil(shortfall / block.rules.long_rate), measures["gross"][at])
            event = outputs.Liquidation(
                **envelope,
                status="DUE",
                deficiency=shortfall,
                deficient_since=Time(self.state.ladder.deficient_since[account]),
                market_value_to_close=Money.within(value),
            )
        event = identified(event)
        opening = opening_of(self.state, block, at, event.event_id)
        self.state.ladder.opened.setdefault(account, {})[level] = opening
        self.state.dirty.add("chains")
        return TOPIC_OF[level], event

    def end(self, at: int, level: int, status: Any = None) -> Out:
        """Close what is open at the level: met, lifted or cleared, or cancelled by a correction."""
        account, measures = int(self.block.accounts[at]), self.block.measures
        opened = self.state.ladder.opened[account].pop(level)
        self.state.dirty.add("chains")
        envelope = self._envelope(at, level, opened.event_id)
        amount = Money.within(max(0.0, -measures["excess"][at]))
        if level == MARGIN_CALL:
            event: Any = outputs.MarginCall(**envelope, status=status or "MET", amount=amount)
        elif level == RESTRICTION:
            severe = Money.within(measures["severe_equity"][at])
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

    def _envelope(self, at: int, level: int, ends: str | None) -> dict[str, Any]:
        head = head_of(self.state, self.block, int(self.block.accounts[at]))
        return {
            **head,
            "cause_id": ends or f"{head['account_id']}/{LEVELS[level.bit_length()]}/{head['as_of'].text()}",
            "rule": RULES[level],
            "equity": Money.within(self.block.measures["equity"][at]),
            "requirement": Money.within(self.block.measures["requirement"][at]),
            "supersedes": ends,
        }
