"""What a link of the audit chain says: enough to find its figures and its decision again, by loops, from it alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import msgspec
import pytest
from hypothesis import given

from schemas.codec import from_json, to_json
from schemas.inputs import Fill, Input, Instrument, Override, Price, PricedPosition, Snapshot, SnapshotPosition
from schemas.outputs import Audit
from schemas.scalars import Money, Quantity, Time
from tests import days
from tests.days import FINRA, at
from tests.transforms import test_calls as called
from tests.transforms.test_calls import BOUGHT, CRASH, events, on, override, run
from tests.transforms.test_liquidations import NAME, QUICK
from tests.transforms.test_option_days import STOCKS, option
from tests.transforms.test_properties import FEWER, SETTINGS, bust_of, cash, fill, quote, requirement

LEVELS = ("NONE", "WARNING", "MARGIN_CALL", "RESTRICTION", "LIQUIDATION")


def links_of(outputs: Sequence[days.Output], *kinds: str) -> list[Audit]:
    return [own for own in events(outputs, "audit.v1") if not kinds or own.kind in kinds]


def chains_of(outputs: Sequence[days.Output]) -> list[list[Audit]]:
    """The links of each account as they follow one another."""
    found: dict[str, dict[str, Audit]] = defaultdict(dict)
    for link in links_of(outputs):
        found[link.account_id][link.previous] = link
    chains = []
    for after in found.values():
        chain = [after[""]]
        while chain[-1].event_id in after:
            chain.append(after[chain[-1].event_id])
        assert len(chain) == len(after)
        chains.append(chain)
    return chains


def ticks(amount: str) -> int:
    return round(float(amount) * 10_000)


# A link alone.


@SETTINGS
@given(days.days())
def test_equity_and_requirement_follow_from_a_link_alone(day: list[Input]) -> None:
    for link in links_of(days.run(day, shards=2)):
        worth = [p.quantity / 1e6 * p.multiplier * p.price for p in link.positions]
        values = [round(value * 1e4) for value in worth]
        betas = [p.beta or 0.0 for p in link.positions]
        move = float(days.RULES.severe_move)
        stressed = [round(value * max(move * beta, -1.0) * 1e4) for value, beta in zip(worth, betas, strict=True)]
        told = link.inputs
        assert ticks(told["equity"]) == ticks(told["cash"]) + sum(values)
        assert ticks(told["requirement"]) == requirement(values)
        assert ticks(told["stressed_equity"]) == ticks(told["equity"]) + sum(stressed)
        unreliable = [abs(v) for v, p in zip(values, link.positions, strict=True) if p.state not in ("LIVE", "CLOSE")]
        assert float(told["stale_share"]) == pytest.approx(sum(unreliable) / (sum(map(abs, values)) or 1), abs=1e-6)


def level_by(link: Audit) -> str:
    """The level that the seed's ladder leads to, from a decision's own figures, thresholds and previous state."""
    equity, needed, stressed = (ticks(link.inputs[name]) for name in ("equity", "requirement", "stressed_equity"))
    lines = {name: float(value) for name, value in link.thresholds.items()}
    before = link.previous_state
    assert before is not None
    reliable = float(link.inputs["stale_share"]) <= lines["max_stale_share"]
    cushion = (equity - needed) / needed if needed else (float("-inf") if equity < 0 else float("inf"))
    deficient, met = equity < needed, cushion >= lines["call_release"]
    began = before.deficient_since if before.deficient_since is not None else link.as_of if reliable else None
    persisted = deficient and began is not None and link.as_of - began >= lines["persist"] * 1e6
    found = {
        "WARNING": (cushion < lines["warning_entry"], cushion >= lines["warning_release"]),
        "MARGIN_CALL": (deficient, met),
        "RESTRICTION": (stressed < 0, stressed >= round(lines["restriction_release"] * needed)),
        "LIQUIDATION": (persisted, met),
    }
    level = "NONE"
    for name, (entered, released) in found.items():
        was = name in before.levels
        may_enter = reliable or name == "WARNING" or was
        if (entered and may_enter) or (was and not (released and link.inputs["unpriced_shorts"] == "0")):
            level = name
    return level


@SETTINGS
@given(days.days())
def test_a_decision_follows_from_its_link_alone(day: list[Input]) -> None:
    for link in links_of(days.run(day), "DECISION"):
        assert link.inputs["level_after"] == level_by(link)


@FEWER
@given(days.days())
def test_a_link_says_where_the_account_stood_before_its_instant(day: list[Input]) -> None:
    outputs = days.run(day, publish_all=True)
    for chain in chains_of(outputs):
        states = [own for own in events(outputs, "accounts.state.v1") if own.account_id == chain[0].account_id]
        for as_of, together in groupby(chain, lambda link: link.as_of):
            before = next(together).previous_state
            assert before is not None
            told = [own for own in states if own.as_of < as_of]
            if told:
                last = max(told, key=lambda own: own.as_of)
                assert (before.open_events, before.deficient_since) == (last.open_events, last.deficient_since)
                assert last.level == max(("NONE", *(set(before.levels) & set(LEVELS))), key=LEVELS.index)


def test_a_link_of_before_these_were_told_still_decodes() -> None:
    link = links_of(days.run([quote("S0", 100.0, 30), cash("A0", 500, 30), fill("A0", 100, 60)]))[0]
    told = msgspec.json.decode(to_json(link))
    for name in ("correlation_id", "supersedes", "thresholds", "previous_state"):
        del told[name]
    told["positions"] = [{name: p[name] for name in PricedPosition.__struct_fields__} for p in told["positions"]]
    old = from_json(Audit, msgspec.json.encode(told))
    assert (old.event_id, old.positions[0].price, old.positions[0].as_of) == (link.event_id, 100.0, None)


# What valued a position.


def positions_of(day: list[Input], **more: Any) -> dict[str, Any]:
    """The positions of the last link, by symbol; what is journalled is an override that changes nothing."""
    asked = Override(
        override_id="ASK", account_id="A0", operator="me", reason="to see", action="RELEASE", arrived_at=at(1700)
    )
    return {p.symbol: p for p in links_of(days.run([*day, asked], **more))[-1].positions}


def test_a_price_is_told_with_its_source_and_time() -> None:
    told = Price(symbol="S0", price=100.0, as_of=at(20), arrived_at=at(40), source="SIP", sequence=7)
    older = Price(symbol="S0", price=90.0, as_of=at(10), arrived_at=at(50), source="OTHER", sequence=9)
    held = positions_of([told, older, cash("A0", 5_000, 30), fill("A0", 10, 60)])["S0"]
    assert (held.price, held.as_of, held.source, held.sequence) == (100.0, at(20), "SIP", 7)
    assert (held.beta, held.defaulted, held.state) == (days.RULES.default_beta, True, "STALE")


def test_a_halt_keeps_the_quote_before_it() -> None:
    told = Price(symbol="S0", price=100.0, as_of=at(20), arrived_at=at(20), source="SIP", sequence=7)
    halt = Price(symbol="S0", price=1.0, as_of=at(900), arrived_at=at(900), source="NYSE", status="HALTED")
    held = positions_of([told, halt, cash("A0", 5_000, 30), fill("A0", 10, 60)])["S0"]
    assert (held.price, held.as_of, held.source, held.state) == (100.0, at(20), "SIP", "HALTED")


def test_a_position_without_a_quote_says_what_stands_in_for_it() -> None:
    held = (SnapshotPosition(symbol="S0", quantity=Quantity(10**7), close=40.0),)
    opening = Snapshot(account_id="A0", as_of=at(0), arrived_at=at(1), positions=held, cash=Money(10**8))
    found = positions_of([opening, fill("A0", 5, 60, symbol="S1", price=60.0)])
    assert {name: (p.price, p.as_of, p.source) for name, p in found.items()} == {
        "S0": (40.0, None, "CLOSE"),
        "S1": (60.0, None, "FILL"),
    }


def test_an_option_is_told_with_what_underlies_it() -> None:
    put = option("S0", "PUT", 100.0, 3)
    spot = quote("S0", 96.5, 10)
    premium = Price(symbol=put.symbol, price=4.0, as_of=at(20), arrived_at=at(20), implied_volatility=0.3)
    sold = Fill(
        fill_id="F0", account_id="A0", symbol=put.symbol, quantity=Quantity(-(10**6)), price=4.0, arrived_at=at(30)
    )
    held = positions_of([STOCKS[0], put, spot, premium, sold], rules=FINRA)[put.symbol]
    assert (held.underlying, held.underlying_price, held.volatility, held.multiplier) == ("S0", 96.5, 0.3, 100.0)
    unknown: Instrument = msgspec.structs.replace(put, symbol="S1 put", underlying="S1")
    other = msgspec.structs.replace(sold, symbol="S1 put")
    assert positions_of([unknown, other], rules=FINRA)["S1 put"].underlying_price is None


# Episodes.


def test_an_episode_is_of_everything_until_nothing_is_left() -> None:
    day = [
        quote("S0", 100.0, 30),
        cash("A0", 3_000, 30),
        fill("A0", 100, 60),
        msgspec.structs.replace(cash("A0", 9_000, 300), cash_id="CURE"),
        fill("A0", 300, 600, fill_id="AGAIN"),
    ]
    chain = links_of(days.run(day))
    levels = [link.inputs["level_after"] for link in chain]
    assert levels[:2] == ["MARGIN_CALL", "NONE"]
    assert levels[2] != "NONE"
    first, second = f"A0/EPISODE/{at(120).text()}", f"A0/EPISODE/{at(660).text()}"
    assert [link.correlation_id for link in chain] == [first, first, *([second] * (len(chain) - 2))]


def test_what_is_in_no_episode_is_about_its_own_record() -> None:
    good = fill("A0", 10, 60)
    asked = msgspec.structs.replace(override("EXEMPT", at(900), expires_at=at(1200)), account_id="A0")
    corrected, exempted = links_of(
        days.run([quote("S0", 100.0, 30), cash("A0", 5_000, 30), good, bust_of(good, 720), asked])
    )
    assert (corrected.causation_id, corrected.correlation_id) == ("fills.v1/X-B", "fills.v1/X-B")
    assert exempted.causation_id == exempted.correlation_id == f"overrides.v1/EXEMPT {at(900)}"


@SETTINGS
@given(days.days())
def test_an_episode_is_an_unbroken_part_of_its_chain(day: list[Input]) -> None:
    outputs = days.run(day)
    opened = {own.account_id: own.episode for own in events(outputs, "snapshots.v1")}
    for chain in chains_of(outputs):
        parts = [
            (name, list(links)) for name, links in groupby(chain, lambda link: link.correlation_id) if "EPISODE" in name
        ]
        assert len({name for name, _ in parts}) == len(parts)
        for name, links in parts:
            assert name == f"{links[0].account_id}/EPISODE/{links[0].as_of.text()}"
        last = [links[0].as_of for _, links in parts if links[-1] is chain[-1]]
        began = opened[chain[0].account_id]
        assert began is None or [began] == last


# What a link follows from, and what it undoes.


def causes_of(outputs: Sequence[days.Output], *kinds: str) -> list[tuple[str, str | None]]:
    return [(link.kind, link.causation_id) for link in links_of(outputs, *kinds)]


def test_a_decision_follows_from_a_record_of_the_account_a_price_or_a_time() -> None:
    day = [quote("S0", 100.0, 30), cash("A0", 3_000, 30), fill("A0", 50, 60), quote("S0", 55.0, 200)]
    outputs = days.run([*day, msgspec.structs.replace(cash("A0", 9_000, 1200), cash_id="CURE")])
    assert [(link.inputs["level_after"], link.causation_id) for link in links_of(outputs)] == [
        ("MARGIN_CALL", "prices.v1/S0"),
        ("LIQUIDATION", f"deadline/DEFICIENCY/{at(540).text()}"),
        ("NONE", "cash.v1/CURE"),
    ]
    sold = links_of(days.run([*day[:2], fill("A0", 100, 60)]))[0]
    assert sold.causation_id == "fills.v1/X"


def test_a_late_record_and_a_correction_are_named() -> None:
    fold, good = days.fold_of(), fill("A0", 10, 60)
    state = fold.start()
    list(fold.advance(state, [days.by_topic([cash("A0", 5_000, 30), good])], at(600)))
    outputs = days.records_of(fold.advance(state, [days.by_topic([bust_of(good, 90)])], at(660)))
    assert causes_of(outputs) == [("LATE", "fills.v1/X-B"), ("CORRECTION", "fills.v1/X-B")]


def test_a_correction_names_all_that_it_cancels() -> None:
    bad = fill("A0", 100, 60)
    outputs = days.run([quote("S0", 100.0, 30), cash("A0", 500, 30), bad, bust_of(bad, 720)])
    topics = ("margin.calls.v1", "restrictions.v1", "liquidations.v1")
    opened, ended = ([events(outputs, topic)[n].event_id for topic in topics] for n in (0, 1))
    (link,) = links_of(outputs, "CORRECTION")
    assert sorted(link.supersedes) == sorted(opened)
    assert sorted(link.inputs["causes"].split()) == sorted(ended)
    assert link.previous_state is not None
    assert link.previous_state.levels == ("WARNING", "MARGIN_CALL", "RESTRICTION", "LIQUIDATION")
    assert sorted(link.previous_state.open_events) == sorted(opened)


HOUSE = "A/HOUSE/2026-01-06T15:01:00Z"


def test_a_step_of_a_call_follows_from_a_close_a_deposit_an_override_or_its_due_time() -> None:
    extended = override("EXTEND", on("06", "22:00:00"), HOUSE, override_id="ok", expires_at=on("13", "21:00:00"))
    paid = [called.cash(500, on("07"), number=n) for n in (1, 2)]
    outputs = run([*CRASH, extended, *paid], on("13", "22:00:00"))
    found = [
        (link.inputs.get("step", ""), link.causation_id)
        for link in links_of(outputs, "CALL", "OVERRIDE")
        if "HOUSE" in link.inputs.get("cause_id", "HOUSE")
    ]
    assert found == [
        ("EXTENDED", "overrides.v1/ok"),
        ("", "overrides.v1/ok"),
        ("COVERED", "cash.v1/c1"),
        ("COVERED", "cash.v1/c2"),
        ("EXPIRED", f"deadline/DUE/{on('13', '21:00:00').text()}"),
    ]
    (closed,) = [own for own in links_of(outputs, "CALL") if own.inputs["step"] == "OPENED"]
    assert closed.causation_id == f"deadline/CLOSE/{on('06', '21:01:00').text()}"
    step, asked = links_of(outputs, "CALL", "OVERRIDE")[1:3]
    assert asked.previous_state == step.previous_state
    assert {link.correlation_id for link in links_of(outputs)} == {"A/EPISODE/2026-01-06T15:01:00Z"}


def test_a_liquidation_follows_from_what_made_it_due_and_from_what_was_filled() -> None:
    steps: list[Input] = [
        override("APPROVE", on("06", "15:41:00"), NAME, override_id="go"),
        called.fill(-200, 50.0, on("06", "15:45:00"), fill_id="sold"),
    ]
    outputs = run([*CRASH, *steps], on("06", "18:00:00"), QUICK)
    due = events(outputs, "liquidations.v1")[0]
    assert [(own.inputs["step"], own.causation_id) for own in links_of(outputs, "LIQUIDATION")][:3] == [
        ("PROPOSED", due.event_id),
        ("APPROVED", "overrides.v1/go"),
        ("EXECUTED", "fills.v1/sold"),
    ]
    withdrawn = run([*CRASH, called.cash(9_000, on("06", "15:40:00"), number=1)], on("06", "18:00:00"), QUICK)
    *_, decision, step = links_of(withdrawn)
    assert (step.inputs["step"], step.causation_id, step.previous) == (
        "WITHDRAWN",
        decision.event_id,
        step.causation_id,
    )
    assert step.correlation_id == decision.correlation_id


def test_an_operators_restriction_ends_at_its_time() -> None:
    asked = override("RESTRICT", on("05", "16:00:00"), expires_at=on("06", "16:00:00"), approver=None)
    *_, imposed, lifted = links_of(run([*BOUGHT, asked], on("06", "17:00:00")), "DECISION")
    assert imposed.causation_id == f"overrides.v1/RESTRICT {on('05', '16:00:00')}"
    assert lifted.causation_id == f"deadline/RESTRICTED/{on('06', '16:00:00').text()}"
    assert lifted.previous_state is not None
    assert lifted.previous_state.restricted_until == Time.parse("2026-01-06T16:00:00Z")
