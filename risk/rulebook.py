"""A rulebook: every number that a rule or a policy sets, as loaded from conf/rules with its citation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np

from risk.amounts import TICKS_PER_DOLLAR, Floats
from schemas.inputs import Class, Type

#: Of each type of symbol, or of each class of underlying, what a rule says; the names are those of risk.terms.
ByName = Mapping[str, float]

#: What underlies an option, and what a symbol may be.
_CLASSES, _TYPES = frozenset(get_args(Class)), frozenset(get_args(Type))

#: (up to and including, rate) with rising bounds; the last bound is infinite.
Tiers = tuple[tuple[float, float], ...]


def _check_classes(where: str, named: Mapping[str, Any], *, every: bool = True) -> None:
    if named.keys() - _CLASSES or (every and _CLASSES - named.keys()):
        raise ValueError(f"{where}: expected {', '.join(sorted(_CLASSES))}, found {', '.join(sorted(named))}")


@dataclass(frozen=True, slots=True)
class StockRules:
    """Maintenance of what is no option, FINRA 4210(c) and (e)(1). Dollars a share, or fractions of value."""

    low_price: float
    low_price_per_share: float
    low_price_rate: float
    per_share: float
    ineligible_rate: float
    leveraged_cap: float
    same_security_rate: float
    convertible_rate: float
    type_rates: ByName
    broken_fund_rate: float

    def __post_init__(self) -> None:
        unknown = self.type_rates.keys() - _TYPES
        if unknown:
            raise ValueError(f"stock.type_rates: expected types of instruments, found {', '.join(sorted(unknown))}")


@dataclass(frozen=True, slots=True)
class OptionRules:
    """Maintenance of listed options and their offsets, FINRA 4210(f)(2).

    Fields:
      rates, minimums: of the underlying's value (a put's minimum: of its aggregate exercise price), by class.
      valued_after: months to expiry beyond which a long option may be given value, at valued_rate.
      hedge_rate, collar_rate: of the aggregate exercise price. box_rate: of the difference between two of them.
    """

    rates: ByName
    minimums: ByName
    valued_after: int
    valued_rate: float
    hedge_rate: float
    collar_rate: float
    box_rate: float

    def __post_init__(self) -> None:
        _check_classes("options.rates", self.rates)
        _check_classes("options.minimums", self.minimums)


@dataclass(frozen=True, slots=True)
class InitialRules:
    """Regulation T, 12 CFR 220.12, and the minimum equity of FINRA 4210(b)(4) in dollars."""

    long_rate: float
    short_rate: float
    minimum_equity: float


@dataclass(frozen=True, slots=True)
class PortfolioRules:
    """Portfolio margin, FINRA 4210(g).

    Fields:
      points: the valuation points of each class of underlying, fractions of its price, the lowest first.
      minimum_per_unit: dollars, times the multiplier, of each option contract.
      convertible_rate: of what a convertible is worth beyond what it converts into.
      ineligible_long_rate, ineligible_short_rate: of what is no margin security.
      class_groups: symbol -> the class group that it belongs to, where that is not named for its underlying.
      class_of_group, product_group_of: of a class group. product_offsets: of a product group, the share of a gain that
        another class group's loss at the same point may be reduced by.
      minimum_equity: dollars that an account must have, by how it is monitored.
      stress_range, riskiest_range, riskiest, rest_range: house overlays: a wider range for all class groups, and a
        range for so many of the riskiest beside another for the rest. Zero: none.
      expected_range, expected_ranges: the move of a day that the house expects of a class group, and of some by name:
        its range where such a move takes all of the account's equity. Zero: none.
    """

    points: Mapping[str, tuple[float, ...]]
    minimum_per_unit: float
    convertible_rate: float
    ineligible_long_rate: float
    ineligible_short_rate: float
    class_groups: Mapping[str, str]
    class_of_group: Mapping[str, str]
    product_group_of: Mapping[str, str]
    product_offsets: ByName
    minimum_equity: ByName
    stress_range: float = 0.0
    riskiest_range: float = 0.0
    riskiest: int = 0
    rest_range: float = 0.0
    expected_range: float = 0.0
    expected_ranges: ByName = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_classes("portfolio.points", self.points)
        _check_classes("portfolio.class_of_group", dict.fromkeys(self.class_of_group.values()), every=False)
        lengths = {len(points) for points in self.points.values()}
        if len(lengths) != 1:
            raise ValueError(f"portfolio.points: expected as many for every class, found {sorted(lengths)}")
        unknown = set(self.product_group_of.values()) - self.product_offsets.keys()
        if unknown:
            raise ValueError(f"portfolio.product_offsets: expected one for {', '.join(sorted(unknown))}, found none")


@dataclass(frozen=True, slots=True)
class IntradayRules:
    """Intraday margin, FINRA 4210(d)(2). Shares of equity, dollars, business days, calendar days.

    cash_first: whether deposits and withdrawals of a day count as made at its start, as (d)(2)(B) lets a firm choose.
    house: whether what the house asks for beyond the rule counts.
    """

    minor_share: float
    minor_amount: float
    capital_days: int
    outstanding_days: int
    restriction_days: int
    cash_first: bool
    house: bool


@dataclass(frozen=True, slots=True)
class CallRules:
    """Calls by their type, see risk.calls.

    Fields:
      due: sessions after the one that a call is of, at whose close it is due. cures: what covers a call.
      minor: dollars; a call of no more is not made.
      close_delay: seconds after a session's close at which its official closes are in.
      liquidations, failures: so many calls met by liquidation, or intraday deficits not met when due, in period_days,
        and the account is restricted for restriction_days; calendar days.
    """

    due: Mapping[str, int]
    cures: Mapping[str, tuple[str, ...]]
    minor: ByName
    close_delay: int
    liquidations: int
    failures: int
    period_days: int
    restriction_days: int


@dataclass(frozen=True, slots=True)
class LiquidationRules:
    """How a liquidation is sized and sold, see risk.liquidation.

    Fields:
      buffer: share of the requirement that equity is to be above it after.
      cost_rate, cost_per_order: of what is traded, and dollars an order. lot: units of stock that are traded together.
      volume_share: of a day's average volume that an order may be. price_band: share of its price that a limit is off.
      cooldown: seconds between two proposals of an account. automatic: whether a proposal needs no approval.
      spread: seconds over which proposals of accounts that become due at one time come.
    """

    buffer: float
    cost_rate: float
    cost_per_order: float
    lot: int
    volume_share: float
    price_band: float
    cooldown: int
    spread: int
    automatic: bool

    def cost(self, values: Floats) -> Floats:
        """What it costs to trade values above zero, an order each; ticks."""
        return np.rint(values * self.cost_rate) + np.rint(self.cost_per_order * TICKS_PER_DOLLAR)


@dataclass(frozen=True, slots=True)
class HouseRules:
    """What a firm asks for beyond FINRA's minimum: rates that a position must at least be margined at, and add-ons.

    Fields:
      long_rate, short_rate, symbol_rates, account_rates: fractions of value. price_rates: by the price of a share.
      issuer_long, issuer_short: add-on by an issuer's share of gross value. liquidity: by days of average volume.
      ownership: by share of what is outstanding. sector: by a sector's share of gross value, where no issuer is above
        sector_unless.
      debit_above: dollars of debit below which no add-on is charged.
    """

    long_rate: float = 0.0
    short_rate: float = 0.0
    symbol_rates: ByName = field(default_factory=dict)
    account_rates: ByName = field(default_factory=dict)
    price_rates: Tiers = ()
    issuer_long: Tiers = ()
    issuer_short: Tiers = ()
    liquidity: Tiers = ()
    ownership: Tiers = ()
    sector: Tiers = ()
    sector_unless: float = 1.0
    debit_above: float = 0.0

    def __post_init__(self) -> None:
        for name in ("price_rates", "issuer_long", "issuer_short", "liquidity", "ownership", "sector"):
            bounds = [bound for bound, _ in getattr(self, name)]
            if bounds != sorted(bounds) or (bounds and bounds[-1] != float("inf")):
                raise ValueError(f"house.{name}: expected rising bounds and .inf as the last one, found {bounds}")


@dataclass(frozen=True, slots=True)
class Rulebook:
    """One version of the rules. Rates and shares are fractions, moves are fractions of price, times are seconds, of a
    beta days.

    A book without option rules has one rate a side for everything, as the seed has; without portfolio rules its grid
    is tims_moves for everything.
    """

    name: str
    version: str
    effective_at: int
    long_rate: float
    short_rate: float
    concentration_threshold: float
    concentration_rate: float
    default_beta: float
    spy_moves: tuple[float, ...]
    tims_moves: tuple[float, ...]
    severe_move: float
    stale_after: int
    max_stale_share: float
    warning_entry: float
    warning_release: float
    call_release: float
    restriction_release: float
    persist: int
    call_due_sessions: int
    publish_move: float
    heartbeat: int
    firm_interval: int
    risk_free_rate: float = 0.0
    beta_stale_after: int = 36_500
    stock: StockRules | None = None
    options: OptionRules | None = None
    initial: InitialRules | None = None
    portfolio: PortfolioRules | None = None
    intraday: IntradayRules | None = None
    calls: CallRules | None = None
    liquidation: LiquidationRules | None = None
    house: HouseRules = HouseRules()

    def __post_init__(self) -> None:
        if self.severe_move not in self.spy_moves:
            raise ValueError(f"severe_move: expected one of spy_moves {self.spy_moves}, found {self.severe_move}")
        if not 0 <= self.warning_entry <= self.warning_release:
            raise ValueError("warning_release: expected at or above warning_entry, or an account would flap")
        if not 0 <= self.call_release <= self.warning_release:
            raise ValueError("call_release: expected between 0 and warning_release")
        if self.long_rate <= 0 or self.short_rate <= 0:
            raise ValueError("long_rate, short_rate: expected above 0")
        if self.heartbeat < 1 or self.firm_interval < 1:
            raise ValueError("heartbeat, firm_interval: expected at least a second")
        if (self.stock is None) != (self.options is None):
            raise ValueError("stock, options: expected both or neither")
        if self.liquidation and self.liquidation.buffer < self.call_release:
            raise ValueError(
                f"liquidation.buffer: expected call_release {self.call_release:g} or more, or a call outlasts what "
                f"is sold for it, found {self.liquidation.buffer:g}"
            )
        points = next(iter(self.portfolio.points.values()), ()) if self.portfolio else self.tims_moves
        if len(points) != len(self.tims_moves):
            raise ValueError(
                f"tims_moves: expected {len(points)} as portfolio.points has, found {len(self.tims_moves)}"
            )

    @property
    def label(self) -> str:
        """name@version, as published with every figure."""
        return f"{self.name}@{self.version}"


def rulebook_at(books: tuple[Rulebook, ...], instant: int) -> Rulebook:
    """The newest version with effective_at <= instant (microseconds); the oldest one before any is effective."""
    current = books[0]
    for book in books:
        if book.effective_at <= instant:
            current = book
    return current
