"""Exact scalars of the contract: integers in memory, readable text or numbers on the wire.

Time is microseconds of the epoch in UTC, RFC 3339 with Z in JSON and timestamp-micros in Avro.
Quantity is millionths of a unit, a plain number in JSON. Money is 1e-4 dollar and Ratio 1e-6, decimal strings.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import lru_cache
from typing import Any

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MICROSECOND = dt.timedelta(microseconds=1)
FIRST_TIME = (dt.datetime.min.replace(tzinfo=dt.UTC) - EPOCH) // MICROSECOND
LAST_TIME = (dt.datetime.max.replace(tzinfo=dt.UTC) - EPOCH) // MICROSECOND

QUANTITY_SCALE = 10**6
MONEY_SCALE = 10**4
RATIO_SCALE = 10**6

#: Beyond this a float64 no longer holds every integer, and sums stop being exact (design E).
EXACT_LIMIT = 2**53


class Time(int):
    """Microseconds since the epoch, UTC."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: str | dt.datetime | int) -> Time:
        """Read RFC 3339 text, an aware datetime, or microseconds. Raises ValueError for a naive time."""
        found = value
        if isinstance(value, str):
            try:
                value = dt.datetime.fromisoformat(value)
            except ValueError:
                raise ValueError(f"expected an RFC 3339 time, found {found!r}") from None
        if isinstance(value, dt.datetime):
            try:
                return cls((value - EPOCH) // MICROSECOND)
            except TypeError:
                raise ValueError(
                    f"expected a time with its offset, such as 2026-01-05T14:30:00Z, found {found}"
                ) from None
        if not FIRST_TIME <= value <= LAST_TIME:
            raise ValueError(f"expected a time within the years 1 to 9999, found {found}")
        return cls(value)

    def text(self) -> str:
        """RFC 3339 with Z, with as many decimals as the time has (none, or six)."""
        second, micros = divmod(self, 10**6)
        return f"{_second_text(second)}.{micros:06d}Z" if micros else f"{_second_text(second)}Z"


@lru_cache(maxsize=4096)
def _second_text(second: int) -> str:
    return (EPOCH + dt.timedelta(seconds=second)).replace(tzinfo=None).isoformat()


class Quantity(int):
    """Millionths of a share or contract, signed: long positive, short negative."""

    __slots__ = ()


class Money(int):
    """Ten-thousandths of a dollar, signed."""

    __slots__ = ()

    @classmethod
    def within(cls, ticks: float) -> Money:
        """The nearest that the contract holds: an account worth more than $900 billion is told as worth that."""
        return cls(_within(ticks))


class Ratio(int):
    """Millionths."""

    __slots__ = ()

    @classmethod
    def within(cls, fraction: float) -> Ratio:
        """A finite fraction, or the nearest that the contract holds."""
        return cls(_within(round(fraction * RATIO_SCALE)))


def _within(value: float) -> int:
    return int(min(max(value, 1 - EXACT_LIMIT), EXACT_LIMIT - 1))


def _scaled(value: Any, scale: int, places: int) -> int:
    kind = type(value)
    if kind is int:
        scaled = value * scale
    elif kind is str:
        scaled = _scaled_text(value, scale, places)
    elif kind is not float:
        raise ValueError(f"expected a number, found {kind.__name__}")
    else:
        exact = value * scale
        if not abs(exact) < EXACT_LIMIT:
            raise ValueError(f"expected a finite number below {EXACT_LIMIT // scale:,}, found {value}")
        # The float product is off by one for some values from 2**51 on.
        scaled = round(exact) if abs(exact) < 2**50 else round(Fraction(value) * scale)
        # Half a percent of the last place: wide enough for binary fractions, too narrow for a further digit.
        if abs(exact - scaled) > max(5e-3, abs(exact) * 4e-16):
            raise ValueError(f"expected at most {places} decimal places, found {value}")
    if abs(scaled) >= EXACT_LIMIT:
        raise ValueError(f"expected a number below {EXACT_LIMIT // scale:,}, found {value}")
    return scaled


@lru_cache(maxsize=4096)
def _scaled_text(text: str, scale: int, places: int) -> int:
    try:
        exact = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"expected a decimal number, found {text!r}") from None
    if not (exact.is_finite() and exact.copy_abs() < EXACT_LIMIT // scale + 1):
        raise ValueError(f"expected a finite number below {EXACT_LIMIT // scale:,}, found {text}")
    scaled = int(exact.scaleb(places))
    if Decimal(scaled).scaleb(-places) != exact:
        raise ValueError(f"expected at most {places} decimal places, found {text}")
    return scaled


def decode_scalar(kind: type, value: Any) -> Any:
    """The msgspec dec_hook: wire value to scalar. Raises ValueError naming what was expected and found."""
    if kind is Time:
        if type(value) not in (str, int, dt.datetime):
            raise ValueError(f"expected an RFC 3339 time, found {type(value).__name__}")
        return Time.parse(value)
    if kind is Quantity:
        return Quantity(_scaled(value, QUANTITY_SCALE, 6))
    if kind is Money:
        return Money(_scaled(value, MONEY_SCALE, 4))
    if kind is Ratio:
        return Ratio(_scaled(value, RATIO_SCALE, 6))
    raise NotImplementedError(kind)


def encode_json(value: Any) -> Any:
    """The msgspec enc_hook for JSON."""
    kind = type(value)
    if kind is Money:
        size = abs(value)
        return f"{'-' if value < 0 else ''}{size // MONEY_SCALE}.{size % MONEY_SCALE:04d}"
    if kind is Ratio:
        size = abs(value)
        return f"{'-' if value < 0 else ''}{size // RATIO_SCALE}.{size % RATIO_SCALE:06d}"
    if kind is Time:
        return value.text()
    if kind is Quantity:
        return value // QUANTITY_SCALE if value % QUANTITY_SCALE == 0 else value / QUANTITY_SCALE
    raise NotImplementedError(kind)


def encode_avro(value: Any) -> Any:
    """The msgspec enc_hook for Avro: time and quantity stay integers, money and ratios are decimal strings."""
    return int(value) if isinstance(value, Time | Quantity) else encode_json(value)


def decode_avro(kind: type, value: Any) -> Any:
    """The msgspec dec_hook for Avro, the inverse of encode_avro."""
    if kind is not Quantity:
        return decode_scalar(kind, value)
    if not -EXACT_LIMIT < value < EXACT_LIMIT:
        raise ValueError(f"expected a number of millionths below {EXACT_LIMIT:,}, found {value}")
    return Quantity(value)
