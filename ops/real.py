"""Real market days with generated margin accounts: `python -m ops.real OUT_BASE` writes each of DAYS to OUT_BASE/DATE.

Three in four accounts were set up the evening before, at the last close, and meet the overnight gap; the others open
at the day's opening prices. All are within their requirement when set up: who is called, is called by the market.
"""

from __future__ import annotations

import argparse
import datetime as dt
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ops import bars
from ops.bars import History
from ops.generate import requirement
from schemas import topics
from schemas.errors import UserError
from schemas.inputs import Account, Cash, Fill
from schemas.scalars import Money, Quantity, Time

SECOND = 1_000_000
DATA = Path(__file__).parents[2] / "shared/data/market"
FILES = ("daily.csv.gz", "factors.csv.gz", "minute_2013-10.csv.gz")
DAYS = ("2013-10-04", "2013-10-07", "2013-10-08", "2013-10-09", "2013-10-10", "2013-10-11", "2020-03-16", "2008-10-15")
HELD_SHARE, SHORTING_SHARE = 0.75, 0.25
LEAST_LEVERAGE, MOST_LEVERAGE, ROOM = 1.5, 3.7, 0.95


class MarketDataError(UserError, FileNotFoundError):
    """The market data is not where it is read from."""


def load(data: Path = DATA) -> History:
    """All bars and factors of a folder. Raises MarketDataError."""
    missing = [name for name in FILES if not (data / name).is_file()]
    if missing:
        raise MarketDataError(f"{data}: expected the real market data, found no {', '.join(missing)}")
    return bars.read(data / name for name in FILES)


def _portfolio(names: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
    """Rows, signed dollars and equity of an account within its requirement, leveraged 1.5 to 3.7 times."""
    count = int(rng.integers(min(3, names), min(8, names) + 1))
    rows = rng.choice(names, count, replace=False)
    weights = rng.uniform(0.5, 1.5, count)
    sides = np.where(rng.random(count) < 0.5, -1, 1) if rng.random() < SHORTING_SHARE else np.ones(count, np.int64)
    gross = rng.lognormal(np.log(300_000.0), 0.8)
    values = gross * weights / weights.sum() * sides
    most = max(LEAST_LEVERAGE, min(MOST_LEVERAGE, ROOM * gross / requirement(values)))
    return rows, values, gross / rng.uniform(LEAST_LEVERAGE, most)


def _fills(
    name: str, history: History, day: dt.date, symbols: Sequence[str], dollars: Sequence[float], held: bool, delay: int
) -> list[Fill]:
    """What set an account up: held overnight, or bought at the opening prices delay microseconds after the open."""
    fills = []
    for number, (symbol, value) in enumerate(zip(symbols, dollars, strict=True)):
        opening, previous = history.session(symbol, day)[0], history.previous(symbol, day)
        price, ratio = opening.open, 1.0
        executed = arrived = bars.new_york(day, bars.OPEN) + delay
        if held and previous is not None:
            ratio = history.split_ratio(symbol, day)
            price = previous.close
            executed = bars.new_york(previous.date, bars.CLOSE)
            arrived = bars.new_york(day, bars.DAY_OPENS) + 2 * SECOND
        shares = max(1, round(abs(value) / price)) * (1 if value > 0 else -1)
        fills.append(
            Fill(
                fill_id=f"{name}-F{number:03d}",
                account_id=name,
                symbol=symbol,
                quantity=Quantity(round(shares * ratio * 10**6)),
                price=round(price / ratio, 6),
                executed_at=Time(executed),
                arrived_at=Time(arrived + bars.LATENCY),
            )
        )
    return fills


def write_accounts(out: Path, history: History, day: dt.date, *, accounts: int, seed: int) -> None:
    """Write accounts, deposits and fills of a day whose market is written."""
    rng = np.random.Generator(np.random.PCG64(seed))
    symbols = [symbol for symbol in history.symbols(day) if history.previous(symbol, day)]
    opens = bars.new_york(day, bars.DAY_OPENS)
    terms, cash, fills = [], [], []
    for number in range(1, accounts + 1):
        name = f"ACC{number:05d}"
        rows, values, equity = _portfolio(len(symbols), rng)
        held, delay = bool(rng.random() < HELD_SHARE), int(rng.integers(0, 50_000)) * 1000
        terms.append(Account(account_id=name, arrived_at=Time(opens + bars.LATENCY)))
        amount = Money(round(equity * 100) * 100)
        cash.append(
            Cash(cash_id=f"{name}-C0", account_id=name, amount=amount, kind="DEPOSIT", arrived_at=Time(opens + SECOND))
        )
        fills += _fills(name, history, day, [symbols[row] for row in rows], values.tolist(), held, delay)
    bars.write_topic(out, topics.ACCOUNTS, terms)
    bars.write_topic(out, topics.CASH, cash)
    bars.write_topic(out, topics.FILLS, fills)


def write_real_day(
    out: Path, data: Path, day: dt.date, *, accounts: int = 200, seed: int = 7, history: History | None = None
) -> None:
    """Write a day folder: the market of the data, generated accounts.

    Args:
      out: the folder, made if it is not there.
      data: the folder of the market data, read unless history is given.
      day: a session of the data: minute bars where there are any, else the path of the daily bars.
      accounts: how many, at least 1.
      seed: of the accounts; the market is as it was.
      history: the data already read.

    Raises:
      MarketDataError: the data is absent.
      ValueError: no bars of the day.
    """
    if accounts < 1:
        raise ValueError(f"accounts: expected at least 1, found {accounts}")
    history = history or load(data)
    bars.write_market(history, day, out)
    write_accounts(out, history, day, accounts=accounts, seed=seed)


def main() -> int:
    """Write the days asked for; 1 if the market data is absent."""
    parser = argparse.ArgumentParser(prog="python -m ops.real", description=__doc__)
    parser.add_argument("out", type=Path, help="folder of day folders")
    parser.add_argument("days", nargs="*", default=list(DAYS), help="business dates")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--accounts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_intermixed_args()
    try:
        history = load(arguments.data)
        for text in arguments.days:
            day = dt.date.fromisoformat(text)
            folder = arguments.out / text
            write_real_day(
                folder, arguments.data, day, accounts=arguments.accounts, seed=arguments.seed, history=history
            )
            print(f"wrote {folder}: {', '.join(history.symbols(day))}")
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
