"""The firm in the graph: what each shard's accounts add to it, and their sum (risk.firm).

A shard says, at instants that all shards share, by how much its part has changed since it said so last. Sums of whole
numbers do not depend on the order or on the number of parts, so whoever adds the changes up has the firm as of that
instant, and need not know which shard said what.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from operator import attrgetter
from typing import Any, get_args

import msgspec
import numpy as np

from risk.amounts import Ints, ticks
from risk.book import REGIMES
from risk.calls import OpenCall, outstanding
from risk.firm import Columns, FirmTotals, crowding
from risk.ladder import LEVELS
from risk.market import NEVER
from risk.rulebook import Rulebook
from schemas import outputs
from schemas.inputs import CallType
from schemas.scalars import Money, Ratio, Time
from schemas.topics import FIRM_TOTALS
from transforms.cells import decode_cell, encode_cell
from transforms.fold import Following
from transforms.lines import Lines, line_of
from transforms.state import ShardState

#: The firm is told under this name, where others have an account.
FIRM = "FIRM"
#: What a shard says travels among its lines under this name; it is no topic.
PARTS = "firm.parts"
#: Names that most called accounts hold, as many as are told.
MOST = 20

TYPES: tuple[CallType, ...] = get_args(CallType)
NOTHING = FirmTotals.none(len(TYPES))
#: Of a symbol, accounts that hold it and what they hold of it, ticks.
Holdings = dict[str, tuple[int, int]]
_LEVEL_OF = np.array([(flags & 15).bit_length() for flags in range(256)], np.int64)


class Part(msgspec.Struct, frozen=True):
    """By how much a shard's part of the firm has changed; totals: the fields of FirmTotals, each as plain numbers."""

    as_of: int
    rulebook: str
    severe_move: float
    totals: list[list[int]]
    holdings: Holdings


