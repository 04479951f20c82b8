"""How the cost of a recomputed account grows with the number of accounts: python -m bench.scaling [--quick].

Every account holds 20 positions. The graph keeps a shard of accounts per book, and a job has up to 64 shards, so that
an instant's block is at most some 1,250 touched accounts whatever the total: 100,000 accounts are 80 blocks here.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
import time
from collections.abc import Iterator

import numpy as np

from pipeline.day import Manifest, sessions_around
from pipeline.replay import monitor_of
from risk.book import Book
from risk.market import Market
from risk.prices import LIVE
from transforms.monitor import Monitor
from transforms.state import ShardState

HELD, SHARD, SYMBOLS, ROWS, PASSES = 20, 1_250, 1_000, 2_000_000, 10
ACCOUNTS = (1_000, 10_000, 100_000)


def market_of(symbols: int, rng: np.random.Generator) -> Market:
    """A market of live prices and betas."""
    market = Market(sessions_around(dt.date(2026, 1, 5)))
    for n in range(symbols):
        market.row(f"SYM{n:05d}")
    market.columns["price"][:symbols] = np.exp(rng.normal(4.3, 0.8, symbols)).round(2)
    market.columns["beta"][:symbols] = rng.normal(1.1, 0.4, symbols).round(2)
    market.columns["status"][:symbols] = LIVE
    return market


def books_of(accounts: int, symbols: int, rng: np.random.Generator) -> Iterator[Book]:
    """Books of at most SHARD accounts, HELD distinct positions each."""
    for first in range(0, accounts, SHARD):
        book, count = Book(), min(SHARD, accounts - first)
        held = (rng.integers(0, symbols, (count, 1)) + np.arange(HELD) * 37) % symbols
        lots = rng.integers(1, 200, (count, HELD)) * 10 * 10**6
        for n, (rows, quantities) in enumerate(zip(held.tolist(), lots.tolist(), strict=True)):
            row = book.row(f"ACC{first + n:06d}")
            for symbol, quantity in zip(rows, quantities, strict=True):
                book.trade(row, symbol, quantity)
        book.settle()
        yield book


class Shards:
    """Accounts in books, and the market that they are valued in."""

    def __init__(self, accounts: int, symbols: int) -> None:
        rng = np.random.Generator(np.random.PCG64(7))
        self.accounts, market, self.states = accounts, market_of(symbols, rng), []
        for book in books_of(accounts, symbols, rng):
            state = ShardState(market.sessions)
            state.book, state.market = book, market
            self.states.append(state)

    def cost(self, fold: Monitor, rows: int) -> float:
        """CPU microseconds per account recomputed, over at least `rows` of them, a block a book."""
        repeats, start = max(1, rows // self.accounts), time.process_time()
        for _ in range(repeats):
            for state in self.states:
                fold.measured(state, np.arange(len(state.book.ids)), fold.rulebooks[0], 0)
        return (time.process_time() - start) / (repeats * self.accounts) * 1e6


def main() -> None:
    """Print microseconds per account for each number of accounts, and for tenfold the symbols.

    The best of passes taken in turn, because the machine's speed drifts by more than what is compared.
    """
    opens_at = dt.datetime(2026, 1, 5, 15, tzinfo=dt.UTC)
    day = Manifest(business_date=opens_at.date(), opens_at=opens_at, closes_at=opens_at + dt.timedelta(hours=1))
    fold, rows = monitor_of(day).fold, ROWS // 4 if "--quick" in sys.argv else ROWS
    sizes = {f"accounts_{n}": Shards(n, SYMBOLS) for n in ACCOUNTS} | {"symbols_x10": Shards(10_000, 10 * SYMBOLS)}
    best = dict.fromkeys(sizes, float("inf"))
    for _ in range(PASSES):
        best = {name: min(best[name], shards.cost(fold, rows // PASSES)) for name, shards in sizes.items()}
    print(json.dumps({name: round(cost, 3) for name, cost in best.items()}))


if __name__ == "__main__":
    main()
