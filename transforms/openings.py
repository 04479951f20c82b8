"""Openings: what an open consequence rests on, and whether it still holds once a fill of it was corrected.

Consequences are path-dependent: a correction re-evaluates each open one on its own opening, at the prices, betas and
rules of that instant, and cancels it where it no longer holds (design 6, property 6).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np

from risk.amounts import Ints
from risk.block import AccountBlock, Accounts, Measure
from risk.book import PORTFOLIO
from risk.ladder import RESTRICTION
from risk.ledger import Posting
from risk.market import Market, Quotes
from risk.rulebook import Rulebook
from schemas.inputs import OpenedOn, OpenedPosition
from schemas.scalars import Money, Quantity, Time
from transforms.state import ShardState


def opening_of(state: ShardState, block: Accounts, at: int, event_id: str = "") -> OpenedOn:
    """The book of the account at a place of the block; with positions that came to zero, which a correction may
    revive."""
    account = int(block.accounts[at])
    return OpenedOn(
        event_id=event_id,
        opened_at=Time(block.instant),
        cash=Money(block.cash[at]),
        positions=_positions(state, account),
        spots=_spots(state, account),
    )


def _spots(state: ShardState, account: int) -> dict[str, float]:
    """Prices of what the account's positions derive from and that it does not hold."""
    market, held = state.market, state.book.held(np.array([account]), state.market, flat=True)
    below = market.columns["underlying"][held.symbols]
    others = np.setdiff1d(below[below >= 0], held.symbols)
    prices = zip(
        (market.symbols[row] for row in others.tolist()), market.columns["price"][others].tolist(), strict=True
    )
    # By name, for rows are as symbols happened to come.
    return {symbol: price for symbol, price in sorted(prices) if not np.isnan(price)}


def _positions(state: ShardState, account: int) -> tuple[OpenedPosition, ...]:
    market, held = state.market, state.book.held(np.array([account]), state.market, flat=True)
    columns = (
        held.symbols,
        held.quantity,
        np.nan_to_num(held.price),
        *(market.columns[name][held.symbols] for name in ("beta", "multiplier", "volatility")),
    )
    return tuple(
        OpenedPosition(
            symbol=market.symbols[row],
            quantity=Quantity(quantity),
            price=price,
            beta=None if np.isnan(beta) else beta,
            multiplier=multiplier,
            volatility=None if np.isnan(volatility) else volatility,
        )
        for row, quantity, price, beta, multiplier, volatility in zip(
            *(column.tolist() for column in columns), strict=True
        )
    )


def corrected(opened: OpenedOn, postings: list[Posting], state: ShardState, account: int) -> OpenedOn:
    """The opening as it would have been with the corrected fills.

    A symbol that it did not hold has no price of its instant, and enters at today's.
    """
    held = {p.symbol: p for p in opened.positions}
    entered = {posting.symbol for posting in postings} - held.keys()
    today = {p.symbol: p for p in _positions(state, account)} if entered else {}
    cash = opened.cash
    for posting in postings:
        was = held.get(posting.symbol)
        if was is None:
            was = msgspec.structs.replace(today[posting.symbol], quantity=Quantity(0))
        held[posting.symbol] = msgspec.structs.replace(was, quantity=Quantity(was.quantity + posting.quantity))
        cash = Money(cash + posting.cash)
    return msgspec.structs.replace(opened, cash=cash, positions=tuple(held[symbol] for symbol in sorted(held)))


def holds(
    opened: OpenedOn, level: int, rules: Rulebook, measures: Iterable[Measure], state: ShardState, account: int
) -> bool:
    """Whether the entry line of a level, or of the clock of a deficiency, is crossed on the opening."""
    block = revalued(opened, rules, state, account)
    for measure in measures:
        measure(block)
    return bool(block.measures["severe_equity" if level == RESTRICTION else "excess"][0] < 0)


def revalued(opened: OpenedOn, rules: Rulebook, state: ShardState, account: int) -> AccountBlock:
    """An opening as a block of its one account. What the symbols are, and the account's regime, are as known today."""
    held, book = opened.positions, state.book
    quotes, symbols = _quotes(opened, rules, state)
    unpriced = np.array([p.price == 0 for p in held], np.bool_) & (quotes.terms is not None)
    if quotes.terms is not None:
        unpriced |= quotes.terms.without_spot(symbols)
    return AccountBlock(
        instant=int(opened.opened_at),
        rules=rules,
        accounts=np.zeros(1, np.int64),
        offsets=np.array([0, len(held)]),
        symbols=symbols,
        quantity=np.array([p.quantity / 1e6 * p.multiplier for p in held], np.float64),
        price=np.array([p.price for p in held], np.float64),
        beta=quotes.beta[symbols],
        unreliable=np.zeros(len(held), np.bool_),
        unpriced=unpriced,
        defaulted=quotes.defaulted[symbols],
        cash=np.array([float(opened.cash)]),
        terms=quotes.terms,
        portfolio=book.regime[[account]] == PORTFOLIO,
        house=book.house[:, [account]],
    )


def _quotes(opened: OpenedOn, rules: Rulebook, state: ShardState) -> tuple[Quotes, Ints]:
    """What valued an opening, as a market of its own, and the rows of its positions in that."""
    market = Market(state.market.sessions)
    for position in opened.positions:
        row = market.row(position.symbol)
        market.columns["price"][row] = position.price or np.nan
        # None becomes NaN.
        market.columns["beta"][row] = np.float64(position.beta if position.beta is not None else np.nan)
        market.columns["volatility"][row] = position.volatility or np.nan
    for symbol, price in opened.spots.items():
        market.columns["price"][market.row(symbol)] = price
    for symbol in list(market.symbols):
        known = state.market.instruments.get(state.market.rows.get(symbol, -1))
        if known is not None:
            market.describe(known)
    rows = np.array([market.rows[p.symbol] for p in opened.positions], np.int64)
    return market.quotes(rules, int(opened.opened_at)), rows
