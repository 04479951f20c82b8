"""What a live job is given before it starts."""

from __future__ import annotations

import datetime as dt

import pytest

from pipeline.job import load_live_job
from pipeline.live import live_monitor
from schemas.scalars import Time


@pytest.mark.parametrize("calendar", ["24/7", "XNYS"])
def test_its_calendar_reaches_two_years_of_running(calendar: str) -> None:
    """It ended three months after the job had been submitted, and the job with it."""
    job = load_live_job("live").model_copy(update={"calendar": calendar})
    sessions = live_monitor(job, dt.date(2026, 11, 25)).sessions
    late = Time.parse("2028-11-25T12:00:00Z")
    assert late < sessions.after(late, 7200 * 1_000_000) < sessions.close_after(late, 15)
