"""Price bars in CSV to records: minute and daily bars to prices, adjusted daily bars to betas.

Three kinds of file, told apart by their header (plain or .gz): minute bars (start in milliseconds since midnight in
New York), daily bars (raw prices) and factors (up to and including its date, adjusted = raw x price x split factor).
Quotes are raw, as they were on the day; only returns use adjusted prices.
"""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from ops.betas import adjusted
from pipeline.day import Manifest, load_manifest, write_manifest
from risk.beta import estimate_betas
from schemas import topics
from schemas.codec import to_json
from schemas.inputs import Beta, Input, Instrument, Method, Price
from schemas.scalars import Time

NEW_YORK = ZoneInfo("America/New_York")
OPEN, CLOSE = dt.time(9, 30), dt.time(16)
DAY_OPENS, DAY_CLOSES = dt.time(9, 25), dt.time(16, 5)
MINUTE_MS, STEP_MS = 60_000, 300_000
LATENCY = 100_000
SOURCE, BETWEEN = "BARS", "BARS-BETWEEN"
MARKET = "SPY"
ETFS = frozenset({"SPY", "QQQ", "IWM", "EEM", "USO", "BNO", "AAA"})
WINDOW, FEWEST = 2520, 60
#: A ticker silent for longer than this came back as another security.
LONGEST_SILENCE = dt.timedelta(days=10)
HEADERS = {
    "date,ms_since_midnight_new_york,symbol,open,high,low,close,volume": "minute",
    "date,symbol,open,high,low,close,volume": "daily",
    "symbol,date,price_factor,split_factor,reference_price": "factors",
}
#: Found by pattern, not by line: between two symbols of the file the line break may be missing.
_FACTOR = re.compile(r"([A-Za-z][A-Za-z.]*),(\d{8}),([\d.]+),([\d.]+),[\d.]+")


def new_york(day: dt.date, time: dt.time) -> Time:
    """Microseconds of the epoch of a wall-clock time in New York."""
    return Time.parse(dt.datetime.combine(day, time, NEW_YORK))


