"""Calls in the fold: what is called, and what covers it, of the accounts of a block (risk.calls, risk.assessment)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

import msgspec
import numpy as np

from risk import calls
from risk.amounts import TICKS_PER_DOLLAR, Floats
from risk.assessment import deficiencies, levels_of
from risk.block import AccountBlock
from risk.calls import Stepped
from risk.ladder import MARGIN_CALL
from risk.rulebook import CallRules
from risk.sma import at_close
from schemas import outputs
from schemas.ids import identified
from schemas.inputs import CallType, OpenCall, OpenedOn, Standing
from schemas.scalars import Money, Time
from transforms.events import Events, Out
from transforms.intraday import Day, books_through, deficits_of
from transforms.openings import opening_of
from transforms.positions import Booking, Update
from transforms.practices import practised
from transforms.state import ShardState
from transforms.trades import day_trades

TOPIC = "margin.calls.v1"

RULES: dict[CallType, str] = {
    "REG_T": "12 CFR 220.4(c), 220.12: the day's trades need more than the special memorandum account has",
    "MAINTENANCE": "FINRA 4210(c), (f)(6): equity below the maintenance requirement at the close",
    "HOUSE": "FINRA 4210(f)(6): equity below requirement",
    "CONCENTRATION": "FINRA 4210(f)(1): equity below requirement, by what concentration adds",
    "MINIMUM_EQUITY": "FINRA 4210(b)(4), (g)(4): equity below the minimum at the close",
    "PORTFOLIO_MARGIN": "FINRA 4210(g)(10): equity below the portfolio margin requirement at the close",
    "INTRADAY": "FINRA 4210(d)(2): intraday margin deficit",
}


@dataclass(frozen=True, slots=True)
class Calls:
    """Writes the steps of the calls of accounts, each at a place `at` of the block of the events, and keeps them."""

    events: Events

    @property
    def state(self) -> ShardState:
        """The shard's."""
        return self.events.state

    def standing(self, at: int) -> Standing:
        """Of an account."""
        return self.state.standing.of(int(self.events.block.accounts[at]))

    def keep(self, at: int, standing: Standing) -> None:
        """What an account's standing is now."""
        self.events.remember(at)
        self.state.standing.put(int(self.events.block.accounts[at]), standing)
        self.state.dirty.add("standing")

    def open(self, at: int, kind: CallType, amount: int, rests_on: OpenedOn | None = None, level: float = 0.0) -> Out:
        """Call an amount, ticks, of an account; rests_on: its book. level: intraday margin level, ticks."""
        block, rules = self.events.block, self.events.block.rules
        sessions = rules.call_due_sessions if rules.calls is None else rules.calls.due[kind]
        due = self.state.market.sessions.close_after(block.instant, sessions)
        call = OpenCall(
            call_id=self.events.cause(at, kind),
            event_id="",
            type=kind,
            opened_at=Time(block.instant),
            due_at=Time(due),
            initial=Money.within(amount),
            level=Money.within(level),
            rests_on=rests_on,
        )
        return self.take(at, calls.opened(call))

    def take(self, at: int, stepped: Stepped) -> Out:
        """The event of a step, after which the standing has the call, or no longer."""
        call, standing = stepped.call, self.standing(at)
        ends = None if stepped.alive else call.event_id
        event = identified(
            outputs.MarginCall(
                **self.events.envelope(at, call.call_id, RULES[call.type], ends),
                status=stepped.step,
                type=call.type,
                basis=calls.BASIS[call.type],
                amount=Money(calls.outstanding(call)),
                called=Money(call.initial + call.increased),
                covered=Money(sum(call.covered.values())),
                cancelled=call.cancelled,
                by=stepped.by,
                occurred_at=call.opened_at,
                due_at=call.due_at,
                extended_by=call.extended_by,
            )
        )
        others = tuple(own for own in standing.calls if own.call_id != call.call_id)
        if stepped.alive:
            call = msgspec.structs.replace(call, event_id=call.event_id or event.event_id)
            others = tuple(sorted((*others, call), key=attrgetter("call_id")))
        standing = msgspec.structs.replace(standing, calls=others)
        rules = self.events.block.rules.calls
        self.keep(at, standing if rules is None else practised(standing, stepped, rules, self.events.block.instant))
        return TOPIC, event

    def booked(self, update: Update, rules: CallRules) -> Iterator[Out]:
        """What the deposits and trades of the instant cover of the calls of their accounts."""
        block, state = self.events.block, self.state
        for booking in update.bookings:
            if not booking.postings[-1].symbol and block.rules.initial is not None:
                self._add(block.place(booking.account), "cash", booking.postings[-1].cash)
        owed = [booking for booking in update.bookings if state.standing.of(booking.account).calls]
        owed.sort(key=attrgetter("account"))
        for account, own in groupby(owed, key=attrgetter("account")):
            yield from self._covered(block.place(account), self.events.books(np.array([account])), list(own), rules)

    def _add(self, at: int, name: str, amount: int) -> None:
        standing = self.standing(at)
        self.keep(at, msgspec.structs.replace(standing, **{name: Money(getattr(standing, name) + amount)}))

    def _covered(self, at: int, block: AccountBlock, bookings: list[Booking], rules: CallRules) -> Iterator[Out]:
        postings = [posting for booking in bookings for posting in booking.postings]
        found = levels_of(books_through(block, self.state, postings))
        place = 0
        for booking in bookings:
            before, place = place, place + len(booking.postings)
            self.events.follow(at, booking.source)
            if booking.corrects:
                # What a correction changes is the cause of a call, not its cover.
                continue
            standing = self.standing(at)
            if not booking.postings[-1].symbol:
                amount = booking.postings[-1].cash
                steps = list(calls.paid(standing.calls, "DEPOSIT", amount, rules.cures)) if amount > 0 else []
            else:
                freed, by_regulation = (
                    int(column[place] - column[before]) for column in (found.level, found.regulation)
                )
                steps = [
                    stepped
                    for kind in calls.BASIS
                    if kind == calls.adds_to(kind) and "TRADE" in rules.cures.get(kind, ())
                    for stepped in calls.spread(
                        standing.calls, kind, "TRADE", by_regulation if kind == "REG_T" else freed
                    )
                ]
            for stepped in steps:
                yield self.take(at, stepped)
                if stepped.call.type == "REG_T":
                    before_it = next(own for own in standing.calls if own.call_id == stepped.call.call_id)
                    part = calls.outstanding(before_it) - calls.outstanding(stepped.call)
                    self._add(at, *(("cash", -part) if stepped.by == "DEPOSIT" else ("spent", part)))

    def _all(self, at: int, steps: Iterable[Stepped]) -> Iterator[Out]:
        for stepped in list(steps):
            yield self.take(at, stepped)

    def entered(self, at: int) -> Iterator[Out]:
        """A deficiency by prices of now: the house's call."""
        measures, cause = self.events.block.measures, ""
        shortfall = int(max(0.0, -measures["excess"][at]))
        missing = calls.missing(self.standing(at).calls, "HOUSE", shortfall)
        if missing:
            kind = _realtime_type(*(float(measures[name][at]) for name in ("equity", "requirement", "addon")))
            out = self.open(at, kind, missing)
            cause = out[1].event_id
            yield out
        self.events.rest(at, MARGIN_CALL, cause)

    def renewed(self, at: int) -> Iterator[Out]:
        """The house's call was met, but the account has fallen further since it was made: what is missing still."""
        shortfall = int(-self.events.block.measures["excess"][at])
        opened = self.state.ladder.opened.get(int(self.events.block.accounts[at]), {})
        alive = any(calls.BASIS[call.type] == "REALTIME" for call in self.standing(at).calls)
        if shortfall > 0 and MARGIN_CALL in opened and not alive:
            yield self.open(at, "HOUSE", shortfall)

    def released(self, at: int, status: str = "") -> Iterator[Out]:
        """The account's real-time calls end: their level was released, or a correction cancelled it."""
        self.events.forget(at, MARGIN_CALL)
        for call in self.standing(at).calls:
            if calls.BASIS[call.type] == "REALTIME":
                due, cancel = calls.outstanding(call), status == "CANCELLED"
                yield self.take(at, calls.cancelled(call, due) if cancel else calls.covered(call, "APPRECIATION", due))

    def assessed(self, block: AccountBlock, rules: CallRules, day: Day) -> Iterator[Out]:
        """The close: what accounts lack is called, what calls ask for too much is covered, what is due expires.

        block: accounts of the events' block, with their positions. day: that closes.
        """
        state, book = self.state, block.rules
        opened, closed = day_trades(state, block.accounts, day.began)
        own = [state.standing.of(row) for row in block.accounts.tolist()]
        owing = [any(call.type == "MINIMUM_EQUITY" for call in one.calls) for one in own]
        found, measures = levels_of(block), self.events.block.measures
        ats = np.searchsorted(self.events.block.accounts, block.accounts)
        traded = (opened > 0) | np.array(owing, np.bool_)
        deficient = deficiencies(block, found, measures["excess"][ats], traded)
        deficits: Floats = np.zeros(len(opened))
        older: Floats = deficits
        if book.intraday is not None:
            deficits, older = deficits_of(state, block.accounts, found.equity, book.intraday, day)
        before, cash, spent = (
            np.array([float(getattr(one, name)) for one in own]) for name in ("sma", "cash", "spent")
        )
        sma: Floats = before
        regulation: Floats = np.zeros(len(own))
        if book.initial is not None:
            sma, regulation = at_close(before, cash, opened, closed, spent, found.regulation, book.initial)
        if block.portfolio is not None:
            # Portfolio margin is in place of Regulation T, 12 CFR 220.1(b)(3)(i).
            sma, regulation = (np.where(block.portfolio, 0.0, column) for column in (sma, regulation))
        lacking = np.logical_or.reduce([column > 0 for column in (*deficient.values(), deficits, regulation)])
        changed = (sma != before) | (cash != 0) | (spent != 0) | np.array([bool(one.calls) for one in own], np.bool_)
        for place in np.flatnonzero(lacking | changed).tolist():
            at = int(ats[place])
            level = float(found.level[place])
            self.events.follow(at, f"deadline/CLOSE/{Time(block.instant).text()}")
            yield from self._missing(at, "REG_T", int(regulation[place]), level, rules, day)
            # A stale or halted price alone neither calls nor cures.
            reliable = measures["stale_share"][at] <= book.max_stale_share
            for kind, column in deficient.items() if reliable else ():
                deficiency = int(column[place])
                yield from self._all(at, calls.eased(self.standing(at).calls, kind, deficiency, rules.cures))
                more = calls.missing(self.standing(at).calls, kind, deficiency)
                # A first call by the house is made when it happens, not at the close.
                if kind != "HOUSE" or MARGIN_CALL in state.ladder.opened.get(int(block.accounts[place]), {}):
                    yield from self._missing(at, kind, more, level, rules, day)
            yield from self._intraday(at, int(deficits[place]), int(older[place]), level, rules, day)
            closing = {"sma": Money.within(sma[place]), "cash": Money(0), "spent": Money(0)}
            self.keep(at, msgspec.structs.replace(self.standing(at), **closing))
            late = [c for c in self.standing(at).calls if c.due_at <= block.instant and c.state != "EXPIRED"]
            for call in late:
                self.events.follow(at, f"deadline/DUE/{call.due_at.text()}")
                yield self.take(at, calls.expired(call))

    def _missing(self, at: int, kind: CallType, amount: int, level: float, rules: CallRules, day: Day) -> Iterator[Out]:
        """Call what is missing: more of the day's call, or a new one."""
        today = [own for own in calls.of_type(self.standing(at).calls, kind) if own.opened_at > day.began]
        if amount > 0 and today:
            yield self.take(at, calls.increased(today[-1], amount))
        elif amount > rules.minor.get(kind, 0.0) * TICKS_PER_DOLLAR:
            yield self.open(at, kind, amount, opening_of(self.state, self.events.block, at), level)

    def _intraday(self, at: int, deficit: int, older: int, level: float, rules: CallRules, day: Day) -> Iterator[Out]:
        """Older deficits are met by what the level has risen since; then the day's own is called.

        older: what of it was lacking before the day's first transaction, which calls of older deficits ask for.
        """
        for call in calls.of_type(self.standing(at).calls, "INTRADAY"):
            spare = min(int(level) - call.level - sum(call.covered.values()), calls.outstanding(call))
            if spare > 0 and "APPRECIATION" in rules.cures.get("INTRADAY", ()):
                yield self.take(at, calls.covered(call, "APPRECIATION", spare))
        asked = older - calls.missing(self.standing(at).calls, "INTRADAY", older)
        yield from self._missing(at, "INTRADAY", deficit - asked, level, rules, day)

    def corrected(
        self,
        at: int,
        call: OpenCall,
        rests_on: OpenedOn,
        before: AccountBlock,
        after: AccountBlock,
        told: Counter[CallType],
    ) -> Iterator[Out]:
        """A fill that a call rests on was corrected: it is for so much less, or more, as the book of its opening says.

        before, after: that book, without and with the correction, which makes it rests_on. told: by type, ticks that
        its older calls were reduced by: calls of a type add up, so that only the rest is this one's.
        """
        name = {"REG_T": "regulation", "MINIMUM_EQUITY": "equity"}.get(call.type, "level")
        was, now = (getattr(levels_of(block), name)[0] for block in (before, after))
        kind = calls.adds_to(call.type)
        moved = int(now - was) - told[kind]
        call, standing = msgspec.structs.replace(call, rests_on=rests_on), self.standing(at)
        kept = tuple(call if own.call_id == call.call_id else own for own in standing.calls)
        self.keep(at, msgspec.structs.replace(standing, calls=kept))
        moved = min(moved, calls.outstanding(call))
        told[kind] += moved
        if moved > 0:
            yield self.take(at, calls.cancelled(call, moved))
        elif moved < 0:
            yield self.take(at, calls.increased(call, -moved))


def _realtime_type(equity: float, requirement: float, addon: float) -> CallType:
    """Of a deficiency, ticks, that would not be without what concentration adds, or of any other."""
    return "CONCENTRATION" if addon > 0 and equity >= requirement - addon else "HOUSE"
