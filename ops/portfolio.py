"""One account as a document, through the same measures as the graph: what `margin calc FILE` takes and gives.

Amounts in and out are dollars, quantities units or contracts, rates, moves and volatilities fractions. The regime of
the account says which requirement and equity are its own; portfolio margin stands beside them in either.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import brentq

from ops.document import SHARED, Portfolio, PortfolioError, parse
from ops.explain import explain, pairings
from ops.intraday import intraday
from ops.theoretical import forget_supposed, published_values, unused_values
from pipeline.configuration import ConfigurationError
from pipeline.rules import load_rulebook, sources_of
from risk import lines
from risk.amounts import TICKS_PER_DOLLAR
from risk.block import AccountBlock
from risk.initial import initial_requirements
from risk.margin import itemize_margin, lines_of
from risk.options import values_at
from risk.rulebook import Rulebook
from risk.stress import run_stress
from risk.terms import OPTION, Terms, describe
from risk.tims import ClassGroups, run_tims
from risk.valuation import contracts_of
from schemas import inputs
from schemas.scalars import EXACT_LIMIT, QUANTITY_SCALE, Time

__all__ = ["PortfolioError", "calculate"]

_MARGIN = ("equity", "long_market_value", "short_market_value", "excess")
Held = list[tuple[str, int]]


@dataclass(frozen=True)
class _Case:
    """A document made ready: what is held, in millionths by symbol, and the rules and columns that value it."""

    portfolio: Portfolio
    rules: Rulebook
    sources: dict[str, str]
    held: Held
    block: AccountBlock
    group_names: list[str]
    theoretical: list[str]

    @property
    def units(self) -> np.ndarray:
        """(p,) units of the underlying in one of each position."""
        return np.array([self.portfolio.instruments[symbol].size for symbol, _ in self.held])


def calculate(document: dict[str, Any]) -> dict[str, Any]:
    """Margin, stress and portfolio margin of a document; a null figure has its reason under `reasons`.

    docs/rules works examples by hand; tests/risk runs each of them through this function.

    Raises:
      PortfolioError: a document that is malformed, or that holds what its rulebook has no rule for.
    """
    portfolio = parse(document)
    rules, sources = _rules(portfolio)
    events: dict[str, list[Any]] = {"transactions": portfolio.transactions, "what_if": portfolio.what_if}
    for part, listed in events.items():
        for at, event in enumerate(listed):
            if event.symbol is not None:
                portfolio.instrument(event.symbol, f"{part}.{at}.symbol")
    during_the_day = intraday(portfolio, lambda own: _case(own, rules, sources).block)
    published = list(portfolio.theoretical_values)
    _suppose(portfolio)
    case = _case(portfolio, rules, sources)
    block = case.block
    found = lines_of(block)
    itemize_margin(block, found)
    for measure in (run_stress, run_tims):
        measure(block)
    m: dict[str, Any] = {name: column[..., 0] for name, column in block.measures.items()}
    reasons = _reasons(case)
    symbols = [symbol for symbol, _ in case.held]
    portfolio_margin = _portfolio_margin(case, m)
    told = [symbol for symbol in published if symbol in symbols]
    reasons |= unused_values(told, portfolio.theoretical_values, portfolio_margin["published_values"])
    unpriced, defaulted = (
        [s for s, is_so in zip(symbols, which, strict=True) if is_so] for which in (block.unpriced, block.defaulted)
    )
    return {
        "rulebook": rules.label,
        "as_of": Time(portfolio.as_of).text(),
        **{name: dollars(m[name]) for name in _MARGIN},
        "maintenance_requirement": dollars(m["maintenance"]),
        "concentration_addon": dollars(m["addon"]),
        "deficiency": dollars(max(0.0, -m["excess"])),
        **_initial(case, found, m, reasons),
        "trigger": _trigger(case, reasons),
        "lines": explain(found, case.units, symbols, case.sources),
        "pairings": pairings(found, block, case.units, symbols) if rules.options else None,
        "intraday": during_the_day,
        "stress": _stress(m, rules),
        "portfolio_margin": portfolio_margin,
        "excluded": list(dict.fromkeys(unpriced)),
        "defaulted": list(dict.fromkeys([*defaulted, *case.theoretical])),
        "reasons": reasons,
    }


def _case(portfolio: Portfolio, rules: Rulebook, sources: dict[str, str]) -> _Case:
    held = _held(portfolio, twice=rules.stock is not None)
    _refuse(portfolio, held, rules)
    terms, names, theoretical = _terms(portfolio, rules)
    rows = {name: row for row, name in enumerate(portfolio.instruments)}
    return _Case(portfolio, rules, sources, held, _block(portfolio, held, rules, terms, rows), names, theoretical)


def _rules(portfolio: Portfolio) -> tuple[Rulebook, dict[str, str]]:
    """The rulebook, with what the document says of the house and of the market, and its citations."""
    try:
        return _with_house(portfolio, load_rulebook(portfolio.rulebook)), sources_of(portfolio.rulebook)
    except ConfigurationError as error:
        raise PortfolioError(f"rulebook: {error}") from error


def _with_house(portfolio: Portfolio, rules: Rulebook) -> Rulebook:
    asked, house = portfolio.house, rules.house
    if rules.stock is None and (asked.rates or asked.long_rate is not None or asked.short_rate is not None):
        raise PortfolioError(f"house: rulebook {rules.name} has no house rates; leave the section out")
    house = replace(
        house,
        long_rate=max(house.long_rate, asked.long_rate or 0.0),
        short_rate=max(house.short_rate, asked.short_rate or 0.0),
        symbol_rates={**house.symbol_rates, **asked.rates},
    )
    rate = portfolio.market.get("risk_free_rate")
    return replace(rules, house=house, risk_free_rate=rules.risk_free_rate if rate is None else rate)


def _held(portfolio: Portfolio, *, twice: bool) -> Held:
    """Positions by symbol; twice: whether a symbol may be held long and short at once."""
    found: dict[tuple[str, bool], int] = {}
    for at, position in enumerate(portfolio.positions):
        portfolio.instrument(position.symbol, f"positions.{at}.symbol")
        side = (position.symbol, twice and position.quantity < 0)
        if side in found:
            raise PortfolioError(f"positions.{at}.symbol: expected each symbol once, found {position.symbol} again")
        found[side] = position.quantity
    return sorted((symbol, quantity) for (symbol, _), quantity in found.items() if quantity)


def _suppose(portfolio: Portfolio) -> None:
    """Apply the what-ifs."""
    for event in portfolio.what_if:
        instrument = portfolio.instruments[event.symbol]
        instrument.implied_volatility = event.implied_volatility or instrument.implied_volatility
        if event.quantity is None:
            instrument.price = event.price or instrument.price
            forget_supposed(portfolio, event.symbol)
        elif event.price is not None:
            portfolio.fill(event.symbol, event.quantity, event.price)


def _refuse(portfolio: Portfolio, held: Held, rules: Rulebook) -> None:
    """Raise for what would make a wrong number: options without rules or terms, amounts beyond exact sums."""
    for symbol, quantity in held:
        instrument = portfolio.instruments[symbol]
        if instrument.type == "OPTION":
            if rules.options is None:
                raise PortfolioError(
                    f"positions: {symbol} is an option, and rulebook {rules.name} has no rule for options"
                )
            if quantity % QUANTITY_SCALE:
                raise PortfolioError(
                    f"positions: expected whole contracts of {symbol}, found {quantity / QUANTITY_SCALE}"
                )
            if not portfolio.as_of:
                raise PortfolioError(f"as_of: expected the evaluation instant, for {symbol} expires; found none")
        if instrument.type == "INDEX":
            raise PortfolioError(
                f"positions: {symbol} is an index, which cannot be held; hold a fund or an option of it"
            )
    for symbol, instrument in portfolio.instruments.items():
        if instrument.underlying is not None:
            portfolio.instrument(instrument.underlying, f"instruments.{symbol}.underlying")
    gross = sum(
        abs(quantity) / QUANTITY_SCALE * portfolio.instruments[s].size * (portfolio.instruments[s].price or 0.0)
        for s, quantity in held
    )
    if not gross * TICKS_PER_DOLLAR < EXACT_LIMIT:
        raise PortfolioError(f"positions: expected a gross value below $900 billion, found {gross:,.0f}")


def _terms(portfolio: Portfolio, rules: Rulebook) -> tuple[Terms, list[str], list[str]]:
    """What the symbols are; the names of their class groups; options whose price is a theoretical value."""
    own = portfolio.instruments
    rows = {name: row for row, name in enumerate(own)}
    index = {name for name, found in own.items() if "index" in found.instrument_class and found.type == "INDEX"}
    records = [
        inputs.Instrument(
            symbol=name,
            multiplier=found.size,
            expiry=None if found.expiry is None else Time(found.expiry),
            exercise=found.exercise or ("EUROPEAN" if found.underlying in index else "AMERICAN"),
            **{field: getattr(found, field) for field in SHARED},
        )
        for name, found in own.items()
    ]
    column = lambda name: np.array([getattr(found, name) for found in own.values()], np.float64)  # noqa: E731
    beta = column("beta")
    terms, names = describe(
        records,
        rows,
        rules,
        price=column("price"),
        volatility=column("implied_volatility"),
        beta=np.where(np.isnan(beta), rules.default_beta, beta),
    )
    without = np.flatnonzero((terms.type == OPTION) & np.isnan(terms.price) & ~np.isnan(terms.volatility))
    what = terms.at(without)
    contracts = contracts_of(what, terms.price[what.underlying], portfolio.as_of, rules.risk_free_rate)
    if len(without):
        terms.price[without] = values_at(contracts, np.zeros(1))[0]
    listed = list(own)
    return terms, names, [listed[row] for row in without.tolist()]


def _block(portfolio: Portfolio, held: Held, rules: Rulebook, terms: Terms, rows: dict[str, int]) -> AccountBlock:
    """The account as a block of one."""
    symbols = np.array([rows[symbol] for symbol, _ in held], np.int64)
    size = np.array([portfolio.instruments[symbol].size for symbol, _ in held])
    price = terms.price[symbols]
    missing = np.isnan(price) | terms.without_spot(symbols)
    underlying = terms.underlying[symbols]
    given = np.array([found.beta is not None for found in portfolio.instruments.values()], np.bool_)
    return AccountBlock(
        instant=portfolio.as_of,
        rules=rules,
        accounts=np.arange(1),
        offsets=np.array([0, len(held)]),
        symbols=symbols,
        quantity=np.array([quantity / QUANTITY_SCALE for _, quantity in held]) * size,
        price=np.where(missing, 0.0, price),
        beta=terms.beta[symbols],
        unreliable=missing,
        unpriced=missing,
        defaulted=~given[underlying] if len(given) else np.zeros(0, np.bool_),
        cash=np.array([float(portfolio.account.cash)]),
        terms=terms,
        portfolio=np.array([portfolio.account.margin_type == "PORTFOLIO" and rules.portfolio is not None]),
        published=published_values(portfolio, rules),
    )


def _initial(case: _Case, found: lines.Lines, m: dict[str, Any], reasons: dict[str, str]) -> dict[str, float | None]:
    names = ("initial_requirement", "reg_t_excess")
    if case.rules.initial is None:
        reasons["initial_requirement"] = f"rulebook {case.rules.name} has no initial margin rule"
        reasons["reg_t_excess"] = f"rulebook {case.rules.name} has no Regulation T rule"
        return dict.fromkeys(names)
    if case.block.portfolio is not None and case.block.portfolio[0]:
        why = "portfolio margin is in place of Regulation T, 12 CFR 220.1(b)(3)(i)"
        reasons |= dict.fromkeys(names, why)
        return dict.fromkeys(names)
    regulation, initial = initial_requirements(case.block, found)
    return dict(zip(names, (dollars(initial[0]), dollars(m["equity"] - regulation[0])), strict=True))


def _stress(m: dict[str, Any], rules: Rulebook) -> dict[str, Any]:
    scenarios = [
        {
            "move": move,
            "pnl": dollars(pnl),
            "equity": dollars(equity),
            "excess_fixed": dollars(m["excess"] + pnl),
            "requirement_restressed": dollars(again),
            "excess_restressed": dollars(excess),
        }
        for move, pnl, equity, again, excess in zip(
            rules.spy_moves, *(m[f"stress_{name}"] for name in ("pnl", "equity", "requirement", "excess")), strict=True
        )
    ]
    return {"beta_weighted_exposure": dollars(m["exposure"]), "scenarios": scenarios}


def _portfolio_margin(case: _Case, m: dict[str, Any]) -> dict[str, Any]:
    rules = case.rules
    if rules.portfolio is None:
        # The seed nets the whole account: it is one class group.
        pnl = [dollars(amount) for amount in m["tims_pnl"]]
        grid: dict[str, Any] = {"points": list(rules.tims_moves), "pnl": pnl, "worst_loss": dollars(m["worst_loss"])}
        group = {"class_group": "ACCOUNT", **grid}
        return {
            "requirement": dollars(-m["worst_loss"]),
            "minimum_charge": None,
            "class_groups": [group],
            "published_values": [],
        }
    grouped = ClassGroups(case.block)
    found = grouped.lines()
    groups = [
        {
            "class_group": case.group_names[group],
            "points": list(rules.portfolio.points[grouped.class_name(place)]),
            "pnl": [dollars(amount) for amount in grouped.pnl[:, place]],
            "worst_loss": dollars(-grouped.losses[place]),
        }
        for place, group in enumerate(grouped.group.tolist())
    ]
    symbols = [symbol for symbol, _ in case.held]
    return {
        "requirement": dollars(-m["worst_loss"]),
        "minimum_charge": dollars(grouped.minimum[0]),
        "minimum_equity": dict(rules.portfolio.minimum_equity),
        "class_groups": groups,
        "published_values": list(dict.fromkeys(symbols[place] for place in grouped.published.tolist())),
        "lines": explain(found, case.units, symbols, case.sources),
    }


def _trigger(case: _Case, reasons: dict[str, str]) -> dict[str, float | None] | None:
    """The market value at which equity equals maintenance, without add-ons (rules.md section 1).

    Long: debit / (1 - m). Short: credit / (1 + m), or by the dollars a share. The price is that value over the units of
    a single symbol.
    """
    block, cash, units = case.block, float(case.block.cash[0]), case.block.quantity
    why = None
    if not len(units) or block.unpriced.any():
        why = "needs at least one position, and a price for each"
    elif block.is_option().any():
        why = "options have no single trigger value"
    elif (units > 0).any() and (units < 0).any():
        why = "long and short positions together have no single trigger value"
    elif units[0] > 0 and cash >= 0:
        why = "no debit: no fall in value causes a maintenance deficiency"
    elif units[0] < 0 and cash <= 0:
        why = "no credit: the short value is deficient at any price"
    if why is None:
        value = _trigger_value(case)
        if value is not None:
            price = round(value / abs(float(units[0]))) / TICKS_PER_DOLLAR if len(units) == 1 else None
            if len(units) > 1:
                reasons["trigger.price"] = "more than one symbol: only the total value has a trigger"
            return {"value": dollars(round(value)), "price": price}
        why = "no change of value, the same for every position, brings equity to the requirement"
    reasons["trigger"] = why
    return None


def _trigger_value(case: _Case) -> float | None:
    """Ticks of market value at which equity equals maintenance, if every price changes by the same factor."""
    block = case.block
    total = float(np.abs(block.values).sum()) * TICKS_PER_DOLLAR

    def excess(factor: float) -> float:
        published = None if block.published is None else block.published * factor
        moved = replace(block, price=block.price * factor, published=published)
        found = lines_of(moved)
        own = found.rule < lines.ADDONS
        return float(block.cash[0]) + float((found.equity - found.requirement)[own].sum())

    # Beyond the last sign change of a thousandfold there is none that matters.
    factors = np.geomspace(1e-3, 1e3, 25)
    signs = np.sign([excess(factor) for factor in factors])
    for at in np.flatnonzero(signs[:-1] * signs[1:] <= 0).tolist():
        return float(brentq(excess, factors[at], factors[at + 1], xtol=1e-13)) * total
    return None


def _reasons(case: _Case) -> dict[str, str]:
    """Why figures are null, and which inputs of held symbols the rulebook does not look at."""
    rules, book, reasons = case.rules, f"rulebook {case.rules.name}", {}
    if rules.options is None:
        reasons["pairings"] = f"{book} has no offset or strategy rules: every position stands alone"
        reasons["portfolio_margin.minimum_charge"] = f"{book} has no minimum charge per contract"
        for symbol, _ in case.held:
            instrument = case.portfolio.instruments[symbol]
            for name, plain in (("leverage", 1.0), ("margin_eligible", True)):
                if getattr(instrument, name) != plain:
                    reasons[f"instruments.{symbol}.{name}"] = f"not used: {book} has one rate a side"
    if rules.intraday is None:
        reasons["intraday"] = f"{book} has no intraday margin rule"
    elif not case.portfolio.transactions:
        reasons["intraday"] = "the document has no transactions"
    return reasons


def dollars(ticks: float) -> float:
    """Ticks as dollars; never a negative zero."""
    # Adding zero turns -0.0 into 0.0.
    return float(ticks) / TICKS_PER_DOLLAR + 0.0
