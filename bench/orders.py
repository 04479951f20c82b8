"""How long an order takes to check: 2,000 orders of accounts of 200 positions, one at a time, as an API would be asked.

usage: python -m bench.orders [ORDERS]

The time on the clock is what who asks waits; that of the processor is free of what else runs on the machine.
"""

from __future__ import annotations

import datetime as dt
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ops.desk import OrderDesk
from ops.order import Leg
from pipeline.rules import load_rulebook
from schemas.inputs import Instrument, Price, PricedPosition
from schemas.outputs import AccountState
from schemas.scalars import QUANTITY_SCALE, Money, Quantity, Time

ORDERS, SYMBOLS, HELD = 2_000, 1_000, 200
#: Options of an account that has some: so many underlyings that it holds, two contracts on each.
WRITTEN, EACH = 25, 2
NOW = Time.parse("2026-06-15T20:00:00Z")
EXPIRY = Time.parse("2026-09-18T20:00:00Z")
TARGET_MS = 5.0
Regime = Literal["STRATEGY", "PORTFOLIO"]
Times = tuple[float, float, float, float]


@dataclass(frozen=True)
class Market:
    """Stocks, and on the first WRITTEN of them EACH x 2 puts and calls around the price."""

    instruments: list[Instrument]
    prices: dict[str, float]

    @classmethod
    def made(cls, rng: np.random.Generator) -> Market:
        """A market of SYMBOLS stocks."""
        spots = np.exp(rng.normal(4.3, 0.6, SYMBOLS)).round(2).tolist()
        prices = {f"S{row:04}": max(spot, 6.0) for row, spot in enumerate(spots)}
        instruments = [Instrument(symbol=name) for name in prices]
        for name, spot in list(prices.items())[:WRITTEN]:
            for number, moneyness in enumerate(np.linspace(0.9, 1.1, 2 * EACH).tolist()):
                right: Literal["CALL", "PUT"] = "CALL" if number % 2 else "PUT"
                option = f"{name}-{right[0]}{number}"
                strike = max(round(spot * moneyness), 1.0)
                instruments.append(
                    Instrument(
                        symbol=option,
                        type="OPTION",
                        underlying=name,
                        right=right,
                        strike=float(strike),
                        expiry=EXPIRY,
                        multiplier=100.0,
                    )
                )
                inside = max((spot - strike) * (1 if right == "CALL" else -1), 0.0)
                prices[option] = round(inside + 0.05 * spot, 2)
        return cls(instruments, prices)

    def quotes(self) -> list[Price]:
        """A price of each, as of before the state."""
        return [
            Price(symbol=name, price=price, as_of=Time(NOW - 10**6), arrived_at=Time(NOW - 10**6))
            for name, price in self.prices.items()
        ]


def account(market: Market, rulebook: str, rng: np.random.Generator, regime: Regime, *, options: bool) -> AccountState:
    """HELD positions, a fifth of them short, and cash that leaves about a third of excess; with options the last
    WRITTEN x EACH of them are contracts on stock that is held."""
    stocks = HELD - WRITTEN * EACH * options
    names = [f"S{row:04}" for row in range(stocks)]
    units = (100 * rng.integers(1, 11, stocks) * np.where(rng.random(stocks) < 0.2, -1, 1)).tolist()
    if options:
        written = [name for name in market.prices if "-" in name]
        names += [written[at * 2 * EACH + leg] for at in range(WRITTEN) for leg in range(EACH)]
        units += rng.choice([-2, -1, 1, 2], WRITTEN * EACH).tolist()
    gross = sum(abs(count) * market.prices[name] for name, count in zip(names, units, strict=True))
    return AccountState(
        account_id="A",
        as_of=NOW,
        rulebook=rulebook,
        level="NONE",
        since=None,
        deficient_since=None,
        equity=Money(0),
        requirement=Money(0),
        excess=Money(0),
        open_events=(),
        positions=tuple(
            PricedPosition(
                symbol=name, quantity=Quantity(count * QUANTITY_SCALE), price=market.prices[name], state="LIVE"
            )
            for name, count in zip(names, units, strict=True)
        ),
        cash=Money(round(gross * 0.2 * 10_000)),
        margin_type=regime,
    )


