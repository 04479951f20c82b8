"""What is called, is called once: of one cause, of one day, of one fill, by one decision; each day worked by hand."""

from __future__ import annotations

import dataclasses
import datetime as dt

import msgspec
import pytest

from pipeline.day import sessions_around
from schemas.inputs import Input
from tests import days
from tests.days import on
from tests.transforms.test_calls import BOUGHT, CRASH, RULES, account, cash, events, fill, override, price, run, steps
from tests.transforms.test_liquidations import NAME, QUICK, told

#: A house that asks for 20% more of what is above half of the value.
CONCENTRATED = dataclasses.replace(RULES, concentration_threshold=0.5, concentration_rate=0.20)


def test_a_call_for_concentration_is_not_called_again_by_the_house_at_the_close() -> None:
    # At 70: equity 30,000; 17,500 and 14,000 of concentration.
    outputs = run([*BOUGHT, price(70.0, on("06"))], on("07", "22:00:00"), CONCENTRATED)
    assert steps(outputs)[:1] == [("CONCENTRATION", "OPENED", 1500)]
    assert {kind for kind, _, _ in steps(outputs)} == {"CONCENTRATION"}
    # At 69 29,000 and 31,050: what is more is called of the house's call, or with it as another; a deposit counts once.
    fallen = [*BOUGHT, price(70.0, on("06")), price(69.0, on("07")), cash(1750, on("08"))]
    assert steps(run(fallen, on("08", "20:00:00"), CONCENTRATED))[1:] == [
        ("HOUSE", "OPENED", 550),
        ("CONCENTRATION", "MET", 0),
        ("HOUSE", "COVERED", 300),
    ]


@pytest.mark.parametrize(("paid", "changed"), [(96.0, "INCREASED"), (102.0, "REDUCED")])
def test_a_correction_is_told_to_the_oldest_call_of_a_type_alone(paid: float, changed: str) -> None:
    # 5,000 XYZ on 150,000, all at 100: at 80 equity is 50,000 and 15% 60,000; at 78 40,000 and 58,500.
    bought = [fill(4000, 100.0, on("05", "15:10:00")), fill(1000, paid, on("05", "15:11:00"), fill_id="part")]
    falls = [price(100.0, on("05", "15:12:00")), price(80.0, on("06")), price(78.0, on("07"))]
    fixed = fill(1000, 100.0, on("08"), fill_id="fixed", kind="CORRECT", ref_fill_id="part", version=2)
    outputs = run([account("PORTFOLIO"), cash(150_000, on("05")), *bought, *falls, fixed], on("08", "22:00:00"))
    asked = 10_000 - (100 - paid) * 1000
    assert steps(outputs, "PORTFOLIO_MARGIN") == [
        ("PORTFOLIO_MARGIN", "OPENED", asked),
        ("PORTFOLIO_MARGIN", "OPENED", 8500),
        ("PORTFOLIO_MARGIN", changed, 10_000),
    ]


def test_an_order_of_the_evening_is_assessed_at_the_next_close() -> None:
    # 100,000 bought with 40,000 after the close of the 5th: half is 50,000.
    late = [
        account(),
        cash(40_000, on("05")),
        fill(1000, 100.0, on("05", "22:00:00")),
        price(100.0, on("05", "22:01:00")),
    ]
    outputs = run(late, on("06", "22:00:00"))
    (call,) = events(outputs, "margin.calls.v1")
    assert (call.type, call.amount, call.as_of) == ("REG_T", 10_000 * 10_000, on("06", "21:01:00"))


def test_a_round_trip_does_not_meet_a_regulation_t_call_for_good() -> None:
    bought = [account(), cash(40_000, on("05")), *BOUGHT[2:]]
    trip = [fill(-300, 100.0, on("06")), fill(300, 100.0, on("06", "16:00:00"))]
    assert steps(run([*bought, *trip], on("06", "22:00:00")), "REG_T") == [
        ("REG_T", "OPENED", 10_000),
        ("REG_T", "MET", 0),
        ("REG_T", "OPENED", 10_000),
    ]


def test_a_deficit_that_lasts_overnight_is_called_once() -> None:
    # 500 at 100 on 10,000 lack 2,500; one more on the next day 25.
    held = [
        account(),
        cash(10_000, on("05")),
        fill(500, 100.0, on("05", "15:10:00")),
        price(100.0, on("05", "15:11:00")),
    ]
    outputs = run([*held, fill(1, 100.0, on("06"))], on("06", "22:00:00"))
    assert steps(outputs, "INTRADAY") == [("INTRADAY", "OPENED", 2500), ("INTRADAY", "OPENED", 25)]


def test_a_correction_of_an_earlier_days_fill_is_no_transaction_of_the_day() -> None:
    held = [
        account(),
        cash(20_000, on("05")),
        fill(500, 100.0, on("05", "15:10:00")),
        price(100.0, on("05", "15:11:00")),
    ]
    fixed = fill(
        500, 101.0, on("06"), fill_id="fixed", kind="CORRECT", ref_fill_id=f"XYZ {on('05', '15:10:00')}", version=2
    )
    last = events(run([*held, fixed], on("06", "20:00:00")), "margin.intraday.v1")[-1]
    # 20,000 less 12,500, and 500 that the shares cost more.
    assert (last.opening_iml, last.deficit, last.changes) == (7000 * 10_000, 0, ())


