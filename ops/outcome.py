"""What a replay came to: an output folder read into what a risk officer asks of it.

Files are streamed in the order they were written in, by as_of; a figure holds until the next one is published.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from ops.calls import Call, read_calls
from ops.folder import OutcomeError, Stamp, check_folder, newest, read
from pipeline.configuration import ConfigurationError
from pipeline.rules import load_rulebook
from schemas import topics
from schemas.outputs import Alert, Consequence, Level, Liquidation, MarginCall, Restriction, StressBetaSpy
from schemas.scalars import RATIO_SCALE, Money, Ratio, Time

LEVELS: tuple[Level, ...] = get_args(Level)
RANK = {level: rank for rank, level in enumerate(LEVELS)}
BUCKET = 5 * 60 * 1_000_000
CONSEQUENCES = (topics.MARGIN_CALLS, topics.RESTRICTIONS, topics.LIQUIDATIONS)
OPENINGS = {"OPENED", "IMPOSED", "DUE"}
AMOUNTS: dict[type, tuple[Level, str]] = {
    MarginCall: ("MARGIN_CALL", "amount"),
    Restriction: ("RESTRICTION", "stressed_equity"),
    Liquidation: ("LIQUIDATION", "market_value_to_close"),
}


class _Standing(Stamp, frozen=True):
    level: Level
    rulebook: str


class _Figure(Stamp, frozen=True):
    excess: Money


@dataclass(frozen=True, slots=True)
class Case:
    """Something that was opened on an account: why, on which figures, and how it ended (ended_at None: still open).

    kind is the level it stands for; amount is the call as it was first made, the stressed equity, or the market value
    to close. ended is met, cancelled, waived, lifted or cleared; of a call with something due, extended or expired.
    """

    kind: Level
    account_id: str
    at: Time
    rule: str
    equity: Money
    requirement: Money
    amount: Money | None
    ended: str
    ended_at: Time | None


@dataclass(frozen=True, slots=True)
class Stressed:
    """One account at the close, before and after the severe move; excess is against the recomputed requirement."""

    account_id: str
    level: Level
    equity: Money
    pnl: Money
    stressed_equity: Money
    stressed_requirement: Money
    stressed_excess: Money


@dataclass(frozen=True, slots=True)
class Rung:
    """The firm at one SPY move: total P&L, accounts with equity below requirement, and with equity below zero."""

    move: Ratio
    pnl: Money
    deficient: int
    below_zero: int


@dataclass(frozen=True, slots=True)
class Total:
    """The firm at the end of five minutes, on the figures last published."""

    at: Time
    levels: dict[Level, int]
    deficient: int
    deficiency: Money


@dataclass(frozen=True, slots=True)
class Outcome:
    """A day's outputs. carried counts what ended today and was opened before; excess holds the notable accounts; calls
    are in the order of read_calls."""

    rulebooks: tuple[str, ...]
    begin: Time
    end: Time
    highest: dict[str, Level]
    current: dict[str, Level]
    timeline: tuple[Alert, ...]
    notices: dict[str, int]
    cases: tuple[Case, ...]
    carried: int
    severe_move: Ratio
    stressed: tuple[Stressed, ...]
    ladder: tuple[Rung, ...]
    totals: tuple[Total, ...]
    excess: dict[str, tuple[tuple[Time, Money], ...]]
    calls: tuple[Call, ...]
    dead_letters: int

    def of(self, kind: Level) -> list[Case]:
        """The cases of a kind, in time order."""
        return [case for case in self.cases if case.kind == kind]


def read_outcome(out: Path) -> Outcome:
    """Read a folder of outputs. Raises OutcomeError saying what to do where there are none or one cannot be used."""
    check_folder(out)
    alerts: list[Alert] = list(read(out, topics.ALERTS))
    timeline = tuple(alert for alert in alerts if alert.kind == "LEVEL")
    consequences = [record for topic in CONSEQUENCES for record in read(out, topic)]
    ended = {record.supersedes: record for record in consequences if record.supersedes is not None}
    opened = [record for record in consequences if record.status in OPENINGS]
    calls = read_calls(out)
    standing = {call.steps[0].event_id: call.status.lower() for call in calls if call.alive and call.steps}
    cases = [*_warnings(timeline)]
    cases += [_case(own, ended.get(own.event_id), standing.get(own.event_id, "open")) for own in opened]
    cases.sort(key=lambda case: (case.at, RANK[case.kind], case.account_id))

    highest: dict[str, Level] = {}
    current: dict[str, Level] = {}
    counts: dict[int, Counter[Level]] = {}
    running: Counter[Level] = Counter()
    rulebooks: dict[str, None] = {}
    begin = end = Time(0)
    for state in read(out, topics.ACCOUNTS_STATE, _Standing):
        begin, end = begin or state.as_of, state.as_of
        rulebooks[state.rulebook] = None
        before = current.get(state.account_id)
        current[state.account_id] = state.level
        highest[state.account_id] = max(highest.get(state.account_id, "NONE"), state.level, key=RANK.__getitem__)
        if before != state.level:
            running[state.level] += 1
            running[before or state.level] -= before is not None
            counts[_bucket(state.as_of)] = running.copy()
    if not current:
        raise OutcomeError(
            f"{out}: accounts.state.v1.jsonl is empty, so no account was evaluated. Look at {out}/deadletter.v1.jsonl, "
            f"then replay a day that has fills: margin replay DAY --out {out}"
        )
    for alert in timeline:
        highest[alert.account_id] = max(highest.get(alert.account_id, "NONE"), alert.level, key=RANK.__getitem__)

    notable = _notable(cases)
    deficiencies, excess = _figures(out, notable)
    severe = severe_move(next(reversed(rulebooks)))
    stress: list[StressBetaSpy] = list(newest(out, topics.STRESS_BETA_SPY).values())
    moves = sorted({scenario.move for record in stress for scenario in record.scenarios})
    severe = severe if severe in moves else min(moves, default=Ratio(0))
    return Outcome(
        rulebooks=tuple(rulebooks),
        begin=begin,
        end=end,
        highest=highest,
        current=current,
        timeline=timeline,
        notices=dict(Counter(alert.kind for alert in alerts if alert.kind != "LEVEL")),
        cases=tuple(cases),
        carried=len(set(ended) - {record.event_id for record in opened}),
        severe_move=severe,
        stressed=tuple(_stressed(stress, severe, current)),
        ladder=tuple(_rung(stress, move) for move in moves),
        totals=tuple(_totals(begin, end, counts, deficiencies)),
        excess={account: tuple(excess[account]) for account in notable if excess[account]},
        calls=tuple(calls),
        dead_letters=sum(1 for _ in read(out, topics.DEADLETTER)),
    )


def _bucket(at: int) -> int:
    return -(-at // BUCKET) * BUCKET


def _warnings(timeline: tuple[Alert, ...]) -> Iterator[Case]:
    """Warnings that an account rose to, each ended by the account's next change of level."""
    following: dict[str, Alert] = {}
    for alert in reversed(timeline):
        later = following.get(alert.account_id)
        following[alert.account_id] = alert
        if alert.level != "WARNING" or RANK[alert.previous_level] > RANK["WARNING"]:
            continue
        ended = "open" if later is None else "cleared" if later.level == "NONE" else f"to {later.level}"
        rule = alert.message if alert.cushion is None else f"warned at cushion {alert.cushion / RATIO_SCALE:.1%}"
        figures = (rule, alert.equity, alert.requirement, None)
        yield Case("WARNING", alert.account_id, alert.as_of, *figures, ended, None if later is None else later.as_of)


