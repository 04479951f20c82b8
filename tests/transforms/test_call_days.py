"""Several days of calls: what every account, every record in any order, and every crash of a worker must leave true."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from risk.calls import BASIS, TRANSITIONS
from schemas.outputs import MarginCall
from schemas.scalars import Time
from tests import days
from tests.days import on
from tests.owed import DOLLAR, Owed, closes
from tests.stories import SESSIONS, STOCKS, Story, paid, quote, stories

#: A story takes a tenth of a second, so that a failing one is told as it is.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
SETTINGS = settings(max_examples=30, suppress_health_check=list(HealthCheck), phases=PHASES, deadline=None)
FINAL = ("MET", "CANCELLED", "WAIVED")
#: What a correction does to a call.
CORRECTED = ("INCREASED", "REDUCED", "CANCELLED")


def steps_of(outputs: list[Any]) -> dict[str, list[MarginCall]]:
    """The steps of each call, in their order."""
    found = defaultdict(list)
    for topic, record in outputs:
        if topic == "margin.calls.v1":
            found[record.cause_id].append(record)
    return found


@SETTINGS
@given(stories())
def test_every_call_tells_a_story_that_adds_up(story: Story) -> None:
    outputs = story.run()
    for call_id, steps in steps_of(outputs).items():
        state: Any = None
        for step in steps:
            state = TRANSITIONS[step.status][state]
            assert step.called == step.covered + step.cancelled + step.amount
            assert (step.amount > 0) != (state in FINAL)
            assert step.amount >= 0
            # Only the end names what it ends, which is where it began.
            assert step.supersedes == (steps[0].event_id if state in FINAL else None)
            assert (step.by is not None) == (step.status in ("COVERED", "MET"))
            assert step.by in (None, *story.rules.calls.cures[step.type])
        first, last = steps[0], steps[-1]
        assert first.status == "OPENED"
        assert (first.covered, first.cancelled) == (0, 0)
        assert len({(own.account_id, own.type, own.basis, own.occurred_at) for own in steps}) == 1
        assert call_id == f"{first.account_id}/{first.type}/{first.as_of.text()}"
        for before, after in pairwise(steps):
            assert before.as_of <= after.as_of
            assert before.called <= after.called
            assert before.covered <= after.covered
            assert before.cancelled <= after.cancelled
            assert (after.due_at > before.due_at) == (after.status == "EXTENDED")
            assert after.due_at >= before.due_at
            changed = {
                "INCREASED": "called",
                "COVERED": "covered",
                "MET": "covered",
                "REDUCED": "cancelled",
                "CANCELLED": "cancelled",
                "WAIVED": "cancelled",
            }.get(after.status)
            moved = [n for n in ("called", "covered", "cancelled") if getattr(before, n) != getattr(after, n)]
            assert moved == ([changed] if changed else [])
            if after.status == "EXPIRED":
                assert after.due_at <= after.as_of
        assert (last.extended_by is not None) == any(own.status == "EXTENDED" for own in steps)
        assert last.extended_by in (None, "ann, bob")


@SETTINGS
@given(stories(options=False))
def test_what_is_due_is_what_is_missing_and_nothing_is_called_twice(story: Story) -> None:
    outputs = story.run()
    for account in sorted({own.account_id for topic, own in outputs if topic == "accounts.state.v1"}):
        owed = Owed(story, account)
        mine = [own for topic, own in outputs if topic == "margin.calls.v1" and own.account_id == account]
        regulation, before = owed.regulation_t(mine), 0
        for close in closes(story):
            told = [own for own in mine if own.as_of == close]
            asked = {own.type for own in told if own.status in ("OPENED", "INCREASED")}
            fixed = owed.corrected_at(close)
            due = {kind: due_of(mine, kind, close) for kind in BASIS}
            amounts = [own.amount for own in told if (own.type, own.status) == ("REG_T", "OPENED")]
            assert amounts == [amount for amount in [regulation[close]] if amount > 1000 * DOLLAR]
            paths = [own for topic, own in outputs if topic == "margin.intraday.v1" and own.account_id == account]
            paths = [own for own in paths if before < own.as_of <= close]
            if paths and not fixed:
                assert_intraday(owed, mine, paths[-1], close)
            if owed.reliable(close):
                lacking = max(-owed.level(close), 0.0)
                assert due["MAINTENANCE"] == (0 if owed.portfolio else lacking)
                # Only deposits or hedges cover it: it may be for more than is missing now, and is then not called.
                assert due["PORTFOLIO_MARGIN"] >= lacking * owed.portfolio
                assert due["PORTFOLIO_MARGIN"] == lacking or fixed or "PORTFOLIO_MARGIN" not in asked
                assert due["MINIMUM_EQUITY"] == owed.minimum_due(mine, before, close)
            else:
                # What is halted neither calls nor cures.
                assert fixed or asked <= {"REG_T", "INTRADAY"}
            before = close
        for own in mine:
            if own.basis == "REALTIME" and own.status in ("OPENED", "INCREASED") and not owed.corrected_at(own.as_of):
                total = sum(due_of(mine, kind, own.as_of) for kind in ("HOUSE", "CONCENTRATION"))
                assert total <= max(own.requirement - own.equity, 0)


def assert_intraday(owed: Owed, mine: list[MarginCall], path: Any, close: int) -> None:
    """The deficit of a day is called, less what it lacked before its first transaction and older calls ask for."""
    equity = owed.equity(close)
    minor = path.deficit <= min(max(equity, 0) * 0.05, 1000 * DOLLAR)
    own = [step for step in mine if step.type == "INTRADAY"]
    amount = sum(step.amount for step in own if step.status == "OPENED" and step.as_of == close)
    older = due_of(own, "INTRADAY", close) - amount
    expected = 0 if minor else max(path.deficit - min(older, max(-path.opening_iml, 0)), 0)
    assert amount == expected


def due_of(steps: list[MarginCall], kind: str, at: int) -> int:
    """What is due of a type after an instant."""
    last = {own.cause_id: own.amount for own in steps if own.type == kind and own.as_of <= at}
    return sum(last.values())


@SETTINGS
@given(stories(options=False))
def test_a_correction_changes_what_is_owed_once(story: Story) -> None:
    outputs = story.run()
    for account in sorted({own.account_id for topic, own in outputs if topic == "margin.calls.v1"}):
        owed = Owed(story, account)
        mine = [own for topic, own in outputs if topic == "margin.calls.v1" and own.account_id == account]
        for instant in sorted({own.as_of for own in mine} - set(closes(story))):
            told = Counter[str]()
            for opened in [own for own in mine if own.status == "OPENED" and own.basis == "CLOSE"]:
                steps = [own for own in mine if own.cause_id == opened.cause_id and own.as_of <= instant]
                before = [own.amount for own in steps if own.as_of < instant]
                if not before or before[-1] == 0:
                    continue
                # Of a type, what older calls were changed by is no change of the younger ones.
                by = {"REG_T": owed.regulation, "MINIMUM_EQUITY": owed.equity}.get(opened.type, owed.level)
                moved = by(opened.as_of, instant) - by(opened.as_of, instant - 1) - told[opened.type]
                moved = min(moved, before[-1])
                told[opened.type] += int(moved)
                changes = [own for own in steps if own.as_of == instant and own.status in CORRECTED]
                assert bool(changes) == (moved != 0)
                if changes:
                    assert changes[0].amount == before[-1] - moved


@SETTINGS
@given(stories())
def test_who_pays_owes_nothing_in_the_end(story: Story) -> None:
    accounts = sorted({own.account_id for own in story.records if hasattr(own, "account_id")})
    cured: list[Any] = []
    # Twice, for what a day lacked is called at its close even where it was paid later on that day.
    for place in (story.last + 1, story.last + 2):
        morning = on(SESSIONS[place], "15:00:00")
        cured += [quote(symbol, 100.0, morning) for symbol in STOCKS]
        cured += [paid(f"{place}{account}", account, 10**7, morning) for account in accounts]
    rescued = Story([*story.records, *cured], story.rules, story.last + 2)
    outputs = rescued.run()
    assert all(steps[-1].status in FINAL for steps in steps_of(outputs).values())
    for account in accounts:
        levels = [own.level for topic, own in outputs if topic == "alerts.v1" and own.account_id == account]
        restricted = holds_of(outputs, account, story)["restricted"][-1][1] > rescued.until
        assert (levels or ["NONE"])[-1] == ("RESTRICTION" if restricted else "NONE")
        mine = [own for topic, own in outputs if topic == "liquidations.v1" and own.account_id == account]
        proposed = {own.cause_id: own.status for own in mine if "/PROPOSAL/" in own.cause_id}
        assert set(proposed.values()) <= {"IMPOSSIBLE", "REJECTED", "EXECUTED", "WITHDRAWN"}
        assert sum(own.status == "DUE" for own in mine) == sum(own.status in ("CLEARED", "CANCELLED") for own in mine)


@SETTINGS
@given(stories())
def test_a_restriction_and_an_exemption_hold_until_their_time_and_no_longer(story: Story) -> None:
    outputs = story.run()
    for account in sorted({own.account_id for topic, own in outputs if topic == "accounts.state.v1"}):
        held = holds_of(outputs, account, story)
        restrictions = [own for topic, own in outputs if topic == "restrictions.v1" and own.account_id == account]
        for own in restrictions:
            restricted, exempt = (ends_at(held[name], own.as_of) > own.as_of for name in ("restricted", "exempt"))
            assert not (own.status == "IMPOSED" and exempt and not restricted)
            assert not (own.status == "LIFTED" and restricted)
        for at, end in held["restricted"][1:]:
            if end > at and ends_at(held["restricted"], at) == end:
                assert [own.status for own in restrictions if own.as_of <= at][-1] == "IMPOSED"
            lifted = [own for own in restrictions if at < own.as_of <= end]
            assert end > story.until or ends_at(held["restricted"], end) > end or not lifted or lifted[-1].as_of == end
        for topic, own in outputs:
            if topic == "liquidations.v1" and own.account_id == account and own.status == "DUE":
                assert ends_at(held["exempt"], own.as_of) <= own.as_of


def ends_at(held: list[tuple[int, int]], instant: int) -> int:
    """Until when something holds as it stands at an instant."""
    return [end for at, end in held if at <= instant][-1]


def holds_of(outputs: list[Any], account: str, story: Story) -> dict[str, list[tuple[int, int]]]:
    """Until when an account is restricted, and exempt: at which instant it was put to what, by operators, or by a
    practice of liquidating or of failing."""
    rules, practice, restricted, exempt = story.rules.calls, Counter[str](), [(0, 0)], [(0, 0)]
    assert rules is not None
    by_trade = set()
    # Of one instant what operators decide is first.
    for topic, own in sorted(outputs, key=lambda out: (out[1].as_of, out[0])):
        if own.account_id != account:
            continue
        if topic == "audit.v1" and own.kind == "OVERRIDE" and own.inputs["result"] == "done":
            end = Time.parse(own.inputs["expires_at"]) if own.inputs["expires_at"] else 0
            if own.inputs["action"] == "EXEMPT":
                exempt.append((own.as_of, end))
            elif own.inputs["action"] in ("RESTRICT", "RELEASE"):
                restricted.append((own.as_of, end if own.inputs["action"] == "RESTRICT" else 0))
        if topic == "margin.calls.v1":
            if own.by == "TRADE":
                by_trade.add(own.cause_id)
            how = ""
            if own.status == "MET" and own.type in ("REG_T", "PORTFOLIO_MARGIN") and own.cause_id in by_trade:
                how = "liquidations"
            elif own.status == "EXPIRED" and own.type == "INTRADAY":
                how = "failures"
            practice[how] += 1
            if how and practice[how] >= getattr(rules, how):
                until = own.as_of + rules.restriction_days * 86_400 * days.SECOND
                restricted.append((own.as_of, max(restricted[-1][1], until)))
    return {"restricted": restricted, "exempt": exempt}


@SETTINGS
@given(stories(), st.data())
def test_order_split_shards_and_restarts_change_nothing(story: Story, data: st.DataObject) -> None:
    expected = days.lines(story.run())
    again = story._replace(records=data.draw(st.permutations(story.records)))
    assert days.lines(again.run(data.draw(st.sampled_from([1, 3])), data.draw(st.integers(1, 4)))) == expected
    restarted = days.run_stepwise(again.records, 1, rules=story.rules, until=story.until)
    assert days.lines(restarted) == expected


@SETTINGS
@given(stories())
def test_every_step_is_one_link_of_an_unbroken_chain(story: Story) -> None:
    outputs = story.run()
    for account in {own.account_id for topic, own in outputs if topic == "audit.v1"}:
        links = [own for topic, own in outputs if topic == "audit.v1" and own.account_id == account]
        assert [own.previous for own in links] == ["", *(own.event_id for own in links[:-1])]
        # An override names what it led to, which has a link of its own beside.
        steps = [own for own in links if own.kind != "OVERRIDE"]
        linked = [one for own in steps for one in own.inputs.get("causes", "").split()]
        for topic, own in outputs:
            if topic in ("margin.calls.v1", "liquidations.v1", "restrictions.v1") and own.account_id == account:
                assert linked.count(own.event_id) == 1
