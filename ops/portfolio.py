"""One account as a document, through the same measures as the graph: what `margin calc FILE` takes and gives.

Amounts in and out are dollars, quantities units, rates, moves and volatilities fractions. Strategy-based figures are
given for every margin type, as the graph does; portfolio margin stands beside them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import pydantic

from pipeline.configuration import ConfigurationError
from pipeline.rules import load_rulebook, sources_of
from risk.amounts import TICKS_PER_DOLLAR
from risk.block import AccountBlock
from risk.ledger import cash_effect
from risk.margin import itemize_margin
from risk.rulebook import Rulebook
from risk.stress import run_stress
from risk.tims import run_tims
from schemas.errors import UserError
from schemas.scalars import EXACT_LIMIT, QUANTITY_SCALE, Money, Quantity, Time, decode_scalar


class PortfolioError(UserError, ValueError):
    """A document that cannot be calculated; each line names a field, what was expected and what was found."""


def _scalar(kind: type) -> pydantic.BeforeValidator:
    return pydantic.BeforeValidator(lambda value: int(decode_scalar(kind, value)))


Micros = Annotated[int, _scalar(Time)]
Ticks = Annotated[int, _scalar(Money)]
Millionths = Annotated[int, _scalar(Quantity)]
Finite = Annotated[float, pydantic.Field(allow_inf_nan=False)]
Positive = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
Rate = Annotated[float, pydantic.Field(ge=0, le=10, allow_inf_nan=False)]


_MARGIN = ("equity", "long_market_value", "short_market_value", "excess")
_ABSENT = {
    "initial_requirement": "has no initial margin rule",
    "reg_t_excess": "has no Regulation T rule",
    "pairings": "has no offset or strategy rules: every position stands alone",
    "intraday": "has no intraday margin rule",
}


class Account(pydantic.BaseModel, extra="forbid"):
    """The account's regime and its trade-date cash: a debit is negative, short-sale proceeds are included."""

    margin_type: Literal["STRATEGY", "PORTFOLIO"] = "STRATEGY"
    cash: Ticks = 0


class Instrument(pydantic.BaseModel, extra="forbid"):
    """What a symbol is and what it is worth. Without a price it is excluded, without a beta it takes the default."""

    type: Literal["STOCK", "ETF", "INDEX", "OPTION"] = "STOCK"
    price: Positive | None = None
    beta: Finite | None = None
    instrument_class: Literal["equity", "narrow_index", "broad_index", "high_cap_broad_index"] = pydantic.Field(
        "equity", alias="class"
    )
    leverage: Finite = 1.0
    margin_eligible: bool = True
    average_daily_volume: Positive | None = None
    shares_outstanding: Positive | None = None
    sector: str | None = None
    implied_volatility: Positive | None = None
    dividend_yield: Rate | None = None
    underlying: str | None = None
    right: Literal["CALL", "PUT"] | None = None
    strike: Positive | None = None
    expiry: Micros | None = None
    multiplier: Positive = 1.0
    exercise: Literal["AMERICAN", "EUROPEAN"] | None = None


class Position(pydantic.BaseModel, extra="forbid"):
    """Units held, signed: long positive, short negative."""

    symbol: str
    quantity: Millionths


class House(pydantic.BaseModel, extra="forbid"):
    """House maintenance rates: by side, and by symbol."""

    long_rate: Rate | None = None
    short_rate: Rate | None = None
    rates: dict[str, Rate] = {}


class WhatIf(pydantic.BaseModel, extra="forbid"):
    """A supposed fill (quantity at price, paid from cash) or, without a quantity, a supposed price."""

    symbol: str
    price: Positive
    quantity: Millionths | None = None


class Portfolio(pydantic.BaseModel, extra="forbid"):
    """The document. as_of is the evaluation instant; the figures are a pure function of the document."""

    rulebook: str = "seed"
    as_of: Micros = 0
    account: Account = Account()
    instruments: dict[str, Instrument] = {}
    positions: list[Position] = []
    house: House = House()
    market: dict[Literal["risk_free_rate"], Finite | None] = {}
    what_if: list[WhatIf] = []