def _case(opened: Consequence, end: Any, standing: str) -> Case:
    """What was opened; end: the record that supersedes it. standing: what it is while there is none."""
    kind, field = AMOUNTS[type(opened)]
    ended = standing if end is None else "restated" if end.status in OPENINGS else end.status.lower()
    figures = (opened.rule, opened.equity, opened.requirement, getattr(opened, field))
    return Case(kind, opened.account_id, opened.as_of, *figures, ended, None if end is None else end.as_of)


def _notable(cases: list[Case], most: int = 6) -> list[str]:
    """Up to six accounts to look at: two cancelled by corrections, the first liquidation, the largest, then calls."""
    largest = sorted(cases, key=lambda case: (-RANK[case.kind], case.equity - case.requirement, case.account_id))
    cancelled = dict.fromkeys(case.account_id for case in largest if case.ended == "cancelled")
    first = [case.account_id for case in cases if case.kind == "LIQUIDATION"][:1]
    severe = (case.account_id for case in largest if RANK[case.kind] >= RANK["MARGIN_CALL"])
    return list(dict.fromkeys([*list(cancelled)[:2], *first, *severe]))[:most]


def _figures(out: Path, notable: list[str]) -> tuple[dict[int, tuple[int, int]], dict[str, list[tuple[Time, Money]]]]:
    """(accounts deficient, sum of deficiency) at the end of each bucket that changed them, and the notable paths."""
    owed: dict[str, int] = {}
    sums: dict[int, tuple[int, int]] = {}
    paths: dict[str, list[tuple[Time, Money]]] = {account: [] for account in notable}
    count = total = 0
    for figure in read(out, topics.MARGIN_CALC, _Figure):
        before, now = owed.get(figure.account_id, 0), max(0, -figure.excess)
        if before != now:
            owed[figure.account_id] = now
            count, total = count + (now > 0) - (before > 0), total + now - before
        sums[_bucket(figure.as_of)] = (count, total)
        if figure.account_id in paths:
            paths[figure.account_id].append((figure.as_of, figure.excess))
    return sums, paths


