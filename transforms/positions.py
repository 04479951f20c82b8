"""UpdatePositions: the records of an instant applied to the book, and the block of accounts that they touched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from risk.amounts import Ints
from risk.intraday import UNKNOWN
from risk.ladder import KEPT, OPENINGS
from risk.ledger import Posting
from risk.rulebook import Rulebook
from risk.ticks import Ticks
from schemas import inputs
from schemas.codec import to_json
from schemas.ids import digest
from schemas.outputs import DeadLetter
from schemas.topics import BY_RECORD, name_of
from transforms.records import NOWHERE, Origin, place_of
from transforms.state import ShardState

HEARTBEAT_PHASES = 64


def heartbeat_phase(account_id: str) -> int:
    """Which of the heartbeat's phases an account publishes in: from its id, so that the shard cannot matter."""
    return int(digest(account_id.encode())[:4], 16) % HEARTBEAT_PHASES


class Booking(NamedTuple):
    """What one record did to an account's book: postings, of which those that undo come first.

    id: of the original fill, or of the cash movement. executed_at: microseconds, or risk.intraday.UNKNOWN. source: the
    record's name (schemas.topics).
    """

    account: int
    id: str
    executed_at: int
    postings: list[Posting]
    source: str = ""

    @property
    def corrects(self) -> bool:
        """Whether the record changed what an earlier one had done."""
        return self.postings[0].corrects is not None


@dataclass(slots=True)
class Update:
    """What the records of an instant did.

    sources: of accounts the name (schemas.topics) of the last record that changed anything, a snapshot aside, which
    only says what was. since: the instant of the grid before, microseconds.
    """

    touched: list[int] = field(default_factory=list)
    holders: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    corrections: list[tuple[int, Posting]] = field(default_factory=list)
    provisional: set[int] = field(default_factory=set)
    overrides: list[tuple[int, inputs.Override]] = field(default_factory=list)
    late: list[tuple[int, inputs.Input]] = field(default_factory=list)
    refused: list[tuple[inputs.Input, str]] = field(default_factory=list)
    bookings: list[Booking] = field(default_factory=list)
    sources: dict[int, str] = field(default_factory=dict)
    since: int = 0


def refusal(record: inputs.Input, reason: str, origin: Origin = NOWHERE) -> DeadLetter:
    """The dead letter of a well-formed record that contradicts an earlier one."""
    topic, (partition, offset) = BY_RECORD[type(record)].name, place_of(origin)
    return DeadLetter(topic=topic, partition=partition, offset=offset, payload=to_json(record), reason=reason)


