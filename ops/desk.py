"""OrderDesk: accounts, instruments and prices in memory, that orders are checked against in milliseconds.

    desk = OrderDesk(load_rulebooks(["finra-4210"]))
    desk.take(records)                                      # of accounts.state.v1, instruments.v1, prices.v1
    desk.check("A1", [leg_of("-1 XYZ-P95 @ 2.10")]).answer.admitted
    desk.take(newer)                                        # whenever there are some, in any order

A position is valued at the price that came with its account's state, or at a newer one of prices.v1. The rest of an
answer is of the state's instant: what was filled after it is not in it, so the answer says which instant that was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ops.order import NONE, ORDER, QUOTE, STATE, Checked, Leg, Marks, OrderError
from risk.admission import Trades, admit
from risk.amounts import Floats, Ints
from risk.block import AccountBlock
from risk.ladder import KEPT
from risk.market import NEVER, Market
from risk.memo import Memos
from risk.prices import MISSING, STATE_NAMES
from risk.rulebook import Rulebook
from risk.sessions import Sessions
from risk.terms import Terms, describe
from schemas.inputs import Instrument, Price
from schemas.outputs import AccountState
from schemas.scalars import QUANTITY_SCALE
from transforms.records import ticks_of

#: Whether a price is stale does not matter to what it margins; an answer says how old it is.
_ALWAYS = Sessions(np.array([0]), np.array([NEVER // 2]))


@dataclass(frozen=True, slots=True)
class _Standing:
    """An account's newest state, and its positions as columns: rows of the market, millionths, dollars (NaN: none).

    quoted: whether the price was a quote; otherwise the close or the last fill stood in.
    """

    state: AccountState
    rows: Ints
    quantity: Ints
    price: Floats
    quoted: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Book:
    """A rulebook, what it remembers, and what the symbols are under it as of a number of changes."""

    rules: Rulebook
    memos: Memos
    terms: Terms | None = None
    changes: tuple[int, int] = (-1, -1)


@dataclass(frozen=True, slots=True)
class _Sheet:
    """What an order touches: the p positions of its account, those that it opens last.

    Fields:
      rows, quantity, price: (p,) of the market, millionths held, dollars a unit (NaN: none).
      source: (p,) places of SOURCES.
      local: (s,) rows of the positions and of what underlies them, ascending.
      spot: (s,) dollars that each is quoted at.
    """

    rows: Ints
    quantity: Ints
    price: Floats
    source: NDArray[np.int8]
    local: Ints
    spot: Floats


class OrderDesk:
    """Checks orders of the accounts that it was told of. Not for several threads at once."""

    def __init__(self, rulebooks: Iterable[Rulebook]) -> None:
        """rulebooks: by which the states may have been made."""
        self._books = {rules.label: _Book(rules, Memos()) for rules in rulebooks}
        self._market = Market(_ALWAYS)
        self._standings: dict[str, _Standing] = {}
        #: By row of the market, when what is quoted was so, microseconds; -1: nothing is.
        self._quoted_at: Ints = np.empty(0, np.int64)
        self._changes = 0

    def take(self, records: Iterable[AccountState | Instrument | Price]) -> None:
        """Take in records: of states and prices the newest holds, whatever the order; of instruments the last."""
        prices = []
        for record in records:
            match record:
                case AccountState():
                    self._stand(record)
                case Instrument():
                    self._changes += self._market.describe(record) is not None
                case Price():
                    prices.append(record)
        moved = self._market.tick(ticks_of(prices), stale_after=0)
        room = len(self._market.columns["price"]) - len(self._quoted_at)
        self._quoted_at = np.append(self._quoted_at, np.full(room, -1)) if room else self._quoted_at
        if len(moved):
            self._quoted_at[moved] = self._market.prices.holding(moved)[2]

    def check(self, account_id: str, legs: Sequence[Leg]) -> Checked:
        """Would an order be admitted, and what would it leave? All of its legs together.

        Raises:
          OrderError: the account, its rulebook or a symbol is not known, or a leg cannot be held or has no price.
        """
        own = self._standing(account_id)
        book = self._book(own.state)
        rows = np.array([self._row_of(leg, own.state, book.rules) for leg in legs], np.int64)
        if not len(rows):
            raise OrderError("order: expected one leg or more, found none")
        sheet = self._sheet(own, rows)
        place = {row: at for at, row in enumerate(sheet.rows.tolist())}
        at = np.array([place[row] for row in rows.tolist()])
        for leg, position in zip(legs, at.tolist(), strict=True):
            if leg.price is not None and np.isnan(sheet.price[position]):
                sheet.price[position], sheet.source[position] = leg.price, ORDER
        block = self._block(own.state, book, sheet)
        self._refuse_unpriced(sheet, block, legs, at)
        marks, size = block.price[at], self._market.columns["multiplier"][rows]
        paid = [mark if leg.price is None else leg.price for leg, mark in zip(legs, marks.tolist(), strict=True)]
        units = np.array([leg.quantity for leg in legs]) / QUANTITY_SCALE * size
        answer = admit(block, Trades(at, units, np.array(paid)), KEPT.get(own.state.level, 0))
        below = {self._below(row) for row in rows.tolist()}
        return Checked(
            account_id=account_id,
            as_of=own.state.as_of,
            rulebook=own.state.rulebook,
            level=own.state.level,
            legs=tuple(legs),
            answer=answer,
            marks=self._marks(own, sheet),
            touched=frozenset(self._market.symbols[row] for row in below | set(rows.tolist())),
        )

    def _stand(self, state: AccountState) -> None:
        known = self._standings.get(state.account_id)
        if known is not None and known.state.as_of > state.as_of:
            return
        before = len(self._market.symbols)
        rows = [self._market.row(position.symbol) for position in state.positions]
        self._changes += len(self._market.symbols) != before
        price = np.array([position.price for position in state.positions], np.float64)
        self._standings[state.account_id] = _Standing(
            state=state,
            rows=np.array(rows, np.int64),
            quantity=np.array([position.quantity for position in state.positions], np.int64),
            # A price of zero says that there is none.
            price=np.where(price > 0, price, np.nan),
            quoted=np.array([position.state != STATE_NAMES[MISSING] for position in state.positions], np.bool_),
        )

    def _standing(self, account_id: str) -> _Standing:
        own = self._standings.get(account_id)
        if own is None:
            raise OrderError(
                f"account {account_id}: expected its state in accounts.state.v1, found none; check its id, and whether "
                "the replay or the job has published it"
            )
        if own.state.cash is None:
            raise OrderError(
                f"account {account_id}: expected cash and margin_type in its state as of {own.state.as_of.text()}, "
                "found none: an earlier version published it; replay the day, or wait until it is published anew"
            )
        return own

    def _book(self, state: AccountState) -> _Book:
        book = self._books.get(state.rulebook)
        if book is None:
            raise OrderError(
                f"account {state.account_id}: its state is by rulebook {state.rulebook}, found "
                f"{', '.join(self._books)}; name the file of that one with --rules"
            )
        changes = self._changes, len(self._market.symbols)
        if book.rules.options is not None and book.changes != changes:
            # Prices are looked up for each order, and are none of the terms.
            nothing = np.full(changes[1], np.nan)
            told = [self._market.instruments.get(row) for row in range(changes[1])]
            terms, _ = describe(
                told, self._market.rows, book.rules, price=nothing, volatility=nothing, beta=np.ones(changes[1])
            )
            book = self._books[state.rulebook] = replace(book, terms=terms, changes=changes)
        return book

    def _row_of(self, leg: Leg, state: AccountState, rules: Rulebook) -> int:
        """The row of a leg's symbol, which can be held."""
        row = self._market.rows.get(leg.symbol)
        if row is None:
            raise OrderError(
                f"{leg.symbol}: expected a symbol of instruments.v1 or prices.v1, or one that is held, found none"
            )
        told = self._market.instruments.get(row)
        if told is None or told.type not in ("OPTION", "INDEX"):
            return row
        if told.type == "INDEX":
            raise OrderError(f"{leg.symbol} is an index, which cannot be held; order a fund or an option of it")
        if rules.options is None:
            raise OrderError(f"{leg.symbol} is an option, and rulebook {rules.name} has no rule for options")
        if leg.quantity % QUANTITY_SCALE:
            raise OrderError(f"{leg.symbol}: expected whole contracts, found {leg.quantity / QUANTITY_SCALE}")
        if told.expiry is not None and told.expiry <= state.as_of:
            raise OrderError(f"{leg.symbol} expired at {told.expiry.text()}, before the state of {state.as_of.text()}")
        return row

    def _sheet(self, own: _Standing, rows: Ints) -> _Sheet:
        columns, count = self._market.columns, len(own.rows)
        new = np.array(list(dict.fromkeys(rows[~np.isin(rows, own.rows)].tolist())), np.int64)
        held = np.append(own.rows, new)
        below = columns["underlying"][held]
        local = np.unique(np.append(held, below[below >= 0]))
        spot = columns["price"][local]
        # What the state was valued at holds until there is a newer quote.
        stands = own.quoted & (self._quoted_at[own.rows] < own.state.as_of)
        spot[np.searchsorted(local, own.rows[stands])] = own.price[stands]
        price = spot[np.searchsorted(local, held)]
        source = np.full(len(held), QUOTE, np.int8)
        fallen = np.isnan(price[:count])
        price[:count][fallen] = own.price[fallen]
        source[:count][fallen | stands] = STATE
        source[np.isnan(price)] = NONE
        return _Sheet(held, np.append(own.quantity, np.zeros(len(new), np.int64)), price, source, local, spot)

    def _block(self, state: AccountState, book: _Book, sheet: _Sheet) -> AccountBlock:
        columns, rules, terms = self._market.columns, book.rules, None
        symbols, none = np.searchsorted(sheet.local, sheet.rows), np.zeros(len(sheet.rows), np.bool_)
        unpriced, portfolio, house = np.isnan(sheet.price), None, None
        if book.terms is not None:
            terms = book.terms.at(sheet.local)
            below, volatility = np.searchsorted(sheet.local, terms.underlying), columns["volatility"][sheet.local]
            terms = replace(terms, underlying=below, price=sheet.spot, volatility=volatility)
            unpriced |= terms.without_spot(symbols)
            portfolio = np.array([state.margin_type == "PORTFOLIO" and rules.portfolio is not None])
            least = rules.house.account_rates.get(state.account_id, 0.0)
            asked = state.house_long_rate, state.house_short_rate
            house = np.array([[max(rate or 0.0, least)] for rate in asked])
        return AccountBlock(
            instant=state.as_of,
            rules=rules,
            accounts=np.arange(1),
            cash=np.array([float(state.cash or 0)]),
            offsets=np.array([0, len(symbols)]),
            symbols=symbols,
            quantity=sheet.quantity / QUANTITY_SCALE * columns["multiplier"][sheet.rows],
            price=np.where(unpriced, 0.0, sheet.price),
            beta=np.ones(len(symbols)),
            unreliable=none,
            unpriced=unpriced,
            defaulted=none,
            terms=terms,
            portfolio=portfolio,
            house=house,
            memos=book.memos,
        )

    def _refuse_unpriced(self, sheet: _Sheet, block: AccountBlock, legs: Sequence[Leg], at: Ints) -> None:
        for leg, position in zip(legs, at.tolist(), strict=True):
            if np.isnan(sheet.price[position]):
                raise OrderError(f"{leg.symbol} has no price: give one with '@ price', as in '-50 AAPL @ 249.5'")
            if block.unpriced[position]:
                below = self._market.symbols[self._below(int(sheet.rows[position]))]
                raise OrderError(f"{leg.symbol}: {below} has no price in prices.v1, without which it has no margin")

    def _below(self, row: int) -> int:
        """The row of what underlies the symbol at a row, or the row itself."""
        below = int(self._market.columns["underlying"][row])
        return below if below >= 0 else row

    def _marks(self, own: _Standing, sheet: _Sheet) -> Marks:
        """What the positions are valued at, and then what underlies them and is not held."""
        beside = np.flatnonzero(~np.isin(sheet.local, sheet.rows))
        rows, spot = np.append(sheet.rows, sheet.local[beside]), sheet.spot[beside]
        source = np.append(sheet.source, np.where(np.isnan(spot), NONE, QUOTE)).astype(np.int8)
        quoted_at = np.where(source == QUOTE, self._quoted_at[rows], -1)
        told = [position.state for position in own.state.positions]
        return Marks(
            symbols=[self._market.symbols[row] for row in rows.tolist()],
            price=np.append(sheet.price, spot),
            as_of=np.where(source == STATE, own.state.as_of, quoted_at),
            source=source,
            states=told + [""] * (len(rows) - len(told)),
        )