def _totals(
    begin: int, end: int, counts: dict[int, Counter[Level]], sums: dict[int, tuple[int, int]]
) -> Iterator[Total]:
    levels: Counter[Level] = Counter()
    deficient, deficiency = 0, 0
    for at in range(_bucket(begin), _bucket(end) + 1, BUCKET):
        levels = counts.get(at, levels)
        deficient, deficiency = sums.get(at, (deficient, deficiency))
        yield Total(Time(at), {level: levels[level] for level in LEVELS}, deficient, Money(deficiency))


def severe_move(label: str) -> Ratio | None:
    """The severe move of the rulebook with this label, if it ships with the project and is unchanged."""
    try:
        book = load_rulebook(label.partition("@")[0])
    except ConfigurationError:
        return None
    return Ratio(round(book.severe_move * RATIO_SCALE)) if book.label == label else None


def _stressed(stress: list[StressBetaSpy], severe: Ratio, current: dict[str, Level]) -> list[Stressed]:
    """Every account at the severe move: first where equity is gone, then by shortfall against the requirement."""
    rows = []
    for record in stress:
        for at in (scenario for scenario in record.scenarios if scenario.move == severe):
            level, equity = current.get(record.account_id, "NONE"), Money(at.equity - at.pnl)
            figures = (equity, at.pnl, at.equity, at.requirement_restressed, at.excess_restressed)
            rows.append(Stressed(record.account_id, level, *figures))
    return sorted(rows, key=lambda row: (min(row.stressed_equity, 0), row.stressed_excess, row.account_id))


def _rung(stress: list[StressBetaSpy], move: Ratio) -> Rung:
    rungs = [scenario for record in stress for scenario in record.scenarios if scenario.move == move]
    pnl = Money(sum(scenario.pnl for scenario in rungs))
    return Rung(move, pnl, sum(s.excess_restressed < 0 for s in rungs), sum(s.equity < 0 for s in rungs))
