"""What a shard knows of every symbol: newest price, beta, multiplier, and whether the price can be relied on."""

from __future__ import annotations

from bisect import bisect_right, insort
from dataclasses import replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from risk.amounts import Floats, Ints
from risk.memo import Memos
from risk.prices import CLOSE, HALTED, LIVE, MISSING, STALE, Prices
from risk.rulebook import Rulebook
from risk.sessions import Sessions
from risk.terms import Terms, describe
from risk.ticks import Ticks

if TYPE_CHECKING:
    from schemas.inputs import Beta, Instrument

NEVER = np.iinfo(np.int64).max
#: Microseconds.
_DAY = 86_400_000_000
#: By symbol: type, what stands where nothing is known, and the cell that it is written in: ticks change quotes alone.
_COLUMNS: dict[str, tuple[type, float, str]] = {
    "price": (np.float64, np.nan, "quotes"),
    "status": (np.int8, MISSING, "quotes"),
    "stale_at": (np.int64, NEVER, "quotes"),
    "beta": (np.float64, np.nan, "symbols"),
    "beta_at": (np.int64, NEVER, "symbols"),
    "volatility": (np.float64, np.nan, "quotes"),
    "multiplier": (np.float64, 1.0, "symbols"),
    "underlying": (np.int64, -1, "symbols"),
    "expiry": (np.int64, NEVER, "symbols"),
}
_LISTS = ("symbols", "beta_from", "scheduled")


class Quotes(NamedTuple):
    """What positions are valued with at an instant, by symbol row: (symbols,) each, as in AccountBlock.

    The price is NaN where there is none. Under option rules an option has the beta of what underlies it, and relies on
    that price too; terms say what the symbols are, and memos hold what was found at earlier instants.
    """

    price: Floats
    beta: Floats
    multiplier: Floats
    unreliable: NDArray[np.bool_]
    defaulted: NDArray[np.bool_]
    terms: Terms | None = None
    memos: Memos | None = None


