"""The firm's totals: exact, and the same whatever parts they are taken in; the capital test and crowding by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.book import REGIMES
from risk.firm import Columns, FirmTotals, capital_test, crowding
from risk.ladder import LEVELS

TYPES = 3
#: What a record of an account can hold at most (schemas.scalars.EXACT_LIMIT).
LIMIT = 2**53 - 1
amounts = st.integers(-LIMIT, LIMIT)
sizes = st.integers(0, LIMIT)


@st.composite
def firms(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Accounts, each as its fields."""
    account = st.fixed_dictionaries(
        {
            "level": st.integers(0, len(LEVELS) - 1),
            "regime": st.integers(0, len(REGIMES) - 1),
            "equity": amounts,
            "requirement": sizes,
            "maintenance": sizes,
            "stressed": amounts,
            "calls": st.lists(st.integers(0, 3), min_size=TYPES, max_size=TYPES),
            "due": st.lists(sizes, min_size=TYPES, max_size=TYPES),
        }
    )
    return draw(st.lists(account, max_size=20))


def columns(accounts: list[dict[str, Any]]) -> Columns:
    found = {}
    for name in (field.name for field in dataclasses.fields(Columns)):
        column = np.array([account[name] for account in accounts], np.int64)
        found[name] = column.reshape(len(accounts), TYPES).T if name in ("calls", "due") else column
    return Columns(**found)


def same(one: FirmTotals, other: FirmTotals) -> bool:
    return all(
        np.array_equal(getattr(one, field.name), getattr(other, field.name)) for field in dataclasses.fields(FirmTotals)
    )


@given(firms(), st.data())
def test_any_split_into_parts_gives_the_same_totals(accounts: list[dict[str, Any]], data: st.DataObject) -> None:
    shards = data.draw(st.lists(st.integers(0, 4), min_size=len(accounts), max_size=len(accounts)))
    total = FirmTotals.of(columns([]))
    for shard in data.draw(st.permutations(range(5))):
        part = [account for account, own in zip(accounts, shards, strict=True) if own == shard]
        total += FirmTotals.of(columns(part))
    assert same(total, FirmTotals.of(columns(accounts)))


@given(firms())
def test_totals_are_the_sums_of_python_integers(accounts: list[dict[str, Any]]) -> None:
    found = FirmTotals.of(columns(accounts))
    for name in ("equity", "requirement", "maintenance"):
        assert int(getattr(found, name).sum()) == sum(account[name] for account in accounts)
    excess = [account["equity"] - account["requirement"] for account in accounts]
    assert int(found.excess.sum()) - int(found.deficiency.sum()) == sum(excess)
    assert int(found.deficiency.sum()) == -sum(min(own, 0) for own in excess)
    assert int(found.accounts.sum()) == len(accounts)
    due = [sum(account["due"][kind] for account in accounts) for kind in range(TYPES)]
    assert found.due.tolist() == [*due, sum(due)]
    assert int(found.called[-1]) == sum(any(account["calls"]) for account in accounts)
    assert found.due.dtype == found.equity.dtype == np.int64


def account(**fields: Any) -> dict[str, Any]:
    return {
        "level": 0,
        "regime": 0,
        "equity": 1000,
        "requirement": 400,
        "maintenance": 400,
        "stressed": 300,
        "calls": [0] * TYPES,
        "due": [0] * TYPES,
        **fields,
    }


def test_what_a_severe_move_adds_by_hand() -> None:
    found = FirmTotals.of(
        columns(
            [
                account(stressed=-50),
                # Exactly at the requirement nothing is lacking, before or after.
                account(equity=400, stressed=0),
                account(level=4, equity=300, stressed=-250, calls=[2, 0, 1], due=[70, 0, 100]),
                # Short, so a fall leaves it lacking less than it does now.
                account(level=2, equity=390, stressed=-4),
            ]
        )
    )
    assert (found.falling.sum(), found.shortfall.sum(), found.deepening.sum()) == (1, 50, 150)
    assert (found.deficient[:, 4].sum(), found.deficiency[:, 4].sum()) == (1, 100)
    assert (found.deficient[:, 2].sum(), found.deficiency[:, 2].sum()) == (1, 10)
    assert (found.calls.tolist(), found.called.tolist(), found.due.tolist()) == (
        [2, 0, 1, 3],
        [1, 0, 1, 1],
        [70, 0, 100, 170],
    )


def test_what_was_added_is_the_difference() -> None:
    first, second = (
        FirmTotals.of(columns([account()])),
        FirmTotals.of(columns([account(level=2), account(calls=[0, 1, 0])])),
    )
    assert same(first + second - first, second)
    assert first
    assert not second - second
    assert not FirmTotals.none(TYPES)
    assert same(FirmTotals.none(TYPES), FirmTotals.of(columns([])))


def test_ten_times_net_capital_bounds_what_the_rule_asks_of_portfolio_margin() -> None:
    assert capital_test(1001, net_capital=101).room == 9
    assert capital_test(1001, net_capital=100).room == -1
    assert capital_test(1001, net_capital=100, multiple=11).limit == 1100
    with pytest.raises(ValueError, match="at least zero"):
        capital_test(1001, net_capital=-1)


def test_crowding_counts_holders_and_takes_long_and_short_alike() -> None:
    symbols, values = np.array([0, 2, 2, 0, 2]), np.array([10, -5, LIMIT, 3, LIMIT])
    holders, gross = crowding(symbols, values, 3)
    assert (holders.tolist(), gross.tolist()) == ([2, 0, 3], [13, 0, 2 * LIMIT + 5])
    first, second = crowding(symbols[:2], values[:2], 3), crowding(symbols[2:], values[2:], 3)
    assert [(one + other).tolist() for one, other in zip(first, second, strict=True)] == [
        holders.tolist(),
        gross.tolist(),
    ]
