"""The generator: reproducible, well-formed, and its days tell the stories they promise (by a plain recomputation)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from ops.generate import BUST_ACCOUNT, CURED_ACCOUNT, QUIET_ACCOUNT, write_day
from schemas import topics
from schemas.codec import from_json
from schemas.inputs import Cash, Fill, Input, Price
from schemas.scalars import Time

SCENARIOS = ("calm", "crash", "squeeze", "disorder")
TOPICS = ("accounts.v1", "instruments.v1", "betas.v1", "prices.v1", "fills.v1", "cash.v1")
SECOND, MINUTE = 10**6, 60 * 10**6


def at(text: str) -> int:
    return Time.parse(f"2026-01-05T{text}Z")


def read(day: Path, topic: str) -> list:
    lines = (day / f"{topic}.jsonl").read_bytes().splitlines()
    return [from_json(topics.BY_NAME[topic].record, line) for line in lines]


def in_order(day: Path) -> Iterator[Input]:
    ranked = [(r.arrived_at, topics.BY_NAME[name].rank, repr(r), r) for name in TOPICS for r in read(day, name)]
    return (record for *_, record in sorted(ranked, key=lambda item: item[:3]))


@dataclass
class Replay:
    """A day by dicts: (begin, last seen) of each unbroken deficiency by account, looked at each 30 seconds."""

    prices: dict[str, tuple] = field(default_factory=dict)
    fills: dict[str, dict[int, Fill]] = field(default_factory=lambda: defaultdict(dict))
    paid: dict[str, Cash] = field(default_factory=dict)
    cash: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    positions: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(float)))
    spells: dict[str, list[list[int]]] = field(default_factory=lambda: defaultdict(list))
    open: dict[str, list[int]] = field(default_factory=dict)

    def run(self, day: Path, *, without: str = "", every: int = 30 * SECOND) -> Replay:
        instant = at("14:25:00") + every
        for record in in_order(day):
            while record.arrived_at >= instant:
                self.look(instant)
                instant += every
            if isinstance(record, Price):
                new = (record.as_of, record.sequence, record.price)
                self.prices[record.symbol] = max(self.prices.get(record.symbol, new), new)
            elif isinstance(record, Cash):
                if record.cash_id not in self.paid:
                    self.paid[record.cash_id] = record
                    self.cash[record.account_id] += record.amount / 1e4
            elif isinstance(record, Fill) and record.fill_id != without:
                self.take(record)
        while instant <= at("21:05:00"):
            self.look(instant)
            instant += every
        return self

    def effective(self, root: str) -> Fill | None:
        versions = self.fills[root]
        if not any(fill.kind == "NEW" for fill in versions.values()):
            return None
        latest = versions[max(versions)]
        return None if latest.kind == "BUST" else latest

    def take(self, fill: Fill) -> None:
        root = fill.ref_fill_id or fill.fill_id
        before = self.effective(root)
        self.fills[root].setdefault(fill.version, fill)
        for sign, standing in ((-1, before), (1, self.effective(root))):
            if standing is not None:
                quantity = sign * standing.quantity / 1e6
                self.positions[fill.account_id][standing.symbol] += quantity
                self.cash[fill.account_id] -= quantity * standing.price + sign * standing.fees / 1e4

    def look(self, instant: int) -> None:
        for account, positions in self.positions.items():
            values = [quantity * self.prices[symbol][2] for symbol, quantity in positions.items()]
            gross = sum(abs(value) for value in values)
            need = sum((0.35 if abs(value) > 0.3 * gross else 0.25) * abs(value) for value in values)
            if self.cash[account] + sum(values) >= need - 1e-6:
                self.open.pop(account, None)
            elif account in self.open:
                self.open[account][1] = instant
            else:
                self.open[account] = [instant, instant]
                self.spells[account].append(self.open[account])

    def shares(self) -> tuple[float, float]:
        """Shares of accounts ever deficient, and so for 30 minutes without a break."""
        long = sum(any(end - begin >= 30 * MINUTE for begin, end in spells) for spells in self.spells.values())
        return len(self.spells) / len(self.positions), long / len(self.positions)


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("days")
    for scenario in SCENARIOS:
        write_day(root / scenario, scenario=scenario, accounts=60, symbols=20, seed=7)
    return {scenario: root / scenario for scenario in SCENARIOS}


@pytest.fixture(scope="module")
def crash(tmp_path_factory: pytest.TempPathFactory) -> Path:
    day = tmp_path_factory.mktemp("crash") / "day"
    write_day(day, scenario="crash", accounts=300, symbols=30, seed=11)
    return day


@pytest.fixture(scope="module")
def crashed(crash: Path) -> Replay:
    return Replay().run(crash)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_same_seed_same_bytes(days: dict[str, Path], tmp_path: Path, scenario: str) -> None:
    write_day(tmp_path, scenario=scenario, accounts=60, symbols=20, seed=7)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(["manifest.json", *(f"{topic}.jsonl" for topic in TOPICS)])
    assert all((tmp_path / name).read_bytes() == (days[scenario] / name).read_bytes() for name in names)


def test_another_seed_is_another_day(days: dict[str, Path], tmp_path: Path) -> None:
    write_day(tmp_path, scenario="calm", accounts=60, symbols=20, seed=8)
    assert (tmp_path / "prices.v1.jsonl").read_bytes() != (days["calm"] / "prices.v1.jsonl").read_bytes()


def test_manifest(days: dict[str, Path]) -> None:
    assert json.loads((days["calm"] / "manifest.json").read_text()) == {
        "business_date": "2026-01-05",
        "calendar": "XNYS",
        "interval_ms": 1000,
        "opens_at": "2026-01-05T14:25:00Z",
        "closes_at": "2026-01-05T21:05:00Z",
        "clock": "log_append",
        "rulebooks": ["seed"],
    }


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("topic", TOPICS)
def test_records_decode_within_the_day_and_in_order(days: dict[str, Path], scenario: str, topic: str) -> None:
    arrived = [record.arrived_at for record in read(days[scenario], topic)]
    assert all(at("14:25:00") <= time < at("21:05:00") for time in arrived)
    assert (arrived == sorted(arrived)) == (scenario != "disorder")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_event_times_precede_arrival(days: dict[str, Path], scenario: str) -> None:
    assert all(price.as_of < price.arrived_at for price in read(days[scenario], "prices.v1"))
    assert all(fill.executed_at < fill.arrived_at for fill in read(days[scenario], "fills.v1"))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_market_is_known_before_the_open(days: dict[str, Path], scenario: str) -> None:
    early = [
        {record.symbol for record in read(days[scenario], topic) if record.arrived_at < at("14:30:00")}
        for topic in ("instruments.v1", "betas.v1", "prices.v1")
    ]
    assert early[0] == early[1] == early[2]
    assert len(early[0]) == 20 + (scenario == "crash")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_day_has_its_irregularities(days: dict[str, Path], scenario: str) -> None:
    fills, cash = read(days[scenario], "fills.v1"), read(days[scenario], "cash.v1")
    for kind in ("CORRECT", "BUST"):
        assert any(fill.kind == kind and fill.ref_fill_id and fill.version > 1 for fill in fills)
    received = defaultdict(set)
    for fill in fills:
        received[fill.fill_id].add(fill.arrived_at)
    assert any(len(times) > 1 for times in received.values())
    lines = (days[scenario] / "fills.v1.jsonl").read_bytes().splitlines()
    assert len(set(lines)) < len(lines)
    assert {movement.kind for movement in cash} >= {"DEPOSIT", "WITHDRAWAL", "FEE", "DIVIDEND"}
    assert {f.account_id for f in fills} - {account.account_id for account in read(days[scenario], "accounts.v1")}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_late_prices_and_sequence(days: dict[str, Path], scenario: str) -> None:
    by_symbol = defaultdict(set)
    for price in read(days[scenario], "prices.v1"):
        by_symbol[price.symbol].add((price.as_of, price.sequence, price.arrived_at))
    late = 0
    for ticks in by_symbol.values():
        ordered = sorted(ticks)
        assert [sequence for _, sequence, _ in ordered] == list(range(len(ordered)))
        late += sum(first[2] > second[2] for first, second in pairwise(ordered))
    assert late >= 1


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_one_halt_of_half_an_hour_keeps_the_price(days: dict[str, Path], scenario: str) -> None:
    prices = {(p.symbol, p.sequence): p for p in read(days[scenario], "prices.v1")}
    (halt,) = [price for price in prices.values() if price.status == "HALTED"]
    before, after = (prices[halt.symbol, halt.sequence + gap] for gap in (-1, 1))
    assert halt.price == before.price
    assert after.as_of - halt.as_of == 30 * MINUTE


def test_disorder_brings_amendments_before_their_fill(days: dict[str, Path]) -> None:
    fills = read(days["disorder"], "fills.v1")
    first = {f.fill_id: min(g.arrived_at for g in fills if g.fill_id == f.fill_id) for f in fills if f.kind == "NEW"}
    assert any(fill.kind != "NEW" and fill.arrived_at < first[fill.ref_fill_id] for fill in fills)


def test_squeeze_lifts_a_few_names(days: dict[str, Path]) -> None:
    ticks = defaultdict(list)
    for price in read(days["squeeze"], "prices.v1"):
        ticks[price.symbol].append((price.as_of, price.price))
    gains = sorted(max(t)[1] / min(t)[1] - 1 for t in ticks.values())
    assert gains[-3] > 0.5
    assert gains[-4] < 0.2


def test_crash_falls_nine_percent_and_recovers(crash: Path) -> None:
    spy = sorted((price.as_of, price.price) for price in read(crash, "prices.v1") if price.symbol == "SPY")
    before, bottom, close = (
        max(t for t in spy if t[0] <= at(text))[1] for text in ("15:30:00", "18:31:00", "20:59:59")
    )
    assert 0.075 < 1 - bottom / before < 0.105
    assert 0.02 < 1 - close / before < 0.07


def test_crash_calls_and_liquidates(crashed: Replay) -> None:
    called, liquidated = crashed.shares()
    assert called >= 0.05
    assert liquidated >= 0.01


@pytest.mark.parametrize("scenario", ["calm", "disorder"])
def test_calm_days_are_calm(days: dict[str, Path], scenario: str) -> None:
    assert Replay().run(days[scenario]).shares()[0] <= 0.05


def test_bust_account_is_called_by_mistake_only(crash: Path, crashed: Replay) -> None:
    ((begin, end),) = crashed.spells[BUST_ACCOUNT]
    assert at("15:00:00") < begin <= at("15:00:30")
    assert at("15:19:30") <= end <= at("15:20:30")
    (bust,) = {fill for fill in read(crash, "fills.v1") if fill.account_id == BUST_ACCOUNT and fill.kind == "BUST"}
    assert BUST_ACCOUNT not in Replay().run(crash, without=bust.ref_fill_id).spells


def test_quiet_account_stays_deficient_in_silence(crash: Path, crashed: Replay) -> None:
    ((begin, end),) = crashed.spells[QUIET_ACCOUNT]
    last = max(price.arrived_at for price in read(crash, "prices.v1") if price.symbol == "SYMQUIET")
    assert at("16:00:00") < last < begin <= last + 30 * SECOND
    assert end == at("21:05:00")
    events = [record for topic in ("fills.v1", "cash.v1") for record in read(crash, topic)]
    assert max(event.arrived_at for event in events if event.account_id == QUIET_ACCOUNT) < at("14:40:00")
    assert {event.account_id for event in events if getattr(event, "symbol", "") == "SYMQUIET"} == {QUIET_ACCOUNT}


def test_cured_account_is_cured_by_its_deposit(crash: Path, crashed: Replay) -> None:
    cure = max(m.arrived_at for m in read(crash, "cash.v1") if m.account_id == CURED_ACCOUNT)
    spells = crashed.spells[CURED_ACCOUNT]
    assert at("15:30:00") < spells[0][0] <= cure - 9 * MINUTE
    assert cure - MINUTE <= spells[-1][1] <= cure + MINUTE


@pytest.mark.parametrize(
    ("change", "message"),
    [({"scenario": "quake"}, "expected one of calm"), ({"accounts": 0}, "at least 1"), ({"symbols": 2}, "3 symbols")],
)
def test_arguments_are_checked(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_day(tmp_path, **({"scenario": "calm", "accounts": 1, "symbols": 3, "seed": 1} | change))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_smallest_day(tmp_path: Path, scenario: str) -> None:
    write_day(tmp_path, scenario=scenario, accounts=1, symbols=3, seed=1, interval_ms=250)
    assert json.loads((tmp_path / "manifest.json").read_text())["interval_ms"] == 250
