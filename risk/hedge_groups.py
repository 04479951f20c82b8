"""Hedge groups: what of an account is closed together, and how much of it at a time.

What the rules margin as one (a covered call, a spread, a straddle, a class group with options) is closed as one, in the
ratio that it is held in: a long that covers a short is never sold from under it. All else is a group of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from risk import lines
from risk.amounts import Floats, Ints
from risk.block import AccountBlock
from risk.lines import Lines
from risk.margin import lines_of

#: Quantities are whole millionths: held as such, what is sold of a position and what is left add up to it.
MILLION = 1e6


@dataclass(frozen=True, slots=True)
class HedgeGroups:
    """g groups of the p positions of an account, and their m members.

    Attributes:
      rule: (g,) place of RULES: what it is margined by.
      lots: (g,) how many there are, the last one perhaps a part.
      starts: (g + 1,) first member of each.
      group, position: (m,) what each member is of.
      step, most: (m,) millionths of a unit of the position, unsigned: of a lot, and of all lots.
    """

    rule: Ints
    lots: Floats
    starts: Ints
    group: Ints
    position: Ints
    step: Floats
    most: Floats

    def amounts(self, lots: Floats) -> Floats:
        """(..., m) millionths that so many lots (..., g) are of each member."""
        return np.minimum(lots[..., self.group] * self.step, self.most)

    def traded(self, lots: Floats, positions: int) -> Floats:
        """(..., positions) millionths that so many lots (..., g) are of each position."""
        out = np.zeros((positions, *lots.shape[:-1]))
        np.add.at(out, self.position, np.moveaxis(self.amounts(lots), -1, 0))
        return np.moveaxis(out, 0, -1)

    def room(self, lots: Floats, cap: Floats) -> Floats:
        """(g,) lots of each, where the others stay at (g,) lots and no position trades more than (p,) millionths."""
        beside = self.traded(lots, len(cap))[self.position] - self.amounts(lots)
        free = cap[self.position] - beside
        with np.errstate(invalid="ignore"):
            fits = np.where(self.most <= free, self.lots[self.group], np.floor(free / self.step))
        return np.minimum.reduceat(fits, self.starts[:-1]) if len(self.lots) else self.lots

    def members(self, group: int) -> Ints:
        """Positions of a group."""
        return self.position[self.starts[group] : self.starts[group + 1]]


def hedge_groups(block: AccountBlock, lot: int) -> HedgeGroups:
    """The groups of the one account of a block; what has no price cannot be closed, and is in none.

    lot: units of stock that are traded together. Options trade by the contract, and a hedge by its ratio.
    """
    found = lines_of(block)
    left = np.where(block.unpriced, 0.0, np.rint(np.abs(block.quantity) * MILLION))
    size = _sizes(block)
    parts: list[tuple[int, float, Ints, Floats, Floats]] = []
    for rule, at, units in _together(block, found):
        # A short fraction of a contract is margined as a whole one.
        most = np.minimum(np.rint(np.abs(units) * MILLION), left[at])
        at, most = at[most > 0], most[most > 0]
        left[at] -= most
        count = most / size[at]
        each = np.gcd.reduce(np.rint(count).astype(np.int64)) if (count == np.rint(count)).all() and len(at) else 1
        step, lots = most / each, float(each)
        if not block.is_option()[at].any() and each > 1:
            step, lots = step * lot, float(np.ceil(each / lot))
        if len(at):
            parts.append((rule, lots, at, step, most))
    alone = _rule_alone(block, found)
    steps = np.where(block.is_option(), size, lot * MILLION)
    for place in np.flatnonzero(left > 0):
        one = slice(place, place + 1)
        lots = float(np.ceil(left[place] / steps[place]))
        parts.append((alone[place], lots, np.array([place]), steps[one], left[one]))
    counts = [len(part[2]) for part in parts]
    joined = [np.concatenate([part[at] for part in parts]) if parts else np.zeros(0) for at in (2, 3, 4)]
    return HedgeGroups(
        rule=np.array([part[0] for part in parts], np.int64),
        lots=np.array([part[1] for part in parts], np.float64),
        starts=np.cumsum([0, *counts]),
        group=np.repeat(np.arange(len(parts)), counts),
        position=joined[0].astype(np.int64),
        step=joined[1],
        most=joined[2],
    )


def _sizes(block: AccountBlock) -> Floats:
    """(p,) millionths of a contract, or of a unit of what is no option."""
    ones = np.full(len(block.symbols), MILLION)
    return ones if block.terms is None else ones * block.terms.multiplier[block.symbols]


def _together(block: AccountBlock, found: Lines) -> Iterator[tuple[int, Ints, Floats]]:
    """Rule, positions and units of each hedge: lines of several positions, but such as are the whole account's.

    A line of a product group, or of a class group, is taken by class group.
    """
    several = (np.diff(found.starts) > 1) & (found.rule <= lines.PRODUCT_GROUP)
    for line in np.flatnonzero(several).tolist():
        rule, (at, units) = int(found.rule[line]), found.members(line)
        if rule < lines.CLASS_GROUP:
            yield rule, at, units
            continue
        assert block.terms is not None
        rows = block.symbols[at]
        group = block.terms.class_group[block.terms.underlying[rows]]
        side = np.sign(units * block.terms.leverage[rows])
        for own in np.unique(group):
            some = group == own
            # Stock on one side hedges nothing.
            if some.sum() > 1 and (block.is_option()[at[some]].any() or len(np.unique(side[some])) > 1):
                yield lines.CLASS_GROUP, at[some], units[some]


def _rule_alone(block: AccountBlock, found: Lines) -> list[int]:
    """Of each position what it is margined by, by itself; a long option that requires nothing is long."""
    rules = np.where(block.quantity < 0, lines.SHORT, lines.LONG).tolist()
    single = (np.diff(found.starts) == 1) & (found.rule < lines.ADDONS) & (found.rule != lines.AT_MARKET)
    for line in np.flatnonzero(single).tolist():
        rules[int(found.positions[found.starts[line]])] = int(found.rule[line])
    return rules
