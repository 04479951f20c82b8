"""What a shard knows of every symbol: newest price, beta, multiplier, and whether the price can be relied on."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator
from dataclasses import replace
from operator import gt, itemgetter, lt
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from risk.amounts import Floats, Ints
from risk.memo import Memos
from risk.rulebook import Rulebook
from risk.sessions import Sessions
from risk.terms import Terms, describe
from risk.ticks import STATUSES, Ticks

if TYPE_CHECKING:
    from schemas.inputs import Beta, Instrument

NEVER = np.iinfo(np.int64).max
MISSING, LIVE, CLOSE, HALTED, STALE = range(5)
STATE_NAMES = ("MISSING", "LIVE", "CLOSE", "HALTED", "STALE")

#: The kinds of price that are kept of each symbol, and of each of STATUSES the kind and the state that it gives.
KINDS = ("live", "indicative", "halted")
_OF_LIVE, _OF_INDICATIVE, _OF_HALTED = range(len(KINDS))
_KIND = np.array([_OF_LIVE, _OF_HALTED, _OF_INDICATIVE, _OF_LIVE])
_STATE = np.array([CLOSE, HALTED, LIVE, LIVE], np.int8)
_A_CLOSE = STATUSES.index("CLOSE")
_NOTHING = np.iinfo(np.int64).min

#: What a price says: (as_of, sequence, source, price, place of its status, volatility). Of two, the greater is newer.
Newest = tuple[int, int, str, float, int, float]

#: By symbol: type, what stands where nothing is known, and the cell that it is written in: ticks change quotes alone.
_COLUMNS: dict[str, tuple[type, float, str]] = {
    "price": (np.float64, np.nan, "quotes"),
    "status": (np.int8, MISSING, "quotes"),
    "stale_at": (np.int64, NEVER, "quotes"),
    "beta": (np.float64, np.nan, "symbols"),
    "volatility": (np.float64, np.nan, "quotes"),
    "multiplier": (np.float64, 1.0, "symbols"),
    "underlying": (np.int64, -1, "symbols"),
    "expiry": (np.int64, NEVER, "symbols"),
}
#: By symbol and kind, the kinds of a symbol adjacent.
_TOLD: dict[str, tuple[type, float]] = {
    "as_of": (np.int64, _NOTHING),
    "sequence": (np.int64, 0),
    "price": (np.float64, np.nan),
    "status": (np.int8, 0),
    "volatility": (np.float64, 0.0),
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

    told: the newest price of each symbol and kind, live (which a close is, too), indicative or halted, at the place
    row x kinds + kind. sources: the sources of those that have one, by place. What holds follows from the three, so
    that no order of arrival can matter: a live price, whatever indicative one there is; a close or an indicative one,
    whichever is newer; under a halt that is newer still, the price that it keeps.
    """

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions
        self.symbols: list[str] = []
        self.rows: dict[str, int] = {}
        self.beta_from: list[tuple] = []
        self.scheduled: list[tuple[int, float, str]] = []
        self.dirty: set[str] = set()
        self.columns: dict[str, NDArray] = {name: np.full(0, fill, kind) for name, (kind, fill, _) in _COLUMNS.items()}
        self.told: dict[str, NDArray] = {name: np.full(0, fill, kind) for name, (kind, fill) in _TOLD.items()}
        self.sources: dict[int, str] = {}
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
                for name, (kind, fill) in _TOLD.items():
                    self.told[name] = np.append(self.told[name], np.full(room * len(KINDS), fill, kind))
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
        order = ticks.oldest_first()[::-1]
        # Of those of a symbol and kind the newest alone can matter, which is the first here.
        places, first = np.unique((rows * len(KINDS) + _KIND[ticks.status])[order], return_index=True)
        chosen = order[first]
        newer = self._newer(ticks, places, chosen)
        places, chosen = places[newer], chosen[newer]
        if not len(places):
            return places
        self.dirty.add("quotes")
        for name, column in self.told.items():
            column[places] = ticks.told(name)[chosen]
        self._name_sources(places, [ticks.sources[place] for place in chosen.tolist()])
        moved = np.unique(places // len(KINDS))
        self._settle(moved, stale_after)
        return moved

    def _newer(self, ticks: Ticks, places: Ints, chosen: Ints) -> NDArray[np.bool_]:
        """(places,) whether the chosen ticks are newer than what is told at the places."""
        # One after another, as tuples are compared; nearly always the first decides.
        newer, tied = np.zeros(len(places), np.bool_), np.ones(len(places), np.bool_)
        for ahead, behind in self._compared(ticks, places, chosen):
            newer |= tied & ahead
            tied &= ~(ahead | behind)
            if not tied.any():
                break
        return newer

    def _compared(
        self, ticks: Ticks, places: Ints, chosen: Ints
    ) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
        """By each part of Newest, whether the tick is greater than what is told, and whether it is less."""
        for name in self.told:
            if name == "price":
                new = [ticks.sources[tick] for tick in chosen.tolist()]
                old = [self.sources.get(place, "") for place in places.tolist()]
                yield np.array(list(map(gt, new, old))), np.array(list(map(lt, new, old)))
            column, was = ticks.told(name)[chosen], self.told[name][places]
            yield column > was, column < was

    def _name_sources(self, places: Ints, sources: list[str]) -> None:
        if not self.sources and not any(sources):
            return
        for place, source in zip(places.tolist(), sources, strict=True):
            if source:
                self.sources[place] = source
            else:
                self.sources.pop(place, None)

    def _settle(self, rows: Ints, stale_after: int) -> None:
        """Find what holds at the rows, of which something new was told."""
        told, places = self.told, rows * len(KINDS)
        price, status, as_of, volatility = (
            told[name][places + _OF_LIVE] for name in ("price", "status", "as_of", "volatility")
        )
        others = (told["as_of"][places + kind] != _NOTHING for kind in (_OF_INDICATIVE, _OF_HALTED))
        for at in np.flatnonzero(np.logical_or(*others)).tolist():
            price[at], (as_of[at], _, _, _, status[at], volatility[at]) = self._standing(int(rows[at]))
        self.columns["price"][rows] = price
        self.columns["status"][rows] = _STATE[status]
        self.columns["volatility"][rows] = np.where(volatility > 0, volatility, np.nan)
        self.columns["stale_at"][rows] = self.sessions.after_each(as_of, stale_after * 1_000_000)

    def _standing(self, row: int) -> tuple[float, Newest]:
        """The price that holds at a row, and what says so."""
        newest, indicative, halted = (self._told(row * len(KINDS) + kind) for kind in range(len(KINDS)))
        if indicative and (not newest or (newest[4] == _A_CLOSE and indicative > newest)):
            newest = indicative
        if halted > newest:
            return (newest or halted)[3], halted
        return newest[3], newest

    def _told(self, place: int) -> Any:
        """What is told at a place; empty for nothing."""
        if self.told["as_of"][place] == _NOTHING:
            return ()
        as_of, sequence, price, status, volatility = (column[place].item() for column in self.told.values())
        return as_of, sequence, self.sources.get(place, ""), price, status, volatility

    def ticks(self, arrived_at: int) -> Ticks:
        """What is told of every symbol, as if it arrived at one time, microseconds."""
        places = np.flatnonzero(self.told["as_of"] != _NOTHING)
        return Ticks.of(
            [self.symbols[row] for row in (places // len(KINDS)).tolist()],
            [self.sources.get(place, "") for place in places.tolist()],
            arrived_at=np.full(len(places), arrived_at),
            **{name: column[places] for name, column in self.told.items() if name != "volatility"},
            volatility=np.where(self.told["volatility"][places] > 0, self.told["volatility"][places], np.nan),
        )

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
        """Every symbol as of the instant, microseconds; a beta that is not known is the rulebook's default."""
        columns, state = self.columns, self.states(np.arange(len(self.columns["price"])), instant)
        defaulted = np.isnan(columns["beta"])
        beta = np.where(defaulted, rules.default_beta, columns["beta"])
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

    def turned_stale(self, after: int, until: int) -> NDArray[np.int64]:
        """Rows whose price became stale, or that expired, in (after, until], microseconds."""
        ends = (self.columns[name] for name in ("stale_at", "expiry"))
        return np.flatnonzero(np.logical_or(*((end > after) & (end <= until) for end in ends)))

    def next_change(self, after: int) -> int:
        """When the next price turns stale, option expires or beta becomes effective, microseconds, or NEVER."""
        ends = (self.columns[name] for name in ("stale_at", "expiry"))
        ended = min(int(end.min(initial=NEVER, where=end > after)) for end in ends)
        return min(ended, self.scheduled[0][0]) if self.scheduled else ended

    def to_cell(self, cell: str) -> dict:
        """The quotes, or what is known of the symbols, as plain data."""
        rows = len(self.symbols)
        found: dict[str, Any] = {
            "columns": {n: self.columns[n][:rows] for n, (*_, own) in _COLUMNS.items() if own == cell}
        }
        if cell == "symbols":
            return found | {name: getattr(self, name) for name in _LISTS}
        told = {name: column[: rows * len(KINDS)] for name, column in self.told.items()}
        return found | {"told": told, "sources": self.sources}

    def load(self, cell: dict) -> None:
        """Take what to_cell gave of either."""
        self.columns |= cell["columns"]
        if "told" in cell:
            self.told, self.sources = cell["told"], cell["sources"]
            return
        self.symbols, self.scheduled = cell["symbols"], [tuple(beta) for beta in cell["scheduled"]]
        self.beta_from = [tuple(told) for told in cell["beta_from"]]
        self.rows = {symbol: row for row, symbol in enumerate(self.symbols)}

    def load_instruments(self, instruments: dict[int, Instrument]) -> None:
        """Know of these, by row, and of no others."""
        self.instruments, self._described = instruments, None


def _content(instrument: Instrument) -> list:
    return [getattr(instrument, name) for name in instrument.__struct_fields__ if name != "arrived_at"]
