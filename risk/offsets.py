"""Offsets: every way in which FINRA 4210(f)(2) lets options be margined, but spreads, for all accounts at once.

Each is a column: the legs that it takes, one contract of each option and the units of stock that it is for, what it
requires and what it is worth as equity. Of an option that is everything; of stock it is the change beside holding the
stock by itself. Spreads are not listed here: risk.pairing pools them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from risk import lines
from risk.amounts import Floats, Ints, share, ticks
from risk.block import distinct, matches
from risk.columns import Columns
from risk.legs import Legs
from risk.rulebook import OptionRules

#: No offset takes more legs.
_LEGS = 4


@dataclass(frozen=True, slots=True)
class Offsets(Columns):
    """c columns.

    Attributes:
      rule: (c,) place of risk.lines.RULES.
      requirement, equity: (c,) ticks a unit.
      legs: (c, 4) places, -1 for none; the first is an option, whose multiplier is the number of shares taken.
    """

    rule: Ints
    requirement: Floats
    equity: Floats
    legs: Ints

    @classmethod
    def of(cls, rule: int | Ints, requirement: Floats, equity: Floats | float, *legs: Ints) -> Offsets:
        """Columns of the legs given, of one rule or of one each."""
        taken = np.full((len(requirement), _LEGS), -1, np.int64)
        for place, leg in enumerate(legs):
            taken[:, place] = leg
        every = len(requirement)
        return cls(np.full(every, rule, np.int64), requirement, np.full(every, equity, np.float64), taken)

    def cost(self) -> Floats:
        """(c,) ticks that a unit takes from the excess."""
        return self.requirement - self.equity


def list_offsets(legs: Legs, rules: OptionRules) -> Offsets:
    """Every column that the legs allow."""
    parts = list(_Listing(legs, rules).offsets())
    return Offsets(*(np.concatenate([getattr(part, name) for part in parts]) for name in Offsets.__slots__))


class _Listing:
    """The legs by what they are, and the amounts that several rules name, in ticks a contract."""

    def __init__(self, legs: Legs, rules: OptionRules) -> None:
        self.legs, self.rules = legs, rules
        option, held = legs.right != 0, legs.count > 0
        pick = lambda short, mask: np.flatnonzero((legs.short == short) & mask & held)  # noqa: E731
        self.short_calls, self.long_calls = (pick(short, legs.right > 0) for short in (True, False))
        self.short_puts, self.long_puts = (pick(short, legs.right < 0) for short in (True, False))
        self.short_stock, self.long_stock = (pick(short, ~option) for short in (True, False))
        self.valued = pick(False, option & legs.valued)
        self.value = legs.contracts(legs.price)
        self.in_money = legs.contracts(legs.intrinsic())
        self.tenth = legs.contracts(rules.hedge_rate * legs.strike)
        self.hedged = legs.contracts(rules.hedge_rate * legs.strike + legs.out_of_money())

    def offsets(self) -> Iterator[Offsets]:
        """Each rule's columns."""
        yield self.uncovered()
        yield Offsets.of(
            lines.VALUED,
            np.rint(self.value * self.rules.valued_rate)[self.valued],
            self.value[self.valued],
            self.valued,
        )
        yield self.straddles()
        yield from self.covered()
        yield from self.protective()
        yield self.collars()
        yield self.reverse_conversions()
        if not self.legs.american.all():
            yield self.boxes()

    def uncovered(self) -> Offsets:
        """(f)(2)(E): the option's value, and the rate of the underlying less what it is out of the money, or the
        minimum: of a put that is a share of its exercise price."""
        legs, short = self.legs, np.concatenate([self.short_calls, self.short_puts])
        beyond, least = self._beyond()
        rule = np.where(beyond >= least, lines.NAKED, lines.NAKED_MINIMUM)[short]
        return Offsets.of(rule, (self.value + legs.contracts(np.maximum(beyond, least)))[short], 0.0, short)

    def _beyond(self) -> tuple[Floats, Floats]:
        legs = self.legs
        least = legs.minimum * np.where(legs.right > 0, legs.spot, legs.strike)
        return legs.rate * legs.spot - legs.out_of_money(), least

    def straddles(self) -> Offsets:
        """(f)(2)(G): the value of an option where one of the other right requires no less, see risk.straddles."""
        call, put = self._alike(self.short_calls, self.short_puts, same_expiry=False)
        required = self.value + self.legs.contracts(np.maximum(*self._beyond()))
        puts, calls = put[required[put] <= required[call]], call[required[call] <= required[put]]
        relieved = np.union1d(puts, calls)
        return Offsets.of(lines.STRADDLE, self.value[relieved], 0.0, relieved)

    def covered(self) -> Iterator[Offsets]:
        """(f)(2)(F): nothing on the option; long stock is worth no more than the call's exercise price, and short
        stock requires what the put is in the money besides."""
        legs = self.legs
        call, stock = legs.join(self.short_calls, self.long_stock)
        kept = 1.0 - share(legs.intrinsic()[call], legs.spot[call])
        change = ticks(legs.alone[stock] * legs.multiplier[call] * kept) - self._alone(stock, call)
        yield Offsets.of(lines.COVERED_CALL, change, -self.in_money[call], call, stock)
        put, stock = legs.join(self.short_puts, self.short_stock)
        yield Offsets.of(lines.COVERED_PUT, self.in_money[put], 0.0, put, stock)

    def protective(self) -> Iterator[Offsets]:
        """(f)(2)(H)(v): 10% of the exercise price and what the option is out of the money, where that is less than
        the stock requires by itself."""
        for rule, options, stocks in (
            (lines.PROTECTIVE_PUT, self.long_puts, self.long_stock),
            (lines.PROTECTIVE_CALL, self.long_calls, self.short_stock),
        ):
            option, stock = self.legs.join(options, stocks)
            change = self.hedged[option] - self._alone(stock, option)
            yield Offsets.of(rule, change, 0.0, option, stock).at(change < 0)

    def collars(self) -> Offsets:
        """(f)(2)(H)(v): long stock, a put below a call or, as a conversion, at the same exercise price."""
        put, call = self._alike(self.long_puts, self.short_calls)
        strike = self.legs.strike
        keep = strike[put] <= strike[call]
        put, call, stock = self._with(put[keep], call[keep], self.long_stock)
        limit = self.legs.contracts(self.rules.collar_rate * strike)[call]
        conversion, by_put = strike[put] == strike[call], self.hedged[put] <= limit
        required = np.where(conversion, self.tenth[put], np.where(by_put, self.hedged[put], limit))
        rule = np.where(conversion, lines.CONVERSION, np.where(by_put, lines.COLLAR, lines.COLLAR_AT_CALL))
        return Offsets.of(rule, required - self._alone(stock, call), -self.in_money[call], put, call, stock)

    def reverse_conversions(self) -> Offsets:
        """(f)(2)(H)(v): short stock, a call and a short put at the same exercise price."""
        call, put = self._alike(self.long_calls, self.short_puts)
        keep = self.legs.strike[call] == self.legs.strike[put]
        call, put, stock = self._with(call[keep], put[keep], self.short_stock)
        required = self.tenth[put] + self.in_money[put] - self._alone(stock, put)
        return Offsets.of(lines.REVERSE_CONVERSION, required, 0.0, call, put, stock)

    def boxes(self) -> Offsets:
        """(f)(2)(H): a long box of European options is worth up to the difference of its exercise prices, of which a
        share is required. In a pool it requires nothing, and is worth nothing."""
        legs = self.legs
        calls = self._european(self.long_calls, self.short_calls)
        puts = self._european(self.short_puts, self.long_puts)
        one, other = matches(*_keys([*map(legs.terms, calls)], [*map(legs.terms, puts)]))
        four = calls[0][one], calls[1][one], puts[1][other], puts[0][other]
        width = legs.contracts(legs.strike)[four[1]] - legs.contracts(legs.strike)[four[0]]
        value = self.value[four[0]] - self.value[four[1]] + self.value[four[2]] - self.value[four[3]]
        required, worth = np.rint(width * self.rules.box_rate), np.clip(value, 0.0, width)
        return Offsets.of(lines.BOX, required, worth, *four).at(worth > required)

    def _european(self, low: Ints, high: Ints) -> tuple[Ints, Ints]:
        """Pairs of European options that expire together, the first at the lower exercise price."""
        a, b = self._alike(low, high)
        keep = (self.legs.strike[a] < self.legs.strike[b]) & ~self.legs.american[a] & ~self.legs.american[b]
        return a[keep], b[keep]

    def _alone(self, stock: Ints, option: Ints) -> Floats:
        """Ticks that the stock for a contract requires by itself."""
        return ticks(self.legs.alone[stock] * self.legs.multiplier[option])

    def _alike(self, left: Ints, right: Ints, *, same_expiry: bool = True) -> tuple[Ints, Ints]:
        """Pairs of options of equal contracts, which expire together unless that does not matter."""
        legs = self.legs
        a, b = legs.join(left, right)
        keep = legs.multiplier[a] == legs.multiplier[b]
        if same_expiry:
            keep &= legs.expiry[a] == legs.expiry[b]
        return a[keep], b[keep]

    def _with(self, left: Ints, right: Ints, stocks: Ints) -> tuple[Ints, Ints, Ints]:
        """Pairs of options with each stock of their group."""
        pair, stock = matches(self.legs.group[left], self.legs.group[stocks])
        return left[pair], right[pair], stocks[stock]


def _keys(left: list[Floats], right: list[Floats]) -> tuple[Ints, Ints]:
    """Numbers that are equal where all the columns (k, n) and (k, m) are."""
    found = distinct(np.concatenate([np.concatenate(left), np.concatenate(right)], axis=1))[1]
    return found[: left[0].shape[1]], found[left[0].shape[1] :]
