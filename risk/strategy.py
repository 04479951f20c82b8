"""Strategy-based margin of the accounts of a block: FINRA 4210(c), (e)(1) and (f)(2), as lines.

Equity is cash and what the lines say that positions are worth: stock at market, an option nothing but where a rule
gives it value. What a short option is worth is inside its requirement (rules.md section 1).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from risk import lines
from risk.amounts import TICKS_PER_DOLLAR, Floats, Ints, ticks
from risk.block import AccountBlock, matches
from risk.legs import Legs
from risk.lines import Lines, joined_lines
from risk.pairing import pair
from risk.rulebook import OptionRules, Rulebook, StockRules
from risk.stock import maintain_stock
from risk.terms import CLASSES, CONVERTIBLE, OPTION, SECURITY_FUTURE, expires_within


def margin_positions(block: AccountBlock, house: Floats, chosen: NDArray[np.bool_] | None = None) -> Lines:
    """What the positions of a block require under its rulebook, which has stock and option rules.

    Args:
      house: (p,) rate that the house asks for at least, of what is no option.
      chosen: (p,) which positions; all unless given. Of those what has no price is left out.
    """
    held = ~block.unpriced & (block.quantity != 0)
    return _Positions(block, np.flatnonzero(held if chosen is None else held & chosen), house).lines(block.rules)


class _Positions:
    """p positions of a block, and what they are."""

    def __init__(self, block: AccountBlock, at: Ints, house: Floats) -> None:
        assert block.terms is not None
        self.at, self.instant, self.house = at, block.instant, house[at]
        self.memo = None if block.memos is None else block.memos.pairs
        self.what = what = block.terms.at(block.symbols[at])
        self.owner = block.owners()[at]
        self.units, self.price = block.quantity[at], block.price[at]
        self.symbol, self.option = block.symbols[at], what.type == OPTION
        #: Of what underlies each.
        self.spot, self.leverage, self.instrument_class = (
            getattr(block.terms, name)[what.underlying] for name in ("price", "leverage", "instrument_class")
        )
        #: Its account and what underlies it, as one number.
        self.key = self.owner * len(block.terms.price) + what.underlying

    def lines(self, rules: Rulebook) -> Lines:
        """Long against short of one security, stock by itself, and what options require and change."""
        assert rules.stock is not None
        assert rules.options is not None
        units = self.units.copy()
        hedges = list(self._hedges(units, rules.stock))
        stock = np.flatnonzero(~self.option & (units != 0))
        amount, rule = maintain_stock(units[stock], self.price[stock], self.what.at(stock), self.house[stock], rules)
        # A future is settled every day: what it is worth is in the cash.
        own = np.where(self.what.type[stock] == SECURITY_FUTURE, 0.0, self.price[stock])
        worth = ticks(units[stock] * own)
        alone = Lines.each(self.owner[stock], rule, amount, worth, self.at[stock], units[stock])
        rate = np.zeros(len(units))
        rate[stock] = amount / np.abs(units[stock]) / TICKS_PER_DOLLAR
        return joined_lines([*hedges, alone, *self._options(units, rate, rules.options)])

    def _hedges(self, units: Floats, rules: StockRules) -> Iterator[Lines]:
        """(e)(1): a security held long, and short it or what it is exchanged for. Taken out of the units."""
        long, short = np.flatnonzero(~self.option & (units > 0)), np.flatnonzero(~self.option & (units < 0))
        one, other = matches(self.key[long], self.key[short])
        one, other = long[one], short[other]
        same = self.symbol[one] == self.symbol[other]
        # The same security first; an account rarely has a second pair.
        order = np.lexsort((self.what.conversion[one], self.price[one], ~same, self.key[one]))
        order = order[(same | (self.what.type[one] == CONVERTIBLE))[order]]
        one, other, same = one[order], other[order], same[order]
        first = np.searchsorted(self.key[one], self.key[one])
        turn = np.arange(len(one)) - first
        for number in range(int(turn.max(initial=-1)) + 1):
            some = np.flatnonzero((turn == number) & (units[one] > 0) & (units[other] < 0))
            a, b = one[some], other[some]
            ratio = np.where(same[some], 1.0, self.what.conversion[a])
            size = np.minimum(units[a] * ratio, -units[b])
            units[a] -= size / ratio
            units[b] += size
            worth, owed = ticks(size / ratio * self.price[a]), ticks(size * self.price[b])
            rates = np.where(same[some], rules.same_security_rate, rules.convertible_rate)
            yield Lines(
                account=self.owner[a],
                rule=np.where(same[some], lines.SAME_SECURITY, lines.CONVERTIBLE_HEDGE),
                requirement=np.rint(worth * rates),
                equity=worth - owed,
                starts=np.arange(0, 2 * len(a) + 1, 2),
                positions=self.at[np.stack([a, b], axis=1).ravel()],
                units=np.stack([size / ratio, -size], axis=1).ravel(),
            )

    def _options(self, units: Floats, rate: Floats, rules: OptionRules) -> Iterator[Lines]:
        """What options require and are worth, and what they change of the stock left; rate is dollars a unit of it."""
        at = np.flatnonzero(np.isin(self.key, self.key[self.option]) & (units != 0))
        if not len(at):
            return
        at = at[np.argsort(self.key[at], kind="stable")]
        what, option = self.what.at(at), self.option[at]
        by_class = np.array([[table[name] for name in CLASSES] for table in (rules.rates, rules.minimums)])
        factor = np.maximum(np.abs(self.leverage[at]), 1.0)
        size = np.where(option, what.multiplier, 1.0 / what.conversion)
        count = np.abs(units[at]) / size
        group = np.unique(self.key[at], return_inverse=True)[1]
        legs = Legs(
            group=group,
            right=what.right,
            short=units[at] < 0,
            # Fractions of a contract or of a share offset nothing; a short one is margined as a whole.
            count=np.where(option & (units[at] < 0), np.ceil(count - _HAIR), np.floor(count + _HAIR)),
            multiplier=np.where(option, what.multiplier, 1.0),
            price=self.price[at],
            spot=self.spot[at],
            strike=what.strike,
            expiry=what.expiry,
            american=what.american,
            rate=by_class[0][self.instrument_class[at]] * factor,
            minimum=by_class[1][self.instrument_class[at]] * factor,
            valued=option & ~expires_within(what.expiry, self.instant, rules.valued_after),
            alone=rate[at] / what.conversion,
        )
        found = pair(legs, rules, self.memo)
        leg = found.positions
        yield Lines(
            account=self.owner[at][np.searchsorted(group, found.account)],
            rule=found.rule,
            requirement=found.requirement,
            equity=found.equity,
            starts=found.starts,
            positions=self.at[at][leg],
            units=found.units * size[leg],
        )


#: A count nearer than this to a whole number is one: quantities are millionths.
_HAIR = 1e-7
