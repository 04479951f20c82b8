"""A synthetic day on disk, for demonstrations, tests and benchmarks: same arguments, same bytes.

Accounts open with a deposit and 3 to 15 positions and trade on through the day. Every scenario has corrections, busts,
duplicates, late prices, a halt and cash movements; the crash day adds three planted accounts (see _planted).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from ops import market as days
from ops.listing import list_options, quotes, tape_of, trades
from ops.market import MILLISECOND, SCENARIOS, SECOND, Floats, Integers, Market, Scenario, Tape, at, moments
from schemas import topics
from schemas.codec import to_json
from schemas.inputs import Account, Cash, Fill, Input
from schemas.scalars import Money, Quantity, Time

MINUTE = 60 * SECOND
LAST_ARRIVAL = days.CLOSES_AT - MILLISECOND
PLANTED = BUST_ACCOUNT, QUIET_ACCOUNT, CURED_ACCOUNT, STEEP_ACCOUNT = "ACC-BUST", "ACC-QUIET", "ACC-CURED", "ACC-STEEP"
MOVEMENTS = {
    "DEPOSIT": (0.01, 0.05),
    "WITHDRAWAL": (-0.02, -0.005),
    "FEE": (-0.0005, -0.0001),
    "DIVIDEND": (0.0005, 0.003),
}
TIGHT_SHARE, SHORTING_SHARE, SQUEEZED_SHARE, UNCLEARED_SHARE = 0.4, 0.25, 0.3, 0.2


@dataclass(slots=True)
class Activity:
    """What accounts did: fills and cash movements, each with the time it was received."""

    fills: list[Fill] = field(default_factory=list)
    cash: list[Cash] = field(default_factory=list)

    def pay(self, account_id: str, kind: str, dollars: float, arrived_at: int, *, cleared: bool = True) -> None:
        """Add a cash movement of signed dollars."""
        self.cash.append(
            Cash(
                cash_id=f"{account_id}-C{len(self.cash):06d}",
                account_id=account_id,
                amount=Money(round(dollars * 100) * 100),
                kind=kind,  # type: ignore[arg-type]
                cleared=cleared,
                arrived_at=Time(arrived_at),
            )
        )

    def trade(
        self, account_id: str, symbols: Sequence[str], shares: Integers, prices: Floats, executed: Integers, first: int
    ) -> None:
        """Add executions of signed shares at dollar prices; they arrive 5 to 300 ms later. Ids count from first."""
        columns = zip(symbols, shares.tolist(), prices.round(4).tolist(), executed.tolist(), strict=True)
        for number, (symbol, quantity, price, executed_at) in enumerate(columns, first):
            # The latency comes from the time itself, so that a planted fill draws nothing from the generator.
            latency = 5 + executed_at // MILLISECOND * 7919 % 296
            self.fills.append(
                Fill(
                    fill_id=f"{account_id}-F{number:03d}",
                    account_id=account_id,
                    symbol=symbol,
                    quantity=Quantity(quantity * 10**6),
                    price=price,
                    fees=Money(round(max(1.0, 0.005 * abs(quantity)) * 10**4)),
                    executed_at=Time(executed_at),
                    arrived_at=Time(executed_at + latency * MILLISECOND),
                )
            )


def requirement(values: Floats) -> float:
    """The seed's maintenance requirement, dollars, of signed dollar values: 25%, and 10% above 30% of gross."""
    sizes = np.abs(values)
    return float(0.25 * sizes.sum() + 0.10 * sizes[sizes > 0.30 * sizes.sum()].sum())


def _portfolio(market: Market, rng: np.random.Generator) -> tuple[Integers, Integers]:
    """Rows and signed shares of an account's opening positions; gross values are lognormal around 200,000 dollars."""
    count = min(int(rng.integers(3, 16)), market.ordinary)
    rows = rng.choice(market.ordinary, count, replace=False)
    sides = np.where(rng.random(count) < 0.4, -1, 1) if rng.random() < SHORTING_SHARE else np.ones(count)
    if market.squeezed and rng.random() < SQUEEZED_SHARE:
        name = rng.choice(market.squeezed)
        rows = np.concatenate([[name], rows[rows != name]])[:count]
        sides[0] = -1
    weights = rng.uniform(0.5, 1.5, count)
    values = rng.lognormal(np.log(200_000.0), 0.8) * weights / weights.sum()
    shares = np.maximum(np.rint(values / market.prices[rows, 0]), 1.0) * sides
    return rows, shares.astype(np.int64)


