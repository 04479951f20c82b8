"""Terms: what the symbols of a market are, as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from risk.amounts import Floats, Ints
from risk.columns import Columns
from risk.rulebook import Rulebook
from schemas.inputs import Class, Instrument, Type

#: What a symbol may be, and what underlies it: FINRA 4210(f)(2)(E) and (g)(2)(F) tell the classes apart.
TYPES: tuple[str, ...] = get_args(Type)
CLASSES: tuple[str, ...] = get_args(Class)
(STOCK, ETF, ETN, INDEX, OPTION, CONVERTIBLE, WARRANT, SECURITY_FUTURE, MONEY_MARKET, EXEMPT_FUND) = range(len(TYPES))

_MICROSECONDS_A_YEAR = 365 * 86_400_000_000


@dataclass(frozen=True, slots=True)
class Terms(Columns):
    """s symbols.

    Attributes:
      type: (s,) places of TYPES.
      underlying: (s,) row of the symbol that it derives from, in a part of the columns too one of the whole; its own
        where it derives from none.
      right: (s,) 1.0 for a call, -1.0 for a put, 0.0 for no option.
      strike: (s,) dollars.
      expiry: (s,) microseconds.
      multiplier: (s,) units of the underlying in a contract; of what is no option 1.0.
      conversion: (s,) units of the underlying that a unit is exchanged for; of what is not convertible 1.0.
      american: (s,) whether an option may be exercised early.
      instrument_class: (s,) places of CLASSES.
      leverage: (s,) factor of a leveraged product; negative for an inverse one.
      eligible: (s,) whether it is a margin security.
      average_daily_volume, shares_outstanding: (s,) units; NaN: not known.
      sector: (s,) a number for each; -1: not known.
      dividend_yield: (s,) a year, continuous.
      points_class: (s,) places of CLASSES, of the class group.
      class_group, product_group: (s,) numbers; those of portfolio margin that net, and that offset. A product group of
        -1 has no offsets.
      expected_range: (s,) of the class group, see PortfolioRules; 0.0: none.
      house_rate: (s,) that the house asks for at least of what is no option; 0.0: none of its own.
      beta: (s,) to SPY; of a derivative that of what underlies it.
      price: (s,) dollars; NaN: none.
      volatility: (s,) implied, a year; NaN: not told.
    """

    type: NDArray[np.int8]
    underlying: Ints
    right: Floats
    strike: Floats
    expiry: Ints
    multiplier: Floats
    conversion: Floats
    american: NDArray[np.bool_]
    instrument_class: NDArray[np.int8]
    leverage: Floats
    eligible: NDArray[np.bool_]
    average_daily_volume: Floats
    shares_outstanding: Floats
    sector: Ints
    dividend_yield: Floats
    points_class: NDArray[np.int8]
    class_group: Ints
    product_group: Ints
    expected_range: Floats
    house_rate: Floats
    beta: Floats
    price: Floats
    volatility: Floats

    def without_spot(self, rows: Ints) -> NDArray[np.bool_]:
        """(rows,) whether each derives from a symbol that has no price: then it cannot be margined."""
        below = self.underlying.take(rows)
        return (below != rows) & np.isnan(self.price.take(below))


def years_until(expiry: Ints, instant: int) -> Floats:
    """(n,) years of 365 days from the instant to each expiry, microseconds; 0 once it is past."""
    return np.maximum(expiry - instant, 0) / _MICROSECONDS_A_YEAR


def expires_within(expiry: Ints, instant: int, months: int) -> NDArray[np.bool_]:
    """(n,) whether each expiry, microseconds, is on a date no later than so many calendar months after the instant."""
    today = np.datetime64(instant, "us").astype("M8[D]")
    month = today.astype("M8[M]")
    last = (month + months + 1).astype("M8[D]") - np.timedelta64(1, "D")
    # A month may have no such day: then its last day counts.
    limit = min((month + months).astype("M8[D]") + (today - month.astype("M8[D]")), last)
    return expiry.astype("M8[us]").astype("M8[D]") <= limit


_TEXTS = ("underlying", "right", "exercise", "class_group", "product_group", "sector")


def describe(
    instruments: Sequence[Instrument | None],
    rows: Mapping[str, int],
    rules: Rulebook,
    *,
    price: Floats,
    volatility: Floats,
    beta: Floats,
) -> tuple[Terms, list[str]]:
    """The terms of symbols under a rulebook, and the names of their class groups by number.

    Args:
      instruments: (s,) what each symbol is; None is a stock of which nothing else is known.
      rows: row of each symbol, of every underlying too.
      price, volatility, beta: (s,), NaN where there is none; a beta has its default.
    """
    names = list(rows)

    def column(attribute: str, missing: Any = None) -> list:
        found = (None if own is None else getattr(own, attribute) for own in instruments)
        return [missing if value is None else value for value in found]

    text = {name: column(name) for name in _TEXTS}
    classes = [CLASSES.index(name) for name in column("instrument_class", CLASSES[0])]
    leverage, yields = column("leverage", 1.0), column("dividend_yield", 0.0)
    underlying = [rows[found or name] for name, found in zip(names, text["underlying"], strict=True)]
    # What an option says of its underlying counts where that says nothing itself.
    for row, below in enumerate(underlying):
        classes[below] = classes[below] or classes[row]
        leverage[below] = leverage[row] if leverage[below] == 1.0 else leverage[below]
        yields[below] = yields[below] or yields[row]
    portfolio, house = rules.portfolio, rules.house
    sectors = {name: place for place, name in enumerate(sorted(set(filter(None, text["sector"]))))}
    offsets = sorted(portfolio.product_offsets) if portfolio else []
    groups, group_class, products = [], [], []
    for below in underlying:
        name = names[below]
        group = text["class_group"][below] or (portfolio.class_groups.get(name, name) if portfolio else name)
        product = text["product_group"][below] or (portfolio.product_group_of.get(group) if portfolio else None)
        by_group = portfolio.class_of_group.get(group) if portfolio else None
        groups.append(group)
        group_class.append(CLASSES.index(by_group) if by_group else classes[below])
        products.append(offsets.index(product) if product in offsets else -1)
    known = sorted(set(groups))
    number = {name: place for place, name in enumerate(known)}
    own_rows = np.array(underlying, np.int64)
    terms = Terms(
        type=np.array([TYPES.index(name) for name in column("type", TYPES[0])], np.int8),
        underlying=own_rows,
        right=np.array([{"CALL": 1.0, "PUT": -1.0}.get(right, 0.0) for right in text["right"]]),
        strike=np.array(column("strike", 0.0)),
        expiry=np.array(column("expiry", 0), np.int64),
        multiplier=np.array(column("multiplier", 1.0)),
        conversion=np.array(column("conversion_ratio", 1.0)),
        american=np.array([style != "EUROPEAN" for style in text["exercise"]]),
        instrument_class=np.array(classes, np.int8),
        leverage=np.array(leverage),
        eligible=np.array(column("margin_eligible", True), np.bool_),
        average_daily_volume=np.array(column("average_daily_volume", np.nan)),
        shares_outstanding=np.array(column("shares_outstanding", np.nan)),
        sector=np.array([sectors.get(name, -1) for name in text["sector"]], np.int64),
        dividend_yield=np.array(yields)[own_rows],
        points_class=np.array(group_class, np.int8),
        class_group=np.array([number[name] for name in groups], np.int64),
        product_group=np.array(products, np.int64),
        expected_range=np.array(
            [portfolio.expected_ranges.get(name, portfolio.expected_range) if portfolio else 0.0 for name in groups]
        ),
        house_rate=np.array([house.symbol_rates.get(name, 0.0) for name in names]),
        beta=beta[own_rows],
        price=price,
        volatility=volatility,
    )
    return terms, known
