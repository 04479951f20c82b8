"""What a shard knows of every symbol: newest price, beta, multiplier, and whether the price can be relied on."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from risk.amounts import Floats
from risk.sessions import Sessions

if TYPE_CHECKING:
    from schemas.inputs import Beta, Instrument

NEVER = np.iinfo(np.int64).max
MISSING, LIVE, CLOSE, HALTED, STALE = range(5)
STATE_NAMES = ("MISSING", "LIVE", "CLOSE", "HALTED", "STALE")
_STATUS = {"LIVE": LIVE, "INDICATIVE": LIVE, "CLOSE": CLOSE, "HALTED": HALTED}

#: What a price says: (as_of, sequence, source, price, status). Of two, the greater is the newer.
Newest = tuple[int, int, str, float, str]
#: When it arrived (microseconds), its symbol, what it says, its implied volatility.
Tick = tuple[int, str, Newest, float | None]

#: By the cell that each is written in: ticks change the quotes alone.
_CELLS = {
    "quotes": (("live", "indicative", "halted"), ("price", "status", "stale_at")),
    "symbols": (("symbols", "beta_from", "scheduled"), ("beta", "multiplier")),
}
_COLUMNS: dict[str, tuple[type, float]] = {
    "price": (np.float64, np.nan),
    "status": (np.int8, MISSING),
    "stale_at": (np.int64, NEVER),
    "beta": (np.float64, np.nan),
    "multiplier": (np.float64, 1.0),
}


class Quotes(NamedTuple):
    """What positions are valued with at an instant, by symbol row: (symbols,) each, as in AccountBlock.

    The price is NaN where there is none.
    """

    price: Floats
    beta: Floats
    multiplier: Floats
    unreliable: NDArray[np.bool_]
    defaulted: NDArray[np.bool_]


class Market:
    """Symbols as rows of columns; a row is opened by the first record that names its symbol.

    live (which a close is, too), indicative and halted: by row the newest price of the kind, or (). What holds follows
    from the three, so that no order of arrival can matter: a live price, whatever indicative one there is; a close or
    an indicative one, whichever is newer; under a halt that is newer still, the price that it keeps.
    """

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions
        self.symbols: list[str] = []
        self.rows: dict[str, int] = {}
        self.live: list[tuple[Any, ...]] = []
        self.indicative: list[tuple[Any, ...]] = []
        self.halted: list[tuple[Any, ...]] = []
        self.beta_from: list[tuple] = []
        self.scheduled: list[tuple[int, float, str]] = []
        self.dirty: set[str] = set()
        self.columns: dict[str, NDArray] = {name: np.full(0, fill, dtype) for name, (dtype, fill) in _COLUMNS.items()}

    def row(self, symbol: str) -> int:
        """The symbol's row, opened if it is new."""
        row = self.rows.get(symbol)
        if row is None:
            self.dirty.update(_CELLS)
            row = self.rows[symbol] = len(self.symbols)
            self.symbols.append(symbol)
            for told in (self.live, self.indicative, self.halted):
                told.append(())
            self.beta_from.append(())
            if row == len(self.columns["price"]):
                for name, (dtype, fill) in _COLUMNS.items():
                    grown: NDArray = np.full(max(16, 2 * row), fill, dtype)
                    grown[:row] = self.columns[name]
                    self.columns[name] = grown
        return row

    def quoted(self, row: int) -> bool:
        """Whether the symbol at the row ever had a price; then it has one for good."""
        return not np.isnan(self.columns["price"][row])

    def tick(self, ticks: Iterable[Tick], *, stale_after: int) -> list[int]:
        """Take the prices, in any order; the rows that have a newer one of its kind. stale_after is in seconds."""
        rows, changed = self.rows, set()
        kinds = {"LIVE": self.live, "CLOSE": self.live, "INDICATIVE": self.indicative, "HALTED": self.halted}
        for _, symbol, newest, _ in ticks:
            row = rows.get(symbol)
            if row is None:
                row = self.row(symbol)
            told = kinds[newest[4]]
            if newest > told[row]:
                told[row] = newest
                changed.add(row)
        moved = list(changed)
        if moved:
            self.dirty.add("quotes")
            standing = [self._standing(row) for row in moved]
            self.columns["price"][moved] = [price for price, _ in standing]
            self.columns["status"][moved] = [_STATUS[newest[4]] for _, newest in standing]
            as_of = np.array([newest[0] for _, newest in standing])
            self.columns["stale_at"][moved] = self.sessions.after_each(as_of, stale_after * 1_000_000)
        return moved

    def _standing(self, row: int) -> tuple[float, tuple[Any, ...]]:
        """The price that holds at a row, and what says so."""
        newest, indicative, halted = self.live[row], self.indicative[row], self.halted[row]
        if indicative and (not newest or (newest[4] == "CLOSE" and indicative > newest)):
            newest = indicative
        if halted > newest:
            return (newest or halted)[3], halted
        return newest[3], newest

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
        self.columns["beta"][row] = beta
        return row

    def describe(self, instrument: Instrument) -> int | None:
        """Take what an instrument is; the row, or None if nothing that is valued changed."""
        row = self.row(instrument.symbol)
        if self.columns["multiplier"][row] == instrument.multiplier:
            return None
        self.dirty.add("symbols")
        self.columns["multiplier"][row] = instrument.multiplier
        return row

    def states(self, rows: NDArray[np.int64] | list[int], instant: int) -> NDArray[np.int8]:
        """LIVE, CLOSE, HALTED, STALE or MISSING of the symbols at the rows, as of the instant, microseconds."""
        status = self.columns["status"][rows]
        old = (self.columns["stale_at"][rows] <= instant) & ((status == LIVE) | (status == CLOSE))
        return np.where(old, np.int8(STALE), status)

    def quotes(self, default_beta: float, instant: int) -> Quotes:
        """Every symbol as of the instant, microseconds; a beta that is not known is the default."""
        columns, state = self.columns, self.states(np.arange(len(self.columns["price"])), instant)
        defaulted = np.isnan(columns["beta"])
        return Quotes(
            price=columns["price"],
            beta=np.where(defaulted, default_beta, columns["beta"]),
            multiplier=columns["multiplier"],
            unreliable=(state == STALE) | (state == HALTED) | (state == MISSING),
            defaulted=defaulted,
        )

    def turned_stale(self, after: int, until: int) -> NDArray[np.int64]:
        """Rows whose price became stale in (after, until], microseconds."""
        stale_at = self.columns["stale_at"]
        return np.flatnonzero((stale_at > after) & (stale_at <= until))

    def next_change(self, after: int) -> int:
        """When the next price turns stale or the next beta becomes effective, microseconds, or NEVER."""
        stale_at = self.columns["stale_at"]
        stale = int(stale_at.min(initial=NEVER, where=stale_at > after))
        return min(stale, self.scheduled[0][0]) if self.scheduled else stale

    def to_cell(self, name: str) -> dict:
        """The quotes, or what is known of the symbols, as plain data."""
        lists, columns = _CELLS[name]
        rows = len(self.symbols)
        return {key: getattr(self, key) for key in lists} | {key: self.columns[key][:rows] for key in columns}

    def load(self, cell: dict) -> None:
        """Take what to_cell gave for one of the names."""
        for name, content in cell.items():
            if name in self.columns:
                self.columns[name] = content
            else:
                setattr(self, name, content if name == "symbols" else [tuple(key) for key in content])
        if "symbols" in cell:
            self.rows = {symbol: row for row, symbol in enumerate(self.symbols)}
