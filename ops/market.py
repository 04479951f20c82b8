"""A synthetic market of one business day: a one-factor model of prices, and the tape of ticks that reports it.

Times are microseconds of the epoch, prices dollars. A symbol's log return is beta x market + its own noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.inputs import Beta, Instrument, Price
from schemas.scalars import Time

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

BUSINESS_DATE = "2026-01-05"
MILLISECOND = 1_000
SECOND = 1_000_000
STEP = 5 * SECOND
SECTORS = ("TECHNOLOGY", "FINANCIALS", "HEALTH_CARE", "ENERGY", "INDUSTRIALS", "CONSUMER", "UTILITIES", "MATERIALS")
SPY, QUIET = "SPY", "SYMQUIET"


def at(text: str) -> Time:
    """A time of the business date, given as HH:MM:SS in UTC."""
    return Time.parse(f"{BUSINESS_DATE}T{text}Z")


def moments(begin: int, end: int, count: int, rng: np.random.Generator) -> Integers:
    """Sorted random times in [begin, end), whole milliseconds."""
    return begin + np.sort(rng.integers(0, (end - begin) // MILLISECOND, count)) * MILLISECOND


OPENS_AT, CLOSES_AT = at("14:25:00"), at("21:05:00")
SESSION_OPEN, SESSION_CLOSE = at("14:30:00"), at("21:00:00")
HALT_FROM, HALT_UNTIL = at("17:00:00"), at("17:30:00")
QUIET_FROM = at("16:00:00")

#: SPY's log level at times of the crash day: six steps down to about -9%, then half of it recovered.
CRASH = {
    "15:30:00": 0.0,
    "15:42:00": -0.018,
    "16:05:00": -0.016,
    "16:15:00": -0.036,
    "16:40:00": -0.034,
    "16:48:00": -0.052,
    "17:10:00": -0.050,
    "17:20:00": -0.068,
    "17:45:00": -0.067,
    "17:55:00": -0.084,
    "18:20:00": -0.083,
    "18:30:00": -0.095,
    "19:15:00": -0.092,
    "20:30:00": -0.050,
}
SQUEEZE_FROM, SQUEEZE_UNTIL = at("15:15:00"), at("19:00:00")


@dataclass(frozen=True, slots=True)
class Scenario:
    """What makes a day. Shares are of the records they concern: fills, except late_prices (ticks)."""

    name: str
    crash: bool = False
    squeeze: bool = False
    shuffled: bool = False
    corrected: float = 0.005
    busted: float = 0.003
    amended_early: float = 0.0
    resent: float = 0.005
    repeated: float = 0.002
    late_prices: float = 0.003


SCENARIOS = {
    "calm": Scenario("calm"),
    "crash": Scenario("crash", crash=True),
    "squeeze": Scenario("squeeze", squeeze=True),
    "disorder": Scenario(
        "disorder",
        shuffled=True,
        corrected=0.04,
        busted=0.02,
        amended_early=0.5,
        resent=0.10,
        repeated=0.05,
        late_prices=0.05,
    ),
}


@dataclass(frozen=True, slots=True)
class Market:
    """Symbols, SPY first, their betas, and (symbols, cells) prices on a grid of STEP from OPENS_AT.

    ordinary is how many symbols anyone may hold; a planted one comes after them. squeezed rows are the shorted names.
    """

    symbols: tuple[str, ...]
    betas: Floats
    prices: Floats
    ordinary: int
    squeezed: tuple[int, ...]

    @property
    def halted(self) -> int:
        """Row of the symbol that is halted for half an hour."""
        return self.ordinary - 1

    def price_at(self, rows: Integers, times: Integers) -> Floats:
        """Prices of rows at times, in whole cents."""
        return self.prices[rows, (times - OPENS_AT) // STEP]

    def executions(self, rows: Integers, times: Integers, rng: np.random.Generator) -> Floats:
        """Prices of executions: the market's, within two hundredths of a percent."""
        return self.price_at(rows, times) * (1 + rng.uniform(-2e-4, 2e-4, len(rows)))


@dataclass(frozen=True, slots=True)
class Tape:
    """Ticks as columns, in order of symbol and as_of."""

    row: Integers
    as_of: Integers
    arrived_at: Integers
    price: Floats
    halted: NDArray[np.bool_]


def _noise(shape: tuple[int, ...], daily: float, rng: np.random.Generator) -> Floats:
    """Random walks along the last axis with the given volatility of a session."""
    per_step = daily / np.sqrt((SESSION_CLOSE - SESSION_OPEN) / STEP)
    return np.cumsum(rng.standard_normal(shape) * per_step, axis=-1)


def _market_level(scenario: Scenario, grid: Integers, rng: np.random.Generator) -> Floats:
    """(cells,) SPY's log price relative to the opening."""
    level = _noise(grid.shape, 0.003 if scenario.crash else 0.006, rng)
    if scenario.crash:
        level += np.interp(grid, [at(text) for text in CRASH], list(CRASH.values()))
    return level


