"""Lines: what a requirement is made of. A requirement is the sum of its lines, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from risk.amounts import Floats, Ints
from risk.block import runs

#: What a line rests on, the parameter of the rulebook that says it or else the paragraph, and what it is.
RULES: tuple[tuple[str, str], ...] = (
    ("long_rate", "long"),
    ("short_rate", "short"),
    ("stock.per_share", "short, dollars a share"),
    ("stock.low_price_rate", "short below the low price"),
    ("stock.low_price_per_share", "short below the low price, dollars a share"),
    ("stock.ineligible_rate", "long, not margin eligible"),
    ("stock.leveraged_cap", "leveraged"),
    ("stock.type_rates", "by type of security"),
    ("stock.broken_fund_rate", "money-market fund below $1.00"),
    ("house.long_rate", "house rate"),
    ("stock.same_security_rate", "long and short of the same security"),
    ("stock.convertible_rate", "convertible long, what it converts into short"),
    ("options.rates", "short option, uncovered"),
    ("options.minimums", "short option, uncovered, at the minimum"),
    ("options.valued_rate", "long option beyond nine months"),
    ("FINRA 4210(f)(2)(G)", "short straddle or strangle: the greater side, and the value of the other"),
    ("FINRA 4210(f)(2)(F)", "covered call: stock at no more than the exercise price"),
    ("FINRA 4210(f)(2)(F)", "covered put: what it is in the money"),
    ("options.hedge_rate", "protective put"),
    ("options.hedge_rate", "protective call"),
    ("options.hedge_rate", "conversion"),
    ("options.hedge_rate", "collar"),
    ("options.collar_rate", "collar, at the call's limit"),
    ("options.hedge_rate", "reverse conversion"),
    ("options.box_rate", "long box, European"),
    ("FINRA 4210(f)(2)(H)(i)", "spread: the greatest loss at its exercise prices"),
    ("portfolio.points", "class group"),
    ("portfolio.product_offsets", "product group"),
    ("portfolio.minimum_per_unit", "minimum charge"),
    ("portfolio.ineligible_long_rate", "long, not margin eligible"),
    ("portfolio.ineligible_short_rate", "short, not margin eligible"),
    ("portfolio.convertible_rate", "convertible above its conversion value"),
    ("portfolio.stress_range", "house: wider range"),
    ("portfolio.riskiest_range", "house: riskiest class groups"),
    ("portfolio.expected_range", "house: expected range beyond the point of no return"),
    ("", "at market"),
    ("concentration_rate", "concentration"),
    ("house.issuer_long", "house: concentration, long"),
    ("house.issuer_short", "house: concentration, short"),
    ("house.liquidity", "house: days of average volume"),
    ("house.ownership", "house: share of what is outstanding"),
    ("house.sector", "house: sector"),
)
(
    LONG,
    SHORT,
    PER_SHARE,
    LOW_PRICE,
    LOW_PRICE_PER_SHARE,
    INELIGIBLE,
    LEVERAGED,
    BY_TYPE,
    BROKEN_FUND,
    HOUSE,
    SAME_SECURITY,
    CONVERTIBLE_HEDGE,
    NAKED,
    NAKED_MINIMUM,
    VALUED,
    STRADDLE,
    COVERED_CALL,
    COVERED_PUT,
    PROTECTIVE_PUT,
    PROTECTIVE_CALL,
    CONVERSION,
    COLLAR,
    COLLAR_AT_CALL,
    REVERSE_CONVERSION,
    BOX,
    SPREAD,
    CLASS_GROUP,
    PRODUCT_GROUP,
    MINIMUM,
    INELIGIBLE_LONG,
    INELIGIBLE_SHORT,
    CONVERTIBLE_EXCESS,
    WIDER_RANGE,
    RISKIEST,
    EXPECTED_RANGE,
    AT_MARKET,
    CONCENTRATION,
    ISSUER_LONG,
    ISSUER_SHORT,
    LIQUIDITY,
    OWNERSHIP,
    SECTOR,
) = range(len(RULES))
#: From here on it is an add-on of the house, beside maintenance.
ADDONS = CONCENTRATION


@dataclass(frozen=True, slots=True)
class Lines:
    """m lines.

    Attributes:
      account: (m,) place in the block.
      rule: (m,) place of RULES.
      requirement, equity: (m,) ticks; what the line adds to equity beside cash.
      starts: (m + 1,) first member of each line.
      positions, units: (members,) place of a position in the block, and how much of it, signed, in units of its own.
    """

    account: Ints
    rule: Ints
    requirement: Floats
    equity: Floats
    starts: Ints
    positions: Ints
    units: Floats

    @classmethod
    def each(
        cls, account: Ints, rule: Ints, requirement: Floats, equity: Floats, positions: Ints, units: Floats
    ) -> Lines:
        """Lines of a position each."""
        return cls(account, rule, requirement, equity, np.arange(len(account) + 1), positions, units)

    @classmethod
    def grouped(
        cls, line: Ints, positions: Ints, units: Floats, account: Ints, rule: Ints, requirement: Floats, equity: Floats
    ) -> Lines:
        """Lines of which each member says its own, in any order."""
        order = np.argsort(line, kind="stable")
        starts = np.append(0, np.cumsum(np.bincount(line, minlength=len(account))))
        return cls(account, rule, requirement, equity, starts, positions[order], units[order])

    def at(self, chosen: NDArray) -> Lines:
        """Those chosen."""
        counts = np.diff(self.starts)[chosen]
        members = runs(self.starts[:-1][chosen], counts)
        return Lines(
            account=self.account[chosen],
            rule=self.rule[chosen],
            requirement=self.requirement[chosen],
            equity=self.equity[chosen],
            starts=np.append(0, np.cumsum(counts)),
            positions=self.positions[members],
            units=self.units[members],
        )

    def sums(self, amounts: Floats, accounts: int) -> Floats:
        """(accounts,) the sums of (m,) amounts, whole ticks, of each account's lines."""
        return np.bincount(self.account, amounts, minlength=accounts).astype(np.float64, copy=False)

    def margin(self, cash: Floats) -> tuple[Floats, Floats]:
        """(n,) ticks of equity and of requirement of the accounts that have so much cash, (n,) ticks."""
        return cash + self.sums(self.equity, len(cash)), self.sums(self.requirement, len(cash))

    def members(self, line: int) -> tuple[Ints, Floats]:
        """Positions and units of a line."""
        span = slice(self.starts[line], self.starts[line + 1])
        return self.positions[span], self.units[span]


def joined_lines(parts: list[Lines]) -> Lines:
    """The lines of all the parts, one part after another."""
    column: Callable[[str], Any] = lambda name: np.concatenate([getattr(part, name) for part in parts])  # noqa: E731
    counts = np.concatenate([np.diff(part.starts) for part in parts])
    return Lines(
        account=column("account"),
        rule=column("rule"),
        requirement=column("requirement"),
        equity=column("equity"),
        starts=np.append(0, np.cumsum(counts)),
        positions=column("positions"),
        units=column("units"),
    )
