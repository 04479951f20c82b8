"""Published worked examples of margin, each a row of a table, calculated as a document; where sources disagree, which
of them is followed."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.risk.margin_examples import Example, amounts, load

EXAMPLES = load()
DISAGREEMENTS = load("disagreements.csv")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_the_example_comes_out(example: Example) -> None:
    assert example.expected
    assert example.found(example.expected) == pytest.approx(example.expected, **example.tolerance)


@pytest.mark.parametrize("example", DISAGREEMENTS, ids=lambda example: example.name)
def test_a_disagreement_is_decided(example: Example) -> None:
    assert all(example.row[column] for column in ("source", "says", "follows", "why"))
    theirs, ours = amounts(example.row["theirs"]), amounts(example.row["ours"])
    if not ours:
        assert not theirs
        return
    assert example.found(ours) == pytest.approx(ours, **example.tolerance)
    assert example.found(theirs) != pytest.approx(theirs, **example.tolerance) or not theirs


def test_an_example_is_found_by_its_id() -> None:
    for examples in (EXAMPLES, DISAGREEMENTS):
        assert [name for name, count in Counter(example.row["id"] for example in examples).items() if count > 1] == []