def orders(market: Market, held: AccountState, count: int, rng: np.random.Generator) -> list[list[Leg]]:
    """Of one leg, three in ten of two: half in what is held, half in anything; of options one to three contracts."""
    every, own = list(market.prices), [position.symbol for position in held.positions]
    if not any("-" in name for name in own):
        every = [name for name in every if "-" not in name]
    found = []
    for _ in range(count):
        names = {str(rng.choice(own if rng.random() < 0.5 else every)) for _ in range(1 + (rng.random() < 0.3))}
        sizes = {name: int(rng.integers(1, 4)) * (1 if "-" in name else 50) for name in sorted(names)}
        sides = rng.choice([-1, 1], len(sizes)).tolist()
        found.append([Leg(n, side * sizes[n] * QUANTITY_SCALE) for side, n in zip(sides, sizes, strict=True)])
    return found


def timed(desk: OrderDesk, asked: list[list[Leg]], ticks: list[Price] | None = None) -> Times:
    """Milliseconds: median, 99th percentile and longest by the clock, and the 99th percentile of the processor's.

    ticks: prices of which one comes in before each order.
    """
    took, worked = [], []
    for number, legs in enumerate(asked):
        if ticks is not None:
            desk.take([ticks[number % len(ticks)]])
        begun, spent = time.perf_counter(), time.thread_time()
        desk.check("A", legs)
        took.append((time.perf_counter() - begun) * 1e3)
        worked.append((time.thread_time() - spent) * 1e3)
    median, slow = np.percentile(took, [50, 99]).tolist()
    return median, slow, max(took), float(np.percentile(worked, 99))


def measured(
    rules: str, *, options: bool, count: int, regime: Regime = "STRATEGY", moving: bool = False
) -> tuple[int, Times]:
    """Positions, and the times of orders of an account that was asked of before."""
    rng = np.random.Generator(np.random.PCG64(7))
    market, book = Market.made(rng), load_rulebook(rules)
    desk, state = OrderDesk([book]), account(market, book.label, rng, regime, options=options)
    desk.take([*market.instruments, *market.quotes(), state])
    desk.check("A", [Leg("S0000", QUANTITY_SCALE)])
    names = [position.symbol for position in state.positions]
    moved = rng.normal(1.0, 0.002, len(names)).tolist()
    ticks = [
        Price(symbol=name, price=round(market.prices[name] * by, 2), as_of=Time(NOW + n), arrived_at=Time(NOW + n))
        for n, (name, by) in enumerate(zip(names, moved, strict=True), 1)
    ]
    asked = orders(market, state, count, rng)
    return len(state.positions), timed(desk, asked, ticks if moving else None)


def main() -> None:
    """Time every kind of account, print the table and keep it."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else ORDERS
    rows = ["| account | positions | p50 ms | p99 ms | longest ms | p99 CPU ms | target of p99 |"]
    rows.append("|---|---:|---:|---:|---:|---:|---|")
    kinds: tuple[tuple[str, dict], ...] = (
        ("stock, seed", {"rules": "seed", "options": False}),
        ("stock, FINRA 4210", {"rules": "finra-4210", "options": False}),
        ("stock, house book with add-ons", {"rules": "house-example", "options": False}),
        (
            "stock, FINRA 4210, a newer price before each order",
            {"rules": "finra-4210", "options": False, "moving": True},
        ),
        ("150 stock, 50 options, FINRA 4210", {"rules": "finra-4210", "options": True}),
        ("the same, a newer price before each order", {"rules": "finra-4210", "options": True, "moving": True}),
        ("the same on portfolio margin", {"rules": "finra-4210", "options": True, "regime": "PORTFOLIO"}),
    )
    for name, kind in kinds:
        held, (median, slow, longest, work) = measured(count=count, **kind)
        target = f"under {TARGET_MS:g}"
        rows.append(f"| {name} | {held} | {median:.2f} | {slow:.2f} | {longest:.2f} | {work:.2f} | {target} |")
        print(rows[-1], flush=True)
    rows += ["", f"{count:,} orders each; load average {os.getloadavg()[1]:.1f} on {os.cpu_count()} processors."]
    table = "\n".join(rows)
    name = f"{dt.datetime.now(dt.UTC).date()}-orders.md"
    (Path(__file__).with_name("results") / name).write_text(table + "\n")


if __name__ == "__main__":
    main()
