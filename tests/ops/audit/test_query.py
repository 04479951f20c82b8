"""margin audit query: what was so and what was known when, of the busted fill and the call that it made."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from ops.audit.question import time_of
from ops.cli import app
from ops.generate import BUST_ACCOUNT
from ops.terminal import console
from schemas.scalars import Time
from tests.ops.audit.archive import crash_archive


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "width", 250)


def run(*words: str) -> str:
    found = CliRunner().invoke(app, ["audit", "query", "--store", str(crash_archive()[0]), *words])
    assert found.exit_code == 0, found.output
    return found.stdout


def records(*words: str) -> list[dict]:
    found: list[dict] = json.loads(run("--account", BUST_ACCOUNT, "--json", *words))["records"]
    return found


def test_a_cancelled_call_is_shown_as_it_was_known() -> None:
    opened, cancelled = records("--type", "margin.calls.v1")
    assert (opened["kind"], cancelled["kind"]) == ("OPENED", "CANCELLED")
    assert opened["superseded_by"] == cancelled["event_id"]
    assert opened["superseded_known_at"] == cancelled["received_at"]
    assert opened["record"]["account_id"] == BUST_ACCOUNT
    (then,) = records("--type", "margin.calls.v1", "--as-known-at", cancelled["received_at"])
    assert (then["event_id"], then["superseded_by"]) == (opened["event_id"], None)


def test_a_busted_fill_is_so_until_the_bust_is_known() -> None:
    (bust,) = records("--type", "bust")
    (fill,) = (own for own in records("--type", "new") if own["superseded_by"])
    assert fill["superseded_by"] == bust["event_id"]
    # The bust says what was so when the fill was made.
    assert bust["at"] == fill["at"]
    assert Time.parse(fill["at"]) < Time.parse(fill["received_at"]) < Time.parse(bust["received_at"])
    before = records("--type", "fills.v1", "--as-known-at", bust["received_at"])
    assert not any(own["superseded_by"] for own in before)
    assert bust["event_id"] not in {own["event_id"] for own in before}


def test_a_stretch_of_time_is_of_when_it_was_so() -> None:
    (bust,) = records("--type", "bust")
    to = Time(Time.parse(bust["at"]) + 1).text()
    assert records("--type", "bust", "--from", bust["at"], "--to", to) == [bust]
    assert records("--type", "bust", "--to", bust["at"]) == []
    assert len(records("--from", "2026-01-05", "--to", "2026-01-05", "--limit", "9999")) == len(
        records("--limit", "9999")
    )


def test_rows_are_printed_and_raw_bytes_are_as_received() -> None:
    text = run("--account", BUST_ACCOUNT, "--type", "margin.calls.v1")
    assert "opened" in text
    assert "by " in text
    assert "2 records" in text
    assert "; there are more" in run("--limit", "1")
    (bust,) = records("--type", "bust")
    (line,) = run("--account", BUST_ACCOUNT, "--type", "bust", "--raw").splitlines()
    assert json.loads(line) == bust["record"]
    assert "Nothing that was asked for" in run("--account", "nobody")


def test_the_sql_is_that_of_athena() -> None:
    text = run("--account", "O'Brien", "--type", "margin.calls.v1", "--from", "2026-01-05T15:00:00Z", "--sql")
    assert "CREATE EXTERNAL TABLE records" in text
    assert "\"key\" IN ('O''Brien')" in text
    assert "\"at\" >= TIMESTAMP '2026-01-05 15:00:00'" in text


def test_dates_are_of_new_york() -> None:
    assert time_of("2026-01-05") == Time.parse("2026-01-05T05:00:00Z")
    assert time_of("2026-01-05", end=True) == Time.parse("2026-01-06T05:00:00Z")
    assert time_of("2026-01-05T15:00:00Z", end=True) == Time.parse("2026-01-05T15:00:00Z")
    with pytest.raises(ValueError, match="expected an RFC 3339 time"):
        time_of("yesterday")
