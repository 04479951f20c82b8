"""The firm's totals in the graph: what was last told of every account, summed in plain loops, is what they say."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import outputs
from schemas.codec import from_json
from schemas.inputs import Account, Cash, Fill, Input, Instrument, Price
from schemas.scalars import Money, Quantity
from tests import days
from tests.days import FINRA, at
from transforms.firm import TotalFirm, is_told_at, parts_of
from transforms.lines import text_of

SEVERE = -80_000


def told_by(found: list[days.Output], instant: int) -> dict[str, dict[str, Any]]:
    """What was told last of every account by an instant: its records by topic; and its open calls under "calls"."""
    known: dict[str, dict[str, Any]] = defaultdict(lambda: {"calls": {}})
    events = [(topic, record) for topic, record in found if isinstance(record, outputs.Event)]
    for topic, record in sorted(events, key=lambda own: own[1].as_of):
        if topic == "firm.totals.v1" or record.as_of > instant:
            continue
        own = known[record.account_id]
        if isinstance(record, outputs.MarginCall):
            # Steps of one instant are in no order here: the last is the one that supersedes.
            before = own["calls"].get(record.cause_id)
            if before is None or before.supersedes is None:
                own["calls"][record.cause_id] = record
        else:
            own[topic] = record
    return known


def plain_groups(known: dict[str, dict[str, Any]]) -> dict[tuple[str, str], Counter[str]]:
    """The groups, account by account."""
    groups: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for own in known.values():
        state = own.get("accounts.state.v1")
        if state is None:
            continue
        (after,) = [s.excess_restressed for s in own["stress.beta_spy.v1"].scenarios if s.move == SEVERE]
        lacking, later = max(0, -state.excess), max(0, -after)
        groups[state.margin_type, state.level].update(
            accounts=1,
            equity=state.equity,
            requirement=state.requirement,
            maintenance_requirement=own["margin.calc.v1"].maintenance_requirement,
            excess=max(0, state.excess),
            deficient=int(lacking > 0),
            deficiency=lacking,
            falling=int(lacking == 0 and later > 0),
            shortfall=later if lacking == 0 else 0,
            deepening=max(0, later - lacking) if lacking else 0,
        )
    return groups


def check(found: list[days.Output]) -> list[outputs.FirmTotals]:
    firm = [record for _, record in found if isinstance(record, outputs.FirmTotals)]
    for record in firm:
        known = told_by(found, record.as_of)
        plain = plain_groups(known)
        assert {(own.margin_type, own.level) for own in record.groups} == plain.keys()
        for own in record.groups:
            figures = {name: int(getattr(own, name)) for name in plain[own.margin_type, own.level]}
            assert figures == plain[own.margin_type, own.level]
        calls = [call for one in known.values() for call in one["calls"].values() if call.supersedes is None]
        assert {own.type: own.calls for own in record.calls} == Counter(call.type for call in calls)
        assert sum(own.due for own in record.calls) == sum(call.amount for call in calls)
        assert record.called_accounts == len({call.account_id for call in calls})
    return firm


@settings(max_examples=60)
@given(days.days(), st.booleans())
def test_totals_are_of_what_was_told_last(day: list[Input], publish_all: bool) -> None:
    found = days.run(day, shards=2, publish_all=publish_all)
    firm = check(found)
    for before, after in pairwise(firm):
        assert before.as_of < after.as_of


def test_an_options_account_that_is_called_crowds_what_it_holds() -> None:
    contract = Instrument(
        symbol="S0 C",
        type="OPTION",
        underlying="S0",
        strike=100.0,
        right="CALL",
        exercise="AMERICAN",
        multiplier=100.0,
        expiry=at(86_400 * 30),
        arrived_at=at(1),
    )
    records: list[Input] = [contract]
    for name in ("A0", "A1"):
        records += [
            Account(account_id=name, margin_type="STRATEGY", arrived_at=at(1)),
            Cash(cash_id="D", account_id=name, amount=Money(10**7), kind="DEPOSIT", arrived_at=at(2)),
            Fill(
                fill_id="F", account_id=name, symbol="S0 C", quantity=Quantity(-2 * 10**6), price=4.0, arrived_at=at(3)
            ),
        ]
    records += [
        Price(symbol=symbol, price=price, as_of=at(time), arrived_at=at(time))
        for symbol, price, time in (("S0", 100.0, 4), ("S0 C", 4.0, 4), ("S0", 110.0, 200), ("S0 C", 12.5, 200))
    ]
    firm = check(days.run(records, shards=3, rules=FINRA))
    last = firm[-1]
    assert last.called_accounts == 2
    assert [(own.symbol, own.accounts, own.gross) for own in last.crowded] == [("S0 C", 2, 2 * 2 * 100 * 12.5 * 10_000)]
    assert last.held == 1


def test_it_is_told_on_the_grid_at_every_multiple_of_the_interval() -> None:
    assert FINRA.firm_interval == 15
    told = [t for t in range(0, 61 * 10**6, 250_000) if is_told_at(t, FINRA, 250_000)]
    assert told == [n * 15 * 10**6 for n in range(5)]
    # On a grid that the interval does not divide, at the first instant from there on.
    assert [t for t in range(0, 50 * 10**6, 7 * 10**6) if is_told_at(t, FINRA, 7 * 10**6)] == [
        0,
        21 * 10**6,
        35 * 10**6,
        49 * 10**6,
    ]


def test_changes_that_undo_each_other_are_not_told() -> None:
    cash = Cash(cash_id="D", account_id="A0", amount=Money(10**7), kind="DEPOSIT", arrived_at=at(2))
    shard, fold = days.fold_of(), TotalFirm()
    said = shard.advance(shard.start(), [days.by_topic([cash])], at(60))
    (part,) = [fold.decode(payload) for element in said for _, payload in parts_of(element)]
    less = msgspec.structs.replace(part, totals=[[-own for own in column] for column in part.totals])
    state = fold.start()
    assert list(fold.advance(state, [part, less], at(61))) == []
    ((topic, (line,)),) = fold.advance(state, [msgspec.structs.replace(part, as_of=at(120))], at(121))
    told = from_json(outputs.FirmTotals, text_of(line))
    assert (topic, told.as_of, told.groups[0].equity) == ("firm.totals.v1", at(120), 10**7)