def calculate(document: dict[str, Any]) -> dict[str, Any]:
    """Margin, stress and portfolio margin of a document; a null figure has its reason under `reasons`.

    docs/rules/seed.md works examples by hand; tests/risk runs each of them through this function.

    Raises:
      PortfolioError: a document that is malformed, or that holds what its rulebook has no rule for.
    """
    portfolio = _parse(document)
    try:
        rules = load_rulebook(portfolio.rulebook)
    except ConfigurationError as error:
        raise PortfolioError(f"rulebook: {error}") from error
    held = _held(portfolio)
    _refuse(portfolio, held, rules)
    symbols = sorted(held)
    block = _block(portfolio, held, symbols, rules, [0, len(symbols)])
    for measure in (itemize_margin, run_stress, run_tims):
        measure(block)
    m: dict[str, Any] = {name: column[..., 0] for name, column in block.measures.items()}
    reasons = _reasons(portfolio, held, rules)
    grid = {"points": list(rules.tims_moves), "pnl": [_dollars(pnl) for pnl in m["tims_pnl"]]}
    # The seed nets the whole account: it is one class group.
    group = {"class_group": "ACCOUNT", **grid, "worst_loss": _dollars(m["worst_loss"])}
    return {
        "rulebook": rules.label,
        "as_of": Time(portfolio.as_of).text(),
        **{name: _dollars(m[name]) for name in _MARGIN},
        "maintenance_requirement": _dollars(m["maintenance"]),
        "concentration_addon": _dollars(m["addon"]),
        "deficiency": _dollars(max(0.0, -m["excess"])),
        **dict.fromkeys(_ABSENT),
        "trigger": _trigger(block, reasons),
        "lines": _lines(portfolio, held, rules, float(m["addon"])),
        "stress": _stress(m, rules),
        "portfolio_margin": {
            "requirement": _dollars(-m["worst_loss"]),
            "minimum_charge": None,
            "class_groups": [group],
        },
        "excluded": [s for s, unpriced in zip(symbols, block.unpriced, strict=True) if unpriced],
        "defaulted": [s for s, defaulted in zip(symbols, block.defaulted, strict=True) if defaulted],
        "reasons": reasons,
    }


def _parse(document: dict[str, Any]) -> Portfolio:
    try:
        return Portfolio.model_validate(document)
    except pydantic.ValidationError as error:
        lines = []
        for problem in error.errors():
            where = ".".join(str(part) for part in problem["loc"]) or "document"
            found = "" if problem["type"] in ("missing", "value_error") else f", found {problem['input']!r}"
            lines.append(f"{where}: {problem['msg'].removeprefix('Value error, ')}{found}")
        raise PortfolioError("\n".join(lines)) from error


def _held(portfolio: Portfolio) -> dict[str, int]:
    """Millionths by symbol after the what-ifs, which also move the cash and the prices of the (own) portfolio."""
    held: dict[str, int] = {}
    for at, position in enumerate(portfolio.positions):
        _known(portfolio, position.symbol, f"positions.{at}.symbol")
        if position.symbol in held:
            raise PortfolioError(f"positions.{at}.symbol: expected each symbol once, found {position.symbol} again")
        held[position.symbol] = position.quantity
    for at, event in enumerate(portfolio.what_if):
        instrument = _known(portfolio, event.symbol, f"what_if.{at}.symbol")
        if event.quantity is None:
            instrument.price = event.price
            continue
        held[event.symbol] = held.get(event.symbol, 0) + event.quantity
        portfolio.account.cash += cash_effect(round(event.quantity * instrument.multiplier), event.price, 0)
        # As in the graph: what has no quote is valued at its last fill.
        instrument.price = instrument.price or event.price
    return {symbol: quantity for symbol, quantity in held.items() if quantity}


def _known(portfolio: Portfolio, symbol: str, where: str) -> Instrument:
    instrument = portfolio.instruments.get(symbol)
    if instrument is None:
        raise PortfolioError(f"{where}: expected a symbol described under instruments, found {symbol}")
    return instrument


def _refuse(portfolio: Portfolio, held: dict[str, int], rules: Rulebook) -> None:
    """Raise for what would make a wrong number: options, house rates, amounts beyond exact sums."""
    for symbol in held:
        if portfolio.instruments[symbol].type == "OPTION":
            raise PortfolioError(f"positions: {symbol} is an option, and rulebook {rules.name} has no rule for options")
    house = portfolio.house
    if house.rates or house.long_rate is not None or house.short_rate is not None:
        raise PortfolioError(f"house: rulebook {rules.name} has no house rates; leave the section out")
    gross = sum(abs(_units(portfolio, held, s)) * (portfolio.instruments[s].price or 0.0) for s in held)
    if not gross * TICKS_PER_DOLLAR < EXACT_LIMIT:
        raise PortfolioError(f"positions: expected a gross value below $900 billion, found {gross:,.0f}")


def _units(portfolio: Portfolio, held: dict[str, int], symbol: str) -> float:
    return held[symbol] / QUANTITY_SCALE * portfolio.instruments[symbol].multiplier


def _block(
    portfolio: Portfolio, held: dict[str, int], symbols: list[str], rules: Rulebook, offsets: list[int]
) -> AccountBlock:
    """The symbols as positions; the offsets say which of them share an account."""
    accounts = len(offsets) - 1
    # None becomes NaN.
    price = np.array([portfolio.instruments[s].price for s in symbols], np.float64)
    beta = np.array([portfolio.instruments[s].beta for s in symbols], np.float64)
    return AccountBlock(
        instant=portfolio.as_of,
        rules=rules,
        accounts=np.arange(accounts),
        offsets=np.array(offsets, np.int64),
        symbols=np.arange(len(symbols)),
        quantity=np.array([_units(portfolio, held, s) for s in symbols], np.float64),
        price=np.where(np.isnan(price), 0.0, price),
        beta=np.where(np.isnan(beta), rules.default_beta, beta),
        unreliable=np.isnan(price),
        unpriced=np.isnan(price),
        defaulted=np.isnan(beta),
        cash=np.full(accounts, float(portfolio.account.cash)),
    )


