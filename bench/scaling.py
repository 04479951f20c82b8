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

from pipeline.day import sessions_around
from pipeline.rules import load_rulebook
from risk.book import Book
from risk.margin import compute_margin
from risk.market import LIVE, Market
from risk.rulebook import Rulebook
from risk.stress import run_stress
from risk.tims import run_tims

HELD, SHARD, SYMBOLS, ROWS = 20, 1_250, 1_000, 400_000
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


def sweep(books: list[Book], market: Market, rules: Rulebook) -> None:
    """Every account once, a block a book."""
    for book in books:
        block = book.block(np.arange(len(book.ids)), market, rules, 0)
        for measure in (compute_margin, run_stress, run_tims):
            measure(block)


def cost(accounts: int, symbols: int, rows: int) -> float:
    """CPU microseconds per account recomputed: the best of three passes over at least `rows` of them."""
    rng = np.random.Generator(np.random.PCG64(7))
    rules, market, books = load_rulebook("seed"), market_of(symbols, rng), list(books_of(accounts, symbols, rng))
    sweep(books, market, rules)
    repeats, best = max(1, rows // accounts), float("inf")
    for _ in range(3):
        start = time.process_time()
        for _ in range(repeats):
            sweep(books, market, rules)
        best = min(best, (time.process_time() - start) / (repeats * accounts))
    return best * 1e6


def main() -> None:
    """Print microseconds per account for each number of accounts, and for tenfold the symbols."""
    rows = ROWS // 4 if "--quick" in sys.argv else ROWS
    found = {f"accounts_{n}": round(cost(n, SYMBOLS, rows), 3) for n in ACCOUNTS}
    found["symbols_x10"] = round(cost(10_000, 10 * SYMBOLS, rows), 3)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