def _cushion(rng: np.random.Generator) -> float:
    """(equity - requirement) / requirement that an account opens with: some run tight, most do not."""
    return rng.uniform(0.18, 0.48) if rng.random() < TIGHT_SHARE else rng.uniform(0.6, 3.0)


def _trading_day(account_id: str, market: Market, activity: Activity, rng: np.random.Generator) -> None:
    """Add one ordinary account's day: deposit, opening positions, about ten small trades, now and then cash."""
    rows, shares = _portfolio(market, rng)
    values = shares * market.prices[rows, 0]
    gross = float(np.abs(values).sum())
    activity.pay(
        account_id,
        "DEPOSIT",
        requirement(values) * (1 + _cushion(rng)),
        moments(at("14:25:30"), at("14:27:30"), 1, rng)[0],
    )
    times = rng.permutation(moments(at("14:28:00"), at("14:50:00"), len(rows), rng))
    symbols = [market.symbols[row] for row in rows]
    activity.trade(account_id, symbols, shares, market.executions(rows, times, rng), times, 0)

    count = int(rng.poisson(10))
    later = np.where(rng.random(count) < 0.85, rng.choice(rows, count), rng.integers(0, market.ordinary, count))
    times = moments(at("14:52:00"), at("20:55:00"), count, rng)
    prices = market.executions(later, times, rng)
    sides = np.where(rng.random(count) < 0.5, 1, -1)
    sizes = np.maximum(np.rint(rng.uniform(0.01, 0.04, count) * gross / prices), 1).astype(np.int64)
    activity.trade(account_id, [market.symbols[row] for row in later], sides * sizes, prices, times, len(rows))
    if rng.random() < 0.2:
        _movement(account_id, gross, activity, rng)


def _movement(account_id: str, gross: float, activity: Activity, rng: np.random.Generator) -> None:
    """Add a small cash movement during the session, drawn as a share of the account's gross value."""
    kind = tuple(MOVEMENTS)[rng.integers(0, len(MOVEMENTS))]
    dollars = rng.uniform(*MOVEMENTS[kind]) * gross
    cleared = kind != "DEPOSIT" or rng.random() >= UNCLEARED_SHARE
    activity.pay(account_id, kind, dollars, moments(days.SESSION_OPEN, at("20:55:00"), 1, rng)[0], cleared=cleared)


def _buy(account_id: str, market: Market, dollars: dict[int, float], time: int, first: int, activity: Activity) -> None:
    """Add a planted account's purchases, dollars by row of the market, all executed at one time."""
    rows, times = np.array(list(dollars)), np.full(len(dollars), time)
    prices = market.price_at(rows, times)
    shares = np.rint(np.array(list(dollars.values())) / prices).astype(np.int64)
    activity.trade(account_id, [market.symbols[row] for row in rows], shares, prices, times, first)


def _planted(market: Market, tape: Tape) -> Activity:
    """The crash day's stories, which nothing random touches.

    ACC-BUST owes nothing; a purchase of $1.5m by mistake has it called until its bust, 20 minutes later.
    ACC-QUIET holds one symbol, which falls at 16:00 and is then silent, as is the account: only time liquidates it.
    ACC-CURED is called as SPY falls, and a deposit ten minutes later cures it for good.
    ACC-STEEP buys more of the steepest beta as it falls: a further -8% would leave it under water: close-only.
    """
    activity = Activity()
    activity.pay(BUST_ACCOUNT, "DEPOSIT", 200_000.0, at("14:26:00"))
    _buy(BUST_ACCOUNT, market, dict.fromkeys(range(min(5, market.ordinary)), 20_000.0), at("14:35:00"), 0, activity)
    _buy(BUST_ACCOUNT, market, {0: 1_500_000.0}, at("15:00:00"), 90, activity)
    activity.fills.append(_amended(activity.fills[-1], "BUST", 2, at("15:20:00")))

    activity.pay(QUIET_ACCOUNT, "DEPOSIT", 36_000.0, at("14:26:00"))
    _buy(QUIET_ACCOUNT, market, {market.symbols.index(days.QUIET): 80_000.0}, at("14:35:00"), 0, activity)

    activity.pay(CURED_ACCOUNT, "DEPOSIT", 36_760.0, at("14:26:00"))
    _buy(CURED_ACCOUNT, market, {0: 100_000.0}, at("14:35:00"), 0, activity)
    called = _called_at(activity.fills[-1], 36_760.0, tape)
    activity.pay(CURED_ACCOUNT, "DEPOSIT", 25_000.0, called + 10 * MINUTE)

    activity.pay(STEEP_ACCOUNT, "DEPOSIT", 35_500.0, at("14:26:00"))
    steepest = int(market.betas[: market.ordinary].argmax())
    _buy(STEEP_ACCOUNT, market, {steepest: 90_000.0}, at("14:35:00"), 0, activity)
    _buy(STEEP_ACCOUNT, market, {steepest: 160_000.0}, at("16:00:00"), 90, activity)
    return activity