def _lines(portfolio: Portfolio, held: dict[str, int], rules: Rulebook, addon: float) -> list[dict[str, Any]]:
    """What the requirement is made of; the lines sum to it exactly.

    The amounts are those of each position measured as an account of its own, where its weight is 100%. The add-on
    is a threshold on size, so the positions charged are the largest ones, as far as the account's add-on reaches.
    """
    sources = sources_of(portfolio.rulebook)
    symbols = sorted(s for s in held if portfolio.instruments[s].price is not None)
    alone = _block(portfolio, held, symbols, rules, list(range(len(symbols) + 1)))
    itemize_margin(alone)
    charges = alone.measures["maintenance"].tolist(), alone.measures["addon"].tolist()
    lines: list[dict[str, Any]] = []

    def add(symbol: str, rule: str, text: str, ticks: float) -> None:
        quantity = held[symbol] / QUANTITY_SCALE
        line = {"rule": rule, "description": text, "symbols": [symbol], "quantity": quantity}
        lines.append(line | {"requirement": _dollars(ticks)})

    for symbol, ticks in zip(symbols, charges[0], strict=True):
        rule = "short_rate" if held[symbol] < 0 else "long_rate"
        add(symbol, rule, sources[rule], ticks)
    text = f"{sources['concentration_threshold']}; {sources['concentration_rate']}"
    for at in np.argsort(-alone.measures["gross"], kind="stable").tolist():
        if addon > 0:
            add(symbols[at], "concentration_rate", text, charges[1][at])
            addon -= charges[1][at]
    if addon:
        raise RuntimeError(f"expected the lines of the add-on to sum to it, found {addon} ticks left")
    return lines


def _stress(m: dict[str, Any], rules: Rulebook) -> dict[str, Any]:
    scenarios = [
        {
            "move": move,
            "pnl": _dollars(pnl),
            "equity": _dollars(m["equity"] + pnl),
            "excess_fixed": _dollars(m["excess"] + pnl),
            "requirement_restressed": _dollars(again),
            "excess_restressed": _dollars(m["equity"] + pnl - again),
        }
        for move, pnl, again in zip(rules.spy_moves, m["stress_pnl"], m["stress_requirement"], strict=True)
    ]
    return {"beta_weighted_exposure": _dollars(m["exposure"]), "scenarios": scenarios}


def _trigger(block: AccountBlock, reasons: dict[str, str]) -> dict[str, float | None] | None:
    """The market value at which equity equals maintenance, without the add-on (rules.md section 1).

    Long: debit / (1 - m). Short: credit / (1 + m). The price is that value over the units of a single symbol.
    """
    rules, cash, units = block.rules, float(block.cash[0]), block.quantity
    why = None
    if not len(units) or block.unpriced.any():
        why = "needs at least one position, and a price for each"
    elif (units > 0).any() and (units < 0).any():
        why = "long and short positions together have no single trigger value"
    elif units[0] > 0 and cash >= 0:
        why = "no debit: no fall in value causes a maintenance deficiency"
    elif units[0] < 0 and cash <= 0:
        why = "no credit: the short value is deficient at any price"
    if why:
        reasons["trigger"] = why
        return None
    value = -cash / (1 - rules.long_rate) if units[0] > 0 else cash / (1 + rules.short_rate)
    if len(units) > 1:
        reasons["trigger.price"] = "more than one symbol: only the total value has a trigger"
    price = round(value / abs(float(units[0]))) / TICKS_PER_DOLLAR if len(units) == 1 else None
    return {"value": _dollars(round(value)), "price": price}


def _reasons(portfolio: Portfolio, held: dict[str, int], rules: Rulebook) -> dict[str, str]:
    """Why figures are null, and which inputs of held symbols the rulebook does not look at."""
    book = f"rulebook {rules.name}"
    reasons = {name: f"{book} {why}" for name, why in _ABSENT.items()}
    reasons["portfolio_margin.minimum_charge"] = f"{book} has no minimum charge per contract"
    for symbol in sorted(held):
        instrument = portfolio.instruments[symbol]
        for name, plain in (("leverage", 1.0), ("margin_eligible", True)):
            if getattr(instrument, name) != plain:
                reasons[f"instruments.{symbol}.{name}"] = f"not used: {book} has one rate a side"
    return reasons


def _dollars(ticks: float) -> float:
    # Adding zero turns -0.0 into 0.0.
    return float(ticks) / TICKS_PER_DOLLAR + 0.0
