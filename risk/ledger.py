"""The ledger of fills and cash movements: what each id has contributed, so that corrections are exact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from sys import intern
from typing import TYPE_CHECKING

from risk.amounts import TICKS_PER_DOLLAR

if TYPE_CHECKING:
    from schemas.inputs import Cash, Fill, SnapshotFill

BUCKETS = 16


@dataclass(slots=True)
class Entry:
    """An original fill: its highest version with its content, the lower ones, and whether the original itself came."""

    version: int = 0
    latest: tuple = ()
    lower: dict[int, tuple] | None = None
    original: bool = False
    applied_at: int = 0

    def known(self, version: int) -> tuple | None:
        """Content of a version, if it came."""
        return self.latest if version == self.version else (self.lower or {}).get(version)

    def take(self, version: int, content: tuple) -> None:
        """Keep a version that is not known."""
        if self.version:
            # Nearly every fill has one version only: a dict for each would be half of the ledger's memory.
            self.lower = self.lower or {}
            self.lower[min(version, self.version)] = content if version < self.version else self.latest
        if version > self.version:
            self.version, self.latest = version, content

    def effect(self) -> tuple[str, int, int] | None:
        """What stands in the book: (symbol, millionths, ticks of cash); None for a bust, or without the original."""
        if not self.original or self.latest[0] == "BUST":
            return None
        _, symbol, quantity, price, fees, *_ = self.latest
        return symbol, quantity, cash_effect(quantity, price, fees)


@dataclass(frozen=True, slots=True)
class Posting:
    """A change of the book: signed millionths of a symbol, ticks of cash, and when the fill it corrects applied."""

    account_id: str
    symbol: str
    quantity: int
    cash: int
    corrects: int | None = None
    price: float = 0.0


def cash_effect(quantity: int, price: float, fees: int) -> int:
    """Trade-date cash of a fill in ticks: minus quantity (millionths) x price (dollars), minus fees (ticks)."""
    return -round(quantity / 1e6 * price * TICKS_PER_DOLLAR) - fees


def content_of(fill: Fill | SnapshotFill, kind: str) -> tuple:
    """What makes two records with one account, id and version the same: all but when they arrived."""
    return (
        kind,
        intern(fill.symbol),
        int(fill.quantity),
        fill.price,
        int(fill.fees),
        -1 if fill.executed_at is None else int(fill.executed_at),
        fill.fill_id,
    )


def key_of(account_id: str, own_id: str) -> str:
    """The key of an account's fill or cash id: another account may use the same id, in this shard or in another."""
    return f"{account_id}\0{own_id}"


def _parts(key: str) -> tuple[str, str]:
    account_id, _, own_id = key.partition("\0")
    return intern(account_id), own_id


class Ledger:
    """Entries by account and original fill id (key_of), in buckets so that a change writes a sixteenth of them."""

    def __init__(self) -> None:
        self._buckets: list[dict[str, Entry] | None] = [{} for _ in range(BUCKETS)]
        self.cash: dict[str, tuple] = {}
        self.dirty: set[int] = set()

    @staticmethod
    def bucket_of(key: str) -> int:
        """The bucket of a key."""
        return sum(key.encode()) % BUCKETS

    def bucket(self, number: int) -> dict[str, Entry]:
        """A bucket, fetched from its cell on first use."""
        found = self._buckets[number]
        if found is None:
            found = self._buckets[number] = {
                key: Entry(
                    version, tuple(latest), lower and {v: tuple(c) for v, c in lower.items()}, original, applied_at
                )
                for key, (version, latest, lower, original, applied_at) in (self._fetch(number) or {}).items()
            }
        return found

    def post(self, fill: Fill, instant: int) -> tuple[list[Posting], str | None]:
        """Postings that bring the book to the fill's highest version, and why the record is refused, if it is.

        A correction before its fill waits (no postings). The same id and version with other content is refused.
        """
        root = fill.fill_id if fill.kind == "NEW" else fill.ref_fill_id or fill.fill_id
        key = key_of(fill.account_id, root)
        number = self.bucket_of(key)
        bucket = self.bucket(number)
        entry = bucket.get(key)
        if entry is None:
            entry = bucket[key] = Entry()
        content = content_of(fill, fill.kind)
        known = entry.known(fill.version)
        if known is not None:
            same = known == content
            return [], None if same else f"fill {root} version {fill.version}: expected {known}, found {content}"
        self.dirty.add(number)
        before = entry.effect()
        entry.take(fill.version, content)
        entry.original |= fill.kind == "NEW"
        return _postings(fill.account_id, entry, before, instant), None

    def restore(self, account_id: str, fill: SnapshotFill) -> None:
        """Know a fill that a snapshot already includes; one that is not effective is known as busted."""
        content = content_of(fill, "NEW" if fill.effective else "BUST")
        key = key_of(account_id, fill.fill_id)
        number = self.bucket_of(key)
        self.bucket(number)[key] = Entry(fill.version, content, None, True, int(fill.arrived_at))
        self.dirty.add(number)

    def pay(self, movement: Cash) -> tuple[bool, str | None]:
        """Whether the movement is new, and why it is refused, if it is."""
        content = (movement.account_id, int(movement.amount), movement.kind)
        known = self.cash.setdefault(key_of(movement.account_id, movement.cash_id), content)
        if known is content:
            return True, None
        # A snapshot names the ids it includes without their content.
        return False, None if known in ((), content) else f"cash {movement.cash_id}: expected {known}, found {content}"

    def entry(self, account_id: str, fill_id: str) -> Entry:
        """The entry of an original fill that is known. Raises KeyError."""
        key = key_of(account_id, fill_id)
        return self.bucket(self.bucket_of(key))[key]

    def entries(self) -> Iterator[tuple[str, str, Entry]]:
        """(account, original fill id, entry) of every fill that an id is known of."""
        return ((*_parts(key), entry) for number in range(BUCKETS) for key, entry in self.bucket(number).items())

    def paid(self) -> Iterator[tuple[str, str]]:
        """(account, cash id) of every movement that is known."""
        return map(_parts, self.cash)

    def bucket_cell(self, number: int) -> dict:
        """A bucket as plain data."""
        return {key: (e.version, e.latest, e.lower, e.original, e.applied_at) for key, e in self.bucket(number).items()}

    def load(self, fetch: Callable[[int], dict | None]) -> None:
        """Become what the bucket cells described; fetch gives one of them when it is needed."""
        self._fetch = fetch
        self._buckets = [None] * BUCKETS


def _postings(account_id: str, entry: Entry, before: tuple[str, int, int] | None, instant: int) -> list[Posting]:
    """What takes the book from the effect that stood in it to the entry's own."""
    after = entry.effect()
    if before == after:
        return []
    corrects = entry.applied_at if before else None
    if before is None:
        entry.applied_at = instant
    undone = [Posting(account_id, before[0], -before[1], -before[2], corrects)] if before else []
    return undone + ([Posting(account_id, *after, corrects, entry.latest[3])] if after else [])
