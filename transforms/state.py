"""What a shard remembers between instants, as named cells of which only the changed ones are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from risk.amounts import Floats, Ints
from risk.book import Book
from risk.ladder import Flags, Marks
from risk.ledger import BUCKETS, Ledger
from risk.market import Market
from risk.sessions import Sessions
from schemas.codec import from_json, to_json
from schemas.inputs import Instrument, IntradayPath, OpenCall, OpenedOn, Standing
from transforms.cells import decode_cell, encode_cell

LEDGER_CELLS = tuple(f"ledger{number:02d}" for number in range(BUCKETS))
CELLS = (
    "clock",
    "symbols",
    "instruments",
    "quotes",
    "accounts",
    "positions",
    *LEDGER_CELLS,
    "ladder",
    "chains",
    "intraday",
    "standing",
    "firm",
)


class Ladder:
    """Per account row: active levels, clocks, last published figures, head of the audit chain, open consequences, and
    when the episode began that an account is in."""

    def __init__(self) -> None:
        self.flags: Flags = np.empty(0, np.uint8)
        self.since: Ints = np.empty(0, np.int64)
        self.deficient_since: Ints = np.empty(0, np.int64)
        #: Equity, requirement, requirement by the rule and excess after the severe move, ticks; NaN: nothing was yet.
        self.published: Floats = np.empty((4, 0))
        self.heads: list[str] = []
        self.opened: dict[int, dict[int, OpenedOn]] = {}
        self.episodes: dict[int, int] = {}

    def grow(self, accounts: int) -> bool:
        """Make room for new account rows; whether there were any."""
        new = accounts - len(self.heads)
        if new > 0:
            self.flags = np.append(self.flags, np.zeros(new, np.uint8))
            self.since = np.append(self.since, np.full(new, -1))
            self.deficient_since = np.append(self.deficient_since, np.full(new, -1))
            self.published = np.append(self.published, np.full((4, new), np.nan), axis=1)
            self.heads.extend([""] * new)
        return new > 0

    def deadlines(self, persist: int, now: int) -> tuple[Ints, Ints]:
        """Rows of the accounts with a deficiency that has not lasted `persist` seconds yet, and when it will have."""
        running = np.flatnonzero(self.deficient_since >= 0)
        ends = self.deficient_since[running] + persist * 1_000_000
        ahead = ends > now
        return running[ahead], ends[ahead]

    def ladder_cell(self) -> dict[str, Any]:
        """Levels, clocks and what was published as plain data."""
        return {name: getattr(self, name) for name in ("flags", "since", "deficient_since", "published")}

    def chains_cell(self) -> dict[str, Any]:
        """Heads of the audit chains, openings and episodes, which change with events only, as plain data."""
        opened = [(row, level, to_json(on)) for row, levels in self.opened.items() for level, on in levels.items()]
        return {"heads": self.heads, "opened": opened, "episodes": list(self.episodes.items())}

    def load_ladder(self, cell: dict[str, Any]) -> None:
        """Become what ladder_cell described."""
        for name, column in cell.items():
            setattr(self, name, column)

    def load_chains(self, cell: dict[str, Any]) -> None:
        """Become what chains_cell described."""
        self.heads, self.episodes = cell["heads"], dict(cell["episodes"])
        for row, level, on in cell["opened"]:
            self.opened.setdefault(row, {})[level] = from_json(OpenedOn, on)


class Standings:
    """Where accounts stand beside the ladder, by row, of those that have anything of it; and what of it the ladder
    needs, as columns."""

    def __init__(self) -> None:
        self._by_row: dict[int, Standing] = {}
        self.overdue: NDArray[np.bool_] = np.empty(0, np.bool_)
        self.restricted_until: Ints = np.empty(0, np.int64)
        self.exempt_until: Ints = np.empty(0, np.int64)
        self.propose_at: Ints = np.empty(0, np.int64)
        self._proposed: NDArray[np.bool_] = np.empty(0, np.bool_)

    def of(self, row: int) -> Standing:
        """Of an account."""
        return self._by_row.get(row, _NOTHING)

    def get(self, row: int) -> Standing | None:
        """Of an account that has anything."""
        return self._by_row.get(row)

    def put(self, row: int, standing: Standing | None) -> None:
        """What an account's standing is now."""
        own = standing or _NOTHING
        if own == _NOTHING:
            self._by_row.pop(row, None)
        else:
            self._by_row[row] = own
        if row >= len(self.overdue):
            for name in ("overdue", "restricted_until", "exempt_until", "propose_at", "_proposed"):
                column = getattr(self, name)
                setattr(self, name, np.append(column, np.zeros(row + 16, column.dtype)))
        self.overdue[row] = any(call.state == "EXPIRED" for call in own.calls)
        self.restricted_until[row] = own.restricted_until or 0
        self.exempt_until[row] = own.exempt_until or 0
        self.propose_at[row] = 0 if own.proposal else own.propose_at or 0
        self._proposed[row] = own.proposal is not None or own.propose_at is not None

    def marks(self, accounts: Ints, instant: int) -> Marks:
        """Of the accounts at the rows as of an instant, microseconds."""
        known = accounts < len(self.overdue)
        at = np.where(known, accounts, 0)
        if not known.any():
            return Marks(known, known, known)
        restricted, exempt = (column[at] > instant for column in (self.restricted_until, self.exempt_until))
        return Marks(self.overdue[at] & known, restricted & known, exempt & known)

    def proposing(self, accounts: Ints) -> NDArray[np.bool_]:
        """(n,) whether a liquidation of an account at a row is proposed, or is to be."""
        known = accounts < len(self._proposed)
        return self._proposed[np.where(known, accounts, 0)] & known if known.any() else known

    def ends(self, after: int) -> tuple[Ints, Ints]:
        """Rows whose restriction, exemption or wait for a proposal ends after a time, microseconds, and when."""
        columns = (self.restricted_until, self.exempt_until, self.propose_at)
        rows = [np.flatnonzero(column > max(after, 0)) for column in columns]
        ends = [column[own] for column, own in zip(columns, rows, strict=True)]
        return np.concatenate(rows), np.concatenate(ends)

    def open_calls(self) -> Iterator[tuple[int, OpenCall]]:
        """Row of the account and call, of every call that is open."""
        return ((row, call) for row, own in self._by_row.items() for call in own.calls)

    def to_cell(self) -> list:
        """As plain data."""
        return [(row, to_json(own)) for row, own in self._by_row.items()]

    def load(self, cell: list) -> None:
        """Become what to_cell described."""
        for row, own in cell:
            self.put(row, from_json(Standing, own))


