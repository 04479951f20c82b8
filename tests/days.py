"""Small days for Hypothesis, and the fold run over them without Beam."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

import msgspec
from hypothesis import strategies as st

from pipeline.day import Manifest
from pipeline.graph import MonitorMargin
from pipeline.replay import monitor_of
from pipeline.rules import load_rulebook
from risk.market import NEVER
from risk.rulebook import Rulebook
from schemas.codec import from_json, to_json
from schemas.ids import shard_of
from schemas.inputs import Account, Beta, Cash, Fill, Input, Price
from schemas.scalars import Money, Quantity, Time
from schemas.topics import BY_NAME, BY_RECORD
from transforms.firm import TotalFirm, is_line, parts_of
from transforms.lines import Lines, text_of
from transforms.monitor import Monitor
from transforms.records import Records
from transforms.state import ShardState

Output = tuple[str, msgspec.Struct]
Line = tuple[str, bytes]

SECOND = 1_000_000
OPENS, CLOSES = Time.parse("2026-01-05T15:00:00Z"), Time.parse("2026-01-05T15:30:00Z")
INTERVAL_MS = 60_000
MANIFEST = Manifest(
    business_date=dt.date(2026, 1, 5),
    interval_ms=INTERVAL_MS,
    opens_at=dt.datetime(2026, 1, 5, 15, 0, tzinfo=dt.UTC),
    closes_at=dt.datetime(2026, 1, 5, 15, 30, tzinfo=dt.UTC),
)
#: The seed's rules with clocks that run out within the half hour.
_CLOCKS = {"persist": 300, "heartbeat": 600, "stale_after": 600}
RULES = dataclasses.replace(load_rulebook("seed"), **_CLOCKS)
_BOOK = load_rulebook("finra-4210")
assert _BOOK.calls is not None
#: Those of FINRA 4210, with options and portfolio margin, and the same clocks; a day is assessed in the middle of the
#: half hour, long before its session's close.
FINRA = dataclasses.replace(
    _BOOK,
    effective_at=0,
    calls=dataclasses.replace(_BOOK.calls, close_delay=-5 * 3600 - 45 * 60),
    **_CLOCKS | {"heartbeat": 86_400},
)
ACCOUNTS = tuple(f"A{n}" for n in range(6))
SYMBOLS = tuple(f"S{n}" for n in range(4))


def at(seconds: float) -> Time:
    """A time of the day, seconds after it opens."""
    return Time(OPENS + round(seconds * 1000) * 1000)


def on(day: str, time: str = "15:00:00") -> Time:
    """A time of January 2026, UTC; New York closes at 21:00."""
    return Time.parse(f"2026-01-{day}T{time}Z")


def fold_of(*, publish_all: bool = False, rules: Rulebook = RULES, live: bool = False) -> Monitor:
    """The fold of the small day; live: it does not end with the day, but goes on for as long as it is told."""
    fold = dataclasses.replace(_monitor(publish_all), rulebooks=(rules,)).fold
    return dataclasses.replace(fold, horizon=None) if live else fold


@cache
def _monitor(publish_all: bool) -> MonitorMargin:
    return monitor_of(MANIFEST, rules=["seed"], shards=1, publish_all=publish_all)


def by_topic(records: Iterable[Input]) -> Records:
    """Records as an element of the fold."""
    return Records.of(records)


def shards_of(records: Sequence[Input], shards: int) -> list[list[Input]]:
    """The records that each shard sees, as BatchByShard deals them."""
    return [
        [
            record
            for record in records
            if BY_RECORD[type(record)].market or shard_of(record.account_id, shards) == shard  # type: ignore[attr-defined]
        ]
        for shard in range(shards)
    ]


def records_of(outputs: Iterable[Lines]) -> list[Output]:
    """(topic, record) of every line, without what a shard says of the firm."""
    lines = filter(is_line, outputs)
    return [(topic, from_json(BY_NAME[topic].record, text_of(line))) for topic, found in lines for line in found]


def with_firm(outputs: Iterable[Lines], until: int = CLOSES) -> list[Output]:
    """(topic, record) of every line of all shards, and of the firm as what they say of it adds up to by a time."""
    told = list(outputs)
    fold = TotalFirm()
    parts = [fold.decode(payload) for element in told for _, payload in parts_of(element)]
    return records_of([*told, *fold.advance(fold.start(), parts, until + fold.interval)])


def run(
    records: Sequence[Input],
    shards: int = 1,
    parts: int = 1,
    *,
    publish_all: bool = False,
    rules: Rulebook = RULES,
    until: int | None = None,
) -> list[Output]:
    """What the fold makes of the records, each shard's given in that many elements; of the small day, or live until a
    time of a later one."""
    fold = fold_of(publish_all=publish_all, rules=rules, live=until is not None)
    end = until or CLOSES
    return with_firm(
        (
            element
            for mine in shards_of(records, shards)
            for element in fold.advance(fold.start(), [by_topic(mine[part::parts]) for part in range(parts)], end)
        ),
        end,
    )


def run_stepwise(
    records: Sequence[Input], shards: int, *, rules: Rulebook = RULES, until: int | None = None
) -> list[Output]:
    """The same, advanced instant by instant, with the state written to its cells and read back in between."""
    fold, end = fold_of(rules=rules, live=until is not None), until or CLOSES
    return with_firm((element for mine in shards_of(records, shards) for element in _stepwise(fold, mine, end)), end)


def _stepwise(fold: Monitor, mine: list[Input], until: int) -> Iterator[Lines]:
    state, cells = fold.start(), dict[str, bytes]()
    arrivals: dict[int, list[Input]] = defaultdict(list)
    for record in mine:
        arrivals[fold.instant_of(int(record.arrived_at or 0))].append(record)
    while True:
        instant = min(*arrivals, fold.next_deadline(state), NEVER)
        if instant > until:
            break
        yield from fold.advance(state, [by_topic(arrivals.pop(instant, []))], instant)
        cells |= state.drain()
        state = ShardState(fold.sessions)
        state.load(cells.get)


def lines(outputs: Iterable[Output]) -> list[Line]:
    """(topic, JSON) of the outputs in a fixed order; dead letters are left out, as in design 6."""
    return sorted((topic, to_json(record)) for topic, record in outputs if topic != "deadletter.v1")


def outputs(
    records: Sequence[Input], shards: int = 1, parts: int = 1, *, rules: Rulebook = RULES, until: int | None = None
) -> list[Line]:
    """Sorted (topic, JSON) of what the fold makes of the records."""
    return lines(run(records, shards, parts, rules=rules, until=until))


# Half of the arrivals are exactly on an instant, and a millisecond on either side of one is as likely as not.
arrivals = st.builds(
    lambda place, millisecond: at(place * 30 + millisecond / 1000), st.integers(1, 58), st.sampled_from((-1, 0, 0, 1))
)
quantities = st.sampled_from([-100, -10, -1, 1, 10, 50, 100, 200]).map(lambda q: Quantity(q * 10**6))
dollars = st.sampled_from([20.0, 60.0, 80.0, 90.0, 95.0, 100.0, 101.37, 110.0, 150.0])


@st.composite
def days(draw: st.DrawFn, *, amended: bool = True) -> list[Input]:
    """The records of a day: 2 to 6 accounts, 2 to 4 symbols, not all of which are announced or quoted."""
    accounts = ACCOUNTS[: draw(st.integers(2, 6))]
    symbols = SYMBOLS[: draw(st.integers(2, 4))]
    account, symbol = st.sampled_from(accounts), st.sampled_from(symbols)
    number = st.integers(0, 5)
    new = st.builds(
        lambda n, **fields: Fill(fill_id=f"F{n}", **fields),
        number,
        account_id=account,
        symbol=symbol,
        quantity=quantities,
        price=dollars,
        fees=st.sampled_from([Money(0), Money(12_345)]),
        executed_at=st.sampled_from([None, None, at(10), at(900)]),
        arrived_at=arrivals,
    )
    amendment = st.builds(
        lambda n, kind, version, **fields: Fill(
            fill_id=f"F{n}-{kind}{version}", ref_fill_id=f"F{n}", kind=kind, version=version, **fields
        ),
        number,
        st.sampled_from(["CORRECT", "BUST"]),
        st.integers(2, 4),
        account_id=account,
        symbol=symbol,
        quantity=quantities,
        price=dollars,
        arrived_at=arrivals,
    )
    price = st.builds(
        lambda arrived_at, behind, **fields: Price(
            arrived_at=arrived_at, as_of=Time(arrived_at - behind * SECOND), **fields
        ),
        arrivals,
        st.sampled_from([-5, 0, 0, 0, 30, 120, 900]),
        symbol=symbol,
        price=dollars,
        source=st.sampled_from(["", "", "A", "B"]),
        status=st.sampled_from(["LIVE", "LIVE", "LIVE", "LIVE", "INDICATIVE", "HALTED", "CLOSE"]),
        sequence=st.integers(0, 2),
    )
    cash = st.builds(
        lambda n, **fields: Cash(cash_id=f"C{n}", **fields),
        number,
        account_id=account,
        amount=st.sampled_from([-500, 300, 1000, 4000]).map(lambda amount: Money(amount * 10**4)),
        kind=st.sampled_from(["DEPOSIT", "JOURNAL"]),
        arrived_at=arrivals,
    )
    beta = st.builds(
        Beta,
        symbol=symbol,
        beta=st.sampled_from([-0.3, 0.5, 1.7]),
        effective_at=st.sampled_from([at(0), at(60), at(600), at(899.999)]),
        arrived_at=arrivals,
    )
    opened = st.builds(Account, account_id=account, arrived_at=arrivals)
    records: list[Input] = []
    kinds = [(new, 14), (price, 16), (cash, 6), (opened, 4), (beta, 4), (amendment, 8 if amended else 0)]
    for kind, most in kinds:
        records += draw(st.lists(kind, max_size=most))
    return records
