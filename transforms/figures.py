"""Figures: the published records of an account, from the columns of its block."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from risk.block import AccountBlock
from risk.ladder import LEVELS, Decision, level_of
from risk.market import STATE_NAMES
from schemas import outputs
from schemas.inputs import PricedPosition
from schemas.scalars import RATIO_SCALE, Money, Quantity, Ratio, Time, encode_json
from transforms.state import ShardState


def money(ticks: float) -> str:
    """Ticks as a decimal string."""
    return str(encode_json(Money(ticks)))


def ratio(value: Any) -> Ratio:
    """A finite fraction in millionths."""
    return Ratio(round(float(value) * RATIO_SCALE))


def cushion(value: float) -> Ratio | None:
    """A cushion in millionths; None where the requirement is zero."""
    return None if math.isinf(value) else ratio(value)


def priced(state: ShardState, account: int, instant: int, *, flat: bool = False) -> tuple[PricedPosition, ...]:
    """An account's positions by symbol, each at the price it is valued at; a price of zero says there is none.

    flat: with those that came to zero, which a correction may revive.
    """
    market = state.market
    held = [position for position in state.book.positions(account, market) if flat or position[1]]
    if not held:
        return ()
    states = market.states([row for row, _, _ in held], instant).tolist()
    found = [
        PricedPosition(
            symbol=market.symbols[row],
            quantity=Quantity(quantity),
            price=0.0 if np.isnan(price) else price,
            state=STATE_NAMES[state_code],
        )
        for (row, quantity, price), state_code in zip(held, states, strict=True)
    ]
    return tuple(sorted(found, key=lambda p: p.symbol))


def head_of(state: ShardState, block: AccountBlock, account: int) -> dict[str, Any]:
    """What every event of an account at the block's instant begins with."""
    return {
        "account_id": state.book.ids[account],
        "as_of": Time(block.instant),
        "rulebook": block.rules.label,
    }


class Figures:
    """Makes the four figure records of one account of a block at a time; nothing refers to them, so sinks seal them."""

    def __init__(self, state: ShardState, block: AccountBlock, decision: Decision) -> None:
        self.state, self.block, self.decision = state, block, decision
        self.spy = [ratio(move) for move in block.rules.spy_moves]
        self.tims = [ratio(move) for move in block.rules.tims_moves]

    def of(self, at: int, why: Any) -> Iterator[tuple[str, msgspec.Struct]]:
        """Margin, stress, portfolio margin and state of the account at place `at` of the block."""
        block, state = self.block, self.state
        m = {name: column[..., at] for name, column in block.measures.items()}
        account = int(block.accounts[at])
        head = head_of(state, block, account)
        equity, requirement = float(m["equity"]), float(m["requirement"])
        calc = outputs.MarginCalc(
            **head,
            published_for=str(why),  # type: ignore[arg-type]
            cash=Money(block.cash[at]),
            long_market_value=Money(m["long_market_value"]),
            short_market_value=Money(m["short_market_value"]),
            equity=Money(equity),
            maintenance_requirement=Money(m["maintenance"]),
            concentration_addon=Money(m["addon"]),
            requirement=Money(requirement),
            excess=Money(m["excess"]),
            cushion=cushion(self.decision.cushion[at]),
            stale_share=ratio(m["stale_share"]),
            defaulted_share=ratio(m["defaulted_share"]),
            excluded=int(m["excluded"]),
        )
        yield "margin.calc.v1", calc
        scenarios = tuple(
            outputs.StressScenario(
                move=move,
                pnl=Money(pnl),
                equity=Money(equity + pnl),
                excess_fixed=Money(equity + pnl - requirement),
                requirement_restressed=Money(again),
                excess_restressed=Money(equity + pnl - again),
            )
            for move, pnl, again in zip(
                self.spy, m["stress_pnl"].tolist(), m["stress_requirement"].tolist(), strict=True
            )
        )
        stress = outputs.StressBetaSpy(
            **head,
            beta_weighted_exposure=Money(m["exposure"]),
            defaulted_share=ratio(m["defaulted_share"]),
            scenarios=scenarios,
        )
        yield "stress.beta_spy.v1", stress
        pnl = m["tims_pnl"].tolist()
        worst = min(range(len(pnl)), key=pnl.__getitem__)
        tims = outputs.StressTims(
            **head,
            points=tuple(outputs.TimsPoint(move=move, pnl=Money(p)) for move, p in zip(self.tims, pnl, strict=True)),
            worst_move=self.tims[worst],
            worst_loss=Money(m["worst_loss"]),
            requirement=Money(-m["worst_loss"]),
            excess=Money(equity + m["worst_loss"]),
        )
        yield "stress.tims.v1", tims
        ladder = state.ladder
        since, deficient = int(ladder.since[account]), int(ladder.deficient_since[account])
        opened = ladder.opened.get(account, {})
        stand = outputs.AccountState(
            **head,
            level=LEVELS[level_of(int(ladder.flags[account]))],
            since=None if since < 0 else Time(since),
            deficient_since=None if deficient < 0 else Time(deficient),
            equity=Money(equity),
            requirement=Money(requirement),
            excess=Money(m["excess"]),
            open_events=tuple(opened[level].event_id for level in sorted(opened)),
            positions=priced(state, account, block.instant),
        )
        yield "accounts.state.v1", stand
