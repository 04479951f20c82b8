"""Portfolio margin: every position revalued at valuation points, gains and losses netted by class group, FINRA 4210(g).

Under a rulebook without portfolio rules (the seed) every price is moved by each point, and the account is one class
group.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from risk import lines
from risk.amounts import Floats, Ints, ticks
from risk.block import AccountBlock
from risk.lines import Lines, joined_lines
from risk.strategy import margin_positions
from risk.terms import CLASSES, CONVERTIBLE, EXEMPT_FUND, MONEY_MARKET, OPTION, SECURITY_FUTURE
from risk.valuation import gains, with_volatilities, worth_of

#: Of the overlay on the riskiest class groups, the range of the others; in no line of its own.
_REST = -1


def run_tims(block: AccountBlock) -> None:
    """Add tims_pnl (points, n) and worst_loss (n,), at most zero, to the measures, in ticks."""
    accounts = len(block.accounts)
    if block.rules.portfolio is None:
        points = np.asarray(block.rules.tims_moves)[:, None]
        pnl = block.sums(ticks(points * block.values))
        worst = np.minimum(pnl.min(axis=0), 0.0)
    else:
        grid = ClassGroups(block)
        pnl = _summed(grid.pnl, grid.account, accounts)
        found = grid.lines()
        worst = -found.sums(found.requirement, accounts)
    block.measures["tims_pnl"], block.measures["worst_loss"] = pnl, worst


class ClassGroups:
    """The g class groups of the accounts of a block whose rulebook has portfolio rules, and what they require.

    Attributes:
      account, group: (g,) place in the block; number of the class group in the block's terms.
      pnl: (points, g) ticks at each valuation point.
      published: places of the positions that are valued as published.
    """

    def __init__(self, block: AccountBlock, chosen: NDArray[np.bool_] | None = None) -> None:
        """chosen: (p,) which positions; all unless given. Of those what has no price is left out."""
        rules, market = block.rules.portfolio, block.terms
        assert rules is not None
        assert market is not None
        self._block, self._rules = block, rules
        held = ~block.unpriced & (block.quantity != 0)
        held = held if chosen is None else held & chosen
        what = market.type[block.symbols]
        #: Funds and futures keep their own margin inside the account.
        self._other = held & np.isin(what, [MONEY_MARKET, EXEMPT_FUND, SECURITY_FUTURE])
        self._ineligible = held & ~self._other & ~market.eligible[block.symbols] & (what != OPTION)
        self._at = at = np.flatnonzero(held & ~self._other & ~self._ineligible)
        self._owner = block.owners()[at]
        self._what = market.at(block.symbols[at])
        key = self._owner * (int(market.class_group.max(initial=0)) + 1) + market.class_group[self._what.underlying]
        found, first, self._of = np.unique(key, return_index=True, return_inverse=True)
        self.account, self.group = self._owner[first], market.class_group[self._what.underlying[first]]
        # Where its symbols are of several product groups, or some are of none, it is of the first of these.
        self._product = np.full(len(found), np.iinfo(np.int64).max)
        np.minimum.at(self._product, self._of, market.product_group[self._what.underlying])
        self._ranges = self._asked()
        moves = self._moves()
        order = np.argsort(self._of, kind="stable")
        amounts = ticks(block.quantity[at[order]] * self._gains(at[order], moves))
        starts = np.searchsorted(self._of[order], np.arange(len(found)))
        pnl = np.add.reduceat(amounts, starts, axis=1) if len(found) else np.zeros((len(moves), 0))
        points = len(block.rules.tims_moves)
        self.pnl = pnl[:points]
        wider = pnl[points:].reshape(len(self._ranges), points, len(found))
        self._at_range = {rule: _worst(scanned) for rule, scanned in zip(self._ranges, wider, strict=True)}

    def _gains(self, at: Ints, moves: Floats) -> Floats:
        """(k, n) dollars that a unit of each position gains; at the points, which come first, as it is published."""
        block = self._block
        found = gains(with_volatilities(block), at, moves)
        if block.published is None:
            self.published = at[:0]
            return found
        worth = block.published[:, block.symbols[at]]
        told = ~np.isnan(worth)
        found[: len(worth)] = np.where(told, worth - block.price[at], found[: len(worth)])
        self.published = np.sort(at[told.any(axis=0)])
        return found

    def _moves(self) -> Floats:
        """(k, symbols) of what underlies each: the points of its class, then those of each overlay's range."""
        market = self._block.terms
        assert market is not None
        underlying = market.underlying
        points = np.array([self._rules.points[name] for name in CLASSES])[market.points_class[underlying]].T
        scale = np.asarray(self._block.rules.tims_moves)[:, None]
        ranges = [scale * wide for wide in self._ranges.values()]
        return np.concatenate([points, *ranges]) * market.leverage[underlying]

    def _asked(self) -> dict[int, Floats]:
        """By the rule of each overlay that the house has, the range (symbols,) that it scans."""
        market, rules = self._block.terms, self._rules
        assert market is not None
        flat = {lines.WIDER_RANGE: rules.stress_range, lines.RISKIEST: rules.riskiest_range, _REST: rules.rest_range}
        flat[_REST] *= bool(rules.riskiest_range)
        asked = {rule: np.full(len(market.price), wide) for rule, wide in flat.items() if wide}
        expected = market.expected_range[market.underlying]
        return asked | ({lines.EXPECTED_RANGE: expected} if expected.any() else {})

    def class_name(self, place: int) -> str:
        """Of which class the valuation points of a class group are."""
        market, first = self._block.terms, int(np.flatnonzero(self._of == place)[0])
        assert market is not None
        return CLASSES[int(market.points_class[self._what.underlying[first]])]

    @property
    def losses(self) -> Floats:
        """(g,) ticks of the greatest loss of each class group, not below zero."""
        return _worst(self.pnl)

    def lines(self) -> Lines:
        """What each account requires, as lines without equity: their sum is the requirement."""
        block = self._block
        offset = self._offsets()
        floor = self._minimum(offset)
        house = self._overlays(joined_lines([offset, floor]))
        positions = margin_positions(block, np.zeros(len(block.symbols)), self._other)
        parts = joined_lines([offset, floor, *house, self._convertibles(), self._uncounted(), positions])
        # What they are worth is the account's equity at market, whatever margins them.
        return replace(parts, equity=np.zeros(len(parts.rule)))

    def _offsets(self) -> Lines:
        """The greatest loss of each class group, and of class groups of a product group together: at each point the
        losses less a share of the gains, (g)(7)(A)."""
        names = sorted(self._rules.product_offsets)
        share = np.array([*(self._rules.product_offsets[name] for name in names), 0.0])[self._product]
        groups = int(self.group.max(initial=0)) + 1
        together = np.where(self._product >= 0, groups + self._product, self.group)
        key = self.account * (groups + len(names)) + together
        _, first, of = np.unique(key, return_index=True, return_inverse=True)
        net = _summed(np.where(self.pnl < 0, self.pnl, np.rint(self.pnl * share)), of, len(first))
        rule = np.where(self._product[first] >= 0, lines.PRODUCT_GROUP, lines.CLASS_GROUP)
        zero = np.zeros(len(first))
        units = self._block.quantity[self._at]
        return Lines.grouped(of[self._of], self._at, units, self.account[first], rule, _worst(net), zero)

    def _minimum(self, so_far: Lines) -> Lines:
        """What is missing to the minimum charge of each contract, of a long one at most its value, (g)(7)(B)."""
        block, accounts = self._block, len(self._block.accounts)
        option = np.flatnonzero(self._what.type == OPTION)
        at, owner = self._at[option], self._owner[option]
        charge = ticks(np.abs(block.quantity[at]) * self._rules.minimum_per_unit)
        charge = np.where(block.quantity[at] > 0, np.minimum(charge, ticks(block.values[at])), charge)
        self.minimum = np.bincount(owner, charge, minlength=accounts)
        return _beyond(lines.MINIMUM, self.minimum - so_far.sums(so_far.requirement, accounts), at, owner, block)

    def _overlays(self, so_far: Lines) -> Iterator[Lines]:
        """What the house asks for beyond: a wider range for all, one for the riskiest beside that of the rest, and the
        range that is expected where that would take all equity: the point of no return is within it."""
        rules, accounts, at_range = self._rules, len(self._block.accounts), self._at_range
        required = so_far.sums(so_far.requirement, accounts)
        asked = dict(at_range)
        if lines.RISKIEST in asked:
            riskiest, rest = asked[lines.RISKIEST], asked.pop(_REST, np.zeros(len(self.account)))
            order = np.lexsort((-riskiest, self.account))
            rank = np.empty(len(order), np.int64)
            rank[order] = np.arange(len(order)) - np.searchsorted(self.account[order], self.account[order])
            asked[lines.RISKIEST] = np.where(rank < rules.riskiest, riskiest, rest)
        if lines.EXPECTED_RANGE in asked:
            equity = self._block.cash + self._block.sums(worth_of(self._block))
            beyond = asked[lines.EXPECTED_RANGE] >= equity[self.account]
            more = np.where(beyond, np.maximum(asked.pop(lines.EXPECTED_RANGE) - self.losses, 0.0), 0.0)
            missing = np.bincount(self.account, more, minlength=accounts).astype(np.float64)
            yield _beyond(lines.EXPECTED_RANGE, missing, self._at, self._owner, self._block)
            required = required + missing
        for rule, each in asked.items():
            total = np.bincount(self.account, each, minlength=accounts)
            yield _beyond(rule, total - required, self._at, self._owner, self._block)
            required = np.maximum(required, total)

    def _convertibles(self) -> Lines:
        """A share of what a convertible held long is worth beyond its conversion value."""
        market, block = self._block.terms, self._block
        assert market is not None
        some = np.flatnonzero((self._what.type == CONVERTIBLE) & (block.quantity[self._at] > 0))
        at = self._at[some]
        converted = ticks(block.quantity[at] * self._what.conversion[some] * market.price[self._what.underlying[some]])
        excess = np.maximum(ticks(block.values[at]) - converted, 0.0)
        rule = np.full(len(at), lines.CONVERTIBLE_EXCESS)
        required = np.rint(excess * self._rules.convertible_rate)
        return Lines.each(self._owner[some], rule, required, np.zeros(len(at)), at, block.quantity[at])

    def _uncounted(self) -> Lines:
        """What is not margin eligible, (g)(7)(E)."""
        block, at = self._block, np.flatnonzero(self._ineligible)
        short = block.quantity[at] < 0
        rate = np.where(short, self._rules.ineligible_short_rate, self._rules.ineligible_long_rate)
        owner = block.owners()[at]
        rule = np.where(short, lines.INELIGIBLE_SHORT, lines.INELIGIBLE_LONG)
        required = np.rint(np.abs(ticks(block.values[at])) * rate)
        return Lines.each(owner, rule, required, np.zeros(len(at)), at, block.quantity[at])


def _summed(amounts: Floats, of: Ints, count: int) -> Floats:
    """(points, count) the sums of (points, g) amounts, of each by what it is of."""
    return np.stack([np.bincount(of, row, minlength=count) for row in amounts])


def _worst(pnl: Floats) -> Floats:
    """(g,) the greatest loss of (points, g), not below zero."""
    return np.maximum(-pnl.min(axis=0, initial=0.0), 0.0)


def _beyond(rule: int, missing: Floats, at: Ints, owner: Ints, block: AccountBlock) -> Lines:
    """A line for each account that something is missing of, on those of its positions that are given."""
    accounts = np.flatnonzero(missing > 0)
    line = np.full(len(missing), -1)
    line[accounts] = np.arange(len(accounts))
    some = line[owner] >= 0
    rules, zero = np.full(len(accounts), rule), np.zeros(len(accounts))
    chosen = at[some]
    return Lines.grouped(line[owner[some]], chosen, block.quantity[chosen], accounts, rules, missing[accounts], zero)
