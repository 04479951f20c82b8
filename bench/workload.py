"""The workload: a synthetic day whose blocks of 1,000 events are the instants of a one-second grid.

Symbols are drawn from a Zipf law, accounts by lognormal weights, one event a millisecond; PCG64, seed 7. Every account
opens with a deposit of 1.1 times all it will trade: without it, equity would be about zero and the figures of every
account would move by more than the publish line at every instant.
"""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.day import Manifest, write_manifest
from schemas.codec import to_json
from schemas.inputs import Beta, Cash, Fill, Input, Price
from schemas.scalars import Money, Quantity, Time

START = Time.parse("2026-01-05T15:00:00Z")
OPENS_AT = dt.datetime(2026, 1, 5, 14, 59, tzinfo=dt.UTC)
DEPOSITED_AT = Time(START - 30_000_000)
BLOCK = 1000


@dataclass(frozen=True)
class Size:
    """How many of each; `events` includes a beta and an opening price of each symbol."""

    accounts: int
    symbols: int
    fills: int
    ticks: int

    @property
    def events(self) -> int:
        return self.fills + self.ticks + 2 * self.symbols


SIZES = {
    "tiny": Size(100, 50, 2_000, 2_000),
    "small": Size(1_000, 200, 20_000, 20_000),
    "wide": Size(1_000, 2_000, 20_000, 20_000),
    "medium": Size(10_000, 1_000, 200_000, 100_000),
}


def _draw(rng: np.random.Generator, weights: NDArray[np.float64], count: int) -> list[int]:
    return rng.choice(len(weights), count, p=weights / weights.sum()).tolist()


def generate(size: Size, seed: int = 7) -> dict[str, list[Input]]:
    """The day's records by topic, in time order."""
    rng = np.random.Generator(np.random.PCG64(seed))
    popularity = rng.permutation(1.0 / np.arange(1, size.symbols + 1))
    owners = _draw(rng, rng.lognormal(0.0, 1.0, size.accounts), size.fills)
    traded, ticked = _draw(rng, popularity, size.fills), _draw(rng, popularity, size.ticks)
    lots = rng.integers(1, 21, size.fills) * 10 * np.where(rng.random(size.fills) < 0.25, -1, 1)
    returns = rng.normal(0.0, 5e-4, size.ticks).tolist()
    betas = rng.normal(1.1, 0.4, size.symbols).round(2).tolist()
    prices = np.exp(rng.normal(4.3, 0.8, size.symbols)).round(2).tolist()
    is_tick = rng.permutation(np.repeat([False, True], [size.fills, size.ticks]))
    names = [f"SYM{n:04d}" for n in range(size.symbols)]

    def at(event: int) -> Time:
        return Time(START + 1000 * event)

    opening = size.symbols
    estimates = [
        Beta(symbol=s, beta=b, effective_at=at(n), arrived_at=at(n))
        for n, (s, b) in enumerate(zip(names, betas, strict=False))
    ]
    quotes = [_price(s, p, at(opening + n)) for n, (s, p) in enumerate(zip(names, prices, strict=False))]
    fills: list[Fill] = []
    turnover = np.zeros(size.accounts)
    for event, tick in enumerate(is_tick.tolist(), 2 * opening):
        if tick:
            n = len(quotes) - opening
            row = ticked[n]
            prices[row] = max(round(prices[row] * (1 + returns[n]), 4), 0.01)
            quotes.append(_price(names[row], prices[row], at(event)))
        else:
            n = len(fills)
            row, owner, lot = traded[n], owners[n], int(lots[n])
            turnover[owner] += abs(lot) * prices[row]
            fills.append(
                Fill(
                    fill_id=f"F{n:08d}",
                    account_id=f"ACC{owner:06d}",
                    symbol=names[row],
                    quantity=Quantity(lot * 10**6),
                    price=prices[row],
                    arrived_at=at(event),
                )
            )
    deposits = [
        Cash(
            cash_id=f"C{n:06d}",
            account_id=f"ACC{n:06d}",
            amount=Money(round(1.1 * worth) * 10_000),
            kind="DEPOSIT",
            arrived_at=DEPOSITED_AT,
        )
        for n, worth in enumerate(turnover.tolist())
    ]
    return {"betas.v1": estimates, "cash.v1": deposits, "fills.v1": fills, "prices.v1": quotes}  # type: ignore[dict-item]


def _price(symbol: str, price: float, moment: Time) -> Price:
    return Price(symbol=symbol, price=price, as_of=moment, arrived_at=moment)


def write_day(folder: Path, size: Size) -> Path:
    """Write the day unless the folder has it already; the folder."""
    if (folder / "manifest.json").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for topic, records in generate(size).items():
        _write(folder / f"{topic}.jsonl", records)
    seconds = (size.events - 1) // BLOCK + 1
    closes_at = dt.datetime(2026, 1, 5, 15, tzinfo=dt.UTC) + dt.timedelta(seconds=seconds + 1)
    write_manifest(
        folder,
        Manifest(business_date=dt.date(2026, 1, 5), interval_ms=BLOCK, opens_at=OPENS_AT, closes_at=closes_at),
    )
    return folder


def _write(path: Path, records: Iterable[Input]) -> None:
    path.write_bytes(b"".join(to_json(record) + b"\n" for record in records))


if __name__ == "__main__":
    write_day(Path(sys.argv[2]), SIZES[sys.argv[1]])
