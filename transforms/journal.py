"""The journal: what a link of an account's audit chain says beside what it is about.

All of it follows from the state and from what an instant's own records changed, never from what else arrived with them,
so that a chain is the same whatever the shards, the order of arrival, or where a cold start began.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from risk.amounts import Floats
from risk.book import REGIMES, Held
from risk.ladder import KEPT
from risk.market import Quotes
from risk.prices import STATE_NAMES
from risk.rulebook import Rulebook
from schemas.outputs import AuditPosition, StateBefore
from schemas.scalars import Quantity, Time
from schemas.topics import PRICES
from transforms.figures import open_events
from transforms.state import ShardState

#: The lines of a rulebook that the ladder compares figures with.
_LINES = (
    "warning_entry",
    "warning_release",
    "call_release",
    "restriction_release",
    "severe_move",
    "persist",
    "max_stale_share",
)


def thresholds_of(rules: Rulebook) -> dict[str, str]:
    """The lines that a decision compares figures with, as text by their names in the rulebook."""
    return {name: str(getattr(rules, name)) for name in _LINES}


def terms_of(state: ShardState, account: int) -> dict[str, str]:
    """By what an account is margined: its regime, and the rates that the house asks it for where there are any."""
    rates = zip(("house_long_rate", "house_short_rate"), state.book.house[:, account].tolist(), strict=True)
    regime = REGIMES[int(state.book.regime[account])]
    return {"margin_type": regime, **{name: str(rate) for name, rate in rates if rate > 0}}


def stood(state: ShardState, account: int) -> StateBefore:
    """Where an account stands, for what is about to change it."""
    ladder, own = state.ladder, state.standing.of(account)
    flags, since = int(ladder.flags[account]), int(ladder.deficient_since[account])
    return StateBefore(
        levels=tuple(name for name, flag in KEPT.items() if flags & flag),
        deficient_since=None if since < 0 else Time(since),
        open_events=tuple(open_events(state, account)),
        overdue=any(call.state == "EXPIRED" for call in own.calls),
        restricted_until=own.restricted_until,
        exempt_until=own.exempt_until,
    )


def episode_of(state: ShardState, account: int, instant: int) -> Time | None:
    """When the episode began that what is journalled at an instant belongs to, which may be then; None for in none."""
    episodes = state.ladder.episodes
    began = episodes.setdefault(account, instant) if in_episode(state, account) else episodes.get(account)
    return None if began is None else Time(began)


def in_episode(state: ShardState, account: int) -> bool:
    """Whether there is anything of an account: a level, a review, a call or a proposal."""
    own = state.standing.of(account)
    return bool(state.ladder.flags[account]) or bool(own.calls) or own.proposal is not None


def prompted(state: ShardState, account: int, rules: Rulebook, since: int, until: int) -> str:
    """What a decision follows from that no record of the account's own prompted: a time that came in (since, until],
    microseconds, else the newest price that it rests on."""
    for name, at in _deadlines(state, account, rules):
        if since < at <= until:
            return f"deadline/{name}/{Time(at).text()}"
    market, held = state.market, state.book.held(np.array([account]), state.market).symbols
    below = market.columns["underlying"][held]
    rows = np.union1d(held, below[below >= 0]).tolist()
    quoted = [(*said, market.symbols[row]) for row in rows if (said := market.prices.said(row))]
    return f"{PRICES.name}/{max(quoted)[-1]}" if quoted else f"deadline/INSTANT/{Time(until).text()}"


def _deadlines(state: ShardState, account: int, rules: Rulebook) -> Iterator[tuple[str, int]]:
    own, since = state.standing.of(account), int(state.ladder.deficient_since[account])
    if since >= 0:
        yield "DEFICIENCY", since + rules.persist * 1_000_000
    for name, until in (("RESTRICTED", own.restricted_until), ("EXEMPT", own.exempt_until)):
        if until is not None:
            yield name, until
    yield "RULEBOOK", rules.effective_at


def audited(state: ShardState, quotes: Quotes, account: int, instant: int) -> tuple[AuditPosition, ...]:
    """An account's positions by symbol, each with all that valued it; a price of zero says there is none.

    quotes: of the instant, by the rulebook in force.
    """
    market, held = state.market, state.book.held(np.array([account]), state.market)
    columns, symbols = market.columns, held.symbols
    below = columns["underlying"][symbols]
    said = [
        market.prices.said(row) or (None, 0, instead)
        for row, instead in zip(symbols.tolist(), _stand_ins(state, account, held), strict=True)
    ]
    fields: dict[str, Any] = {
        "symbol": [market.symbols[row] for row in symbols.tolist()],
        "quantity": map(Quantity, held.quantity.tolist()),
        "price": np.nan_to_num(held.price).tolist(),
        "state": [STATE_NAMES[code] for code in market.states(symbols, instant).tolist()],
        "as_of": [None if as_of is None else Time(as_of) for as_of, _, _ in said],
        "source": [source for _, _, source in said],
        "sequence": [sequence for _, sequence, _ in said],
        "volatility": _numbers(columns["volatility"][symbols]),
        "beta": quotes.beta[symbols].tolist(),
        "defaulted": quotes.defaulted[symbols].tolist(),
        "multiplier": columns["multiplier"][symbols].tolist(),
        "underlying": [None if row < 0 else market.symbols[row] for row in below.tolist()],
        "underlying_price": _numbers(np.where(below < 0, np.nan, columns["price"][below])),
    }
    rows = zip(*fields.values(), strict=True)
    return tuple(AuditPosition(**dict(zip(fields, row, strict=True))) for row in rows)


def _stand_ins(state: ShardState, account: int, held: Held) -> list[str]:
    """(positions,) what stands in for the quote of each, were there none: a snapshot's close, or the last fill."""
    if not np.isnan(state.market.columns["price"][held.symbols]).any():
        return [""] * len(held.symbols)
    closes = state.book.held(np.array([account]), state.market, fills=False).price
    return np.where(np.isnan(held.price), "", np.where(np.isnan(closes), "FILL", "CLOSE")).tolist()


def _numbers(column: Floats) -> list[float | None]:
    return [None if np.isnan(number) else number for number in column.tolist()]