_NOTHING = Standing()


class ShardState:
    """Book, market, ledger and ladder of one shard.

    now: the last instant processed (microseconds, -1: none). deadline: the next one without a record, once it was asked
    for.
    """

    def __init__(self, sessions: Sessions) -> None:
        self.now = -1
        self.closed = False
        self.deadline: int | None = None
        self.cuts: dict[str, int] = {}
        #: Whether an account was touched since the shard told its part of the firm: only then is there more to tell.
        self.moved = False
        self.market = Market(sessions)
        self.book = Book()
        self.ledger = Ledger()
        self.ladder = Ladder()
        #: Of accounts that traded, by row.
        self.paths: dict[int, IntradayPath] = {}
        self.standing = Standings()
        #: What was told last of the shard's part of the firm: totals, and what called accounts hold by symbol.
        self.firm: tuple[list[list[int]], dict[str, tuple[int, int]]] | None = None
        self.dirty: set[str] = set()

    def load(self, read: Callable[[str], bytes | None]) -> None:
        """Take every cell; those of the ledger when a fill first needs them, so read must last as long as the state."""
        loaders: dict[str, Callable[[Any], None]] = {
            "clock": self._load_clock,
            "symbols": self.market.load,
            "instruments": lambda cell: self.market.load_instruments(_instruments(cell)),
            "quotes": self.market.load,
            "accounts": self.book.load_accounts,
            "positions": self.book.load_positions,
            "ladder": self.ladder.load_ladder,
            "chains": self.ladder.load_chains,
            "intraday": self._load_paths,
            "standing": self.standing.load,
            "firm": self._load_firm,
        }
        for name, load in loaders.items():
            payload = read(name)
            if payload is not None:
                load(decode_cell(payload))

        def fetch(number: int) -> dict | None:
            payload = read(LEDGER_CELLS[number])
            return None if payload is None else decode_cell(payload)

        self.ledger.load(fetch)

    def _load_clock(self, cell: list) -> None:
        self.now, self.closed, self.cuts, self.moved = cell

    def _load_paths(self, cell: list) -> None:
        self.paths = {row: from_json(IntradayPath, path) for row, path in cell}

    def _load_firm(self, cell: list) -> None:
        totals, holdings = cell
        self.firm = totals, {symbol: (accounts, gross) for symbol, (accounts, gross) in holdings.items()}

    def drain(self) -> Iterator[tuple[str, bytes]]:
        """The cells that changed since the last call, encoded."""
        dump: dict[str, Callable[[], Any]] = {
            "clock": lambda: (self.now, self.closed, self.cuts, self.moved),
            "symbols": lambda: self.market.to_cell("symbols"),
            "instruments": lambda: [(row, to_json(own)) for row, own in self.market.instruments.items()],
            "quotes": lambda: self.market.to_cell("quotes"),
            "accounts": self.book.accounts_cell,
            "positions": self.book.positions_cell,
            "ladder": self.ladder.ladder_cell,
            "chains": self.ladder.chains_cell,
            "intraday": lambda: [(row, to_json(path)) for row, path in self.paths.items()],
            "standing": self.standing.to_cell,
            "firm": lambda: self.firm,
        }
        for name in sorted(self.dirty | self.market.dirty):
            yield name, encode_cell(dump[name]())
        for number in sorted(self.ledger.dirty):
            yield LEDGER_CELLS[number], encode_cell(self.ledger.bucket_cell(number))
        self.dirty.clear()
        self.market.dirty.clear()
        self.ledger.dirty.clear()


def _instruments(cell: list) -> dict[int, Instrument]:
    return {row: from_json(Instrument, own) for row, own in cell}
