"""Load for a live run: a firm's opening book, then ticks and a few fills at a rate, until it is stopped.

usage: python -m bench.load JOB DAY RATE
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
from confluent_kafka import Producer

from ops.stream import records_of
from pipeline.job import load_live_job
from schemas.codec import to_json
from schemas.inputs import Fill, Input, Price
from schemas.scalars import Quantity, Time
from schemas.topics import BY_RECORD, FILLS, PRICES

#: Of the day, seconds after it opens: until then accounts take up their positions.
OPENING = 25 * 60
#: Standard deviation of a tick's return, and the share of records that are fills.
TICK, FILL_SHARE = 5e-4, 0.05


def opening(day: Path) -> tuple[list[Input], dict[str, float], list[tuple[str, str]]]:
    """The records of the opening, every symbol's last price in it, and what accounts hold, as (account, symbol)."""
    records, prices, held, first = [], {}, {}, None
    for arrived_at, _, record in records_of(day):
        first = first or arrived_at
        if arrived_at - first > OPENING * 1_000_000:
            break
        if isinstance(record, Price):
            prices[record.symbol] = record.price
        if isinstance(record, Fill):
            held[record.account_id, record.symbol] = None
        records.append(record)
    return records, prices, list(held)


def ticks(prices: dict[str, float], held: list[tuple[str, str]]) -> Iterator[tuple[str, bytes, bytes]]:
    """(topic, key, JSON) without end: prices that walk, and small fills of what is held at them."""
    rng, symbols, count = np.random.Generator(np.random.PCG64(7)), list(prices), 0
    while True:
        picks = rng.integers(0, len(symbols), 1000).tolist()
        moves = np.exp(rng.normal(0, TICK, 1000)).tolist()
        owners = rng.integers(0, len(held), 1000).tolist()
        sides = rng.choice([-5, 5], 1000).tolist()
        for pick, move, owner, side, kind in zip(picks, moves, owners, sides, rng.random(1000).tolist(), strict=True):
            count += 1
            now = Time(time.time_ns() // 1000)
            if kind < FILL_SHARE:
                account, symbol = held[owner]
                fill = Fill(
                    fill_id=f"L{count}",
                    account_id=account,
                    symbol=symbol,
                    quantity=Quantity(side * 10**6),
                    price=prices[symbol],
                    executed_at=now,
                )
                yield FILLS.name, fill.account_id.encode(), to_json(fill)
            else:
                symbol = symbols[pick]
                price = prices[symbol] = round(prices[symbol] * move, 4)
                yield (
                    PRICES.name,
                    symbol.encode(),
                    to_json(Price(symbol=symbol, price=price, as_of=now, sequence=count)),
                )


def main(file: str, day: str, rate: str) -> None:
    """Send the opening, say so, and then the ticks."""
    producer = Producer(load_live_job(file).kafka.client({"linger.ms": 10, "compression.type": "lz4"}))
    records, prices, held = opening(Path(day))
    now = Time(time.time_ns() // 1000)
    begun = time.monotonic()
    for count, record in enumerate(records):
        topic = BY_RECORD[type(record)]
        times = {name: now for name in ("as_of", "executed_at", "effective_at") if getattr(record, name, None)}
        own = msgspec.structs.replace(record, arrived_at=None, **times)
        producer.produce(topic.name, to_json(own), str(getattr(record, topic.key)).encode())
        _hold(producer, begun + count / float(rate))
    producer.flush()
    print("opened", flush=True)
    begun = time.monotonic()
    for count, (topic, key, value) in enumerate(ticks(prices, held)):
        producer.produce(topic, value, key)
        _hold(producer, begun + count / float(rate))


def _hold(producer: Producer, until: float) -> None:
    while (wait := until - time.monotonic()) > 0.005:
        producer.poll(0)
        time.sleep(min(wait, 0.01))


if __name__ == "__main__":
    main(*sys.argv[1:])
