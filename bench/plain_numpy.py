"""The same kernel without Beam, ladder or publishing: python -m bench.plain_numpy DAY [--events N] [--decided].

Every touched account is measured under all scenarios; --decided only as the graph does to decide on it
(docs/adr/0010).
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from bench.meter import report
from bench.workload import BLOCK
from pipeline.rules import load_rulebook
from risk.block import AccountBlock, Measure
from risk.margin import compute_margin, itemize_margin
from risk.rulebook import Rulebook
from risk.stress import run_severe, run_stress
from risk.tims import run_tims

BITS = 32


class Event(msgspec.Struct):
    """Any line of the day, only what the arithmetic needs. RFC 3339 text of one width sorts by time."""

    arrived_at: str = ""
    symbol: str = ""
    account_id: str = ""
    quantity: float = 0.0
    price: float = 0.0
    beta: float | None = None
    amount: str = ""


def read(day: Path) -> list[Event]:
    """Every event of the day in time order."""
    decode = msgspec.json.Decoder(Event).decode
    events = [decode(line) for path in sorted(day.glob("*.jsonl")) for line in path.open("rb")]
    # A whole second is written without decimals, and "." sorts before "Z".
    return sorted(events, key=lambda event: event.arrived_at.replace("Z", ".000000Z")[:26])


class Positions:
    """Accounts by symbols as sorted keys; dense rows are given on first sight."""

    def __init__(self) -> None:
        self.accounts: dict[str, int] = {}
        self.symbols: dict[str, int] = {}
        self.price, self.beta, self.cash = np.zeros(4096), np.ones(4096), np.zeros(1 << 17)
        self.keys, self.quantity = np.empty(0, np.int64), np.empty(0)
        self.owner, self.symbol = self.keys, self.keys

    def apply(self, events: list[Event]) -> np.ndarray:
        """Apply a block of events; the rows of the accounts that they touched."""
        account_row, symbol_row = self.accounts.setdefault, self.symbols.setdefault
        traded, moved, ticked = [], [], []
        for e in events:
            if e.amount:
                self.cash[account_row(e.account_id, len(self.accounts))] += float(e.amount) * 1e4
                continue
            symbol = symbol_row(e.symbol, len(self.symbols))
            if e.account_id:
                account = account_row(e.account_id, len(self.accounts))
                traded.append(account << BITS | symbol)
                moved.append(e.quantity)
                self.cash[account] -= round(e.quantity * e.price * 1e4)
                continue
            if e.beta is None:
                self.price[symbol] = e.price
            else:
                self.beta[symbol] = e.beta
            ticked.append(symbol)
        touched = np.zeros(len(self.accounts), bool)
        if traded:
            self._merge(np.array(traded), np.array(moved, float))
            touched[np.array(traded) >> BITS] = True
        hit = np.zeros(4096, bool)
        hit[ticked] = True
        touched[self.owner[hit[self.symbol]]] = True
        return np.flatnonzero(touched)

    def _merge(self, keys: np.ndarray, moved: np.ndarray) -> None:
        keys, inverse = np.unique(keys, return_inverse=True)
        change = np.bincount(inverse, moved)
        at = np.searchsorted(self.keys, keys)
        old = at < len(self.keys)
        old[old] = self.keys[at[old]] == keys[old]
        self.quantity[at[old]] += change[old]
        if not old.all():
            self.keys = np.insert(self.keys, at[~old], keys[~old])
            self.quantity = np.insert(self.quantity, at[~old], change[~old])
            self.owner, self.symbol = self.keys >> BITS, self.keys & ((1 << BITS) - 1)

    def block(self, rows: np.ndarray, rules: Rulebook) -> AccountBlock:
        """The accounts at the given rows."""
        chosen = np.zeros(len(self.accounts), bool)
        chosen[rows] = True
        mine = np.flatnonzero(chosen[self.owner])
        symbols, owners = self.symbol[mine], self.owner[mine]
        no = np.zeros(len(mine), bool)
        offsets = np.append(np.searchsorted(owners, rows), len(owners))
        columns = self.quantity[mine], self.price[symbols], self.beta[symbols]
        return AccountBlock(0, rules, rows, self.cash[rows], offsets, symbols, *columns, no, no, no)


def run(events: list[Event], measures: Sequence[Measure]) -> tuple[int, float]:
    """Measure the touched accounts after every BLOCK events; rows and a checksum (dollars of equity of every row)."""
    book, rules, rows, check = Positions(), load_rulebook("seed"), 0, 0.0
    deposits = sum(1 for e in events if e.amount)
    edges = [0, *range(deposits, len(events), BLOCK), len(events)]
    for low, high in itertools.pairwise(edges):
        touched = book.apply(events[low:high])
        if not len(touched):
            continue
        block = book.block(touched, rules)
        for measure in measures:
            measure(block)
        rows += len(touched)
        check += block.measures["equity"].sum() / 1e4
    return rows, check


def main() -> None:
    """Read, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("day", type=Path)
    parser.add_argument("--events", type=int)
    parser.add_argument("--decided", action="store_true")
    args = parser.parse_args()
    start = time.process_time()
    events = read(args.day)[: args.events]
    parsed = time.process_time()
    decided, every = (compute_margin, run_severe), (itemize_margin, run_stress, run_tims)
    rows, check = run(events, decided if args.decided else every)
    report(
        start_s=round(start, 3), parse_s=round(parsed - start, 3), events=len(events), rows=rows, check=round(check, 2)
    )


if __name__ == "__main__":
    main()