def make_market(scenario: Scenario, symbols: int, rng: np.random.Generator) -> Market:
    """Draw betas and price paths of SPY and symbols - 1 stocks; the crash day adds the symbol that falls silent."""
    grid = np.arange(OPENS_AT, CLOSES_AT, STEP, dtype=np.int64)
    betas = np.concatenate([[1.0], np.clip(rng.normal(1.1, 0.4, symbols - 1), 0.2, 2.5).round(4)])
    opening = np.concatenate([[590.0], np.clip(rng.lognormal(np.log(75.0), 0.5, symbols - 1), 5.0, 900.0)])
    own = _noise((symbols, len(grid)), 0.012, rng)
    own[0] = 0.0
    squeezed = tuple(range(1, min(4, symbols - 1))) if scenario.squeeze else ()
    for row in squeezed:
        own[row] += np.interp(grid, [SQUEEZE_FROM, SQUEEZE_UNTIL], [0.0, np.log(rng.uniform(1.6, 2.5))])
    prices = opening[:, None] * np.exp(betas[:, None] * _market_level(scenario, grid, rng) + own)
    names = (SPY, *(f"SYM{number:04d}" for number in range(1, symbols)))
    if scenario.crash:
        quiet = 80.0 * np.exp(_noise(grid.shape, 0.002, rng)) * np.where(grid >= QUIET_FROM, 0.75, 1.0)
        names, betas, prices = (*names, QUIET), np.append(betas, 0.5), np.vstack([prices, quiet])
    return Market(names, betas, np.maximum(prices.round(2), 0.01), symbols, squeezed)


def _ticks(market: Market, rng: np.random.Generator) -> tuple[Integers, Integers]:
    """Row and as_of of every tick: one before the open, then one each 60 to 90 seconds of the session."""
    count = len(market.symbols)
    opening = at("14:25:30") + rng.integers(0, 60_000, count) * MILLISECOND
    gaps = rng.integers(60_000, 90_001, (count, 391))
    gaps[:, 0] = rng.integers(500, 75_000, count)
    times = SESSION_OPEN + np.cumsum(gaps, axis=1) * MILLISECOND
    rows, columns = np.nonzero(times < SESSION_CLOSE)
    return np.concatenate([np.arange(count), rows]), np.concatenate([opening, times[rows, columns]])


def _kept(market: Market, row: Integers, as_of: Integers) -> NDArray[np.bool_]:
    """Which ticks are published: none of a symbol in its halt, none of the silent one after its fall."""
    kept = ~((row == market.halted) & (as_of >= HALT_FROM) & (as_of < HALT_UNTIL + SECOND))
    if QUIET in market.symbols:
        after = np.flatnonzero((row == market.symbols.index(QUIET)) & (as_of >= QUIET_FROM))
        kept[after[1:]] = False
    return kept


def make_tape(market: Market, scenario: Scenario, rng: np.random.Generator) -> Tape:
    """Draw the ticks. Some arrive minutes late, behind newer ones of their symbol."""
    row, as_of = _ticks(market, rng)
    kept = _kept(market, row, as_of)
    row = np.append(row[kept], [market.halted, market.halted])
    as_of = np.append(as_of[kept], [HALT_FROM, HALT_UNTIL])
    order = np.lexsort((as_of, row))
    row, as_of = row[order], as_of[order]
    price = market.price_at(row, as_of)
    halted = (row == market.halted) & (as_of == HALT_FROM)
    price[halted] = price[np.flatnonzero(halted) - 1]
    arrived_at = as_of + rng.integers(3, 201, len(row)) * MILLISECOND
    # Neither the opening, the halt nor the planted symbol: their time is what their story is about.
    movable = np.flatnonzero((as_of > SESSION_OPEN) & ~halted & (row < market.ordinary))
    late = rng.choice(movable, max(3, round(scenario.late_prices * len(movable))), replace=False)
    arrived_at[late] += rng.integers(95_000, 240_000, len(late)) * MILLISECOND
    return Tape(row, as_of, arrived_at, price, halted)


def price_records(market: Market, tape: Tape) -> list[Price]:
    """The tape as records; sequence counts the ticks of a symbol from 0."""
    first = np.searchsorted(tape.row, tape.row)
    columns = (tape.row, tape.as_of, tape.arrived_at, tape.price, tape.halted, np.arange(len(first)) - first)
    return [
        Price(
            symbol=market.symbols[row],
            price=price,
            as_of=Time(as_of),
            arrived_at=Time(arrived_at),
            source="SIP",
            status="HALTED" if halted else "LIVE",
            sequence=sequence,
        )
        for row, as_of, arrived_at, price, halted, sequence in zip(*(c.tolist() for c in columns), strict=True)
    ]


def beta_records(market: Market, rng: np.random.Generator) -> list[Beta]:
    """A beta of every symbol, received before the open."""
    received = OPENS_AT + rng.integers(0, 60_000, len(market.symbols)) * MILLISECOND
    return [
        Beta(
            symbol=symbol,
            beta=beta,
            effective_at=OPENS_AT,
            window=252,
            observations=252,
            arrived_at=Time(arrived_at),
        )
        for symbol, beta, arrived_at in zip(market.symbols, market.betas.tolist(), received.tolist(), strict=True)
    ]


def instrument_records(market: Market, rng: np.random.Generator) -> list[Instrument]:
    """What every symbol is, received before the open; average daily volume in shares."""
    count = len(market.symbols)
    received = OPENS_AT + rng.integers(0, 30_000, count) * MILLISECOND
    volume = rng.lognormal(np.log(2e6), 1.0, count).round(-2).clip(10_000)
    sectors = rng.integers(0, len(SECTORS), count)
    return [
        Instrument(
            symbol=symbol,
            type="ETF" if symbol == SPY else "STOCK",
            sector=None if symbol == SPY else SECTORS[sectors[row]],
            average_daily_volume=7e7 if symbol == SPY else float(volume[row]),
            arrived_at=Time(int(received[row])),
        )
        for row, symbol in enumerate(market.symbols)
    ]
