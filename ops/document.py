"""The document of one account: what `margin calc` reads, checked field by field.

Amounts are dollars, quantities units, rates, moves and volatilities fractions a year or of value.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import pydantic

from risk.ledger import cash_effect
from schemas.errors import UserError
from schemas.inputs import Class, Type
from schemas.scalars import Money, Quantity, Time, decode_scalar

NEW_YORK = ZoneInfo("America/New_York")


class PortfolioError(UserError, ValueError):
    """A document that cannot be calculated; each line names a field, what was expected and what was found."""


def _scalar(kind: type) -> pydantic.BeforeValidator:
    return pydantic.BeforeValidator(lambda value: int(decode_scalar(kind, value)))


def _moment(value: Any) -> int:
    """A time; a date alone is the close of New York on it."""
    try:
        day = value if type(value) is dt.date else dt.date.fromisoformat(value)
    except (TypeError, ValueError):
        return int(decode_scalar(Time, value))
    return int(Time.parse(dt.datetime.combine(day, dt.time(16), NEW_YORK)))


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


#: Names are read in either case.
Upper = pydantic.BeforeValidator(_upper)
Micros = Annotated[int, pydantic.BeforeValidator(_moment)]
Ticks = Annotated[int, _scalar(Money)]
Millionths = Annotated[int, _scalar(Quantity)]
Finite = Annotated[float, pydantic.Field(allow_inf_nan=False)]
Positive = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]
Rate = Annotated[float, pydantic.Field(ge=0, le=10, allow_inf_nan=False)]


class Account(pydantic.BaseModel, extra="forbid"):
    """The account's regime and its trade-date cash: a debit is negative, short-sale proceeds are included."""

    margin_type: Annotated[Literal["STRATEGY", "PORTFOLIO"], Upper] = "STRATEGY"
    cash: Ticks = 0


class Instrument(pydantic.BaseModel, extra="forbid"):
    """What a symbol is and what it is worth. Without a price it is excluded, without a beta it takes the default.

    An option is of 100 units unless it says otherwise; it is European on an index and American on all else.
    """

    type: Annotated[Type, Upper] = "STOCK"
    price: NotNegative | None = None
    beta: Finite | None = None
    instrument_class: Class = pydantic.Field("equity", alias="class")
    leverage: Finite = 1.0
    margin_eligible: bool = True
    average_daily_volume: Positive | None = None
    shares_outstanding: Positive | None = None
    sector: str | None = None
    implied_volatility: Positive | None = None
    dividend_yield: Rate | None = None
    underlying: str | None = None
    right: Annotated[Literal["CALL", "PUT"] | None, Upper] = None
    strike: Positive | None = None
    expiry: Micros | None = None
    multiplier: Positive | None = None
    exercise: Annotated[Literal["AMERICAN", "EUROPEAN"] | None, Upper] = None
    conversion_ratio: Positive | None = None
    class_group: str | None = None
    product_group: str | None = None

    @pydantic.model_validator(mode="after")
    def _whole(self) -> Instrument:
        if self.type == "OPTION":
            missing = [name for name in ("underlying", "right", "strike", "expiry") if getattr(self, name) is None]
            if missing:
                raise ValueError(f"an option needs {', '.join(missing)}")
        elif self.price == 0:
            raise ValueError("price: expected above 0; only an option may be worth nothing")
        elif self.type == "CONVERTIBLE" and (self.underlying is None or self.conversion_ratio is None):
            raise ValueError("a convertible needs underlying and conversion_ratio")
        return self

    @property
    def size(self) -> float:
        """Units in one."""
        return self.multiplier or (100.0 if self.type == "OPTION" else 1.0)


#: What it has of a record of instruments.v1 by the same name.
SHARED = (
    "type",
    "underlying",
    "strike",
    "right",
    "class_group",
    "product_group",
    "leverage",
    "margin_eligible",
    "average_daily_volume",
    "sector",
    "instrument_class",
    "shares_outstanding",
    "dividend_yield",
    "conversion_ratio",
)


class Position(pydantic.BaseModel, extra="forbid"):
    """Units or contracts held, signed: long positive, short negative."""

    symbol: str
    quantity: Millionths


class House(pydantic.BaseModel, extra="forbid"):
    """House maintenance rates: by side, and by symbol."""

    long_rate: Rate | None = None
    short_rate: Rate | None = None
    rates: dict[str, Rate] = {}


