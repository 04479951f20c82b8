"""Calls over days: made at the close, covered, extended, due, cancelled; each day worked by hand."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from pipeline.rules import load_rulebook
from risk.rulebook import Rulebook
from schemas.inputs import Account, Cash, Fill, Input, Override, Price
from schemas.outputs import MarginCall
from schemas.scalars import Money, Quantity, Time
from tests import days
from tests.days import FINRA, fold_of, on

#: Prices never turn old, and nobody is liquidated by the clock, so that calls alone are seen.
RULES = dataclasses.replace(
    FINRA, calls=load_rulebook("finra-4210").calls, stale_after=500_000, persist=10**7, restriction_release=0.0
)


def account(regime: Any = "STRATEGY") -> Account:
    return Account(account_id="A", margin_type=regime, arrived_at=on("05", "14:00:00"))


def cash(dollars: float, at: Time, number: int = 0) -> Cash:
    kind: Any = "DEPOSIT" if dollars > 0 else "WITHDRAWAL"
    return Cash(cash_id=f"c{number or at}", account_id="A", amount=money(dollars), kind=kind, arrived_at=at)


def fill(units: int, price: float, at: Time, symbol: str = "XYZ", **more: Any) -> Fill:
    own = {"fill_id": f"{symbol} {at}", "executed_at": at} | more
    return Fill(
        account_id="A",
        symbol=symbol,
        quantity=Quantity(units * 10**6),
        price=price,
        arrived_at=own.pop("at", at),
        **own,
    )


def price(dollars: float, at: Time, symbol: str = "XYZ") -> Price:
    return Price(symbol=symbol, price=dollars, as_of=at, arrived_at=at)


def money(dollars: float) -> Money:
    return Money(round(dollars * 10_000))


def override(action: Any, at: Time, target: str | None = None, **more: Any) -> Override:
    own = {"operator": "ann", "approver": "bob", "reason": "as agreed", "override_id": f"{action} {at}"} | more
    return Override(account_id="A", action=action, target=target, arrived_at=at, **own)


def run(records: Sequence[Input], until: Time, rules: Rulebook = RULES) -> list[days.Output]:
    return days.run(records, rules=rules, until=until)


def steps(outputs: Sequence[days.Output], kind: str | None = None) -> list[tuple[str, str, float]]:
    """(type, status, still due in dollars) of every step of the calls, in order; amounts add up in each."""
    found = []
    for topic, record in outputs:
        if topic == "margin.calls.v1":
            assert isinstance(record, MarginCall)
            assert record.called == record.covered + record.cancelled + record.amount
            if kind in (None, record.type):
                found.append((record.type, record.status, record.amount / 10_000))
    return found


def events(outputs: Sequence[days.Output], topic: str) -> list[Any]:
    return [record for name, record in outputs if name == topic]


#: 1,000 XYZ at 100 with 60,000 of cash: debit 40,000. Below 53.33 equity is under 25%.
BOUGHT = [
    account(),
    cash(60_000, on("05")),
    fill(1000, 100.0, on("05", "15:10:00")),
    price(100.0, on("05", "15:11:00")),
]
#: At 50: equity 10,000, requirement 12,500.
CRASH = [*BOUGHT, price(50.0, on("06"))]


def test_a_crash_is_called_by_the_house_at_once_and_by_the_rule_at_the_close() -> None:
    outputs = run(CRASH, on("06", "22:00:00"))
    assert steps(outputs) == [("HOUSE", "OPENED", 2500), ("MAINTENANCE", "OPENED", 2500)]
    house, rule = events(outputs, "margin.calls.v1")
    assert (house.basis, rule.basis) == ("REALTIME", "CLOSE")
    assert house.as_of < on("06", "15:02:00")
    assert rule.as_of == on("06", "21:01:00")
    # Two and fifteen sessions on; Monday the 19th is Martin Luther King Day.
    assert house.due_at == on("08", "21:00:00")
    assert rule.due_at == on("28", "21:00:00")


def test_a_deposit_and_a_fill_may_have_the_same_id() -> None:
    """Each topic has ids of its own: the fill took the deposit's place in the day's path, and was called as unpaid."""
    day = [account(), cash(60_000, on("05"), 1), fill(1000, 100.0, on("05", "15:10:00"), fill_id="c1")]
    outputs = run(day, on("05", "22:00:00"))
    assert [(own.id, own.kind) for own in events(outputs, "margin.intraday.v1")[-1].changes] == [
        ("c1", "CASH"),
        ("c1", "FILL"),
    ]
    assert steps(outputs) == []


def test_one_deposit_covers_both_in_full() -> None:
    outputs = run([*CRASH, cash(2500, on("07"))], on("07", "22:00:00"))
    assert steps(outputs)[2:] == [("HOUSE", "MET", 0), ("MAINTENANCE", "MET", 0)]
    assert {call.by for call in events(outputs, "margin.calls.v1")[2:]} == {"DEPOSIT"}


def test_a_rally_covers_what_it_lifts_and_only_where_it_may() -> None:
    # 52: equity 12,000, requirement 13,000; 54: 14,000 and 13,500.
    outputs = run([*CRASH, price(52.0, on("07")), price(54.0, on("08"))], on("08", "22:00:00"))
    assert steps(outputs, "MAINTENANCE") == [
        ("MAINTENANCE", "OPENED", 2500),
        ("MAINTENANCE", "COVERED", 1000),
        ("MAINTENANCE", "MET", 0),
    ]
    assert [call.by for call in events(outputs, "margin.calls.v1")][-1] == "APPRECIATION"


def test_what_falls_on_is_called_as_more_and_never_twice() -> None:
    # Next day at 48: equity 8,000, requirement 12,000: 4,000, of which 2,500 is called.
    outputs = run([*CRASH, price(48.0, on("07")), price(48.0, on("08"))], on("08", "22:00:00"))
    assert steps(outputs, "MAINTENANCE") == [("MAINTENANCE", "OPENED", 2500), ("MAINTENANCE", "OPENED", 1500)]
    assert steps(outputs, "HOUSE") == [("HOUSE", "OPENED", 2500), ("HOUSE", "OPENED", 1500), ("HOUSE", "EXPIRED", 2500)]


def test_a_call_that_is_met_is_followed_by_one_for_what_fell_since() -> None:
    # At 48 4,000 are missing, of which 2,500 is called and paid.
    outputs = run([*CRASH, price(48.0, on("06", "16:00:00")), cash(2500, on("06", "17:00:00"))], on("06", "20:00:00"))
    assert steps(outputs) == [("HOUSE", "OPENED", 2500), ("HOUSE", "MET", 0), ("HOUSE", "OPENED", 1500)]


def test_a_sale_covers_what_it_frees() -> None:
    # 100 sold at 50 free a quarter of 5,000.
    outputs = run([*CRASH, fill(-100, 50.0, on("07"))], on("07", "16:00:00"))
    assert steps(outputs)[2:] == [("MAINTENANCE", "COVERED", 1250), ("HOUSE", "COVERED", 1250)]


def test_a_call_is_extended_by_two_persons_then_expires_and_leads_to_liquidation() -> None:
    alone = override("EXTEND", on("07"), "A/HOUSE/2026-01-06T15:01:00Z", approver=None, expires_at=on("13", "21:00:00"))
    both = msgspec.structs.replace(alone, approver="bob", arrived_at=on("07", "16:00:00"), override_id="second")
    outputs = run([*CRASH, alone, both], on("13", "22:00:00"))
    assert steps(outputs, "HOUSE") == [
        ("HOUSE", "OPENED", 2500),
        ("HOUSE", "EXTENDED", 2500),
        ("HOUSE", "EXPIRED", 2500),
    ]
    (refused,) = [own for own in events(outputs, "alerts.v1") if own.kind == "OVERRIDE_REFUSED"]
    assert "expected an approver other than the operator" in refused.message
    (liquidation,) = events(outputs, "liquidations.v1")
    assert liquidation.as_of == on("13", "21:01:00")
    journalled = [own.inputs["result"] for own in events(outputs, "audit.v1") if own.kind == "OVERRIDE"]
    assert journalled == ["refused: EXTEND takes a second person: expected an approver other than the operator", "done"]


def test_a_waiver_ends_a_call_and_needs_its_name() -> None:
    name = "A/MAINTENANCE/2026-01-06T21:01:00Z"
    wrong = override("WAIVE", on("07"), "A/MAINTENANCE/else")
    outputs = run([*CRASH, wrong, override("WAIVE", on("07", "16:00:00"), name)], on("07", "20:00:00"))
    assert steps(outputs, "MAINTENANCE")[1:] == [("MAINTENANCE", "WAIVED", 0)]
    (refused,) = [own for own in events(outputs, "alerts.v1") if own.kind == "OVERRIDE_REFUSED"]
    assert name in refused.message


def test_a_busted_fill_cancels_the_calls_that_it_caused() -> None:
    # Without the second purchase the debit is 40,000 and the account at 60 not deficient.
    more = fill(500, 60.0, on("06"), fill_id="more")
    crash = [*BOUGHT, price(60.0, on("06", "14:40:00")), more, price(56.0, on("06", "16:00:00"))]
    outputs = run(crash, on("06", "22:00:00"))
    # 1,500 at 56: equity 84,000 - 70,000 = 14,000; requirement 21,000.
    assert ("MAINTENANCE", "OPENED", 7000) in steps(outputs)
    bust = fill(500, 60.0, on("07"), fill_id="bust", kind="BUST", ref_fill_id="more", version=2)
    outputs = run([*crash, bust], on("07", "22:00:00"))
    ended = {call.type: call for call in events(outputs, "margin.calls.v1") if call.status == "CANCELLED"}
    assert set(ended) >= {"MAINTENANCE", "HOUSE"}
    opened = {call.type: call.event_id for call in events(outputs, "margin.calls.v1") if call.status == "OPENED"}
    assert all(call.supersedes == opened[kind] for kind, call in ended.items())
    assert not [step for step in steps(outputs) if step[1] == "MET"]


def test_regulation_t_is_called_for_the_days_trades_and_no_rally_meets_it() -> None:
    # 100,000 bought with 40,000: half is 50,000.
    bought = [account(), cash(40_000, on("05")), *BOUGHT[2:]]
    rally = [price(150.0, on("06")), price(150.0, on("07"))]
    outputs = run([*bought, *rally], on("07", "22:00:00"))
    assert steps(outputs) == [("REG_T", "OPENED", 10_000)]
    (call,) = events(outputs, "margin.calls.v1")
    assert (call.as_of, call.due_at) == (on("05", "21:01:00"), on("08", "21:00:00"))
    assert steps(run([*bought, *rally, cash(10_000, on("07"))], on("08", "22:00:00")))[1:] == [("REG_T", "MET", 0)]
    assert steps(run([*bought, *rally], on("08", "22:00:00")))[1:] == [("REG_T", "EXPIRED", 10_000)]
    # A sale of 200 at 150 frees half of 30,000.
    assert steps(run([*bought, *rally, fill(-200, 150.0, on("07", "16:00:00"))], on("08", "22:00:00")))[1:] == [
        ("REG_T", "MET", 0)
    ]


def test_the_minimum_of_2000_is_owed_until_it_is_there() -> None:
    # 20 XYZ at 100 on 1,500: equity 1,500, of which 25% of 2,000 is asked for; no trade on the next day.
    poor = [account(), cash(1500, on("05")), fill(20, 100.0, on("05", "15:10:00")), price(100.0, on("05", "15:11:00"))]
    outputs = run(poor, on("06", "22:00:00"))
    assert steps(outputs) == [("MINIMUM_EQUITY", "OPENED", 500)]
    assert steps(run([*poor, cash(500, on("07"))], on("07", "22:00:00")))[1:] == [("MINIMUM_EQUITY", "MET", 0)]


def test_a_halted_price_at_the_close_calls_nobody() -> None:
    halt = msgspec.structs.replace(price(60.0, on("06", "14:50:00")), status="HALTED")
    # At 60 equity is 20,000; 400 more at 60 ask for 21,000 in all.
    day = [*BOUGHT, price(60.0, on("06", "14:40:00")), halt, fill(400, 60.0, on("06"))]
    outputs = run(day, on("06", "22:00:00"))
    assert [kind for kind, _, _ in steps(outputs)] == ["REG_T"]
    assert [own.kind for own in events(outputs, "alerts.v1")].count("REVIEW") == 1
    resumed = run([*day, price(60.0, on("07"))], on("07", "22:00:00"))
    assert ("MAINTENANCE", "OPENED", 1000) in steps(resumed)


def test_round_trips_and_small_amounts_are_not_called() -> None:
    trip = [account(), cash(40_000, on("05")), *BOUGHT[2:], fill(-1000, 100.0, on("05", "18:00:00"))]
    assert steps(run(trip, on("05", "22:00:00")), "REG_T") == []
    small = [account(), cash(49_000, on("05")), *BOUGHT[2:]]
    assert steps(run(small, on("05", "22:00:00"))) == []


@pytest.mark.parametrize("sales", [2, 3])
def test_the_third_liquidation_to_meet_a_call_restricts_for_ninety_days(sales: int) -> None:
    records: list[Input] = [account(), cash(50_000, on("05", "14:30:00")), price(100.0, on("05", "14:31:00"))]
    for day in range(sales):
        bought, sold = (("05", "06"), ("07", "08"), ("12", "13"))[day]
        records += [fill(1000, 100.0, on(bought)), price(100.0, on(bought, "15:01:00"))]
        # Half of it is asked for again, beyond what the account has, and met by a sale on the next day.
        records += [fill(500, 100.0, on(bought, "15:05:00")), fill(-500, 100.0, on(sold))]
        records += [fill(-1000, 100.0, on(sold, "15:05:00"))]
    outputs = run(records, on("14", "16:00:00"))
    assert steps(outputs, "REG_T").count(("REG_T", "MET", 0)) == sales
    restricted = [own for own in events(outputs, "restrictions.v1") if own.status == "IMPOSED"]
    assert len(restricted) == (sales == 3)


def test_portfolio_margin_is_met_by_deposit_or_hedge_not_by_the_market() -> None:
    # 5,000 XYZ at 100 on 150,000: 15% is 75,000. At 80 equity is 50,000, the requirement 60,000, the minimum 100,000.
    bought = [account("PORTFOLIO"), cash(150_000, on("05")), fill(5000, 100.0, on("05", "15:10:00"))]
    crash = [*bought, price(100.0, on("05", "15:11:00")), price(80.0, on("06"))]
    outputs = run([*crash, price(120.0, on("07"))], on("09", "22:00:00"))
    assert steps(outputs, "PORTFOLIO_MARGIN") == [
        ("PORTFOLIO_MARGIN", "OPENED", 10_000),
        ("PORTFOLIO_MARGIN", "EXPIRED", 10_000),
    ]
    assert steps(outputs, "MINIMUM_EQUITY") == [("MINIMUM_EQUITY", "OPENED", 50_000), ("MINIMUM_EQUITY", "MET", 0)]
    (due,) = events(outputs, "liquidations.v1")
    assert due.as_of == on("09", "21:01:00")
    paid = run([*crash, cash(50_000, on("07"))], on("09", "22:00:00"))
    assert steps(paid, "PORTFOLIO_MARGIN")[1:] == [("PORTFOLIO_MARGIN", "MET", 0)]


def test_an_intraday_deficit_of_unknown_order_is_called_at_the_close_and_met_by_what_the_level_rises() -> None:
    # 10,000 of cash; bought and sold 1,000 at 60 in an order that nobody can show: IML 10,000 - 15,000 at worst.
    start = [account(), cash(10_000, on("05", "14:00:00")), price(60.0, on("05", "14:31:00"))]
    trip = [fill(1000, 60.0, on("06"), executed_at=None), fill(-1000, 60.0, on("06", "15:20:00"), executed_at=None)]
    outputs = run([*start, *trip], on("06", "22:00:00"))
    assert steps(outputs, "INTRADAY") == [("INTRADAY", "OPENED", 5000)]
    (call,) = [own for own in events(outputs, "margin.calls.v1") if own.type == "INTRADAY"]
    assert call.due_at == on("13", "21:00:00")
    assert steps(run([*start, *trip, cash(5000, on("07"))], on("07", "22:00:00")), "INTRADAY")[1:] == [
        ("INTRADAY", "MET", 0)
    ]


def test_an_operator_restricts_until_a_time_and_exempts_until_one() -> None:
    held = [*BOUGHT, override("RESTRICT", on("05", "16:00:00"), expires_at=on("06", "16:00:00"), approver=None)]
    outputs = run(held, on("06", "17:00:00"))
    assert [(own.status, own.as_of) for own in events(outputs, "restrictions.v1")] == [
        ("IMPOSED", on("05", "16:01:00")),
        ("LIFTED", on("06", "16:00:00")),
    ]
    released = [*held, override("RELEASE", on("05", "18:00:00"))]
    assert events(run(released, on("06", "17:00:00")), "restrictions.v1")[-1].as_of == on("05", "18:01:00")


def test_every_step_is_a_link_of_the_audit_chain() -> None:
    name = "A/HOUSE/2026-01-06T15:01:00Z"
    steps = [override("EXTEND", on("06", "16:00:00"), name, expires_at=on("12", "21:00:00")), cash(1000, on("07"))]
    outputs = run([*CRASH, *steps, price(54.0, on("08"))], on("08", "22:00:00"))
    links = events(outputs, "audit.v1")
    told = {own.causation_id for own in links} | {one for own in links for one in own.inputs.get("causes", "").split()}
    assert {own.event_id for own in events(outputs, "margin.calls.v1")} <= told
    assert [own.previous for own in links] == ["", *(own.event_id for own in links[:-1])]


def test_a_closing_snapshot_carries_calls_into_the_next_day() -> None:
    manifest = days.MANIFEST.model_copy(update={"closes_at": dt.datetime(2026, 1, 6, 22, 0, tzinfo=dt.UTC)})
    fold = dataclasses.replace(fold_of(rules=RULES), horizon=manifest.horizon)
    first = list(days.records_of(fold.advance(fold.start(), [days.by_topic(CRASH)], manifest.horizon)))
    (snapshot,) = events(first, "snapshots.v1")
    assert snapshot.standing is not None
    assert {call.type for call in snapshot.standing.calls} == {"HOUSE", "MAINTENANCE"}
    rest = [price(50.0, on("07", "14:35:00")), cash(2500, on("07"))]
    opening = msgspec.structs.replace(snapshot, arrived_at=on("07", "14:00:00"), cut=None)
    # The price is told again: a snapshot has closes alone.
    assert steps(run([opening, *rest], on("07", "22:00:00"))) == steps(run([*CRASH, *rest], on("07", "22:00:00")))[2:]


def test_a_warning_says_how_far_a_call_is() -> None:
    # At 55 equity is 15,000, the requirement 13,750; at 53.33, 3.03% lower, they meet: 40,000 / 75%.
    (warned,) = events(run([*BOUGHT, price(55.0, on("06"))], on("06", "16:00:00")), "alerts.v1")
    assert warned.message == "rose from NONE to WARNING; a call is $1,250.00, or SPY -3.0%, away"
    assert warned.distance == 1250 * 10_000
    assert warned.distance_move == pytest.approx(-1e6 * (1 - 40_000 / 0.75 / 55_000), abs=1)


def test_a_short_is_called_by_a_rise() -> None:
    # 1,000 short at 60 on 20,000: equity 20,000, requirement 18,000; 80,000 / 1.3 is 61,538.
    sold = [
        account(),
        cash(20_000, on("05")),
        fill(-1000, 60.0, on("05", "15:10:00")),
        price(60.0, on("05", "15:11:00")),
    ]
    warned = events(run([*sold, price(60.5, on("06"))], on("06", "16:00:00")), "alerts.v1")[-1]
    assert warned.distance == 1350 * 10_000
    assert warned.distance_move == pytest.approx(1e6 * (80_000 / 1.3 / 60_500 - 1), abs=1)