class Market:
    """Symbols as rows of columns; a row is opened by the first record that names its symbol.

    prices: what is told of their prices. columns: what holds. instruments: what a symbol is, by row.
    """

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions
        self.symbols: list[str] = []
        self.rows: dict[str, int] = {}
        self.beta_from: list[tuple] = []
        self.scheduled: list[tuple[int, float, str]] = []
        self.dirty: set[str] = set()
        self.columns: dict[str, NDArray] = {name: np.full(0, fill, kind) for name, (kind, fill, _) in _COLUMNS.items()}
        self.prices = Prices()
        self.instruments: dict[int, Instrument] = {}
        self._described: tuple[Any, Terms] | None = None
        self._memos = ("", Memos())

    def row(self, symbol: str) -> int:
        """The symbol's row, opened if it is new."""
        row = self.rows.get(symbol)
        if row is None:
            self.dirty.update(("quotes", "symbols"))
            row = self.rows[symbol] = len(self.symbols)
            self.symbols.append(symbol)
            self.beta_from.append(())
            if row == len(self.columns["price"]):
                room = max(16, row)
                for name, (kind, fill, _) in _COLUMNS.items():
                    self.columns[name] = np.append(self.columns[name], np.full(room, fill, kind))
                self.prices.grow(room)
        return row

    def quoted(self, row: int) -> bool:
        """Whether the symbol at the row ever had a price; then it has one for good."""
        return not np.isnan(self.columns["price"][row])

    def tick(self, ticks: Ticks, *, stale_after: int) -> Ints:
        """Take the prices, in any order; the rows that have a newer one of its kind. stale_after is in seconds."""
        if not len(ticks):
            return np.empty(0, np.int64)
        known = self.rows
        rows = np.array([known[symbol] if symbol in known else self.row(symbol) for symbol in ticks.symbols])
        moved = self.prices.take(rows, ticks)
        if len(moved):
            self.dirty.add("quotes")
            self._settle(moved, stale_after)
        return moved

    def age(self, stale_after: int) -> None:
        """Find anew when prices turn stale, seconds of session time after they were told."""
        self.dirty.add("quotes")
        self._settle(self.prices.known(), stale_after)

    def _settle(self, rows: Ints, stale_after: int) -> None:
        """Find what holds at the rows, of which something is told."""
        price, state, as_of, volatility = self.prices.holding(rows)
        columns = self.columns
        columns["price"][rows], columns["status"][rows], columns["volatility"][rows] = price, state, volatility
        columns["stale_at"][rows] = self.sessions.after_each(as_of, stale_after * 1_000_000)

    def ticks(self, arrived_at: int) -> Ticks:
        """What is told of every symbol, as if it arrived at one time, microseconds."""
        return self.prices.ticks(self.symbols, arrived_at)

    def estimate(self, beta: Beta, instant: int) -> int | None:
        """Take a beta if it is the newest by (effective_at, beta); the row, or None if nothing changed at the instant.

        One that is not effective yet waits for its time.
        """
        self.dirty.add("symbols")
        if beta.effective_at > instant:
            insort(self.scheduled, (int(beta.effective_at), beta.beta, beta.symbol))
            return None
        return self._take(int(beta.effective_at), beta.beta, beta.symbol)

    def due(self, instant: int) -> list[int]:
        """Take the betas that have become effective by the instant; the rows that changed."""
        end = bisect_right(self.scheduled, instant, key=itemgetter(0))
        if not end:
            return []
        self.dirty.add("symbols")
        rows = [self._take(*beta) for beta in self.scheduled[:end]]
        del self.scheduled[:end]
        return [row for row in rows if row is not None]

    def _take(self, effective_at: int, beta: float, symbol: str) -> int | None:
        row = self.row(symbol)
        if self.beta_from[row] and (effective_at, beta) <= self.beta_from[row]:
            return None
        self.beta_from[row] = (effective_at, beta)
        self.columns["beta"][row], self.columns["beta_at"][row] = beta, effective_at
        return row

    def describe(self, instrument: Instrument) -> int | None:
        """Take what an instrument is; the row, or None if nothing of it changed."""
        row = self.row(instrument.symbol)
        known = self.instruments.get(row)
        if known is not None and _content(known) == _content(instrument):
            return None
        self.dirty.update(("symbols", "instruments"))
        self.instruments[row], self._described = instrument, None
        self.columns["multiplier"][row] = instrument.multiplier
        if instrument.underlying is not None:
            self.columns["underlying"][row] = self.row(instrument.underlying)
        self.columns["expiry"][row] = NEVER if instrument.expiry is None else int(instrument.expiry)
        return row

    def size(self, symbol: str) -> float:
        """Units of the underlying in one of a symbol."""
        row = self.rows.get(symbol)
        return 1.0 if row is None else float(self.columns["multiplier"][row])

    def derived(self, moved: NDArray[np.bool_]) -> None:
        """Add to the symbols that moved, a mask over the rows, those that derive from them."""
        underlying = self.columns["underlying"][: len(moved)]
        derivatives = np.flatnonzero(underlying >= 0)
        moved[derivatives] |= moved[underlying[derivatives]]

    def _terms(self, rules: Rulebook, beta: Floats) -> Terms:
        """What the symbols are under a rulebook, at their prices and betas."""
        key, rows = (rules.label, len(self.symbols)), slice(len(self.symbols))
        if self._described is None or self._described[0] != key:
            nothing = np.full(len(self.symbols), np.nan)
            instruments = [self.instruments.get(row) for row in range(len(self.symbols))]
            terms, _ = describe(instruments, self.rows, rules, price=nothing, volatility=nothing, beta=nothing)
            self._described = key, terms
        known = self._described[1]
        price, volatility = (self.columns[name][rows] for name in ("price", "volatility"))
        return replace(known, price=price, volatility=volatility, beta=beta[known.underlying])

    def states(self, rows: NDArray[np.int64] | list[int], instant: int) -> NDArray[np.int8]:
        """LIVE, CLOSE, HALTED, STALE or MISSING of the symbols at the rows, as of the instant, microseconds."""
        status = self.columns["status"][rows]
        old = (self.columns["stale_at"][rows] <= instant) & ((status == LIVE) | (status == CLOSE))
        return np.where(old, np.int8(STALE), status)

    def quotes(self, rules: Rulebook, instant: int) -> Quotes:
        """Every symbol as of the instant, microseconds.

        A beta that is not known is the rulebook's default; one that is old is no nearer to zero than that.
        """
        columns, state = self.columns, self.states(np.arange(len(self.columns["price"])), instant)
        old = columns["beta_at"] <= instant - rules.beta_stale_after * _DAY
        defaulted = np.isnan(columns["beta"]) | old
        beta = np.where(np.isnan(columns["beta"]), rules.default_beta, columns["beta"])
        if old.any():
            beta = np.where(old, np.copysign(np.maximum(np.abs(beta), rules.default_beta), beta), beta)
        unreliable = (state == STALE) | (state == HALTED) | (state == MISSING)
        if rules.options is None:
            return Quotes(columns["price"], beta, columns["multiplier"], unreliable, defaulted)
        terms = self._terms(rules, beta)
        if self._memos[0] != rules.label:
            self._memos = rules.label, Memos()
        below, rows = terms.underlying, slice(len(self.symbols))
        return Quotes(
            price=terms.price,
            beta=terms.beta,
            multiplier=columns["multiplier"][rows],
            unreliable=unreliable[rows] | unreliable[below],
            defaulted=defaulted[below],
            terms=terms,
            memos=self._memos[1],
        )

    def turned_stale(self, after: int, until: int, rules: Rulebook) -> NDArray[np.int64]:
        """Rows whose price or beta became stale, or that expired, in (after, until], microseconds."""
        ended = [(end > after) & (end <= until) for end in self._ends(rules)]
        return np.flatnonzero(np.logical_or.reduce(ended))

    def next_change(self, after: int, rules: Rulebook) -> int:
        """When the next price or beta turns stale, option expires or beta becomes effective, microseconds, or NEVER."""
        ended = min(int(end.min(initial=NEVER, where=end > after)) for end in self._ends(rules))
        return min(ended, self.scheduled[0][0]) if self.scheduled else ended

    def _ends(self, rules: Rulebook) -> tuple[Ints, Ints, Ints]:
        beta_at = self.columns["beta_at"]
        stale = np.minimum(beta_at, NEVER - rules.beta_stale_after * _DAY) + rules.beta_stale_after * _DAY
        return self.columns["stale_at"], self.columns["expiry"], stale

    def to_cell(self, cell: str) -> dict:
        """The quotes, or what is known of the symbols, as plain data."""
        rows = len(self.symbols)
        found: dict[str, Any] = {
            "columns": {n: self.columns[n][:rows] for n, (*_, own) in _COLUMNS.items() if own == cell}
        }
        if cell == "symbols":
            return found | {name: getattr(self, name) for name in _LISTS}
        return found | self.prices.to_cell(rows)

    def load(self, cell: dict) -> None:
        """Take what to_cell gave of either."""
        self.columns |= cell["columns"]
        if "told" in cell:
            self.prices.load(cell)
            return
        self.symbols, self.scheduled = cell["symbols"], [tuple(beta) for beta in cell["scheduled"]]
        self.beta_from = [tuple(told) for told in cell["beta_from"]]
        self.rows = {symbol: row for row, symbol in enumerate(self.symbols)}

    def load_instruments(self, instruments: dict[int, Instrument]) -> None:
        """Know of these, by row, and of no others."""
        self.instruments, self._described = instruments, None


def _content(instrument: Instrument) -> list:
    return [getattr(instrument, name) for name in instrument.__struct_fields__ if name != "arrived_at"]