def is_told_at(instant: int, rules: Rulebook, interval: int) -> bool:
    """Whether an instant is the first of the grid at or after a multiple of firm_interval; interval: microseconds."""
    step = rules.firm_interval * 1_000_000
    return -(-(instant // step * step) // interval) * interval == instant


def part_of(state: ShardState, rules: Rulebook, instant: int) -> Iterator[Lines]:
    """What has changed of a shard's part since it was told last, if anything has."""
    calls = list(state.standing.open_calls())
    totals, holdings = _totals(state, calls), _holdings(state, calls, rules, instant)
    before, held = state.firm or (_packed(NOTHING), {})
    change = totals - _unpacked(before)
    moved = {
        symbol: (now[0] - then[0], now[1] - then[1])
        for symbol in sorted(holdings.keys() | held.keys())
        if (now := holdings.get(symbol, (0, 0))) != (then := held.get(symbol, (0, 0)))
    }
    if change or moved:
        state.firm = _packed(totals), holdings
        state.dirty.add("firm")
        part = Part(instant, rules.label, rules.severe_move, _packed(change), moved)
        yield PARTS, [instant.to_bytes(8, "big") + _ENCODER.encode(part)]


def _totals(state: ShardState, open_calls: Sequence[tuple[int, OpenCall]]) -> FirmTotals:
    """Of the accounts that figures were told of."""
    ladder = state.ladder
    rows = np.flatnonzero(~np.isnan(ladder.published).any(axis=0))
    equity, requirement, maintenance, stressed = ladder.published[:, rows].astype(np.int64)
    calls, due = (np.zeros((len(TYPES), len(rows)), np.int64) for _ in range(2))
    for row, call in open_calls:
        at = np.searchsorted(rows, row)
        if at < len(rows) and rows[at] == row:
            calls[TYPES.index(call.type), at] += 1
            due[TYPES.index(call.type), at] += outstanding(call)
    return FirmTotals.of(
        Columns(
            level=_LEVEL_OF[ladder.flags[rows]],
            regime=state.book.regime[rows].astype(np.int64),
            equity=equity,
            requirement=requirement,
            maintenance=maintenance,
            stressed=stressed,
            calls=calls,
            due=due,
        )
    )


def _holdings(state: ShardState, open_calls: Sequence[tuple[int, OpenCall]], rules: Rulebook, instant: int) -> Holdings:
    """What the accounts that are called hold, at the prices of the instant."""
    called = sorted({row for row, _ in open_calls})
    if not called:
        return {}
    market = state.market
    block = state.book.block(np.array(called), market.quotes(rules, instant), rules, instant)
    held = block.quantity != 0
    symbols, values = block.symbols[held], np.abs(ticks(block.values[held])).astype(np.int64)
    holders, gross = crowding(symbols, values, len(market.symbols))
    return {market.symbols[row]: (int(holders[row]), int(gross[row])) for row in np.flatnonzero(holders).tolist()}


def _packed(totals: FirmTotals) -> list[list[int]]:
    return [getattr(totals, own.name).ravel().tolist() for own in fields(totals)]


def _unpacked(packed: list[list[int]]) -> FirmTotals:
    shapes = [getattr(NOTHING, own.name).shape for own in fields(NOTHING)]
    columns: list[Ints] = [np.array(own, np.int64).reshape(shape) for own, shape in zip(packed, shapes, strict=True)]
    return FirmTotals(*columns)


_ENCODER, _DECODER = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(Part)


def parts_of(element: Lines) -> Iterator[tuple[str, bytes]]:
    """What a shard says of its part, keyed for TotalFirm."""
    topic, payloads = element
    if topic == PARTS:
        yield from ((FIRM, payload) for payload in payloads)


def is_line(element: Lines) -> bool:
    """Whether it goes to a topic."""
    return element[0] != PARTS


class FirmState:
    """The firm as it is known. now: microseconds, -1: nothing came yet."""

    def __init__(self) -> None:
        self.now = -1
        self.totals = NOTHING
        self.holdings: Holdings = {}
        self.dirty = False

    def load(self, read: Callable[[str], bytes | None]) -> None:
        """Take what drain gave."""
        payload = read("firm")
        if payload is not None:
            self.now, packed, holdings = decode_cell(payload)
            self.totals = _unpacked(packed)
            self.holdings = {symbol: (int(own[0]), int(own[1])) for symbol, own in holdings.items()}

    def drain(self) -> Iterator[tuple[str, bytes]]:
        """The cell, if it changed."""
        if self.dirty:
            yield "firm", encode_cell((self.now, _packed(self.totals), self.holdings))
        self.dirty = False


@dataclass(frozen=True)
class TotalFirm(Following):
    """Adds up what the shards say, as a fold for InTimeOrder: the firm as of each instant that something changed at.

    Fields:
      until: the shards' horizon, microseconds; None live. grid: theirs, microseconds.
    """

    until: int | None = None
    grid: int = 0

    cells = ("firm",)
    output = Lines

    start = staticmethod(FirmState)

    @property
    def interval(self) -> int:  # type: ignore[override]
        """Longer than the shards' grid."""
        return max(self.grid, Following.interval)

    @property
    def horizon(self) -> int | None:
        """What the shards say at their horizon is seen right after it."""
        return None if self.until is None else self.instant_of(self.until)

    def decode(self, payload: bytes) -> Part:
        """What a shard said."""
        return _DECODER.decode(memoryview(payload)[8:])

    def stamp_of(self, element: Part) -> int:
        """The instant of the shards."""
        return element.as_of

    def next_deadline(self, state: FirmState) -> int:
        """Nothing happens by itself."""
        return NEVER

    def advance(
        self, state: FirmState, arrivals: Iterable[Part], until: int
    ) -> Generator[Lines, None, Mapping[str, int]]:
        """The firm as of every instant of the shards up to `until`."""
        for as_of, parts in groupby(sorted(arrivals, key=attrgetter("as_of")), key=attrgetter("as_of")):
            before = state.totals, state.holdings
            for part in parts:
                _add(state, part)
            state.now, state.dirty = until, True
            # Changes of some shards may undo those of others.
            if state.totals - before[0] or state.holdings != before[1]:
                yield FIRM_TOTALS.name, [line_of(_record(state, as_of, part.rulebook, part.severe_move))]
        return {}


def _add(state: FirmState, part: Part) -> None:
    state.totals += _unpacked(part.totals)
    holdings = dict(state.holdings)
    for symbol, (accounts, gross) in part.holdings.items():
        before = holdings.pop(symbol, (0, 0))
        if before[0] + accounts:
            holdings[symbol] = before[0] + accounts, before[1] + gross
    state.holdings = holdings


def _record(state: FirmState, as_of: int, rulebook: str, severe_move: float) -> outputs.FirmTotals:
    totals = state.totals
    crowded = sorted(state.holdings.items(), key=lambda own: (-own[1][0], -own[1][1], own[0]))[:MOST]
    return outputs.FirmTotals(
        account_id=FIRM,
        as_of=Time(as_of),
        rulebook=rulebook,
        severe_move=Ratio.within(severe_move),
        groups=tuple(_groups(totals)),
        calls=tuple(
            outputs.FirmCalls(
                type=kind,
                calls=int(totals.calls[at]),
                accounts=int(totals.called[at]),
                due=Money.within(totals.due[at]),
            )
            for at, kind in enumerate(TYPES)
            if totals.calls[at]
        ),
        called_accounts=int(totals.called[-1]),
        held=len(state.holdings),
        crowded=tuple(
            outputs.FirmHolding(symbol=symbol, accounts=accounts, gross=Money.within(gross))
            for symbol, (accounts, gross) in crowded
        ),
    )


def _groups(totals: FirmTotals) -> Iterator[outputs.FirmGroup]:
    for regime, level in np.argwhere(totals.accounts).tolist():
        own: dict[str, Any] = {name: int(getattr(totals, name)[regime, level]) for name in _COUNTS}
        own |= {name: Money.within(getattr(totals, field)[regime, level]) for field, name in _SUMS.items()}
        yield outputs.FirmGroup(**own, **{"margin_type": REGIMES[regime], "level": LEVELS[level]})


_COUNTS = ("accounts", "deficient", "falling")
_SUMS = {
    "equity": "equity",
    "requirement": "requirement",
    "maintenance": "maintenance_requirement",
    "excess": "excess",
    "deficiency": "deficiency",
    "shortfall": "shortfall",
    "deepening": "deepening",
}