def _called_at(fill: Fill, deposit: float, tape: Tape) -> int:
    """When a tick of SPY, an account's only holding, first leaves less than 35% of its value as equity."""
    shares = fill.quantity / 10**6
    debt = shares * fill.price + fill.fees / 10**4 - deposit
    below = (tape.row == 0) & (tape.as_of > at("14:36:00")) & (tape.price * shares * 0.65 < debt)
    return int(tape.arrived_at[below][0])


def _amended(fill: Fill, kind: str, version: int, arrived_at: int, **changes: object) -> Fill:
    """A correction or bust of a fill, with an id of its own."""
    return msgspec.structs.replace(
        fill,
        fill_id=f"{fill.fill_id}-{kind}{version}",
        kind=kind,
        ref_fill_id=fill.fill_id,
        version=version,
        arrived_at=Time(min(arrived_at, LAST_ARRIVAL)),
        **changes,
    )


def _correction(fill: Fill, version: int, arrived_at: int, rng: np.random.Generator) -> Fill:
    """The fill with another price or, as often, another quantity."""
    if rng.random() < 0.5:
        return _amended(fill, "CORRECT", version, arrived_at, price=round(fill.price * rng.uniform(0.98, 1.02), 4))
    shares = round(fill.quantity / 10**6 * rng.uniform(0.8, 1.2)) or 1
    return _amended(fill, "CORRECT", version, arrived_at, quantity=Quantity(shares * 10**6))


def _amend(fills: list[Fill], scenario: Scenario, rng: np.random.Generator) -> list[Fill]:
    """The fills with corrections and busts among them, some of which arrive before what they amend."""
    corrected, busted = (max(2, round(share * len(fills))) for share in (scenario.corrected, scenario.busted))
    result = list(fills)
    for number, index in enumerate(rng.choice(len(fills), min(corrected + busted, len(fills)), replace=False)):
        fill = fills[index]
        early = rng.random() < scenario.amended_early
        delay = int(rng.integers(1_000, 60_000 if early else 3_600_000)) * MILLISECOND
        later = min(fill.arrived_at + delay, LAST_ARRIVAL)
        first = fill.arrived_at if early else later
        if early:
            result[index] = msgspec.structs.replace(fill, arrived_at=Time(later))
        if number < busted:
            result.append(_amended(fill, "BUST", 2, first))
        else:
            result.append(_correction(fill, 2, first, rng))
            if number % 5 == 0:
                result.append(_correction(fill, 3, first + int(rng.integers(1_000, 600_000)) * MILLISECOND, rng))
    return result


def _resend(fills: list[Fill], scenario: Scenario, rng: np.random.Generator) -> list[Fill]:
    """The fills, some of them sent again within ten minutes."""
    chosen = rng.choice(len(fills), max(2, round(scenario.resent * len(fills))), replace=False)
    delays = rng.integers(1_000, 600_000, len(chosen)) * MILLISECOND
    again = [
        (fills[index], fills[index].arrived_at + delay) for index, delay in zip(chosen, delays.tolist(), strict=True)
    ]
    return fills + [msgspec.structs.replace(f, arrived_at=Time(min(time, LAST_ARRIVAL))) for f, time in again]


