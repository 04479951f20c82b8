"""The ledger of fills and cash movements: what each id has contributed, so that corrections are exact."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from sys import intern
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from risk.amounts import TICKS_PER_DOLLAR

if TYPE_CHECKING:
    from schemas.inputs import Cash, Fill, Snapshot, SnapshotFill

BUCKETS = 16


class Execution(NamedTuple):
    """What a version of a fill says; two records with one account, id and version must agree in all of it.

    quantity in millionths, fees in ticks, executed_at in microseconds (-1: not known); fill_id is the version's own.
    """

    kind: str
    symbol: str
    quantity: int
    price: float
    fees: int
    executed_at: int
    fill_id: str

    @property
    def booked(self) -> tuple:
        """What of it the book shows."""
        return self[1:5]


@dataclass(slots=True)
class Entry:
    """An original fill: its highest version with its content, the lower ones, whether the original itself came, and the
    units of the underlying in one of it when it was applied."""

    version: int
    latest: Execution
    lower: dict[int, Execution] | None
    original: bool
    applied_at: int
    size: float = 1.0

    def known(self, version: int) -> Execution | None:
        """Content of a version, if it came."""
        return self.latest if version == self.version else (self.lower or {}).get(version)

    def take(self, version: int, content: Execution) -> None:
        """Keep a version that is not known."""
        # Nearly every fill has one version only: a dict for each would be half of the ledger's memory.
        self.lower = self.lower or {}
        self.lower[min(version, self.version)] = content if version < self.version else self.latest
        if version > self.version:
            self.version, self.latest = version, content

    def effect(self) -> Execution | None:
        """What stands in the book; None for a bust, or without the original."""
        return self.latest if self.original and self.latest.kind != "BUST" else None


class Posting(NamedTuple):
    """A change of the book: signed millionths of a symbol, ticks of cash, and when the fill it corrects applied."""

    symbol: str
    quantity: int
    cash: int
    corrects: int | None = None


def cash_effect(quantity: int, price: float, fees: int) -> int:
    """Trade-date cash of a fill in ticks: minus quantity (millionths of the underlying) x price (dollars), minus fees
    (ticks)."""
    return -round(quantity / 1e6 * price * TICKS_PER_DOLLAR) - fees


def content_of(fill: Fill | SnapshotFill, own_id: str) -> Execution:
    """The content of a fill's version whose own id is given."""
    executed_at = -1 if fill.executed_at is None else int(fill.executed_at)
    return Execution(
        fill.kind, intern(fill.symbol), int(fill.quantity), fill.price, int(fill.fees), executed_at, own_id
    )


@dataclass(slots=True)
class AccountLedger:
    """What is known of one account's ids: fills by the id of their original, cash movements by theirs.

    Another account may use the same ids, in this shard or in another. number: of its bucket.
    """

    number: int
    fills: dict[str, Entry] = field(default_factory=dict)
    cash: dict[str, tuple] = field(default_factory=dict)

    def last_price(self, symbol: str) -> float:
        """The price of the last fill that stands in a symbol; NaN if none does.

        The last is the one that applied last, then that was executed last, then has the highest id.
        """
        stands = ((entry.applied_at, entry.effect()) for entry in self.fills.values())
        trades = ((at, e.executed_at, e.fill_id, e.price) for at, e in stands if e and e.symbol == symbol)
        return max(trades, default=(math.nan,))[-1]


