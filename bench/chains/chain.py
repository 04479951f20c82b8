"""A real option chain: whose it is and of which day, and its contracts that have a close."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ops.real import DATA
from risk.amounts import Floats, Ints
from risk.options import Contracts, values_at
from risk.valuation import imply_volatility

STILL = np.zeros(1)
LEAST_CLOSE = 0.50
#: Of the forward: strikes nearer than this tell it.
NEAR = 0.20


@dataclass(frozen=True, slots=True)
class Source:
    """A chain: whose, of which day, and what is stated about it because it is not in the file.

    Attributes:
      rate: a year, continuous: about that of three-month deposits in dollars on that day.
      quoted: whether closes are middles of closing quotes, and need no trade to be current.
      dividends: dates and dollars; none for a yield that accrues.
    """

    name: str
    date: dt.date
    rate: float
    american: bool
    quoted: bool
    instrument_class: str
    dividends: tuple[tuple[dt.date, float], ...] = ()

    @property
    def file(self) -> Path:
        return DATA / f"options_{self.name}_{self.date}.csv.gz"


APPLE = Source(
    "AAPL",
    dt.date(2014, 6, 2),
    0.0023,
    american=True,
    quoted=False,
    instrument_class="equity",
    dividends=(
        *((dt.date(*day), 3.29) for day in ((2014, 8, 7), (2014, 11, 6), (2015, 2, 5))),
        *((dt.date(*day), 3.64) for day in ((2015, 5, 7), (2015, 8, 6), (2015, 11, 5))),
    ),
)
INDEX = Source(
    "SPX", dt.date(2015, 12, 22), 0.0059, american=False, quoted=True, instrument_class="high_cap_broad_index"
)


@dataclass(frozen=True, slots=True)
class Chain:
    """n contracts that have a close, by expiry, strike and right; the vendor's volatility is left out."""

    source: Source
    expiry: np.ndarray
    strike: Floats
    sign: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    @property
    def years(self) -> Floats:
        return (self.expiry - np.datetime64(self.source.date)).astype(np.float64) / 365

    @property
    def traded(self) -> np.ndarray:
        return (self.volume > 0) & (self.close >= LEAST_CLOSE)

    @property
    def active(self) -> np.ndarray:
        """Whose closes are of the day."""
        return (self.volume > 0) | self.source.quoted

    def out_of_money(self, forward: Floats) -> np.ndarray:
        """Or less than 2% in it."""
        return self.sign * (self.strike - forward) > -0.02 * forward

    def contracts(self, at: Ints, spot: float, forward: Floats, volatility: Floats) -> Contracts:
        """Those at the places, with the yield that makes each forward."""
        years, n = self.years[at], len(at)
        rate = np.full(n, self.source.rate)
        paid = rate - np.log(forward / spot) / years
        american = np.full(n, self.source.american)
        return Contracts(np.full(n, spot), self.strike[at], years, volatility, rate, paid, self.sign[at], american)

    def values(self, at: Ints, spot: float, forward: Floats, volatility: Floats) -> Floats:
        return values_at(self.contracts(at, spot, forward, volatility), STILL)[0]

    def implied(self, at: Ints, spot: float, forward: Floats) -> Floats:
        return imply_volatility(self.contracts(at, spot, forward, np.full(len(at), 0.3)), self.close[at])

    def discounts(self, at: Ints) -> Floats:
        return np.exp(-self.source.rate * self.years[at])


def read(source: Source) -> Chain:
    """The chain of a source. A row without an expiry is an underlying, at another time than the options' closes."""
    with gzip.open(source.file, "rt") as file:
        rows = [row for row in csv.DictReader(file) if row["#expiry"] and float(row["close"]) > 0]
    rows.sort(key=lambda row: (row["#expiry"], float(row["strike"]), row["right"]))
    days = [f"{row['#expiry'][:4]}-{row['#expiry'][4:6]}-{row['#expiry'][6:8]}" for row in rows]
    column = lambda name: np.array([float(row[name]) for row in rows])  # noqa: E731
    sign = np.array([1.0 if row["right"] == "C" else -1.0 for row in rows])
    names = ("high", "low", "close", "volume")
    return Chain(source, np.array(days, "M8[D]"), column("strike"), sign, *map(column, names))


def pairs_of(chain: Chain, which: np.ndarray) -> Ints:
    """(m, 2) places of the call and the put of a strike, where both are among which."""
    key = chain.expiry.astype(np.int64) * 10_000_000 + np.rint(chain.strike * 100).astype(np.int64)
    call, put = np.flatnonzero(which & (chain.sign > 0)), np.flatnonzero(which & (chain.sign < 0))
    _, one, other = np.intersect1d(key[call], key[put], return_indices=True)
    return np.stack([call[one], put[other]], axis=1)