class WhatIf(pydantic.BaseModel, extra="forbid"):
    """A supposed fill (quantity at price, paid from cash) or, without a quantity, a supposed price or volatility."""

    symbol: str
    price: Positive | None = None
    quantity: Millionths | None = None
    implied_volatility: Positive | None = None

    @pydantic.model_validator(mode="after")
    def _something(self) -> WhatIf:
        if self.price is None and (self.quantity is not None or self.implied_volatility is None):
            raise ValueError("expected a price, or a volatility alone")
        return self


class Transaction(pydantic.BaseModel, extra="forbid"):
    """What happened during the day: a fill (symbol, quantity, price), or cash in or out (amount).

    executed_at decides the order; without it the worst one is assumed.
    """

    symbol: str | None = None
    quantity: Millionths | None = None
    price: Positive | None = None
    amount: Ticks | None = None
    executed_at: Micros | None = None

    @pydantic.model_validator(mode="after")
    def _either(self) -> Transaction:
        fill = [value is not None for value in (self.symbol, self.quantity, self.price)]
        if not (all(fill) and self.amount is None) and not (not any(fill) and self.amount is not None):
            raise ValueError("expected symbol, quantity and price, or amount alone")
        return self


class Portfolio(pydantic.BaseModel, extra="forbid"):
    """The document. as_of is the evaluation instant; the figures are a pure function of the document.

    Positions and cash are those before the transactions of the day and before the what-ifs, which follow in this order.
    theoretical_values: by symbol, what a unit of the underlying is worth, dollars, at each valuation point of portfolio
    margin, the lowest point first, in place of what the model says.
    """

    rulebook: str = "seed"
    as_of: Micros = 0
    account: Account = Account()
    instruments: dict[str, Instrument] = {}
    positions: list[Position] = []
    house: House = House()
    market: dict[Literal["risk_free_rate"], Finite | None] = {}
    theoretical_values: dict[str, list[Finite]] = {}
    transactions: list[Transaction] = []
    what_if: list[WhatIf] = []

    def instrument(self, symbol: str, where: str) -> Instrument:
        """What a symbol is. Raises PortfolioError that names where it was used."""
        found = self.instruments.get(symbol)
        if found is None:
            raise PortfolioError(f"{where}: expected a symbol described under instruments, found {symbol}")
        return found

    def fill(self, symbol: str, quantity: int, price: float) -> None:
        """Book a fill, in millionths: what it closes first; trade-date cash; a price where there was none."""
        instrument = self.instruments[symbol]
        own = [position for position in self.positions if position.symbol == symbol]
        against = next((position for position in own if position.quantity * quantity < 0), None)
        into = against or next(iter(own), None)
        if into is None:
            self.positions.append(Position(symbol=symbol, quantity=0))
            into = self.positions[-1]
        into.quantity += quantity
        self.account.cash += cash_effect(round(quantity * instrument.size), price, 0)
        # As in the graph: what has no quote is valued at its last fill.
        instrument.price = price if instrument.price is None else instrument.price


def parse(document: dict[str, Any]) -> Portfolio:
    """The document as a model. Raises PortfolioError."""
    try:
        return Portfolio.model_validate(document)
    except pydantic.ValidationError as error:
        lines = []
        for problem in error.errors():
            where = ".".join(str(part) for part in problem["loc"]) or "document"
            found = "" if problem["type"] in ("missing", "value_error") else f", found {problem['input']!r}"
            lines.append(f"{where}: {problem['msg'].removeprefix('Value error, ')}{found}")
        raise PortfolioError("\n".join(lines)) from error


def supposed(text: str) -> dict[str, Any]:
    """A what-if as it is written on a command line: `-50 AAPL @ 249.5`, `AAPL @ 240`, or `AAPL vol 0.4`.

    Raises:
      PortfolioError: anything else.
    """
    match text.split():
        case [quantity, symbol, "@", price]:
            return {"symbol": symbol, "quantity": quantity, "price": price}
        case [symbol, "@", price]:
            return {"symbol": symbol, "price": price}
        case [symbol, "vol", volatility]:
            return {"symbol": symbol, "implied_volatility": volatility}
    raise PortfolioError(f"what-if: expected '-50 AAPL @ 249.5', 'AAPL @ 240' or 'AAPL vol 0.4', found {text!r}")