def _account_records(names: list[str], planted: Sequence[str], rng: np.random.Generator) -> list[Account]:
    """Terms of every account but about one in 200 of names, which its deposit has to open provisionally."""
    unknown = set(rng.choice(len(names), min(max(1, len(names) // 200), len(names) - 1), replace=False).tolist())
    known = [*planted, *(name for index, name in enumerate(names) if index not in unknown)]
    times = moments(days.OPENS_AT, at("14:25:30"), len(known), rng).tolist()
    return [Account(account_id=name, arrived_at=Time(time)) for name, time in zip(known, times, strict=True)]


def _write_topic(path: Path, records: Sequence[Input], scenario: Scenario, rng: np.random.Generator) -> None:
    """Write records in the order they arrived, or shuffled if the scenario says so; some lines are there twice."""
    lines = [line for _, line in sorted((record.arrived_at or 0, to_json(record)) for record in records)]
    counts = np.ones(len(lines), np.int64)
    counts[rng.choice(len(lines), max(1, round(scenario.repeated * len(lines))), replace=False)] = 2
    order = np.repeat(np.arange(len(lines)), counts)
    if scenario.shuffled:
        order = rng.permutation(order)
    path.write_bytes(b"".join(lines[index] + b"\n" for index in order.tolist()))


def _manifest(interval_ms: int, rulebook: str) -> str:
    """manifest.json of the day."""
    content = {
        "business_date": days.BUSINESS_DATE,
        "calendar": "XNYS",
        "interval_ms": interval_ms,
        "opens_at": days.OPENS_AT.text(),
        "closes_at": days.CLOSES_AT.text(),
        "clock": "log_append",
        "rulebooks": [rulebook],
    }
    return json.dumps(content, indent=2) + "\n"


def _add_options(
    records: dict[topics.Topic, Sequence[Input]], names: list[str], market: days.Market, rng: np.random.Generator
) -> None:
    listing = list_options(market, rng)
    tape = tape_of(listing, market)
    for topic, more in (
        (topics.INSTRUMENTS, listing.instruments),
        (topics.PRICES, quotes(listing, tape)),
        (topics.FILLS, trades(names, listing, tape, rng)),
    ):
        records[topic] = [*records[topic], *more]
    on_portfolio = set(names[::4])
    records[topics.ACCOUNTS] = [
        msgspec.structs.replace(own, margin_type="PORTFOLIO") if own.account_id in on_portfolio else own  # type: ignore[attr-defined]
        for own in records[topics.ACCOUNTS]
    ]


def write_day(
    out: Path,
    *,
    scenario: str,
    accounts: int,
    symbols: int,
    seed: int,
    interval_ms: int = 1000,
    options: bool = False,
) -> None:
    """Write a day folder: manifest.json and a <topic>.jsonl of each input.

    Args:
      out: the folder, made if it is not there.
      scenario: calm, crash, squeeze or disorder.
      accounts: ordinary accounts, at least 1; the crash day adds three planted ones.
      symbols: SPY and the stocks, at least 3; the crash day adds SYMQUIET.
      seed: of all randomness.
      interval_ms: the evaluation grid that the manifest asks for.
      options: list options, let most accounts trade them, put one in four on portfolio margin, and ask for the rules of
        FINRA 4210.
    """
    if scenario not in SCENARIOS:
        raise ValueError(f"scenario: expected one of {', '.join(SCENARIOS)}, found {scenario!r}")
    if accounts < 1 or symbols < 3:
        raise ValueError(f"expected at least 1 account and 3 symbols, found {accounts} and {symbols}")
    plan, rng = SCENARIOS[scenario], np.random.Generator(np.random.PCG64(seed))
    market = days.make_market(plan, symbols, rng)
    tape = days.make_tape(market, plan, rng)
    names = [f"ACC{number:05d}" for number in range(1, accounts + 1)]
    activity = Activity()
    for name in names:
        _trading_day(name, market, activity, rng)
    planted = _planted(market, tape) if plan.crash else Activity()
    records: dict[topics.Topic, Sequence[Input]] = {
        topics.ACCOUNTS: _account_records(names, PLANTED if plan.crash else (), rng),
        topics.INSTRUMENTS: days.instrument_records(market, rng),
        topics.BETAS: days.beta_records(market, rng),
        topics.PRICES: days.price_records(market, tape),
        topics.FILLS: _resend(_amend(activity.fills, plan, rng), plan, rng) + planted.fills,
        topics.CASH: activity.cash + planted.cash,
    }
    if options:
        # Numbers of its own, so that all else is the same without them.
        _add_options(records, names, market, np.random.Generator(np.random.PCG64([seed, 1])))
    out.mkdir(parents=True, exist_ok=True)
    (out / "manifest.json").write_text(_manifest(interval_ms, "finra-4210" if options else "seed"))
    for topic, content in records.items():
        _write_topic(out / f"{topic.name}.jsonl", content, plan, rng)
