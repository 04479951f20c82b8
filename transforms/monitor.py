"""The shard's fold: records in, figures, events and audit out, instant by instant. Pure: it never reads a clock."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, groupby
from operator import attrgetter

import numpy as np

from risk.amounts import Ints
from risk.block import Accounts, Measure, joined
from risk.market import NEVER
from risk.rulebook import Rulebook, rulebook_at
from risk.sessions import Sessions
from risk.ticks import Ticks, joined_ticks
from schemas.codec import to_json
from schemas.inputs import Input
from schemas.outputs import DeadLetter
from schemas.topics import INPUTS
from transforms.enforce import Enforce
from transforms.firm import is_told_at, part_of
from transforms.intraday import day_of, follow_intraday
from transforms.lines import Lines, line_of, lines_by_topic
from transforms.positions import HEARTBEAT_PHASES, UpdatePositions, refusal
from transforms.records import Records, decode_records, first_stamp, pieces_of, split_records
from transforms.state import CELLS, ShardState

#: Positions valued at a time: their columns fit in the processor's cache, and the allocator keeps their memory instead
#: of giving it back to the system and asking for it again, which took half of the sweep.
SWEEP = 24_576


def in_total_order(records: Iterable[Input]) -> Iterator[Input]:
    """The records in the order of design 1B: when they arrived, topic rank, key, content; never a line or an offset."""
    # Only what is tied is asked for more: a broker stamps a batch at once, but few of one have the same key.
    for _, group in groupby(sorted(records, key=_arrived_at), key=_arrived_at):
        together = list(group)
        if len(together) == 1:
            yield together[0]
            continue
        kinds = {type(record) for record in together}
        for kind in sorted(kinds, key=_RANKS.__getitem__):
            own = together if len(kinds) == 1 else [record for record in together if type(record) is kind]
            yield from _by_key(own, _KEYS[kind]) if len(own) > 1 else own


def _by_key(records: list[Input], key: Callable[[Input], str]) -> Iterator[Input]:
    records.sort(key=key)
    if len(set(map(key, records))) == len(records):
        yield from records
        return
    for _, same in groupby(records, key=key):
        yield from sorted(same, key=to_json)


_arrived_at: Callable[[Input], int] = attrgetter("arrived_at")
_RANKS: dict[type, int] = {topic.record: topic.rank or 0 for topic in INPUTS}
_KEYS: dict[type, Callable[[Input], str]] = {topic.record: attrgetter(topic.key) for topic in INPUTS}


def _letters(refused: list[tuple[Input, str]], arrivals: Iterable[Records]) -> Iterator[DeadLetter]:
    """Dead letters with the origins of the very records that were refused; of equal ones any says the same."""
    reasons = {id(record): reason for record, reason in refused}
    for part in arrivals:
        for _, record, origin in part.items():
            reason = reasons.pop(id(record), None)
            if reason is not None:
                yield refusal(record, reason, origin)


@dataclass(frozen=True)
class Monitor:
    """UpdatePositions, the measures and Enforce as one fold for InTimeOrder.

    Fields:
      rulebooks: by effective_at.
      sessions: the calendar around the business date.
      measures: what is decided on; each adds columns to the block, in this order.
      interval: the grid in microseconds.
      horizon: where a replayed day ends, microseconds; None live.
    """

    rulebooks: tuple[Rulebook, ...]
    sessions: Sessions
    update: UpdatePositions
    measures: tuple[Measure, ...]
    enforce: Enforce
    interval: int
    horizon: int | None = None

    cells = CELLS
    output = Lines

    decode = staticmethod(decode_records)
    split = staticmethod(split_records)
    first_stamp = staticmethod(first_stamp)

    def start(self) -> ShardState:
        """The state before any record."""
        return ShardState(self.sessions)

    def instant_of(self, stamp: int) -> int:
        """The first instant of the grid strictly after the stamp (microseconds)."""
        return (stamp // self.interval + 1) * self.interval

    def pieces(self, payload: bytes) -> Iterator[tuple[int, bytes]]:
        """A payload as one payload for each instant that its records are processed at."""
        return pieces_of(payload, self.instant_of)

    def stamps(self, records: Records) -> list[int]:
        """When the records of an element arrived."""
        return records.stamps()

    def advance(
        self, state: ShardState, arrivals: Iterable[Records], until: int
    ) -> Generator[Lines, None, Counter[str]]:
        """Process every instant up to and including `until` that has arrivals or a deadline; lines by topic out.

        A record for an instant that is already past is applied at the next one (design 1B). Returns the number of
        instants, recomputed_accounts, late_records (one of the market counts once a shard) and deadletters.
        """
        counts: Counter[str] = Counter()
        arrivals = list(arrivals)
        queue = list(in_total_order(chain.from_iterable(part.others() for part in arrivals)))
        ticks = joined_ticks([part.ticks for part in arrivals]).by_arrival()
        at = tick = 0
        while True:
            arrival = min(
                _arrived_at(queue[at]) if at < len(queue) else NEVER,
                int(ticks.arrived_at[tick]) if tick < len(ticks) else NEVER,
            )
            instant = min(self._instant(state, arrival), self.next_deadline(state))
            if instant > until:
                break
            first, at = at, bisect_left(queue, instant, at, key=_arrived_at)
            first_tick, tick = tick, int(np.searchsorted(ticks.arrived_at, instant))
            newest = ticks.between(first_tick, tick)
            refused = yield from self._evaluate(state, queue[first:at], newest, instant, counts)
            if refused:
                yield "deadletter.v1", [line_of(letter) for letter in _letters(refused, arrivals)]
        return counts

    def _instant(self, state: ShardState, stamp: int) -> int:
        return max(self.instant_of(stamp), self.instant_of(state.now) if state.now >= 0 else 0)

    def next_deadline(self, state: ShardState) -> int:
        """The next instant at which something happens without a record, microseconds; NEVER before the first record."""
        if state.now < 0 or state.closed:
            return NEVER
        if state.deadline is None:
            state.deadline = self._deadline(state)
        return state.deadline

    def _deadline(self, state: ShardState) -> int:
        rules = rulebook_at(self.rulebooks, state.now)
        step, firm = rules.heartbeat * 1_000_000 // HEARTBEAT_PHASES, rules.firm_interval * 1_000_000
        deadline = min(
            (state.now // step + 1) * step,
            (state.now // firm + 1) * firm if state.moved else NEVER,
            state.market.next_change(state.now, rules),
            int(state.ladder.deadlines(rules.persist, state.now)[1].min(initial=NEVER)),
            int(state.standing.ends(state.now)[1].min(initial=NEVER)),
            self._next_assessment(state, rules),
            min((b.effective_at for b in self.rulebooks if b.effective_at > state.now), default=NEVER),
        )
        on_grid = -(-deadline // self.interval) * self.interval
        return on_grid if self.horizon is None else min(on_grid, self.horizon)

    def _assessments(self, state: ShardState, rules: Rulebook) -> Ints | None:
        """The instants at which the official closes of each session are in; at the end of a day that ends before."""
        if rules.calls is None:
            return None
        closes = state.market.sessions.closes
        known = -(-(closes + rules.calls.close_delay * 1_000_000) // self.interval) * self.interval
        return (
            known if self.horizon is None else np.where(closes <= self.horizon, np.minimum(known, self.horizon), known)
        )

    def _next_assessment(self, state: ShardState, rules: Rulebook) -> int:
        known = self._assessments(state, rules)
        return NEVER if known is None else int(known.min(initial=NEVER, where=known > state.now))

    def _evaluate(
        self, state: ShardState, records: list[Input], ticks: Ticks, instant: int, counts: Counter[str]
    ) -> Generator[Lines, None, list[tuple[Input, str]]]:
        rules = rulebook_at(self.rulebooks, instant)
        before = rules if state.now < 0 else rulebook_at(self.rulebooks, state.now)
        if rules.stale_after != before.stale_after:
            state.market.age(rules.stale_after)
        update = self.update.apply(state, records, ticks, rules, instant)
        update.since = instant - self.interval
        beats = self.update.heartbeats(state, rules, instant)
        closing, assessed = instant == self.horizon, state.now >= 0 and self._next_assessment(state, rules) <= instant
        touched = np.full(len(state.book.ids), closing or assessed)
        for rows in (update.touched, update.holders, self.update.due(state, before, rules, instant), beats):
            touched[rows] = True
        rows = np.flatnonzero(touched)
        late = bisect_left(records, state.now, key=_arrived_at) + int(np.searchsorted(ticks.arrived_at, state.now))
        counts.update(instants=1, recomputed_accounts=len(rows), late_records=late, deadletters=len(update.refused))
        state.now, state.closed, state.deadline = instant, closing, None
        state.dirty.add("clock")
        day = day_of(state, instant, self._assessments(state, rules))
        yield from lines_by_topic(list(follow_intraday(state, update, rules, instant, day)))
        if len(rows):
            block = self.measured(state, rows, rules, instant)
            yield from self.enforce(state, block, update, beats, closing=closing, assessed=day if assessed else None)
            state.moved = True
        if state.moved and (closing or is_told_at(instant, rules, self.interval)):
            state.moved = False
            yield from part_of(state, rules, instant)
        return update.refused

    def measured(self, state: ShardState, rows: np.ndarray, rules: Rulebook, instant: int) -> Accounts:
        """The accounts at the given rows, one or more, with the measures that are decided on."""
        quotes, parts = state.market.quotes(rules, instant), []
        for chunk in state.book.chunks(rows, SWEEP):
            # Mostly nearly all are touched; to measure those between them too costs less than to leave them out.
            span = np.arange(chunk[0], chunk[-1] + 1)
            block = state.book.block(chunk if len(chunk) < len(span) / 2 else span, quotes, rules, instant)
            for measure in self.measures:
                measure(block)
            parts.append(block)
        whole = joined(parts)
        return whole if len(whole.accounts) == len(rows) else whole.at(np.searchsorted(whole.accounts, rows))
