"""The book of a shard: accounts, their positions and cash as columns, and which accounts a change touches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from risk.amounts import Floats, Ints
from risk.block import AccountBlock, runs
from risk.market import Market, Quotes
from risk.rulebook import Rulebook

if TYPE_CHECKING:
    from schemas.inputs import Account, Snapshot

_SYMBOL_BITS = 32
#: What an account may be margined by.
REGIMES = ("STRATEGY", "PORTFOLIO", "GOOD_FAITH")
STRATEGY, PORTFOLIO, _ = range(len(REGIMES))
_COLUMNS = ("quantity", "close", "traded")


class Held(NamedTuple):
    """Positions as columns: place of the owner, symbol row, signed millionths, price (NaN: none)."""

    owners: Ints
    symbols: Ints
    quantity: Ints
    price: Floats


class Book:
    """Positions are sorted by (account row, symbol row): an account's are adjacent and a sweep is a reduceat.

    What has no quote is valued at the close of the account's snapshot, else at the price of its last fill (design 4),
    never at another account's, which may be in another shard. cash is in ticks; it, regime (a place of REGIMES) and
    house (what an account is asked for at least, long and short) have room for accounts to come.
    """

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.rows: dict[str, int] = {}
        self.known: list[bool] = []
        self.cash: Ints = np.empty(0, np.int64)
        self.regime: NDArray[np.int8] = np.empty(0, np.int8)
        self.house: Floats = np.empty((2, 0))
        self.liquidate_last: dict[int, tuple[str, ...]] = {}
        self.keys: Ints = np.empty(0, np.int64)
        self.owners: Ints = self.keys
        self.symbols: Ints = self.keys
        self.quantity: Ints = np.empty(0, np.int64)
        self.close: Floats = np.empty(0)
        self.traded: Floats = np.empty(0)
        self._starts: Ints = self.keys
        self._moved: dict[int, int] = {}
        self._priced: dict[int, tuple[float, float]] = {}

    def row(self, account_id: str) -> int:
        """The account's row, opened (provisionally) if it is new."""
        row = self.rows.get(account_id)
        if row is None:
            row = self.rows[account_id] = len(self.ids)
            self.ids.append(account_id)
            self.known.append(False)
            if row >= len(self.cash):
                room = max(16, row)
                self.cash = np.append(self.cash, np.zeros(room, np.int64))
                self.regime = np.append(self.regime, np.zeros(room, np.int8))
                self.house = np.append(self.house, np.zeros((2, room)), axis=1)
        return row

    def agree(self, account: int, terms: Account | Snapshot) -> None:
        """Keep the regime of an account, the rates that the house asks it for, and what is to be sold last of it."""
        self.regime[account] = REGIMES.index(terms.margin_type)
        self.house[:, account] = terms.house_long_rate or 0.0, terms.house_short_rate or 0.0
        self.liquidate_last.pop(account, None)
        if terms.liquidate_last:
            self.liquidate_last[account] = terms.liquidate_last

    def trade(self, account: int, symbol: int, quantity: int) -> None:
        """Change a position by signed millionths; seen after settle()."""
        key = account << _SYMBOL_BITS | symbol
        self._moved[key] = self._moved.get(key, 0) + quantity

    def price(self, account: int, symbol: int, traded: float, close: float = np.nan) -> None:
        """What a position is valued at while it has no quote: dollars of its last fill, and of the snapshot's close.

        NaN: none, or as before for the close; seen after settle().
        """
        self.trade(account, symbol, 0)
        self._priced[account << _SYMBOL_BITS | symbol] = traded, close

    def settle(self) -> None:
        """Merge the pending changes into the columns, all at once."""
        if not self._moved:
            return
        keys = np.array(sorted(self._moved), np.int64)
        change = np.array([self._moved[key] for key in keys.tolist()], np.int64)
        at = np.searchsorted(self.keys, keys)
        new = at == len(self.keys)
        new[~new] = self.keys[at[~new]] != keys[~new]
        if new.any():
            self._index(np.insert(self.keys, at[new], keys[new]))
            self.quantity = np.insert(self.quantity, at[new], 0)
            self.close, self.traded = (np.insert(column, at[new], np.nan) for column in (self.close, self.traded))
            at = np.searchsorted(self.keys, keys)
        self.quantity[at] += change
        for key, (traded, close) in self._priced.items():
            place = np.searchsorted(self.keys, key)
            self.traded[place] = traded
            self.close[place] = self.close[place] if np.isnan(close) else close
        self._moved, self._priced = {}, {}

    def _index(self, keys: Ints) -> None:
        self.keys, self.owners, self.symbols = keys, keys >> _SYMBOL_BITS, keys & ((1 << _SYMBOL_BITS) - 1)
        self._starts = np.empty(0, np.int64)

    def clear(self, account: int) -> None:
        """Forget an account's positions and cash, for the snapshot that replaces them."""
        self.settle()
        keep = self.owners != account
        self._index(self.keys[keep])
        for name in _COLUMNS:
            setattr(self, name, getattr(self, name)[keep])
        self.cash[account] = 0

    def holders(self, symbols: NDArray[np.bool_]) -> Ints:
        """Rows of the accounts that hold any of the symbols, given as a mask over the market's rows."""
        if not len(self.keys):
            return self.keys
        starts = self._bounds()
        holders = np.flatnonzero(np.diff(starts))
        hit = symbols.take(self.symbols) & (self.quantity != 0)
        return holders[np.logical_or.reduceat(hit, starts[holders])]

    def chunks(self, accounts: Ints, positions: int) -> Iterator[Ints]:
        """The accounts (rows) in consecutive parts of about that many positions each."""
        size = max(1, positions * len(self.ids) // max(1, len(self.keys)))
        return (accounts[first : first + size] for first in range(0, len(accounts), size))

    def block(self, accounts: Ints, quotes: Quotes, rules: Rulebook, instant: int) -> AccountBlock:
        """The accounts (ascending rows, one or more) with their positions at the quotes of the instant (microseconds).

        Positions that came to zero are among them.
        """
        counts, mine = self._places(accounts)
        symbols = self.symbols[mine]
        price = self._prices(mine, symbols, quotes.price)
        unpriced = np.isnan(price)
        if quotes.terms is not None:
            unpriced |= quotes.terms.without_spot(symbols)
        price[unpriced] = 0.0
        return AccountBlock(
            instant=instant,
            rules=rules,
            accounts=accounts,
            cash=self.cash.take(accounts).astype(np.float64),
            offsets=np.append(0, np.cumsum(counts)),
            symbols=symbols,
            quantity=self.quantity[mine] / 1e6 * quotes.multiplier.take(symbols),
            price=price,
            beta=quotes.beta.take(symbols),
            unreliable=_flags(quotes.unreliable, symbols),
            unpriced=unpriced,
            defaulted=_flags(quotes.defaulted, symbols),
            terms=quotes.terms,
            portfolio=None if quotes.terms is None else self.regime.take(accounts) == PORTFOLIO,
            house=None if quotes.terms is None else self._house(accounts, rules),
            memos=quotes.memos,
        )

    def _house(self, accounts: Ints, rules: Rulebook) -> Floats:
        """(2, accounts) what the house asks each for at least: by its record, and by the rulebook."""
        own, named = self.house.take(accounts, axis=1), rules.house.account_rates
        if not named:
            return own
        return np.maximum(own, [named.get(self.ids[row], 0.0) for row in accounts.tolist()])

    def held(self, accounts: Ints, market: Market, *, flat: bool = False, fills: bool = True) -> Held:
        """The positions of the accounts at the rows, of each by symbol.

        flat: those that came to zero too. fills: where there is nothing else, the price of the last one stands in.
        """
        counts, places = self._places(accounts)
        mine = np.r_[places]
        owners = np.repeat(np.arange(len(accounts)), counts)
        found, place = np.unique(self.symbols[mine], return_inverse=True)
        by_name = np.argsort(np.argsort([market.symbols[row] for row in found.tolist()]))
        order = np.lexsort((by_name[place], owners))
        if not flat:
            order = order[self.quantity[mine[order]] != 0]
        owners, mine = owners[order], mine[order]
        return Held(
            owners,
            self.symbols[mine],
            self.quantity[mine],
            self._prices(mine, self.symbols[mine], market.columns["price"], fills=fills),
        )

    def _bounds(self) -> Ints:
        """(accounts + 1,) where the positions of each account begin, which is where those of the one before end."""
        if len(self._starts) != len(self.ids) + 1:
            self._starts = np.append(0, np.cumsum(np.bincount(self.owners, minlength=len(self.ids))))
        return self._starts

    def _places(self, accounts: Ints) -> tuple[Ints, Ints | slice]:
        """(accounts,) how many positions each has, also such that came to zero, and where those are."""
        bounds = self._bounds()
        first, end = int(accounts[0]), int(accounts[-1]) + 1
        if end - first == len(accounts):
            # Neighbours: their columns need not be copied.
            return np.diff(bounds[first : end + 1]), slice(bounds[first], bounds[end])
        starts = bounds[accounts]
        counts = bounds[accounts + 1] - starts
        return counts, runs(starts, counts)

    def _prices(self, mine: Ints | slice, symbols: Ints, quotes: Floats, *, fills: bool = True) -> Floats:
        """Prices of the positions at the places: quotes, or what stands in for them, else NaN: never zero (design 4).

        symbols: (positions,) rows of theirs. quotes: by symbol row.
        """
        price = quotes.take(symbols)
        without = np.flatnonzero(np.isnan(price))
        if len(without):
            close, traded = self.close[mine][without], self.traded[mine][without]
            price[without] = np.where(np.isnan(close) & fills, traded, close)
        return price

    def accounts_cell(self) -> dict:
        """Accounts as plain data."""
        rows = len(self.ids)
        columns = {"cash": self.cash[:rows], "regime": self.regime[:rows], "house": self.house[:, :rows]}
        return {"ids": self.ids, "known": self.known, "last": list(self.liquidate_last.items())} | columns

    def positions_cell(self) -> dict:
        """Positions as plain data."""
        return {name: getattr(self, name) for name in ("keys", *_COLUMNS)}

    def load_accounts(self, cell: dict) -> None:
        """Become what accounts_cell described."""
        self.ids, self.known = cell["ids"], cell["known"]
        self.cash, self.regime, self.house = cell["cash"], cell["regime"], cell["house"]
        self.rows = {account_id: row for row, account_id in enumerate(self.ids)}
        self.liquidate_last = {row: tuple(symbols) for row, symbols in cell["last"]}

    def load_positions(self, cell: dict) -> None:
        """Become what positions_cell described."""
        self._index(cell["keys"])
        for name in _COLUMNS:
            setattr(self, name, cell[name])


def _flags(by_symbol: NDArray[np.bool_], symbols: Ints) -> NDArray[np.bool_]:
    # Mostly there are none, which is seen faster than looked up.
    return by_symbol.take(symbols) if by_symbol.any() else np.zeros(len(symbols), np.bool_)
