"""The state machine of a call: what steps it takes, and that its amounts always add up."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk import calls
from risk.calls import TRANSITIONS, Step, Stepped, outstanding
from schemas.inputs import CallType, Means, OpenCall
from schemas.scalars import Money, Time

CURES: dict[str, tuple[str, ...]] = {
    "REG_T": ("DEPOSIT", "TRADE"),
    "MAINTENANCE": ("DEPOSIT", "TRADE", "APPRECIATION"),
    "HOUSE": ("DEPOSIT", "TRADE", "APPRECIATION"),
    "PORTFOLIO_MARGIN": ("DEPOSIT", "TRADE"),
}


def call(kind: Any = "MAINTENANCE", amount: int = 1000, number: int = 1) -> OpenCall:
    return calls.opened(
        OpenCall(
            call_id=f"A/{kind}/{number}",
            event_id="e",
            type=kind,
            opened_at=Time(number),
            due_at=Time(100),
            initial=Money(amount),
        )
    ).call


def check(stepped: Stepped) -> None:
    own = stepped.call
    assert own.initial + own.increased == sum(own.covered.values()) + own.cancelled + outstanding(own)
    assert outstanding(own) >= 0
    assert stepped.alive == (outstanding(own) > 0)
    assert own.initial > 0
    assert own.increased >= 0
    assert own.cancelled >= 0


@given(st.data(), st.integers(1, 10**9))
def test_amounts_add_up_after_every_step_and_every_state_can_end(data: st.DataObject, amount: int) -> None:
    own = Stepped("OPENED", "OPEN", call(amount=amount))
    check(own)
    for _ in range(data.draw(st.integers(0, 12))):
        if not own.alive:
            break
        part = data.draw(st.integers(1, outstanding(own.call)))
        steps: dict[str, Any] = {
            "covered": lambda c, part=part: calls.covered(c, data.draw(st.sampled_from(get_args(Means))), part),
            "increased": lambda c, part=part: calls.increased(c, part),
            "cancelled": lambda c, part=part: calls.cancelled(c, part),
            "waived": calls.waived,
            "extended": lambda c, part=part: calls.extended(c, c.due_at + part, "two"),
            "expired": calls.expired,
        }
        name = data.draw(st.sampled_from(sorted(steps)))
        if own.call.state == "EXPIRED" and name in ("expired", "extended"):
            with pytest.raises(ValueError, match="expected of OPEN, EXTENDED, found EXPIRED"):
                steps[name](own.call)
            continue
        own = steps[name](own.call)
        check(own)
    if own.alive:
        # No stuck state: cover, cancellation and waiver end a call whatever it went through.
        for end in (
            calls.covered(own.call, "DEPOSIT", outstanding(own.call)),
            calls.cancelled(own.call, outstanding(own.call)),
            calls.waived(own.call),
        ):
            check(end)
            assert not end.alive


def test_every_step_is_in_the_table_and_every_state_can_be_left() -> None:
    assert set(TRANSITIONS) == set(get_args(Step))
    left = {before for steps in TRANSITIONS.values() for before, after in steps.items() if before != after}
    reached = {after for steps in TRANSITIONS.values() for after in steps.values()}
    assert reached - left == {"MET", "CANCELLED", "WAIVED"}


@given(st.lists(st.tuples(st.sampled_from(sorted(CURES)), st.integers(1, 500)), max_size=8), st.integers(1, 2000))
def test_a_deposit_counts_in_full_toward_each_type_and_once_within_it(owed: list, amount: int) -> None:
    own = [call(kind, size, number) for number, (kind, size) in enumerate(owed)]
    for by in get_args(Means):
        steps = list(calls.paid(own, by, amount, CURES))
        for kind in CURES:
            total = sum(outstanding(c) for c in own if c.type == kind)
            part = sum(
                outstanding(next(c for c in own if c.call_id == s.call.call_id)) - outstanding(s.call)
                for s in steps
                if s.call.type == kind
            )
            assert part == (min(total, amount) if by in CURES[kind] else 0)
        for step in steps:
            check(step)


@given(st.lists(st.integers(1, 500), max_size=5), st.integers(0, 3000))
def test_after_an_assessment_what_is_due_is_what_is_deficient(sizes: list[int], deficiency: int) -> None:
    """Of a type that the market may cure; of another it is at least that."""
    for kind in ("MAINTENANCE", "REG_T"):
        own = {c.call_id: c for c in (call(kind, size, number) for number, size in enumerate(sizes))}
        typed: CallType = kind  # type: ignore[assignment]
        for step in calls.eased(list(own.values()), typed, deficiency, CURES):
            own[step.call.call_id] = step.call
        more = calls.missing(list(own.values()), typed, deficiency)
        due = sum(map(outstanding, own.values())) + more
        assert due == (deficiency if kind == "MAINTENANCE" else max(deficiency, sum(sizes)))


@pytest.mark.parametrize("amount", [0, -1])
def test_an_amount_is_above_zero(amount: int) -> None:
    own = call()
    for wrong in (
        lambda: call(amount=amount),
        lambda: calls.increased(own, amount),
        lambda: calls.covered(own, "TRADE", amount),
        lambda: calls.cancelled(own, amount),
    ):
        with pytest.raises(ValueError, match=r"expected an amount above zero.*, found"):
            wrong()
    with pytest.raises(ValueError, match="at most 1000, found 1001"):
        calls.covered(own, "TRADE", 1001)
    with pytest.raises(ValueError, match="expected a time after"):
        calls.extended(own, own.due_at, "two")