def test_a_deficit_of_yesterday_is_not_of_the_day_that_its_snapshot_opens() -> None:
    # Bought and sold in an order that nobody can show, on the first day alone.
    begin, end = "05", "06"
    trip: list[Input] = [account(), cash(10_000, on("05", "14:00:00")), price(60.0, on("05", "14:31:00"))]
    trip += [fill(1000, 60.0, on(begin), executed_at=None), fill(-1000, 60.0, on(begin, "15:20:00"), executed_at=None)]
    fold = dataclasses.replace(days.fold_of(rules=RULES), horizon=on(begin, "22:00:00"))
    outputs = list(days.records_of(fold.advance(fold.start(), [days.by_topic(trip)], on(begin, "22:00:00"))))
    assert [status for _, status, _ in steps(outputs, "INTRADAY")] == ["OPENED"]
    (snapshot,) = events(outputs, "snapshots.v1")
    # The calendar of the next day is another, in which it is the session at the same place.
    sessions = sessions_around(dt.date(2026, 1, 6))
    fold = dataclasses.replace(days.fold_of(rules=RULES, live=True), sessions=sessions)
    opened = [msgspec.structs.replace(snapshot, arrived_at=on(end, "13:00:00"))]
    outputs = list(days.records_of(fold.advance(fold.start(), [days.by_topic(opened)], on(end, "22:00:00"))))
    assert steps(outputs, "INTRADAY") == []


def test_part_of_an_expired_deficit_that_is_paid_is_no_second_failure() -> None:
    # 15,000 lack on the 5th, if the shares were bought before the deposit and sold last; due on the 12th.
    start = [account(), cash(10_000, on("05", "14:00:00")), price(60.0, on("05", "14:31:00"))]
    trip = [fill(1000, 60.0, on("05"), executed_at=None), fill(-1000, 60.0, on("05", "15:20:00"), executed_at=None)]
    outputs = run([*start, *trip, cash(1000, on("13")), cash(1000, on("14"))], on("14", "22:00:00"))
    assert steps(outputs, "INTRADAY")[1:] == [
        ("INTRADAY", "EXPIRED", 15_000),
        ("INTRADAY", "COVERED", 14_000),
        ("INTRADAY", "COVERED", 13_000),
    ]
    assert events(outputs, "restrictions.v1") == []


def test_a_debit_without_a_trade_has_no_minimum() -> None:
    outputs = run([account(), cash(1000, on("05")), cash(-3000, on("05", "16:00:00"))], on("05", "22:00:00"))
    assert "MINIMUM_EQUITY" not in {kind for kind, _, _ in steps(outputs)}


def test_one_person_does_not_shorten_a_restriction_nor_two_release_one_that_ended() -> None:
    first = override("RESTRICT", on("05", "16:00:00"), expires_at=on("07", "16:00:00"), approver=None)
    shorter = override("RESTRICT", on("05", "17:00:00"), expires_at=on("05", "18:00:00"), approver=None)
    late = override("RELEASE", on("07", "17:00:00"))
    outputs = run([*BOUGHT, first, shorter, late], on("07", "18:00:00"))
    assert [own.as_of for own in events(outputs, "restrictions.v1")] == [on("05", "16:01:00"), on("07", "16:00:00")]
    refused = [own.message for own in events(outputs, "alerts.v1") if own.kind == "OVERRIDE_REFUSED"]
    assert "expected expires_at after the restriction that ends 2026-01-07T16:00:00Z" in refused[0]
    assert "expected a restriction by a practice or an operator, found none" in refused[1]


def test_what_a_correction_does_to_a_call_is_in_the_audit() -> None:
    more = fill(500, 60.0, on("06"), fill_id="more")
    crash = [*BOUGHT, price(60.0, on("06", "14:40:00")), more, price(56.0, on("06", "16:00:00"))]
    bust = fill(500, 60.0, on("07"), fill_id="bust", kind="BUST", ref_fill_id="more", version=2)
    outputs = run([*crash, bust], on("07", "16:00:00"))
    ended = [own.event_id for own in events(outputs, "margin.calls.v1") if own.status in ("REDUCED", "CANCELLED")]
    (link,) = [own for own in events(outputs, "audit.v1") if own.kind == "CORRECTION"]
    assert len(ended) > 1
    assert link.inputs["causes"].split() == ended
    assert link.causation_id == "fills.v1/bust"


def test_a_correction_of_what_was_bought_before_fills_no_order() -> None:
    # Of 1,000 shares 999 stand: the order to sell 200 is as it was.
    fixed = fill(
        999,
        100.0,
        on("06", "15:45:00"),
        fill_id="fixed",
        kind="CORRECT",
        ref_fill_id=f"XYZ {on('05', '15:10:00')}",
        version=2,
    )
    outputs = run([*CRASH, override("APPROVE", on("06", "15:41:00"), NAME), fixed], on("06", "15:50:00"), QUICK)
    assert [status for status, _ in told(outputs)] == ["DUE", "PROPOSED", "APPROVED"]
