"""Liquidations over days: due, proposed, approved by two persons, filled, proposed again; each worked by hand."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import msgspec
import pytest

from risk.rulebook import LiquidationRules, Rulebook
from schemas.inputs import Account, Fill, Input
from schemas.scalars import Time
from tests import days
from tests.days import fold_of, on
from tests.transforms.test_calls import BOUGHT, CRASH, RULES, account, cash, events, fill, override, price, run
from transforms.liquidations import proposal_phase
from transforms.monitor import Monitor
from transforms.state import ShardState

#: A deficiency of half an hour; one share a lot, no cost, no buffer, so that sizes can be seen: D / 25% of the price.
PLAIN = LiquidationRules(
    buffer=0.0,
    cost_rate=0.0,
    cost_per_order=0.0,
    lot=1,
    volume_share=1.0,
    price_band=0.05,
    cooldown=600,
    spread=0,
    automatic=False,
)
QUICK = dataclasses.replace(RULES, call_release=0.0, persist=1800, liquidation=PLAIN)
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


def test_what_the_customer_sells_meanwhile_is_not_sold_again() -> None:
    """It was proposed, and approved, as if nothing had been sold since."""
    steps: list[Input] = [
        fill(-150, 50.0, on("06", "15:40:00")),
        override("APPROVE", on("06", "15:41:00"), NAME),
        fill(-50, 50.0, on("06", "15:45:00"), fill_id="rest"),
        cash(1000, on("06", "15:50:00")),
    ]
    outputs = run([*CRASH, *steps], on("06", "18:00:00"), QUICK)
    assert told(outputs)[2:] == [
        ("FILLED", [("XYZ", -200, -150)]),
        ("APPROVED", [("XYZ", -200, -150)]),
        ("EXECUTED", [("XYZ", -200, -200)]),
        ("CLEARED", []),
    ]


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


#: Ten seconds over which proposals of many that become due at one instant are spread, on a grid of a second.
SPREAD, SECOND = dataclasses.replace(QUICK, liquidation=dataclasses.replace(PLAIN, spread=10)), days.SECOND
DUE = on("06", "15:30:01")
CROWD = tuple(f"A{number}" for number in range(40))


def crowd(*more: Input, fell_at: Time = on("06")) -> list[Input]:
    """All of CROWD as the account of CRASH: short of 2,500 from the instant after `fell_at`."""
    of_one = (account(), cash(60_000, on("05")), fill(1000, 100.0, on("05", "15:10:00")))
    each = [
        msgspec.structs.replace(record, account_id=name, **({"fill_id": name} if isinstance(record, Fill) else {}))
        for name in CROWD
        for record in of_one
    ]
    return [*each, price(100.0, on("05", "15:11:00")), price(50.0, fell_at), *more]


def fine(rules: Rulebook = SPREAD) -> Monitor:
    """The fold on a grid of a second."""
    return dataclasses.replace(fold_of(rules=rules), horizon=None, interval=SECOND)


def at_once(records: Sequence[Input], until: Time) -> list[days.Output]:
    """All records in one element, as of a replay."""
    fold = fine()
    return list(days.records_of(fold.advance(fold.start(), [days.by_topic(records)], until)))


def in_steps(records: Sequence[Input], until: Time) -> list[days.Output]:
    """Deadline by deadline, with the state written to its cells and read back in between, as live."""
    fold, cells, found = fine(), dict[str, bytes](), list[days.Output]()
    state, waiting = fold.start(), sorted(records, key=lambda record: record.arrived_at or 0)
    while True:
        arrival = min((fold.instant_of(int(record.arrived_at or 0)) for record in waiting[:1]), default=until + 1)
        instant = min(arrival, fold.next_deadline(state))
        if instant > until:
            return found
        now = [record for record in waiting if fold.instant_of(int(record.arrived_at or 0)) <= instant]
        waiting = waiting[len(now) :]
        found.extend(days.records_of(fold.advance(state, [days.by_topic(now)], instant)))
        cells |= state.drain()
        state = ShardState(fold.sessions)
        state.load(cells.get)


def told_at(outputs: Sequence[days.Output], status: str) -> dict[str, int]:
    """When each account was told of a step, microseconds."""
    return {own.account_id: int(own.as_of) for own in events(outputs, "liquidations.v1") if own.status == status}


def turns(since: int) -> dict[str, int]:
    """When the turn of each of CROWD comes, a second's grid, of a wait that begins at a time."""
    return {name: -(-(since + proposal_phase(name, 10)) // SECOND) * SECOND for name in CROWD}


def test_many_that_become_due_at_one_instant_are_proposed_each_at_its_turn() -> None:
    outputs = at_once(crowd(), on("06", "16:00:00"))
    assert told_at(outputs, "DUE") == dict.fromkeys(CROWD, DUE)
    found = told_at(outputs, "PROPOSED")
    assert found == turns(DUE)
    # No second has more than a quarter of them.
    counts = Counter(found.values())
    assert len(counts) >= 8
    assert max(counts.values()) <= 10
    assert max(counts) <= DUE + 10 * SECOND


@pytest.mark.parametrize("shards", [1, 3])
def test_turns_are_the_same_in_any_number_of_shards_and_live(shards: int) -> None:
    until = on("06", "15:45:00")
    whole = days.lines(at_once(crowd(), until))
    dealt = days.shards_of(crowd(), shards)
    assert days.lines(own for part in dealt for own in at_once(part, until)) == whole
    assert days.lines(own for part in dealt for own in in_steps(part, until)) == whole


def test_a_proposal_again_keeps_its_own_time() -> None:
    first = turns(DUE)
    refused = [
        msgspec.structs.replace(
            override("REJECT", on("06", "15:31:00"), f"{name}/PROPOSAL/{Time(first[name]).text()}"), account_id=name
        )
        for name in CROWD[:3]
    ]
    found = told_at(at_once(crowd(*refused), on("06", "16:00:00")), "PROPOSED")
    assert {name: found[name] for name in CROWD[:3]} == dict.fromkeys(CROWD[:3], on("06", "15:41:01"))


def test_a_deposit_before_the_turn_leaves_nothing_to_propose() -> None:
    late = max(CROWD, key=lambda name: proposal_phase(name, 10))
    paid = msgspec.structs.replace(cash(5000, on("06", "15:30:03")), account_id=late)
    outputs = at_once(crowd(paid), on("06", "16:00:00"))
    assert [own.status for own in events(outputs, "liquidations.v1") if own.account_id == late] == ["DUE", "CLEARED"]
    assert told_at(outputs, "PROPOSED").keys() == set(CROWD) - {late}


def test_a_turn_that_the_close_comes_before_is_taken_after_the_next_open() -> None:
    # Due five seconds before the close.
    closes, opens = on("06", "21:00:00"), on("07", "14:30:00")
    outputs = at_once(crowd(fell_at=on("06", "20:29:54")), on("07", "15:00:00"))
    assert set(told_at(outputs, "DUE").values()) == {closes - 5 * SECOND}
    today, tomorrow = turns(closes - 5 * SECOND), turns(opens)
    expected = {name: today[name] if today[name] < closes else tomorrow[name] for name in CROWD}
    assert told_at(outputs, "PROPOSED") == expected
    assert 5 < sum(when < closes for when in expected.values()) < len(CROWD) - 5
