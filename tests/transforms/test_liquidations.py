"""Liquidations over days: due, proposed, approved by two persons, filled, proposed again; each worked by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from risk.rulebook import LiquidationRules
from schemas.inputs import Account, Input
from tests import days
from tests.days import on
from tests.transforms.test_calls import BOUGHT, CRASH, RULES, cash, events, fill, override, price, run

#: A deficiency of half an hour; one share a lot, no cost, no buffer, so that sizes can be seen: D / 25% of the price.
PLAIN = LiquidationRules(
    buffer=0.0,
    cost_rate=0.0,
    cost_per_order=0.0,
    lot=1,
    volume_share=1.0,
    price_band=0.05,
    cooldown=600,
    automatic=False,
)
QUICK = dataclasses.replace(RULES, persist=1800, liquidation=PLAIN)
#: 2,500 are missing at 50 a share: 200 shares free them.
NAME = "A/PROPOSAL/2026-01-06T15:31:00Z"


def told(outputs: Sequence[days.Output]) -> list[tuple[str, list[tuple[str, float, float]]]]:
    """(status, [(symbol, quantity, filled)]) of every step."""
    return [
        (own.status, [(o.symbol, o.quantity / 1e6, o.filled / 1e6) for o in own.orders])
        for own in events(outputs, "liquidations.v1")
    ]


def test_a_deficiency_that_persists_is_proposed_sized_and_waits_for_two_persons() -> None:
    outputs = run(CRASH, on("06", "18:00:00"), QUICK)
    assert told(outputs) == [("DUE", []), ("PROPOSED", [("XYZ", -200, 0)])]
    _, proposed = events(outputs, "liquidations.v1")
    assert (proposed.cause_id, proposed.as_of) == (NAME, on("06", "15:31:00"))
    assert proposed.orders[0].limit == pytest.approx(47.5)


def test_approved_filled_in_parts_executed_and_cleared() -> None:
    steps: list[Input] = [
        override("APPROVE", on("06", "15:40:00"), NAME, approver=None),
        override("APPROVE", on("06", "15:41:00"), NAME),
        fill(-150, 50.0, on("06", "15:45:00")),
        fill(-70, 50.0, on("06", "15:50:00"), fill_id="rest"),
        cash(1000, on("06", "15:55:00")),
    ]
    outputs = run([*CRASH, *steps], on("06", "18:00:00"), QUICK)
    assert told(outputs)[2:] == [
        ("APPROVED", [("XYZ", -200, 0)]),
        ("FILLED", [("XYZ", -200, -150)]),
        ("EXECUTED", [("XYZ", -200, -200)]),
        ("CLEARED", []),
    ]
    assert [own.by for own in events(outputs, "liquidations.v1")][2] == "ann, bob"
    assert sum(own.kind == "OVERRIDE_REFUSED" for own in events(outputs, "alerts.v1")) == 1


def test_what_is_rejected_is_proposed_again_after_the_cooldown() -> None:
    outputs = run([*CRASH, override("REJECT", on("06", "15:40:00"), NAME)], on("06", "16:00:00"), QUICK)
    assert [status for status, _ in told(outputs)] == ["DUE", "PROPOSED", "REJECTED", "PROPOSED"]
    assert events(outputs, "liquidations.v1")[-1].as_of == on("06", "15:51:00")


def test_a_residual_is_proposed_anew() -> None:
    steps = [override("APPROVE", on("06", "15:41:00"), NAME), price(48.0, on("06", "15:44:00"))]
    outputs = run([*CRASH, *steps, fill(-200, 48.0, on("06", "15:45:00"))], on("06", "16:30:00"), QUICK)
    # 800 at 48 and a debit of 30,400: equity 8,000, requirement 9,600; 1,600 / 12 a share: 134.
    assert told(outputs)[-2:] == [("EXECUTED", [("XYZ", -200, -200)]), ("PROPOSED", [("XYZ", -134, 0)])]


def test_a_deposit_withdraws_what_was_proposed() -> None:
    outputs = run([*CRASH, cash(5000, on("06", "15:45:00"))], on("06", "18:00:00"), QUICK)
    assert [status for status, _ in told(outputs)] == ["DUE", "PROPOSED", "CLEARED", "WITHDRAWN"]


def test_by_policy_nobody_is_asked() -> None:
    rules = dataclasses.replace(QUICK, liquidation=dataclasses.replace(PLAIN, automatic=True))
    outputs = run(CRASH, on("06", "18:00:00"), rules)
    assert [status for status, _ in told(outputs)] == ["DUE", "PROPOSED", "APPROVED"]
    assert events(outputs, "liquidations.v1")[-1].by == "policy"


def test_nothing_is_proposed_while_the_market_is_shut() -> None:
    late = [*BOUGHT, price(50.0, on("06", "20:45:00"))]
    outputs = run(late, on("07", "15:00:00"), QUICK)
    due, proposed = events(outputs, "liquidations.v1")
    assert due.as_of == on("06", "21:16:00")
    assert proposed.as_of == on("07", "14:30:00")


def test_liquidate_last_is_kept_for_the_end() -> None:
    held = [
        Account(account_id="A", liquidate_last=("XYZ",), arrived_at=on("05", "14:00:00")),
        *BOUGHT[1:],
        cash(10_000, on("05", "15:20:00")),
        fill(200, 100.0, on("05", "15:30:00"), symbol="OTHER"),
        price(100.0, on("05", "15:31:00"), symbol="OTHER"),
    ]
    # At 45: equity 15,000, requirement 16,250.
    outputs = run([*held, price(45.0, on("06"))], on("06", "18:00:00"), QUICK)
    # 1,250 / 25 a share.
    assert told(outputs)[-1] == ("PROPOSED", [("OTHER", -50, 0)])


def test_what_cannot_be_cured_says_so() -> None:
    outputs = run([*BOUGHT, price(30.0, on("06"))], on("06", "18:00:00"), QUICK)
    last = events(outputs, "liquidations.v1")[-1]
    assert last.unsecured_debit == 10_000 * 10_000
    assert "debit" in last.reason
