"""Memo: answers that were found before, for questions that are asked again and again.

At most instants few prices change, so most options are worth what they were, and most groups of legs pair as they did.
A question holds everything that its answer depends on, so a memo may be lost at any time: it is no state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from risk.amounts import Floats, Ints

#: Questions after which those that were not asked again are forgotten.
_SIZE = 65_536


class Memo:
    """Answers by question."""

    def __init__(self) -> None:
        self._newer: dict[bytes, Any] = {}
        self._older: dict[bytes, Any] = {}

    def answers(self, questions: Sequence[bytes], find: Callable[[Ints], Sequence[Any]]) -> list[Any]:
        """The answer to each question; find gives those to the questions at the places, which are new."""
        older, missing = self._older, object()
        found = [self._newer.get(asked, missing) for asked in questions]
        found = [
            older.get(asked, missing) if own is missing else own for asked, own in zip(questions, found, strict=True)
        ]
        new = [place for place, own in enumerate(found) if own is missing]
        if new:
            for place, own in zip(new, find(np.array(new)), strict=True):
                found[place] = own
        if len(self._newer) > _SIZE:
            self._older, self._newer = self._newer, {}
        self._newer.update(zip(questions, found, strict=True))
        return found


def asked_columns(memo: Memo | None, questions: Floats, find: Callable[[Ints], Floats]) -> Floats:
    """(k, n) answers to (r, n) questions, one or more; find gives the (k, places) of those that are not remembered."""
    if memo is None:
        return find(np.arange(questions.shape[1]))
    keys = [column.tobytes() for column in np.ascontiguousarray(questions.T)]
    return np.stack(memo.answers(keys, lambda places: list(find(places).T.copy())), axis=1)


class Memos:
    """What is remembered under one rulebook: what options are worth, the volatilities of prices, and how legs pair."""

    def __init__(self) -> None:
        self.values, self.volatilities, self.pairs = Memo(), Memo(), Memo()
