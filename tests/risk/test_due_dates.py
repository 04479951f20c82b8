"""When calls are due, beside the holidays that the exchange publishes (NYSE, Holidays and Trading Hours, 2025-2027)."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.day import sessions_around
from schemas.scalars import Time

NEW_YORK = ZoneInfo("America/New_York")
#: With the day of mourning for President Carter, 9 January 2025.
HOLIDAYS = {
    dt.date.fromisoformat(day)
    for day in [
        "2025-01-01",
        "2025-01-09",
        "2025-01-20",
        "2025-02-17",
        "2025-04-18",
        "2025-05-26",
        "2025-06-19",
        "2025-07-04",
        "2025-09-01",
        "2025-11-27",
        "2025-12-25",
        "2026-01-01",
        "2026-01-19",
        "2026-02-16",
        "2026-04-03",
        "2026-05-25",
        "2026-06-19",
        "2026-07-03",
        "2026-09-07",
        "2026-11-26",
        "2026-12-25",
        "2027-01-01",
        "2027-01-18",
        "2027-02-15",
        "2027-03-26",
        "2027-05-31",
        "2027-06-18",
        "2027-07-05",
        "2027-09-06",
        "2027-11-25",
        "2027-12-24",
    ]
}
HALF_DAYS = {
    dt.date.fromisoformat(day)
    for day in ("2025-07-03", "2025-11-28", "2025-12-24", "2026-11-27", "2026-12-24", "2027-11-26")
}


def is_session(day: dt.date) -> bool:
    return day.weekday() < 5 and day not in HOLIDAYS


def close_of(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(13 if day in HALF_DAYS else 16), NEW_YORK)


def due(called: dt.datetime, sessions: int) -> dt.datetime:
    """The close of the n-th session that opens after the call, day by day."""
    day = called.astimezone(NEW_YORK).date()
    opens = dt.datetime.combine(day, dt.time(9, 30), NEW_YORK)
    # A call before the open of its day has that day's session ahead.
    day -= dt.timedelta(days=int(called < opens))
    while sessions:
        day += dt.timedelta(days=1)
        sessions -= is_session(day)
    return close_of(day)


@given(
    st.datetimes(dt.datetime(2025, 1, 2), dt.datetime(2027, 11, 30), timezones=st.just(NEW_YORK)), st.integers(1, 15)
)
def test_due_dates_are_those_of_the_published_holidays(called: dt.datetime, sessions: int) -> None:
    found = sessions_around(called.date(), "XNYS").close_after(int(Time.parse(called.astimezone(dt.UTC))), sessions)
    assert found == int(Time.parse(due(called, sessions).astimezone(dt.UTC)))


@pytest.mark.parametrize(
    ("called", "sessions", "expected"),
    [
        ("2026-11-25T15:46", 2, "2026-11-30T16:00"),
        ("2026-11-25T15:46", 1, "2026-11-27T13:00"),
        ("2026-12-23T16:01", 1, "2026-12-24T13:00"),
        ("2026-07-02T16:01", 1, "2026-07-06T16:00"),
        ("2025-01-08T16:01", 1, "2025-01-10T16:00"),
        ("2026-06-18T16:01", 15, "2026-07-13T16:00"),
    ],
)
def test_half_days_and_exceptional_closures(called: str, sessions: int, expected: str) -> None:
    at, until = (dt.datetime.fromisoformat(text).replace(tzinfo=NEW_YORK) for text in (called, expected))
    assert due(at, sessions) == until
    found = sessions_around(at.date(), "XNYS").close_after(int(Time.parse(at.astimezone(dt.UTC))), sessions)
    assert found == int(Time.parse(until.astimezone(dt.UTC)))
