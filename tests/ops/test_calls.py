"""Calls, an account's day and liquidations, of a folder written by hand: steps folded, sorted, added up and drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ops.calls import fold, read_calls, totals_of
from ops.cli import app
from ops.history import read_history
from ops.liquidations import read_liquidations
from ops.outcome import read_outcome
from ops.terminal import console
from ops.timeline import timeline_chart
from schemas import topics
from schemas.codec import to_json
from schemas.inputs import LiquidationOrder, OpenCall, Snapshot, Standing
from schemas.outputs import Audit, Liquidation, MarginCall, Restriction
from schemas.scalars import Money, Quantity, Time
from tests.ops.folder import alert, at, consequence, head, money, state, write


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables as on a wide terminal, whatever this one is."""
    monkeypatch.setattr(console, "width", 250)


DUE, LATER = Time.parse("2026-01-07T21:00:00Z"), Time.parse("2026-01-12T21:00:00Z")
EVIL = "Z<script>&[red]"


def step(account: str, time: str, status: str, due: int, ends: Any = None, **fields: Any) -> Any:
    """A step of the house call of an account, made at 15:10 for 100 dollars or what the step says."""
    told = {"cause_id": f"{account}/HOUSE", "occurred_at": at("15:10:00"), "due_at": DUE} | fields
    called = money(told.pop("called", 100))
    return consequence(MarginCall, account, time, ends, status=status, amount=money(due), called=called, **told)