class Bar(NamedTuple):
    """A day's or minute's trading of a symbol, raw; start in milliseconds since midnight (0: the whole day)."""

    date: dt.date
    start: int
    open: float
    high: float
    low: float
    close: float
    volume: float

    @property
    def end(self) -> Time:
        """When a minute bar ended."""
        hours, minutes = divmod((self.start + MINUTE_MS) // MINUTE_MS, 60)
        return new_york(self.date, dt.time(hours, minutes))


class Factor(NamedTuple):
    """What raw prices are multiplied by, up to and including the date."""

    date: dt.date
    price: float
    split: float


@dataclass
class History:
    """Bars and factors by symbol, in order of time."""

    minutes: dict[str, list[Bar]] = field(default_factory=lambda: defaultdict(list))
    daily: dict[str, list[Bar]] = field(default_factory=lambda: defaultdict(list))
    factors: dict[str, list[Factor]] = field(default_factory=lambda: defaultdict(list))

    def dates(self) -> set[dt.date]:
        """Days with bars: of minute bars if there are any, else of daily bars."""
        return {bar.date for bars in (self.minutes or self.daily).values() for bar in bars}

    def factor(self, symbol: str, day: dt.date) -> Factor:
        """The factors that hold on a day: those of the first row not before it, else 1."""
        rows = self.factors.get(symbol, [])
        at = bisect_left(rows, day, key=lambda row: row.date)
        return rows[at] if at < len(rows) else Factor(day, 1.0, 1.0)

    def previous(self, symbol: str, day: dt.date) -> Bar | None:
        """The symbol's last daily bar before a day, if it was trading then."""
        bars = self.daily.get(symbol, [])
        at = bisect_left(bars, day, key=lambda bar: bar.date)
        return bars[at - 1] if at and day - bars[at - 1].date <= LONGEST_SILENCE else None

    def split_ratio(self, symbol: str, day: dt.date) -> float:
        """Shares on a day for one share held overnight into it: 7.0 on the day of a 7:1 split, mostly 1.0."""
        previous = self.previous(symbol, day)
        if previous is None:
            return 1.0
        ratio = self.factor(symbol, day).split / self.factor(symbol, previous.date).split
        # The factors are rounded: 0.25 / 0.0357143 is 7.
        near = Fraction(ratio).limit_denominator(50) if ratio >= 1 else 1 / Fraction(1 / ratio).limit_denominator(50)
        return float(near) if abs(float(near) / ratio - 1) < 1e-4 else ratio

    def returns(self, symbol: str, day: dt.date) -> dict[tuple[dt.date, dt.date], float]:
        """Simple adjusted returns between successive bars before a day, by (from, to).

        A silence starts anew, as the ticker then is another security's; an opening at half or double the close before
        that no factor explains (a split or change of ticker the file lacks) is no return.
        """
        found: dict[tuple[dt.date, dt.date], float] = {}
        last, last_close = None, 0.0
        for bar in self.daily.get(symbol, ()):
            if bar.date >= day:
                break
            row = self.factor(symbol, bar.date)
            scale = row.price * row.split
            if last is not None and bar.date - last > LONGEST_SILENCE:
                found.clear()
            elif last is not None and 0.51 < bar.open * scale / last_close < 1 / 0.51:
                found[last, bar.date] = bar.close * scale / last_close - 1
            last, last_close = bar.date, bar.close * scale
        return found

    def beta(self, symbol: str, day: dt.date, window: int = WINDOW) -> Beta | None:
        """Beta to SPY of the last window daily returns before a day, None if fewer than FEWEST pair up."""
        market, own = self.returns(MARKET, day), self.returns(symbol, day)
        pairs = [(own[span], market[span]) for span in market if span in own][-window:]
        if len(pairs) < FEWEST:
            return None
        own_returns, market_returns = np.array(pairs).T
        found = estimate_betas(own_returns[None], market_returns, least=FEWEST)
        return Beta(
            symbol=symbol,
            beta=round(float(found.beta[0]), 6),
            effective_at=new_york(day, DAY_OPENS),
            window=window,
            observations=len(pairs),
            standard_error=round(float(found.error[0]), 6),
            arrived_at=Time(new_york(day, DAY_OPENS) + LATENCY),
        )

    def instrument(self, symbol: str, day: dt.date) -> Instrument:
        """What the symbol is, with the mean volume of its 20 daily bars before a day."""
        volumes = [bar.volume for bar in self.daily.get(symbol, ()) if bar.date < day][-20:]
        return Instrument(
            symbol=symbol,
            type="ETF" if symbol in ETFS else "STOCK",
            average_daily_volume=round(sum(volumes) / len(volumes)) or None if volumes else None,
            arrived_at=Time(new_york(day, DAY_OPENS) + LATENCY),
        )

    def session(self, symbol: str, day: dt.date) -> list[Bar]:
        """The day's minute bars inside the session; without any, its daily bar (none if minutes are of other names)."""
        begin, end = (time.hour * 3_600_000 + time.minute * 60_000 for time in (OPEN, CLOSE))
        if any(bar.date == day for bars in self.minutes.values() for bar in bars):
            return [bar for bar in self.minutes.get(symbol, ()) if bar.date == day and begin <= bar.start < end]
        return [bar for bar in self.daily.get(symbol, ()) if bar.date == day]

    def symbols(self, day: dt.date) -> list[str]:
        """Names with bars on a day, sorted."""
        return [symbol for symbol in sorted(self.minutes.keys() | self.daily.keys()) if self.session(symbol, day)]


def _rows(path: Path) -> Iterator[tuple[str, int, list[str]]]:
    """(kind, line, columns) of a file of minute or daily bars; of factors, each match."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        header = file.readline().strip()
        kind = HEADERS.get(header)
        if kind is None:
            raise ValueError(f"{path}: expected a header of {' or '.join(HEADERS)}, found {header[:120]!r}")
        if kind == "factors":
            yield from ((kind, at, list(match.groups())) for at, match in enumerate(_FACTOR.finditer(file.read()), 1))
        else:
            yield from ((kind, line, row) for line, row in enumerate(csv.reader(file), 2) if row)


def read(paths: Iterable[Path]) -> History:
    """Read files of bars and factors. Raises ValueError naming the file and line."""
    history = History()
    for path in paths:
        for kind, line, row in _rows(path):
            try:
                if kind == "factors":
                    date = dt.datetime.strptime(row[1], "%Y%m%d").date()
                    history.factors[row[0]].append(Factor(date, float(row[2]), float(row[3])))
                    continue
                start, symbol, *numbers = row[1:] if kind == "minute" else ["0", *row[1:]]
                values = [float(number) for number in numbers]
                bar = Bar(dt.date.fromisoformat(row[0]), int(start), *values)
            except (ValueError, TypeError) as error:
                raise ValueError(f"{path}:{line}: {error}") from error
            (history.minutes if kind == "minute" else history.daily)[symbol].append(bar)
    for bars in (*history.minutes.values(), *history.daily.values()):
        bars.sort(key=lambda bar: (bar.date, bar.start))
    for factors in history.factors.values():
        factors.sort()
    return history


def minute_prices(symbol: str, bars: Sequence[Bar]) -> list[Price]:
    """Each bar's close as a live price as of the bar's end, received 100 ms later."""
    return [_price(symbol, bar.close, bar.end) for bar in bars]


def daily_prices(symbol: str, bar: Bar) -> list[Price]:
    """A session through a daily bar: open at 09:30, extremes at 11:30 and 14:00, close at 16:00, lines in between.

    A falling day has its high first, a rising one its low. What lies on a line, each five minutes, is of source
    BARS-BETWEEN: the bar does not say it, but a price two hours old would be stale.
    """
    first, second = (bar.high, bar.low) if bar.close < bar.open else (bar.low, bar.high)
    times = [new_york(bar.date, time) for time in (OPEN, dt.time(11, 30), dt.time(14), CLOSE)]
    path = [bar.open, first, second, bar.close]
    grid = np.arange(times[0], times[-1] + 1, STEP_MS * 1000)
    levels = np.interp(grid, times, path).round(4)
    return [
        _price(symbol, level, Time(at), SOURCE if at in times else BETWEEN)
        for at, level in zip(grid.tolist(), levels.tolist(), strict=True)
    ]


def closing_price(history: History, symbol: str, day: dt.date) -> Price | None:
    """The close before a day, status CLOSE, received as the day opens; per share after a split of that day."""
    previous = history.previous(symbol, day)
    if previous is None:
        return None
    close = round(previous.close / history.split_ratio(symbol, day), 6)
    received = Time(new_york(day, DAY_OPENS) + LATENCY)
    return Price(
        symbol=symbol,
        price=close,
        as_of=new_york(previous.date, CLOSE),
        source=SOURCE,
        status="CLOSE",
        arrived_at=received,
    )


def _price(symbol: str, price: float, as_of: Time, source: str = SOURCE) -> Price:
    return Price(symbol=symbol, price=price, as_of=as_of, source=source, arrived_at=Time(as_of + LATENCY))


def day_prices(history: History, symbol: str, day: dt.date) -> list[Price]:
    """A symbol's prices of a day: the close before it, then minute bars or the path of its daily bar."""
    bars, closing = history.session(symbol, day), closing_price(history, symbol, day)
    live = daily_prices(symbol, bars[0]) if bars and not bars[0].start else minute_prices(symbol, bars)
    return [*([closing] if closing else []), *live]


def write_topic(folder: Path, topic: topics.Topic, records: Iterable[Input]) -> None:
    """Write <topic>.jsonl in the order of arrival."""
    lines = sorted((record.arrived_at or 0, to_json(record)) for record in records)
    (folder / f"{topic.name}.jsonl").write_bytes(b"".join(line + b"\n" for _, line in lines))


def write_market(
    history: History, day: dt.date, out: Path, *, window: int = WINDOW, method: Method = "ordinary"
) -> dict[str, int]:
    """Write the market of a day folder: manifest, prices, betas, instruments; the number of records by topic."""
    symbols = history.symbols(day)
    if not symbols:
        raise ValueError(f"expected bars of {day}, found none in its session")
    if (out / "manifest.json").exists() and (found := load_manifest(out).business_date) != day:
        raise ValueError(f"{out}: expected a new folder or one of {day}, found a day of {found}")
    minutes = any(bar.start for symbol in symbols for bar in history.session(symbol, day))
    manifest = Manifest(
        business_date=day,
        interval_ms=MINUTE_MS if minutes else STEP_MS,
        rulebooks=["seed"],
        opens_at=dt.datetime.combine(day, DAY_OPENS, NEW_YORK).astimezone(dt.UTC),
        closes_at=dt.datetime.combine(day, DAY_CLOSES, NEW_YORK).astimezone(dt.UTC),
    )
    write_manifest(out, manifest)
    betas = [beta for symbol in symbols if (beta := history.beta(symbol, day, window))]
    records: dict[topics.Topic, Sequence[Input]] = {
        topics.PRICES: [price for symbol in symbols for price in day_prices(history, symbol, day)],
        topics.BETAS: adjusted(betas, method),
        topics.INSTRUMENTS: [history.instrument(symbol, day) for symbol in symbols],
    }
    for topic, content in records.items():
        write_topic(out, topic, content)
    return {topic.name: len(content) for topic, content in records.items()}


def convert(
    files: Sequence[Path], out: Path, day: dt.date | None = None, *, window: int = WINDOW, method: Method = "ordinary"
) -> dict[str, int]:
    """Write a day's market from files of bars: of the day given, else of the last one in them. Raises ValueError."""
    history = read(files)
    days = history.dates()
    if not days:
        raise ValueError(f"expected minute or daily bars in {', '.join(map(str, files))}, found none")
    return write_market(history, day or max(days), out, window=window, method=method)
