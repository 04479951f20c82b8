"""What-if: one account as it would stand after trades, for many trades at once, by the very rules that margin it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from risk.amounts import Floats, ticks
from risk.block import AccountBlock
from risk.hedge_groups import MILLION, HedgeGroups
from risk.margin import lines_of
from risk.memo import Memos
from risk.rulebook import LiquidationRules
from risk.terms import OPTION, SECURITY_FUTURE
from risk.valuation import with_volatilities

#: Positions valued at a time: their columns fit in the processor's cache.
_SWEEP = 24_576


class WhatIf:
    """An account, and books of it that hold less: some lots of its hedge groups are closed at the prices they have.

    Attributes:
      cap: (p,) millionths of a unit of each position that may be traded; infinite where its volume is not known.
    """

    def __init__(self, block: AccountBlock, groups: HedgeGroups, rules: LiquidationRules) -> None:
        self.groups, self._rules = groups, rules
        if block.portfolio is not None and block.portfolio.any() and block.rules.portfolio is not None:
            block = with_volatilities(block)
        # Most books leave most groups of legs as they are. The memos of the shard are for its own questions.
        self._block = replace(block, memos=Memos())
        self._held, self._side = np.rint(np.abs(block.quantity) * MILLION), np.sign(block.quantity)
        self._price = np.where(block.unpriced, 0.0, block.price)
        self._flow: Floats = self._side
        self.cap: Floats = np.full(len(self._held), np.inf)
        if block.terms is not None:
            kind, volume = (getattr(block.terms, name)[block.symbols] for name in ("type", "average_daily_volume"))
            # A future is settled every day: to close it moves no cash.
            self._flow = np.where(kind == SECURITY_FUTURE, 0.0, self._side)
            limit = np.floor(volume * rules.volume_share / rules.lot) * rules.lot * MILLION
            self.cap = np.where(np.isnan(volume) | (kind == OPTION), np.inf, limit)

    def traded(self, lots: Floats) -> Floats:
        """(..., p) millionths of a unit of each position, unsigned, where so many lots (..., g) are closed."""
        return self.groups.traded(lots, len(self._held))

    def values(self, traded: Floats) -> Floats:
        """(..., p) ticks of what is traded, millionths, of each position."""
        return ticks(traded / MILLION * self._price)

    def costs(self, traded: Floats) -> Floats:
        """(..., p) ticks that it costs to trade so many millionths of each position: an order each."""
        return np.where(traded > 0, self._rules.cost(self.values(traded)), 0.0)

    def figures(self, lots: Floats) -> tuple[Floats, Floats]:
        """(b,) ticks of equity, costs paid, and of requirement, where so many lots (b, g) are closed."""
        size = max(1, _SWEEP // max(1, len(self._held)))
        parts = [self._figures(lots[at : at + size]) for at in range(0, len(lots), size)]
        equity, requirement = zip(*parts, strict=True) if parts else ((np.zeros(0),), (np.zeros(0),))
        return np.concatenate(equity), np.concatenate(requirement)

    def beyond(self, lots: Floats) -> Floats:
        """(b,) ticks of excess beyond the buffer: not below zero, and the account is cured."""
        equity, requirement = self.figures(lots)
        return equity - requirement - np.rint(requirement * self._rules.buffer)

    def hopeless(self) -> bool:
        """Whether no book at all can be cured: without its debts for options the account is worth less than nothing."""
        worth = np.where(self._block.is_option() & (self._side < 0), 0.0, self._flow * self.values(self._held))
        # A tick a position is what rounding of its parts may add.
        return bool(self._block.cash[0] + worth.sum() + len(worth) < 0)

    def _figures(self, lots: Floats) -> tuple[Floats, Floats]:
        traded, count = self.traded(lots), len(lots)
        proceeds = (self._flow * self.values(traded) - self.costs(traded)).sum(axis=-1)
        block = self._block.repeated(
            count,
            quantity=(self._side * (self._held - traded) / MILLION).ravel(),
            cash=self._block.cash[0] + proceeds,
        )
        return lines_of(block).margin(block.cash)
