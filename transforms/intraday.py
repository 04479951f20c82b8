"""Intraday margin of the accounts that traded at an instant: what each transaction changed, and the day's deficit."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from typing import Literal, NamedTuple

import numpy as np

from risk.amounts import Floats, Ints
from risk.block import AccountBlock
from risk.book import STRATEGY
from risk.intraday import UNKNOWN, intraday_deficits, is_minor
from risk.ledger import Posting
from risk.margin import margin_levels
from risk.rulebook import IntradayRules, Rulebook
from schemas import outputs
from schemas.ids import identified
from schemas.inputs import IntradayChange, IntradayPath
from schemas.scalars import Money, Time
from transforms.events import Out
from transforms.figures import head_of
from transforms.positions import Booking, Update
from transforms.state import ShardState

#: A day of trading begins at 04:00 New York, so long before its session opens.
_BEFORE_OPEN = 19_800_000_000
_DAY = 86_400_000_000


class Day(NamedTuple):
    """A day of trading: the date of its session, in days of the epoch, and when the one before ended, microseconds."""

    number: int
    began: int


def follow_intraday(state: ShardState, update: Update, rules: Rulebook, instant: int, day: Day) -> Iterator[Out]:
    """Take the bookings of an instant into the paths of their accounts, and say where those stand.

    The change of a transaction is that of the margin level from the book before it to the book after it, both at the
    prices of the instant. A correction takes the place of its original: the change is that of the corrected fill, on a
    book without the original. One of an earlier day's fill moves the level that the day began with.
    """
    if rules.intraday is None or not update.bookings:
        return
    bookings = sorted(update.bookings, key=attrgetter("account"))
    quotes = state.market.quotes(rules, instant)
    for account, own in groupby(bookings, key=attrgetter("account")):
        if state.book.regime[account] == STRATEGY:
            block = state.book.block(np.array([account]), quotes, rules, instant)
            yield _follow(state, block, list(own), rules.intraday, day)


def _follow(state: ShardState, block: AccountBlock, bookings: list[Booking], intraday: IntradayRules, day: Day) -> Out:
    """The same of one account, given as a block."""
    account = int(block.accounts[0])
    level, equity = _levels(block, state, bookings, intraday)
    path = state.paths.get(account)
    if path is None or path.day != day.number:
        path = IntradayPath(day=day.number, opening=Money.within(level[0]), changes=())
    changes, opening = {(change.id, change.kind): change for change in path.changes}, path.opening
    at = 0
    for booking in bookings:
        corrects = booking.postings[0].corrects
        undone = int(corrects is not None)
        stands = len(booking.postings) > undone
        start, before, at = at, at + undone, at + len(booking.postings)
        if corrects is not None and corrects <= day.began:
            # A transaction of an earlier day: the day began with another level.
            opening = Money.within(opening + level[at] - level[start])
            continue
        kind: Literal["FILL", "CASH"] = "FILL" if booking.postings[-1].symbol else "CASH"
        changes.pop((booking.id, kind), None)
        if stands:
            executed_at = None if booking.executed_at == UNKNOWN else Time(booking.executed_at)
            if intraday.cash_first and kind == "CASH":
                executed_at = Time(day.began)
            change = Money.within(level[at] - level[before])
            own = IntradayChange(id=booking.id, executed_at=executed_at, change=change, kind=kind)
            changes[booking.id, kind] = own
    path = IntradayPath(day=day.number, opening=opening, changes=tuple(changes[key] for key in sorted(changes)))
    state.paths[account] = path
    state.dirty.add("intraday")
    amounts = np.array([float(change.change) for change in path.changes])
    times = np.array([UNKNOWN if c.executed_at is None else int(c.executed_at) for c in path.changes], np.int64)
    zeros = np.zeros(len(amounts), np.int64)
    deficit = intraday_deficits(np.array([float(path.opening)]), zeros, amounts, times)
    record = outputs.MarginIntraday(
        **head_of(state, block, account),
        opening_iml=path.opening,
        iml=Money.within(level[-1]),
        deficit=Money.within(deficit[0]),
        minor=bool(is_minor(deficit, equity, intraday)[0]),
        changes=path.changes,
    )
    return "margin.intraday.v1", identified(record)


def day_of(state: ShardState, instant: int, assessed: Ints | None = None) -> Day:
    """The day of trading that an instant, microseconds, is in.

    assessed: when each session is assessed. What is done after that is of the next day, or no call would ever ask for
    it. None without calls.
    """
    sessions = state.market.sessions
    if assessed is None:
        begins, place = (
            sessions.opens - _BEFORE_OPEN,
            int(np.searchsorted(sessions.opens - _BEFORE_OPEN, instant, "right")),
        )
    else:
        begins, place = np.append(0, assessed), int(np.searchsorted(assessed, instant)) + 1
    # By date, for places are of one calendar: a snapshot takes the path of its day into another.
    return Day(int(sessions.opens[place - 1]) // _DAY, int(begins[place - 1]))


def deficits_of(
    state: ShardState, accounts: Ints, equity: Floats, rules: IntradayRules, day: Day
) -> tuple[Floats, Floats]:
    """(n,) ticks of the deficit of a day of the accounts at the rows, none that is minor; and of it what they lacked
    before their first transaction. equity: (n,) at the day's end."""
    paths = [state.paths.get(row) for row in accounts.tolist()]
    own = [path if path is not None and path.day == day.number else None for path in paths]
    changes = [(place, change) for place, path in enumerate(own) if path is not None for change in path.changes]
    times = [UNKNOWN if change.executed_at is None else int(change.executed_at) for _, change in changes]
    opening = np.array([0.0 if path is None else float(path.opening) for path in own])
    deficit = intraday_deficits(
        opening,
        np.array([place for place, _ in changes], np.int64),
        np.array([float(change.change) for _, change in changes]),
        np.array(times, np.int64),
    )
    deficit = np.where(is_minor(deficit, equity, rules), 0.0, deficit)
    return deficit, np.minimum(deficit, np.maximum(-opening, 0.0))


def _levels(
    block: AccountBlock, state: ShardState, bookings: list[Booking], intraday: IntradayRules
) -> tuple[Floats, Floats]:
    """(postings + 1,) the margin level of an account before its postings and after each of them, in ticks, and (1,) its
    equity after them all."""
    books = books_through(block, state, [posting for booking in bookings for posting in booking.postings])
    level, equity = margin_levels(books, intraday)
    return level, equity[-1:]


def books_through(block: AccountBlock, state: ShardState, postings: list[Posting]) -> AccountBlock:
    """The book of an account, given as a block, before its last postings and after each of them: an account each."""
    market, count = state.market, len(postings) + 1
    quantity, cash = np.tile(block.quantity, (count, 1)), np.full(count, block.cash[0])
    for place, posting in enumerate(postings):
        # Every book before it is without it.
        cash[: place + 1] -= posting.cash
        if posting.symbol:
            row = market.rows[posting.symbol]
            units = posting.quantity / 1e6 * float(market.columns["multiplier"][row])
            quantity[: place + 1, block.symbols == row] -= units
    # Millionths are what a book counts in.
    return block.repeated(count, quantity=np.rint(quantity.ravel() * 1e6) / 1e6, cash=cash)
