"""Options of a generated day: what is listed, its quotes, and the strategies that accounts trade.

Quotes are the model's (risk.options) at the price of the underlying and a volatility that rises with the distance of
the strike, each with that volatility, a quarter of an hour apart.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np

from ops.market import BUSINESS_DATE, CLOSES_AT, SESSION_CLOSE, SESSION_OPEN, Market
from risk.amounts import Floats
from risk.options import Contracts, values_at
from schemas.inputs import Fill, Instrument, Price
from schemas.scalars import Quantity, Time

UNDERLYINGS, EVERY, LATENCY = 6, 900_000_000, 200_000
DAYS, MONEYNESS = (18, 46, 300), np.array([0.90, 0.95, 1.00, 1.05, 1.10])
RATE = 0.04
#: Legs of what is traded: (right, place of its strike from the middle one, contracts), one expiry each.
STRATEGIES: tuple[tuple[tuple[str, int, int], ...], ...] = (
    (("PUT", -1, -1),),
    (("CALL", 1, -1),),
    (("PUT", 0, -1), ("PUT", -2, 1)),
    (("CALL", 0, -2), ("CALL", 1, 2)),
    (("CALL", 1, -1), ("PUT", -1, -1)),
    (("PUT", -2, 1), ("PUT", -1, -1), ("CALL", 1, -1), ("CALL", 2, 1)),
    (("CALL", -1, 1), ("CALL", 0, -2), ("CALL", 1, 1)),
    (("PUT", -1, 1),),
)


@dataclass(frozen=True, slots=True)
class Listing:
    """Options as records, and of each its underlying's row in the market and its volatility."""

    underlyings: tuple[str, ...]
    instruments: list[Instrument]
    rows: np.ndarray
    volatility: Floats

    def values(self, market: Market, time: int) -> Floats:
        """Dollars a share of each at a time, microseconds; a cent at least."""
        n = len(self.rows)
        expiry = np.array([int(own.expiry or 0) for own in self.instruments])
        contracts = Contracts(
            spot=market.price_at(self.rows, np.full(n, time)),
            strike=np.array([own.strike or 0.0 for own in self.instruments]),
            years=(expiry - time) / (365 * 86_400_000_000),
            volatility=self.volatility,
            rate=np.full(n, RATE),
            dividend_yield=np.zeros(n),
            sign=np.array([1.0 if own.right == "CALL" else -1.0 for own in self.instruments]),
            american=np.ones(n, np.bool_),
        )
        return np.maximum(values_at(contracts, np.zeros(1))[0].round(2), 0.01)


def list_options(market: Market, rng: np.random.Generator) -> Listing:
    """Calls and puts on the first symbols, at strikes around the opening price, of three expiries."""
    instruments, rows, volatility = [], [], []
    opened = SESSION_OPEN - 60_000_000
    spots = market.price_at(np.arange(UNDERLYINGS), np.full(UNDERLYINGS, SESSION_OPEN))
    for row, spot in enumerate(spots.tolist()):
        level = rng.uniform(0.2, 0.45)
        for days in DAYS:
            date = dt.date.fromisoformat(BUSINESS_DATE) + dt.timedelta(days=days)
            for place, strike in enumerate((spot * MONEYNESS).round(0).tolist()):
                for right in ("CALL", "PUT"):
                    instruments.append(
                        Instrument(
                            symbol=f"{market.symbols[row]}-{date:%y%m%d}{right[0]}{place - 2:+d}",
                            type="OPTION",
                            underlying=market.symbols[row],
                            strike=max(strike, 1.0 + place),
                            expiry=Time.parse(f"{date}T21:00:00Z"),
                            right=right,  # type: ignore[arg-type]
                            multiplier=100.0,
                            exercise="AMERICAN",
                            arrived_at=Time(opened),
                        )
                    )
                    rows.append(row)
                    volatility.append(round(level + 0.02 * abs(place - 2), 4))
    return Listing(market.symbols[:UNDERLYINGS], instruments, np.array(rows), np.array(volatility))


def tape_of(listing: Listing, market: Market) -> dict[int, list[float]]:
    """By time, each quarter of an hour, what every option is quoted at."""
    return {time: listing.values(market, time).tolist() for time in range(SESSION_OPEN, SESSION_CLOSE, EVERY)}


def quotes(listing: Listing, tape: dict[int, list[float]]) -> list[Price]:
    """The quotes as records, each with its volatility."""
    found = []
    for time, values in tape.items():
        for own, price, volatility in zip(listing.instruments, values, listing.volatility.tolist(), strict=True):
            found.append(
                Price(
                    symbol=own.symbol,
                    price=price,
                    as_of=Time(time),
                    source="OPRA",
                    implied_volatility=volatility,
                    arrived_at=Time(time + LATENCY),
                )
            )
    return found


def trades(names: list[str], listing: Listing, tape: dict[int, list[float]], rng: np.random.Generator) -> list[Fill]:
    """One or two strategies of most accounts, some time in the session, at the quotes then."""
    symbols = {own.symbol: place for place, own in enumerate(listing.instruments)}
    found = []
    for name in names:
        for number in range(int(rng.integers(0, 3))):
            row, legs = int(rng.integers(0, UNDERLYINGS)), STRATEGIES[int(rng.integers(0, len(STRATEGIES)))]
            date = dt.date.fromisoformat(BUSINESS_DATE) + dt.timedelta(days=DAYS[int(rng.integers(0, len(DAYS)))])
            time, lots = int(rng.integers(SESSION_OPEN + EVERY, SESSION_CLOSE - EVERY)), int(rng.integers(1, 6))
            values = tape[SESSION_OPEN + (time - SESSION_OPEN) // EVERY * EVERY]
            for leg, (right, place, contracts) in enumerate(legs):
                symbol = f"{listing.underlyings[row]}-{date:%y%m%d}{right[0]}{place:+d}"
                found.append(
                    Fill(
                        fill_id=f"{name}-O{number}{leg}",
                        account_id=name,
                        symbol=symbol,
                        quantity=Quantity(contracts * lots * 10**6),
                        price=values[symbols[symbol]],
                        executed_at=Time(time + leg * 1_000),
                        arrived_at=Time(min(time + leg * 1_000 + LATENCY, CLOSES_AT - 1)),
                    )
                )
    return found
