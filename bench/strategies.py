"""Strategies and portfolio margin of a whole firm: 10,000 accounts of 20 option legs each, on 500 underlyings.

usage: python -m bench.strategies [ACCOUNTS]

Beside it the same programs, one account at a time, as a broker's service would solve them.
"""

from __future__ import annotations

import datetime as dt
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.rules import load_rulebook
from risk.block import AccountBlock
from risk.margin import lines_of
from risk.terms import OPTION, Terms
from risk.tims import ClassGroups

ACCOUNTS, UNDERLYINGS, CONTRACTS, LEGS, ALONE = 10_000, 500, 40, 20, 200
NOW = 1_781_553_600_000_000  # 2026-06-15T20:00:00Z
DAYS = np.array([30, 60, 91, 182])
MONEYNESS = np.array([0.90, 0.95, 1.00, 1.05, 1.10])


def market(rng: np.random.Generator) -> Terms:
    """Underlyings, and of each calls and puts at five strikes and four expiries, American."""
    spot = np.exp(rng.normal(4.3, 0.6, UNDERLYINGS)).round(2)
    owner = np.repeat(np.arange(UNDERLYINGS), CONTRACTS)
    place = np.tile(np.arange(CONTRACTS), UNDERLYINGS)
    days, right = DAYS[place % 4], np.where(place < CONTRACTS // 2, 1.0, -1.0)
    strike = np.maximum((spot[owner] * MONEYNESS[place // 4 % 5]).round(0), 1.0)
    distance = np.abs(np.log(strike / spot[owner]))
    price = np.maximum(right * (spot[owner] - strike), 0.0)
    price = (price + 0.05 * spot[owner] * np.sqrt(days / 91) * np.exp(-8 * distance) + 0.01).round(2)
    rows, option = UNDERLYINGS * (CONTRACTS + 1), slice(UNDERLYINGS, None)

    def column(plain: float, of_option: object = None, kind: type = np.float64) -> np.ndarray:
        found = np.full(rows, plain, kind)
        if of_option is not None:
            found[option] = of_option
        return found

    below = np.append(np.arange(UNDERLYINGS), owner)
    return Terms(
        type=column(0, OPTION, np.int8),
        underlying=below,
        right=column(0.0, right),
        strike=column(0.0, strike),
        expiry=column(0, NOW + days * 86_400_000_000, np.int64),
        multiplier=column(1.0, 100.0),
        conversion=column(1.0),
        american=column(True, kind=np.bool_),
        instrument_class=column(0, kind=np.int8),
        leverage=column(1.0),
        eligible=column(True, kind=np.bool_),
        average_daily_volume=column(np.nan),
        shares_outstanding=column(np.nan),
        sector=column(-1, kind=np.int64),
        dividend_yield=np.where(rng.random(UNDERLYINGS) < 0.6, 0.02, 0.0)[below],
        points_class=column(0, kind=np.int8),
        class_group=below,
        product_group=column(-1, kind=np.int64),
        expected_range=column(0.0),
        house_rate=column(0.0),
        beta=column(1.0),
        price=np.append(spot, price),
        volatility=column(np.nan, rng.uniform(0.15, 0.6, UNDERLYINGS * CONTRACTS)),
    )


def firm(terms: Terms, accounts: int, each: int, rng: np.random.Generator) -> AccountBlock:
    """Accounts of LEGS option legs, so many on each underlying, 1 to 10 contracts long or short; of half of their
    underlyings they hold 100 to 1,000 shares, long or short."""
    owned = LEGS // each
    under = np.argsort(rng.random((accounts, UNDERLYINGS)), axis=1)[:, :owned]
    chosen = np.argsort(rng.random((accounts, owned, CONTRACTS)), axis=2)[:, :, :each]
    options = (UNDERLYINGS + under[:, :, None] * CONTRACTS + chosen).reshape(accounts, -1)
    stock = under[:, : max(1, owned // 2)]
    symbols = np.concatenate([options, stock], axis=1)
    order = np.argsort(symbols, axis=1)
    units = 100.0 * rng.integers(1, 11, symbols.shape) * rng.choice([-1, 1], symbols.shape)
    rows = np.take_along_axis(symbols, order, axis=1).ravel()
    none = np.zeros(len(rows), np.bool_)
    return AccountBlock(
        instant=NOW,
        rules=load_rulebook("finra-4210"),
        accounts=np.arange(accounts),
        cash=np.zeros(accounts),
        offsets=np.arange(accounts + 1) * symbols.shape[1],
        symbols=rows,
        quantity=np.take_along_axis(units, order, axis=1).ravel(),
        price=terms.price[rows],
        beta=np.ones(len(rows)),
        unreliable=none,
        unpriced=none,
        defaulted=none,
        terms=terms,
    )


def some(block: AccountBlock, accounts: np.ndarray) -> AccountBlock:
    """A block of some of the accounts."""
    places = np.concatenate([np.arange(block.offsets[a], block.offsets[a + 1]) for a in accounts.tolist()])
    columns = ("symbols", "quantity", "price", "beta", "unreliable", "unpriced", "defaulted")
    counts = np.diff(block.offsets)[accounts]
    return replace(
        block,
        accounts=np.arange(len(accounts)),
        cash=block.cash[accounts],
        offsets=np.append(0, np.cumsum(counts)),
        **{name: getattr(block, name)[places] for name in columns},
    )


def timed(work: Callable[[], object]) -> float:
    """CPU seconds."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def main() -> None:
    """Time the sweeps, print the table and keep it."""
    accounts = int(sys.argv[1]) if len(sys.argv) > 1 else ACCOUNTS
    rng = np.random.Generator(np.random.PCG64(7))
    terms = market(rng)
    block = firm(terms, accounts, 5, rng)
    whole = timed(lambda: lines_of(block))
    print(f"pairing sweep: {whole:.2f} s", flush=True)
    alone = timed(lambda: [lines_of(some(block, np.array([a]))) for a in range(ALONE)]) * accounts / ALONE
    ticked = np.flatnonzero(np.add.reduceat(terms.underlying[block.symbols] == 0, block.offsets[:-1]))
    touched = timed(lambda: lines_of(some(block, ticked)))
    grid = timed(lambda: ClassGroups(block).lines())
    spread = firm(terms, accounts, 1, rng)
    tight = some(firm(terms, min(accounts, 500), LEGS, rng), np.arange(min(accounts, 500)))
    rows = [
        (f"{accounts:,} accounts, 4 underlyings of 5 legs, shares of 2: strategies, CPU s", f"{whole:.1f}", "under 10"),
        (f"the same, an account at a time (from {ALONE}): CPU s", f"{alone:.0f}", ""),
        ("an account at a time / together", f"{alone / whole:.1f}x", ""),
        (f"after one underlying's tick: {len(ticked)} accounts touched, CPU s", f"{touched:.2f}", ""),
        (f"{accounts:,} accounts, 20 underlyings of one leg: CPU s", f"{timed(lambda: lines_of(spread)):.1f}", ""),
        (
            "all 20 legs on one underlying, ms an account (from 500)",
            f"{timed(lambda: lines_of(tight)) / len(tight.accounts) * 1e3:.1f}",
            "",
        ),
        (f"portfolio margin of {accounts:,} accounts, with the revaluation of all contracts: CPU s", f"{grid:.1f}", ""),
    ]
    table = "\n".join(["| what | measured | target |", "|---|---:|---|", *(f"| {' | '.join(row)} |" for row in rows)])
    print(table)
    name = f"{dt.datetime.now(dt.UTC).date()}-strategies.md"
    (Path(__file__).with_name("results") / name).write_text(table + "\n")


if __name__ == "__main__":
    main()