@dataclass(frozen=True)
class UpdatePositions:
    """Applies records to a shard's state in the total order; knows what touches an account."""

    def apply(
        self, state: ShardState, records: list[inputs.Input], ticks: Ticks, rules: Rulebook, instant: int
    ) -> Update:
        """Apply the prices of one instant and its other records, already in the total order, and say what they did."""
        update = Update()
        moved = state.market.due(instant)
        ticked = state.market.tick(ticks, stale_after=rules.stale_after)
        moved.extend(self._take(state, records, update, instant))
        if update.touched:
            state.dirty.update(("accounts", "positions"))
        state.book.settle()
        if moved or len(ticked):
            mask = np.zeros(len(state.market.symbols), np.bool_)
            mask[moved] = mask[ticked] = True
            if rules.options is not None:
                state.market.derived(mask)
            update.holders = state.book.holders(mask)
        if state.ladder.grow(len(state.book.ids)):
            state.dirty.update(("ladder", "chains"))
        return update

    def _take(self, state: ShardState, records: Iterable[inputs.Input], update: Update, instant: int) -> Iterator[int]:
        """Apply the records; rows of the symbols that changed."""
        last: inputs.Input | None = None
        for record in records:
            # In the total order an exact duplicate follows its like; not every topic has ids to know it by.
            if record == last:
                continue
            last = record
            match record:
                case inputs.Beta():
                    row = state.market.estimate(record, instant)
                case inputs.Instrument():
                    row = state.market.describe(record)
                case _:
                    row = None
                    self._account(state, record, update, instant)
            if row is not None:
                yield row

    def _account(self, state: ShardState, record: Any, update: Update, instant: int) -> None:
        if record.arrived_at is None or record.arrived_at < state.cuts.get(record.account_id, 0):
            return
        account = state.book.row(record.account_id)
        update.touched.append(account)
        if record.arrived_at < state.now:
            update.late.append((account, record))
        match record:
            case inputs.Fill():
                self._known(state, account, update)
                postings, refused = state.ledger.post(record, instant, state.market.size(record.symbol))
                if refused:
                    update.refused.append((record, refused))
                if postings:
                    root = record.fill_id if record.kind == "NEW" else record.ref_fill_id or record.fill_id
                    executed_at = UNKNOWN if record.executed_at is None else int(record.executed_at)
                    update.bookings.append(Booking(account, root, executed_at, postings, name_of(record)))
                    update.sources[account] = name_of(record)
                for posting in postings:
                    self._post(state, account, posting)
                    if posting.corrects is not None:
                        update.corrections.append((account, posting))
            case inputs.Cash():
                self._known(state, account, update)
                new, refused = state.ledger.pay(record)
                if refused:
                    update.refused.append((record, refused))
                if new:
                    state.book.cash[account] += int(record.amount)
                    moved = [Posting("", 0, int(record.amount))]
                    update.bookings.append(
                        Booking(account, record.cash_id, int(record.arrived_at), moved, name_of(record))
                    )
                    update.sources[account] = name_of(record)
            case inputs.Account():
                state.book.known[account] = True
                state.book.agree(account, record)
                update.sources[account] = name_of(record)
                update.provisional.discard(account)
            case inputs.Snapshot():
                self._replace(state, account, record)
                update.provisional.discard(account)
            case inputs.Override():
                self._known(state, account, update)
                update.overrides.append((account, record))
                update.sources[account] = name_of(record)

    def _known(self, state: ShardState, account: int, update: Update) -> None:
        if not state.book.known[account]:
            # Said once: the alert goes out at this instant, and from then on the account is known as provisional.
            state.book.known[account] = True
            update.provisional.add(account)

    def _post(self, state: ShardState, account: int, posting: Posting) -> None:
        book, symbol = state.book, state.market.row(posting.symbol)
        book.trade(account, symbol, posting.quantity)
        book.cash[account] += posting.cash
        if not state.market.quoted(symbol):
            book.price(account, symbol, state.ledger.of(book.ids[account]).last_price(posting.symbol))

    def _replace(self, state: ShardState, account: int, snapshot: inputs.Snapshot) -> None:
        """Replace the account's state with the snapshot's (design 3, Snapshot)."""
        book, ladder = state.book, state.ladder
        state.ledger.replace(snapshot)
        if book.known[account]:
            book.clear(account)
        book.known[account] = True
        book.agree(account, snapshot)
        book.cash[account] = int(snapshot.cash)
        own = state.ledger.of(snapshot.account_id)
        for position in snapshot.positions:
            symbol = state.market.row(position.symbol)
            book.trade(account, symbol, int(position.quantity))
            if position.close is None:
                book.price(account, symbol, own.last_price(position.symbol))
            else:
                book.price(account, symbol, np.nan, position.close)
        state.paths.pop(account, None)
        if snapshot.intraday is not None:
            state.paths[account] = snapshot.intraday
        state.standing.put(account, snapshot.standing or inputs.Standing(sma=snapshot.sma))
        state.dirty.update(("intraday", "standing"))
        state.cuts[snapshot.account_id] = int(snapshot.cut or 0)
        ladder.grow(len(book.ids))
        ladder.flags[account] = sum(KEPT[name] for name in snapshot.levels)
        ladder.deficient_since[account] = -1 if snapshot.deficient_since is None else snapshot.deficient_since
        ladder.since[account] = -1 if snapshot.since is None else snapshot.since
        ladder.opened[account] = {
            flag: snapshot.opened[name] for flag, name in OPENINGS.items() if name in snapshot.opened
        }
        ladder.heads[account] = snapshot.audit_head
        ladder.episodes.pop(account, None)
        if snapshot.episode is not None:
            ladder.episodes[account] = snapshot.episode
        state.dirty.update(("clock", "ladder", "chains"))

    def due(self, state: ShardState, before: Rulebook, rules: Rulebook, instant: int) -> Ints:
        """Accounts touched by time alone in (state.now, instant]: a stale price, a new rulebook, a deadline."""
        if rules is not before:
            return np.arange(len(state.book.ids))
        mask = np.zeros(len(state.market.columns["stale_at"]), np.bool_)
        mask[state.market.turned_stale(state.now, instant, rules)] = True
        if rules.options is not None:
            state.market.derived(mask)
        holders = state.book.holders(mask) if mask.any() else np.empty(0, np.int64)
        found = [holders]
        for rows, deadlines in (state.ladder.deadlines(rules.persist, state.now), state.standing.ends(state.now)):
            found.append(rows[deadlines <= instant])
        return np.concatenate(found)

    def heartbeats(self, state: ShardState, rules: Rulebook, instant: int) -> Ints:
        """Rows whose heartbeat fell in (state.now, instant]."""
        step = rules.heartbeat * 1_000_000 // HEARTBEAT_PHASES
        beats = range(state.now // step + 1, instant // step + 1) if state.now >= 0 else range(0)
        phases = {beat % HEARTBEAT_PHASES for beat in beats[-HEARTBEAT_PHASES:]}
        ids = state.book.ids if phases else []
        return np.array([row for row, account in enumerate(ids) if heartbeat_phase(account) in phases], np.int64)
