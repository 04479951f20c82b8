"""What replaces a NumPy function that is slow for a handful of legs says what that says."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from risk.block import distinct
from risk.columns import among


@given(st.integers(1, 3), st.lists(st.tuples(*[st.sampled_from([-1.0, -0.0, 0.0, 2.5, 1e15])] * 3), max_size=12))
def test_distinct_columns_are_numbered_as_by_unique(rows: int, columns: list[tuple[float, float, float]]) -> None:
    table = np.array(columns, np.float64).reshape(len(columns), 3).T[:rows]
    found, of = distinct(table)
    expected, numbers = np.unique(table, axis=1, return_inverse=True)
    assert np.array_equal(found, expected)
    assert np.array_equal(of, numbers.ravel())


@given(st.lists(st.integers(0, 41)), st.sets(st.integers(0, 41)))
def test_codes_among_some_are_those_that_are_in_them(codes: list[int], chosen: set[int]) -> None:
    found = among(np.array(codes, np.int8), tuple(sorted(chosen)))
    assert found.tolist() == [code in chosen for code in codes]