class Ledger:
    """Accounts' ledgers in buckets of accounts, so that a change writes a sixteenth of them."""

    def __init__(self) -> None:
        self._buckets: list[dict[str, AccountLedger] | None] = [{} for _ in range(BUCKETS)]
        self._fetch: Callable[[int], dict | None] = lambda number: None
        self.dirty: set[int] = set()

    def bucket(self, number: int) -> dict[str, AccountLedger]:
        """A bucket, fetched from its cell on first use."""
        found = self._buckets[number]
        if found is None:
            cell = self._fetch(number) or {}
            found = self._buckets[number] = {own: _loaded(number, *content) for own, content in cell.items()}
        return found

    def of(self, account_id: str) -> AccountLedger:
        """An account's ledger, opened if it is new."""
        number = crc32(account_id.encode()) % BUCKETS
        bucket = self.bucket(number)
        found = bucket.get(account_id)
        if found is None:
            found = bucket[account_id] = AccountLedger(number)
        return found

    def post(self, fill: Fill, instant: int, size: float = 1.0) -> tuple[list[Posting], str | None]:
        """Postings that bring the book to the fill's highest version, and why the record is refused, if it is.

        size: units of the underlying in one of the symbol, which the price is of.
        A correction before its fill waits (no postings). The same id and version with other content is refused.
        """
        new = fill.kind == "NEW"
        root = fill.fill_id if new else fill.ref_fill_id or fill.fill_id
        own = self.of(fill.account_id)
        entry, content = own.fills.get(root), content_of(fill, fill.fill_id)
        if entry is None:
            self.dirty.add(own.number)
            own.fills[root] = Entry(fill.version, content, None, new, instant, size)
            return [_posting(content, size)] if new else [], None
        known = entry.known(fill.version)
        if known is not None:
            same = known == content
            return [], None if same else f"fill {root} version {fill.version}: expected {known}, found {content}"
        self.dirty.add(own.number)
        before = entry.effect()
        entry.take(fill.version, content)
        entry.original |= new
        return _postings(entry, before, instant), None

    def pay(self, movement: Cash) -> tuple[bool, str | None]:
        """Whether the movement is new, and why it is refused, if it is."""
        own = self.of(movement.account_id)
        content = (int(movement.amount), movement.kind)
        known = own.cash.setdefault(movement.cash_id, content)
        if known is content:
            self.dirty.add(own.number)
            return True, None
        # A snapshot names the ids it includes without their content.
        return False, None if known in ((), content) else f"cash {movement.cash_id}: expected {known}, found {content}"

    def replace(self, snapshot: Snapshot) -> None:
        """Know of the account what the snapshot includes, and nothing else."""
        own = self.of(snapshot.account_id)
        own.fills = {
            fill.fill_id: Entry(
                fill.version,
                content_of(fill, fill.own_id or fill.fill_id),
                None,
                True,
                int(fill.arrived_at),
                fill.multiplier,
            )
            for fill in snapshot.fills
        }
        own.cash = dict.fromkeys(snapshot.cash_ids, ())
        self.dirty.add(own.number)

    def accounts(self) -> Iterator[tuple[str, AccountLedger]]:
        """Every account of which an id is known."""
        return (item for number in range(BUCKETS) for item in self.bucket(number).items())

    def bucket_cell(self, number: int) -> dict:
        """A bucket as plain data."""
        return {
            account_id: (
                [(key, e.version, e.latest, e.lower, e.original, e.applied_at, e.size) for key, e in own.fills.items()],
                own.cash,
            )
            for account_id, own in self.bucket(number).items()
        }

    def load(self, fetch: Callable[[int], dict | None]) -> None:
        """Become what the bucket cells described; fetch gives one of them when it is needed."""
        self._fetch = fetch
        self._buckets = [None] * BUCKETS


def _loaded(number: int, fills: Iterable[tuple], cash: dict[str, list]) -> AccountLedger:
    entries = {
        key: Entry(version, Execution(*latest), lower and {v: Execution(*c) for v, c in lower.items()}, *rest)
        for key, version, latest, lower, *rest in fills
    }
    return AccountLedger(number, entries, {key: tuple(content) for key, content in cash.items()})


def _postings(entry: Entry, before: Execution | None, instant: int) -> list[Posting]:
    """What takes the book from the execution that stood in it to the one that does now."""
    after = entry.effect()
    if before is None:
        entry.applied_at = instant
        return [_posting(after, entry.size)] if after else []
    if after is not None and after.booked == before.booked:
        return []
    done = _posting(before, entry.size, entry.applied_at)
    undone = done._replace(quantity=-done.quantity, cash=-done.cash)
    return [undone, _posting(after, entry.size, entry.applied_at)] if after else [undone]


def _posting(execution: Execution, size: float, corrects: int | None = None) -> Posting:
    _, symbol, quantity, price, fees, _, _ = execution
    return Posting(symbol, quantity, cash_effect(round(quantity * size), price, fees), corrects)