def order(filled: int = 0) -> LiquidationOrder:
    quantity, done = Quantity(-50 * 10**6), Quantity(-filled * 10**6)
    return LiquidationOrder(symbol="XYZ", quantity=quantity, price=51.0, limit=48.45, why="long", filled=done)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A's call takes every step and is met; B's is extended, C's expired, D's waived, E's cancelled; F's is older."""
    waived = step("D", "15:10:00", "OPENED", 100)
    cancelled = step("E", "15:10:00", "OPENED", 100)
    met = step("A", "15:10:00", "OPENED", 100)
    paid: Any = {"called": 150, "covered": money(60), "by": "DEPOSIT"}
    override = Audit(
        **head("B", "15:30:00"),
        kind="OVERRIDE",
        causation_id="o1",
        inputs={"action": "EXTEND", "operator": "ann", "approver": "bob", "reason": "as agreed", "result": "done"},
        positions=(),
        previous="",
    )
    sizes: Any = {"deficiency": money(100), "market_value_to_close": money(400), "deficient_since": at("15:10:00")}
    due = consequence(Liquidation, "C", "15:40:00", status="DUE", **sizes)
    proposal: Any = {**sizes, "cause_id": "C/PROPOSAL", "by": "ann"}
    records = [
        *(own for name in ("A", "B", "C", "D", "E", "F") for own in state(name, "14:30:01", "NONE", 2000, 1000)),
        *state("B", "15:10:00", "MARGIN_CALL", 900, 1000, since=at("15:10:00"), deficient_since=at("15:10:00")),
        *state("C", "16:00:00", "LIQUIDATION", 900, 1000, since=at("15:40:00")),
        alert("B", "15:10:00", "NONE", "MARGIN_CALL"),
        alert("C", "15:10:00", "NONE", "MARGIN_CALL"),
        alert("C", "15:40:00", "MARGIN_CALL", "LIQUIDATION"),
        met,
        step("A", "15:20:00", "INCREASED", 150, called=150),
        step("A", "15:25:00", "COVERED", 90, **paid),
        step("A", "15:30:00", "REDUCED", 80, **{**paid, "by": None}, cancelled=money(10)),
        step("A", "15:40:00", "MET", 0, met, called=150, covered=money(140), cancelled=money(10), by="TRADE"),
        step("B", "15:10:00", "OPENED", 100),
        step("B", "15:30:00", "EXTENDED", 100, due_at=LATER, extended_by="ann, bob"),
        step(
            "B", "15:35:00", "COVERED", 70, due_at=LATER, extended_by="ann, bob", covered=money(30), by="APPRECIATION"
        ),
        step("C", "15:10:00", "OPENED", 100, due_at=at("15:39:00")),
        step("C", "15:40:00", "EXPIRED", 100, due_at=at("15:39:00")),
        waived,
        step("D", "15:30:00", "WAIVED", 0, waived, cancelled=money(100)),
        cancelled,
        step("E", "15:30:00", "CANCELLED", 0, cancelled, cancelled=money(100)),
        step("F", "15:30:00", "COVERED", 10, covered=money(90), by="DEPOSIT", occurred_at=at("09:00:00"), type="REG_T"),
        override,
        consequence(Restriction, "C", "15:20:00", status="IMPOSED", stressed_equity=money(-5)),
        due,
        consequence(Liquidation, "C", "15:41:00", status="PROPOSED", orders=(order(),), **{**proposal, "by": None}),
        consequence(Liquidation, "C", "15:42:00", status="APPROVED", orders=(order(),), **proposal),
        consequence(Liquidation, "C", "15:43:00", status="FILLED", orders=(order(20),), **proposal),
    ]
    return write(tmp_path / "out", records)


def run(*words: object) -> str:
    found = CliRunner().invoke(app, [str(word) for word in words])
    assert found.exit_code == 0, found.output
    return found.stdout


def test_steps_are_folded_into_one_row_a_call(out: Path) -> None:
    calls = {call.account_id: call for call in read_calls(out)}
    assert {name: (call.status, call.due, call.ended_at) for name, call in calls.items()} == {
        "A": ("MET", 0, at("15:40:00")),
        "B": ("EXTENDED", money(70), None),
        "C": ("EXPIRED", money(100), None),
        "D": ("WAIVED", 0, at("15:30:00")),
        "E": ("CANCELLED", 0, at("15:30:00")),
        "F": ("OPEN", money(10), None),
    }
    for call in calls.values():
        assert call.called == call.covered + call.cancelled + call.due
        assert sum(call.by.values()) == call.covered
    assert calls["A"].by == {"DEPOSIT": money(60), "TRADE": money(80)}
    assert calls["F"].by == {"DEPOSIT_OR_BEFORE": money(90)}
    assert (calls["B"].due_at, calls["B"].extended_by) == (LATER, "ann, bob")


def test_what_is_due_first_comes_first_and_what_has_ended_last(out: Path) -> None:
    assert [call.account_id for call in read_calls(out)] == ["C", "F", "B", "A", "D", "E"]
    assert [call.account_id for call in read_calls(out, alive=True)] == ["C", "F", "B"]
    assert [call.account_id for call in read_calls(out, kind="REG_T")] == ["F"]
    assert [call.account_id for call in read_calls(out, account="B")] == ["B"]


@pytest.mark.parametrize("turned", [False, True])
def test_steps_of_one_instant_are_in_no_order_in_a_folder(turned: bool) -> None:
    opened = step("A", "15:10:00", "OPENED", 100)
    steps = [
        opened,
        step("A", "15:10:00", "INCREASED", 150, called=150),
        step("A", "15:20:00", "EXTENDED", 150, called=150, due_at=LATER),
        step("A", "15:20:00", "COVERED", 90, called=150, due_at=LATER, covered=money(60), by="DEPOSIT"),
        step("A", "15:20:00", "COVERED", 80, called=150, due_at=LATER, covered=money(70), by="TRADE"),
        step("A", "15:20:00", "EXPIRED", 80, called=150, due_at=LATER, covered=money(70)),
    ]
    (call,) = fold(steps[::-1] if turned else steps)
    assert [own.status for own in call.steps] == [own.status for own in steps]
    assert (call.status, call.due, call.by) == ("EXPIRED", money(80), {"DEPOSIT": money(60), "TRADE": money(10)})


def test_totals_are_by_type_and_add_up_to_the_tick(out: Path) -> None:
    regulation, house = totals_of(read_calls(out))
    assert (regulation.type, regulation.calls, regulation.due) == ("REG_T", 1, money(10))
    assert (house.calls, house.alive, house.called) == (5, 2, money(550))
    assert house.called == house.covered + house.cancelled + house.due


def test_a_closing_snapshot_tells_of_calls_of_days_before(out: Path) -> None:
    older = OpenCall(
        call_id="G/REG_T",
        event_id="g",
        type="REG_T",
        state="EXTENDED",
        opened_at=at("09:00:00"),
        due_at=DUE,
        initial=money(100),
        covered={"TRADE": Money(1)},
        extended_by="ann, bob",
    )
    known = OpenCall(
        call_id="F/HOUSE",
        event_id="f",
        type="REG_T",
        opened_at=at("09:00:00"),
        due_at=DUE,
        initial=money(100),
        covered={"TRADE": money(50), "DEPOSIT": money(40)},
    )
    path = out / f"{topics.SNAPSHOTS.name}.jsonl"
    path.write_bytes(
        b"".join(
            to_json(
                Snapshot(
                    arrived_at=at("21:05:00"),
                    account_id=name,
                    as_of=at("21:05:00"),
                    positions=(),
                    cash=Money(0),
                    standing=Standing(calls=(call,)),
                )
            )
            + b"\n"
            for name, call in (("F", known), ("G", older))
        )
    )
    calls = {call.account_id: call for call in read_calls(out, alive=True)}
    assert (calls["G"].due, calls["G"].status, calls["G"].rule) == (money(100) - 1, "EXTENDED", None)
    # What the steps of one day cannot tell apart.
    assert calls["F"].by == {"TRADE": money(50), "DEPOSIT": money(40)}
    assert "G" in run("calls", out, "--open")


def test_cases_of_the_outcome_end_as_their_calls_do(out: Path) -> None:
    cases = {case.account_id: case for case in read_outcome(out).of("MARGIN_CALL")}
    assert {name: (case.ended, case.ended_at) for name, case in cases.items()} == {
        "A": ("met", at("15:40:00")),
        "B": ("extended", None),
        "C": ("expired", None),
        "D": ("waived", at("15:30:00")),
        "E": ("cancelled", at("15:30:00")),
    }
    assert cases["A"].amount == money(100)
    assert read_outcome(out).carried == 0


def test_calls_are_printed_and_told_as_json(out: Path) -> None:
    text = run("calls", out)
    assert "Calls: 6, of which 3 with something due" in text
    assert "deposit 60.00, trade 80.00" in text
    assert "deposit or before" in text
    assert [line[0] for line in text.splitlines()[2:8]] == ["C", "F", "B", "A", "D", "E"]
    told = json.loads(run("calls", out, "--account", "A", "--json"))
    (call,) = told["calls"]
    assert (call["called"], call["by"]) == ("150.0000", {"DEPOSIT": "60.0000", "TRADE": "80.0000"})
    assert (call["due_at"], call["status"]) == ("2026-01-07T21:00:00Z", "MET")
    assert told["totals"][0]["covered"] == "140.0000"
    assert "No calls." in run("calls", out, "--type", "INTRADAY")


def test_an_accounts_day_is_told_in_time_order(out: Path) -> None:
    history = read_history(out, "C")
    assert [(entry.what, entry.amount) for entry in history.entries] == [
        ("none to margin call", money(-100)),
        ("house call opened", money(100)),
        ("restriction imposed", money(-5)),
        ("margin call to liquidation", money(-100)),
        ("house call expired", money(100)),
        ("liquidation due", money(400)),
        ("liquidation proposed", money(400)),
        ("liquidation approved", money(400)),
        ("liquidation filled", money(400)),
    ]
    assert history.since == at("15:40:00")
    assert "by ann; " not in history.entries[-1].about
    steps = [(entry.what, entry.amount) for entry in read_history(out, "A").entries]
    assert steps[1:] == [
        ("house call increased", money(50)),
        ("house call covered", money(60)),
        ("house call reduced", money(10)),
        ("house call met", money(80)),
    ]


def test_an_account_is_printed_with_what_operators_decided(out: Path) -> None:
    text = run("account", out, "B")
    assert "B is at margin call since 05 Jan 10:10, deficient since 05 Jan 10:10" in text
    assert "\N{MINUS SIGN}100.00" in text
    assert text.index("override extend") < text.index("house call extended") < text.index("house call covered")
    assert "done; by ann and bob; as agreed" in text
    told = json.loads(run("account", out, "B", "--json"))
    assert (told["level"], told["excess"], told["timeline"][0]["amount"]) == ("MARGIN_CALL", "-100.0000", "-100.0000")
    assert "Nothing happened to it." in run(
        "account", write(out.parent / "quiet", state("Q", "15:00:00", "NONE", 2, 1)), "Q"
    )


def test_an_unknown_account_says_what_to_do(out: Path) -> None:
    found = CliRunner().invoke(app, ["account", str(out), "NOBODY"])
    assert found.exit_code == 1
    assert "NOBODY: expected an account of" in found.stderr
    assert "such as A, B, C" in found.stderr
    assert "margin calls" in found.stderr


def test_a_liquidation_has_what_was_proposed_of_it(out: Path) -> None:
    (found,) = read_liquidations(out)
    assert (found.status, found.due_at, found.ended_at) == ("DUE", at("15:40:00"), None)
    (proposal,) = found.proposals
    # Filled in part, it is still approved.
    assert (proposal.status, proposal.by, proposal.ended_at) == ("APPROVED", "ann", None)
    assert (proposal.proposed_at, proposal.orders) == (at("15:41:00"), (order(20),))
    text = run("liquidations", out)
    assert "Liquidations: 1, of which 1 still due" in text
    assert "\N{MINUS SIGN}50 XYZ @ 51, limit 48.45" in text
    assert json.loads(run("liquidations", out, "--json"))[0]["proposals"][0]["orders"][0]["filled"] == -20


def test_a_liquidation_ends_and_another_follows(tmp_path: Path) -> None:
    sizes: Any = {"deficiency": money(100), "market_value_to_close": money(400), "deficient_since": None}
    first = consequence(Liquidation, "A", "15:40:00", status="DUE", **sizes)
    impossible: Any = {**sizes, "cause_id": "A/PROPOSAL", "reason": "no order frees enough"}
    records = [
        # Of an instant in no order.
        consequence(Liquidation, "A", "15:40:00", status="PROPOSED", **{**sizes, "cause_id": "A/FIRST"}),
        first,
        consequence(Liquidation, "A", "15:41:00", status="IMPOSSIBLE", **impossible),
        consequence(Liquidation, "A", "15:50:00", first, status="CLEARED", **sizes),
        consequence(Liquidation, "A", "16:00:00", status="DUE", **sizes),
        # Of a liquidation of the day before.
        consequence(Liquidation, "B", "15:00:00", first, status="CANCELLED", **sizes),
    ]
    out = write(tmp_path / "out", [*records, *state("A", "15:00:00", "NONE", 1, 1)])
    rows = [(row.account_id, row.status, row.due_at, row.ended_at) for row in read_liquidations(out)]
    assert rows == [
        ("A", "CLEARED", at("15:40:00"), at("15:50:00")),
        ("A", "DUE", at("16:00:00"), None),
        ("B", "CANCELLED", None, at("15:00:00")),
    ]
    assert [own.status for own in read_liquidations(out)[0].proposals] == ["PROPOSED", "IMPOSSIBLE"]
    assert "no order frees enough" in run("liquidations", out)
    assert "No liquidations." in run("liquidations", write(tmp_path / "none", state("A", "15:00:00", "NONE", 1, 1)))


def test_the_picture_has_a_bar_a_call_and_a_mark_a_step(tmp_path: Path) -> None:
    opened = step(EVIL, "15:10:00", "OPENED", 100)
    records = [
        *state(EVIL, "14:30:01", "NONE", 2000, 1000),
        *state(EVIL, "16:00:00", "MARGIN_CALL", 900, 1000),
        alert(EVIL, "15:10:00", "NONE", "MARGIN_CALL"),
        opened,
        step(EVIL, "15:20:00", "COVERED", 50, covered=money(50), by="DEPOSIT"),
        step(EVIL, "15:30:00", "EXTENDED", 50, covered=money(50), due_at=LATER, extended_by="ann, bob"),
    ]
    picture = timeline_chart(read_outcome(write(tmp_path / "out", records)), EVIL)
    assert "<script" not in picture
    assert "Level and calls of Z&lt;script&gt;&amp;[red]" in picture
    assert "house $100, 50 still due 12 Jan 16:00, extended" in picture
    assert picture.count("<title>") == 2
    assert "05 Jan 10:20:00 covered by deposit: 50.00 still due" in picture
    assert "extended until 12 Jan 16:00" in picture
