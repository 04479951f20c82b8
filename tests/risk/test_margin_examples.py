"""Published worked examples of margin, each a row of a table, calculated as a document."""

from __future__ import annotations

import pytest

from tests.risk.margin_examples import Example, load

EXAMPLES = load()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_the_example_comes_out(example: Example) -> None:
    assert example.found() == pytest.approx(example.expected, abs=0.005)
