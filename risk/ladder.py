"""The ladder: four levels, each with an entry and a release line, and the clock of an unbroken deficiency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from risk.amounts import Floats, Ints
from risk.block import Accounts
from risk.columns import Columns

LEVELS: tuple[Any, ...] = ("NONE", "WARNING", "MARGIN_CALL", "RESTRICTION", "LIQUIDATION")
WARNING, MARGIN_CALL, RESTRICTION, LIQUIDATION = (1 << n for n in range(4))
#: Not a level: a call or worse would have been entered, had the prices been reliable.
REVIEW = 16
#: What of an account's flags a snapshot keeps, by name.
KEPT = {name: 1 << n for n, name in enumerate(LEVELS[1:])} | {"REVIEW": REVIEW}
#: Not a level either: an unbroken deficiency, whose clock leads to liquidation.
DEFICIENCY = 32
SEVERE = MARGIN_CALL | RESTRICTION | LIQUIDATION
#: What has an opening that a correction can undo, by name.
OPENINGS = {
    MARGIN_CALL: "MARGIN_CALL",
    RESTRICTION: "RESTRICTION",
    LIQUIDATION: "LIQUIDATION",
    DEFICIENCY: "DEFICIENCY",
}

Flags = NDArray[np.uint8]


def level_of(flags: int) -> int:
    """The most severe level that is active, 0 to 4."""
    return (flags & 15).bit_length()


def cushion_of(equity: Floats, requirement: Floats) -> Floats:
    """(equity - requirement) / requirement; at a zero requirement plus or minus infinity by the sign of equity."""
    without = np.where(equity < 0, -np.inf, np.inf)
    return np.divide(equity - requirement, requirement, out=without, where=requirement > 0)


@dataclass(frozen=True, slots=True)
class Decision:
    """(n,) flags now active and since when each account has been deficient without a break (-1: it is not)."""

    flags: Flags
    deficient_since: Ints
    cushion: Floats


@dataclass(frozen=True, slots=True)
class Marks(Columns):
    """What beside its figures decides on an account, (n,) each: whether a call of it is overdue, and whether it is
    restricted, or exempt from restriction and liquidation, by a practice or an operator."""

    overdue: NDArray[np.bool_]
    restricted: NDArray[np.bool_]
    exempt: NDArray[np.bool_]


def decide(block: Accounts, flags: Flags, deficient_since: Ints, marks: Marks | None = None) -> Decision:
    """Move every account of the block up or down the ladder.

    Each level holds while its entry line is crossed, and from then until its release line is reached, so that an
    account neither flaps nor gets stuck. Where too much of the value is stale, entry to MARGIN_CALL or worse
    becomes REVIEW and no clock starts; levels and clocks already running stay. A short without any price blocks
    release.
    """
    rules, measures = block.rules, block.measures
    cushion = cushion_of(measures["equity"], measures["requirement"])
    # Most are on no level and beyond every entry line: they stay there.
    near = (flags != 0) | (deficient_since >= 0) | (cushion < rules.warning_entry) | (measures["severe_equity"] < 0)
    if marks is None:
        none = np.zeros(len(near), np.bool_)
        marks = Marks(none, none, none)
    near |= marks.overdue | marks.restricted
    found = Decision(np.zeros_like(flags), np.full_like(deficient_since, -1), cushion)
    at = np.flatnonzero(near)
    found.flags[at], found.deficient_since[at] = _decided(
        block.at(at), cushion[at], flags[at], deficient_since[at], marks.at(at)
    )
    return found


def _decided(block: Accounts, cushion: Floats, flags: Flags, deficient_since: Ints, marks: Marks) -> tuple[Flags, Ints]:
    rules, measures = block.rules, block.measures
    equity, requirement, severe = measures["equity"], measures["requirement"], measures["severe_equity"]
    reliable = measures["stale_share"] <= rules.max_stale_share
    priced = measures["unpriced_shorts"] == 0

    deficient = equity < requirement
    started = np.where(reliable, block.instant, -1)
    since = np.where(deficient, np.where(deficient_since >= 0, deficient_since, started), -1)
    persisted = (since >= 0) & (block.instant - since >= rules.persist * 1_000_000)

    met = cushion >= rules.call_release
    lines = (
        (WARNING, cushion < rules.warning_entry, cushion >= rules.warning_release),
        (MARGIN_CALL, deficient, met),
        (
            RESTRICTION,
            ((severe < 0) & ~marks.exempt) | marks.restricted,
            ((severe >= np.rint(rules.restriction_release * requirement)) | marks.exempt) & ~marks.restricted,
        ),
        (
            LIQUIDATION,
            ((deficient & persisted) | marks.overdue) & ~marks.exempt,
            (met & ~marks.overdue) | marks.exempt,
        ),
    )
    now = np.zeros_like(flags)
    for level, entry, release in lines:
        active = (flags & level) != 0
        if level & SEVERE:
            # What an operator or a due time decided rests on no price of now.
            told = marks.overdue if level == LIQUIDATION else marks.restricted if level == RESTRICTION else False
            now |= np.where(entry & ~active & ~reliable & ~told, REVIEW, 0).astype(np.uint8)
            entry = entry & (reliable | active | told)
        now |= np.where(entry | (active & ~(release & priced)), level, 0).astype(np.uint8)
    return now, since.astype(np.int64)
