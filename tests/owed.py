"""What accounts of a story that hold stocks alone owe, by plain loops over its records."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from schemas.inputs import Account, Cash, Fill, Price
from schemas.outputs import MarginCall
from schemas.scalars import Time
from tests.days import INTERVAL_MS, on
from tests.stories import SESSIONS, Story

DOLLAR = 10_000


def instant_of(stamp: int) -> int:
    """The first instant of the grid after it."""
    step = INTERVAL_MS * 1000
    return (stamp // step + 1) * step


class Trade(NamedTuple):
    """A fill that stands: units, dollars, and since when it does."""

    symbol: str
    units: float
    price: float
    since: int


@dataclasses.dataclass(frozen=True)
class Owed:
    """What an account of a story owes."""

    story: Story
    account: str

    @property
    def portfolio(self) -> bool:
        return any(
            isinstance(own, Account) and own.account_id == self.account and own.margin_type == "PORTFOLIO"
            for own in self.story.records
        )

    def trades(self, known_at: int) -> list[Trade]:
        """The fills that stand by what is known at an instant."""
        own = [
            record for record in self.story.records if isinstance(record, Fill) and record.account_id == self.account
        ]
        found = []
        for root in [fill for fill in own if fill.kind == "NEW"]:
            versions = [fill for fill in own if root.fill_id in (fill.fill_id, fill.ref_fill_id)]
            known: list[Fill] = []
            since = -1
            for fill in sorted(versions, key=lambda fill: (int(fill.arrived_at or 0), fill.fill_id)):
                at = instant_of(int(fill.arrived_at or 0))
                if at <= known_at:
                    known.append(fill)
                    stands = root in known and max(known, key=lambda fill: fill.version).kind != "BUST"
                    since = -1 if not stands else at if since < 0 else since
            if since >= 0:
                last = max(known, key=lambda fill: fill.version)
                found.append(Trade(last.symbol, last.quantity / 1e6, last.price, since))
        return found

    def corrected_at(self, instant: int) -> bool:
        """Whether a correction or bust is applied at an instant."""
        return any(
            isinstance(own, Fill)
            and own.account_id == self.account
            and own.kind != "NEW"
            and instant_of(int(own.arrived_at or 0)) == instant
            for own in self.story.records
        )

    def paid(self, after: int, until: int) -> int:
        """Ticks of cash that came in, less what went out, after an instant and until another."""
        return sum(
            int(own.amount)
            for own in self.story.records
            if isinstance(own, Cash)
            and own.account_id == self.account
            and after < instant_of(int(own.arrived_at or 0)) <= until
        )

    def book(self, at: int, known_at: int | None = None) -> tuple[float, dict[str, float]]:
        """Ticks of cash and the units held at an instant, by the fills of until then as they are known at another."""
        cash, held = float(self.paid(0, at)), defaultdict[str, float](float)
        for trade in self.trades(at if known_at is None else known_at):
            if trade.since <= at:
                cash -= round(trade.units * trade.price * DOLLAR)
                held[trade.symbol] += trade.units
        return cash, dict(held)

    def quoted(self, symbol: str, at: int) -> tuple[float, bool]:
        """The price that holds at an instant, and whether it is halted."""
        told = [
            (int(own.as_of), own.price, own.status)
            for own in self.story.records
            if isinstance(own, Price) and own.symbol == symbol and instant_of(int(own.arrived_at or 0)) <= at
        ]
        live = max(own for own in told if own[2] == "LIVE")
        return live[1], max(told) != live

    def values(self, at: int, known_at: int | None = None) -> list[float]:
        """Ticks of each position, signed."""
        return [
            units * self.quoted(symbol, at)[0] * DOLLAR for symbol, units in self.book(at, known_at)[1].items() if units
        ]

    def equity(self, at: int, known_at: int | None = None) -> float:
        return self.book(at, known_at)[0] + sum(self.values(at, known_at))

    def level(self, at: int, known_at: int | None = None) -> float:
        """What equity is above what the rule asks for; no price of a story is so low that dollars a share matter."""
        values = self.values(at, known_at)
        asked = sum(abs(value) * (0.15 if self.portfolio else 0.25 if value > 0 else 0.30) for value in values)
        return self.equity(at, known_at) - round(asked)

    def regulation(self, at: int, known_at: int | None = None) -> float:
        """Regulation T excess."""
        return self.equity(at, known_at) - round(sum(abs(value) / 2 for value in self.values(at, known_at)))

    def reliable(self, at: int) -> bool:
        """Whether no more than a quarter of the value is halted."""
        halted = total = 0.0
        for symbol, units in self.book(at)[1].items():
            price, stopped = self.quoted(symbol, at)
            total += abs(units) * price
            halted += abs(units) * price * stopped
        return halted <= total / 4

    def minimum(self, at: int) -> float:
        """Ticks of equity that it must have if it traded: on margin or short 2,000, on portfolio margin 100,000."""
        cash, held = self.book(at)
        if self.portfolio:
            return 100_000.0 * DOLLAR * any(held.values())
        return 2000.0 * DOLLAR * (cash < 0 or min(held.values(), default=0.0) < 0)

    def minimum_due(self, steps: Iterable[MarginCall], after: int, close: int) -> float:
        """Ticks due of the minimum at a close: of who traded since the one before it, or owed it already."""
        alive = dict[str, bool]()
        for own in steps:
            # A rise at the close itself comes after the question whether any is owed.
            if own.type == "MINIMUM_EQUITY" and (own.as_of < close or (own.as_of == close and own.by == "DEPOSIT")):
                alive[own.cause_id] = own.status not in ("MET", "CANCELLED", "WAIVED")
            elif own.type == "MINIMUM_EQUITY" and own.as_of == close and own.status in ("CANCELLED", "WAIVED"):
                alive[own.cause_id] = False
        asked, least = self.portfolio or any(alive.values()) or self.day(after, close)[0] > 0, self.minimum(close)
        return max(least - self.equity(close), 0.0) if asked and least else 0.0

    def day(self, after: int, until: int) -> tuple[float, float]:
        """Ticks of what was bought or sold short between two closes, and of what was sold or covered: net by symbol."""
        opened = closed = 0.0
        done = [trade for trade in self.trades(until) if after < trade.since]
        for symbol in {trade.symbol for trade in done}:
            own = [trade for trade in done if trade.symbol == symbol]
            gross = sum(abs(trade.units) for trade in own)
            price = sum(round(abs(trade.units) * trade.price * DOLLAR) for trade in own) / gross
            now = self.book(until)[1][symbol]
            was = now - sum(trade.units for trade in own)
            if was * now >= 0:
                more, less = max(abs(now) - abs(was), 0.0), max(abs(was) - abs(now), 0.0)
            else:
                more, less = abs(now), abs(was)
            opened, closed = opened + round(more * price), closed + round(less * price)
        return opened, closed

    def regulation_t(self, steps: Iterable[MarginCall]) -> dict[int, float]:
        """Ticks that Regulation T asks for at each close, beyond the SMA; what its calls were covered with, by their
        steps, is used up."""
        found, sma, before, covered = {}, 0.0, 0, dict[str, int]()
        mine = sorted((own for own in steps if own.type == "REG_T"), key=lambda own: own.as_of)
        for close in closes(self.story):
            used = dict.fromkeys(("DEPOSIT", "TRADE"), 0)
            for own in mine:
                if before < own.as_of <= close:
                    used[own.by or "DEPOSIT"] += own.covered - covered.get(own.cause_id, 0)
                    covered[own.cause_id] = own.covered
            opened, closed = self.day(before, close)
            # What a call was covered with is no credit; if it was bought back it is lacking again.
            sold, excess = closed - used["TRADE"] * 2, self.regulation(close)
            left = max(sma + self.paid(before, close) - used["DEPOSIT"], 0.0) + round(sold / 2) - round(opened / 2)
            if sold > 0 and excess > 0:
                left = max(left, excess)
            found[close] = 0.0 if self.portfolio else max(-left, 0.0)
            sma, before = max(left, 0.0, excess), close
        return found


def closes(story: Story) -> list[Time]:
    """When official closes of its sessions are in."""
    return [on(day, "21:01:00") for day in SESSIONS[: story.last + 1]]
