"""A memo changes no figure, whatever was asked before; it forgets what is not asked again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from risk import memo
from risk.block import AccountBlock
from risk.margin import compute_margin
from risk.memo import Memo, Memos
from risk.stress import run_severe, run_stress
from risk.tims import run_tims
from tests.risk.partitions import any_book, block_of

#: Of the underlyings, from one instant to the next: mostly none moves.
MOVES = st.sampled_from([0.0, 0.0, 0.0, 0.001, -0.03])


def measures(block: AccountBlock) -> dict[str, np.ndarray]:
    for measure in (compute_margin, run_severe, run_stress, run_tims):
        measure(block)
    return block.measures


@settings(max_examples=30, deadline=None)
@given(st.lists(any_book, min_size=1, max_size=4), st.lists(st.tuples(MOVES, MOVES), min_size=1, max_size=4))
def test_figures_are_those_of_a_block_without_a_memo(held: list, instants: list) -> None:
    remembered = block_of(held)
    memos = Memos()
    for number, moves in enumerate(instants):
        assert remembered.terms is not None
        underlying = remembered.terms.underlying
        is_spot = underlying == np.arange(len(underlying))
        factor = np.where(is_spot, 1.0 + np.array(moves)[underlying % 2], 1.0)
        price = remembered.terms.price * factor
        # Half a minute each: options keep their values for one of two instants.
        instant = remembered.instant + 30_000_000 * number
        block = replace(
            remembered,
            instant=instant,
            terms=replace(remembered.terms, price=price),
            price=price[remembered.symbols],
            portfolio=np.arange(len(held)) % 2 == 1,
        )
        found, expected = measures(replace(block, memos=memos)), measures(replace(block))
        for name, column in expected.items():
            assert np.array_equal(found[name], column), name


def test_what_is_asked_again_is_kept_and_the_rest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memo, "_SIZE", 4)
    own, found = Memo(), []

    def find(places: np.ndarray) -> list[int]:
        found.extend(places.tolist())
        return places.tolist()

    def ask(*names: str) -> int:
        found.clear()
        own.answers([name.encode() for name in names], find)
        return len(found)

    assert ask("a", "b") == 2
    assert ask("a", "b") == 0
    for number in range(40):
        assert ask("a", f"other {number}") == 1
    assert ask("a") == 0
    assert ask("b") == 1
    assert len(own._newer) + len(own._older) < 16
