"""What would go when: by the hour and the years of its topic, unless a legal hold keeps it; nothing is removed."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import msgspec
import pytest
import yaml
from typer.testing import CliRunner

from ops.audit.retention import DIGESTS, FACTS, retention
from ops.cli import app
from pipeline.configuration import ConfigurationError
from pipeline.custody import load_custody
from pipeline.store import FolderStore
from schemas.archive import digest_name, fact_name, object_name
from schemas.scalars import Time
from tests.stores import RETENTION, custody_of

DAYS = ("2020-01-06", "2023-06-05", "2026-01-05")
HOURS = [Time.parse(f"{day}T{hour}:00:00Z") for day in DAYS for hour in (14, 15)]
NAMES = [
    *(object_name("log", topic, 0, hour, 0) for topic in ("fills.v1", "alerts.v1") for hour in HOURS),
    *(digest_name("log", hour) for hour in HOURS),
    fact_name("0" * 64),
]
AS_OF = dt.datetime(2026, 6, 30, tzinfo=dt.UTC)
HOLD = {"name": "SEC-17", "reason": "an examination of these tests", "ordered_by": "the general counsel"}


def due(**changes: object) -> set[tuple[str, str]]:
    """What and date of what may go."""
    report = retention(NAMES, custody_of(**changes), AS_OF)
    return {(own.what, str(own.date)) for own in report.keepings if own.due}


def test_what_is_older_than_its_years_may_go() -> None:
    old = {("fills.v1", DAYS[0]), ("alerts.v1", DAYS[0]), ("alerts.v1", DAYS[1]), (DIGESTS, DAYS[0])}
    assert due() == old


@pytest.mark.parametrize(
    ("narrowed", "kept"),
    [
        ({}, {"fills.v1", "alerts.v1"}),
        ({"topics": ["fills.v1"]}, {"fills.v1"}),
        ({"begin": "2020-01-06", "end": "2020-01-06"}, {"fills.v1", "alerts.v1"}),
        ({"begin": "2020-01-07"}, set()),
        ({"end": "2020-01-05"}, set()),
        # An object is of many accounts.
        ({"topics": ["fills.v1"], "accounts": ["A1"]}, {"fills.v1"}),
    ],
)
def test_a_hold_keeps_what_it_is_of_and_all_digests(narrowed: dict, kept: set[str]) -> None:
    gone = {what for what, date in due(holds=[{**HOLD, **narrowed}]) if date == DAYS[0]}
    assert gone == {"fills.v1", "alerts.v1"} - kept


def test_it_is_told_by_topic_and_date_with_the_holds_name() -> None:
    report = retention(NAMES, custody_of(holds=[{**HOLD, "topics": ["alerts.v1"]}]), AS_OF)
    groups = {(group.what, str(group.date)): group for group in report.groups}
    fills = groups["fills.v1", DAYS[0]]
    assert (fills.objects, fills.due, fills.hold) == (2, 2, None)
    assert fills.goes_at == dt.datetime(2026, 1, 6, 16, tzinfo=dt.UTC)
    alerts = groups["alerts.v1", DAYS[1]]
    assert (alerts.objects, alerts.due, alerts.hold) == (2, 0, "SEC-17")
    facts = groups[FACTS, "None"]
    assert (facts.due, facts.goes_at) == (0, None)
    assert report.groups[-1] is facts


@pytest.mark.parametrize("years", [0.5, 1, 3, 4, 6, 7])
def test_no_record_goes_before_its_years_of_the_calendar_are_over(years: float) -> None:
    custody = custody_of(retention={"default": {"value": years, "source": "of these tests"}})
    for year in range(2020, 2029):
        hour = dt.datetime(year, 1, 5, 14, tzinfo=dt.UTC)
        goes_at = custody.goes_at(object_name("log", "fills.v1", 0, Time.parse(hour), 0))
        assert goes_at is not None
        whole = hour.replace(year=year + int(years)) if years >= 1 else hour
        assert goes_at >= whole + dt.timedelta(hours=1)


def test_the_command_tells_and_removes_nothing(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    for name in NAMES:
        store.put(name, b"")
    asked = ["audit", "retention", "--store", str(tmp_path), "--as-of", "2026-06-30"]
    shown = CliRunner().invoke(app, asked)
    assert shown.exit_code == 0, shown.output
    assert "8 of 19 may go, 0 are held" in shown.output
    told = msgspec.json.decode(CliRunner().invoke(app, [*asked, "--json"]).stdout)
    assert sum(own["due"] for own in told["keepings"]) == 8
    assert sorted(own["name"] for own in told["keepings"]) == sorted(NAMES) == list(store.names())


@pytest.mark.parametrize(
    ("hold", "why"),
    [
        ({**HOLD, "topics": ["files.v1"]}, r"holds SEC-17: expected topics, found files\.v1"),
        ({**HOLD, "topics": []}, r"holds SEC-17: topics: expected one or more"),
        ({**HOLD, "accounts": []}, r"holds SEC-17: accounts: expected one or more"),
        ({**HOLD, "begin": "2026-02-01", "end": "2026-01-01"}, r"expected an end from 2026-02-01 on"),
        ({**HOLD, "reason": "short"}, r"reason"),
        ({"name": "SEC-17", "reason": HOLD["reason"]}, r"ordered_by"),
    ],
)
def test_a_hold_that_cannot_be_meant_is_refused(tmp_path: Path, hold: dict, why: str) -> None:
    file = tmp_path / "custody.yaml"
    file.write_text(yaml.safe_dump({"store": "archive", "retention": RETENTION, "holds": [hold]}))
    with pytest.raises(ConfigurationError, match=why):
        load_custody(str(file))


def test_two_holds_of_one_name_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "custody.yaml"
    file.write_text(yaml.safe_dump({"store": "archive", "retention": RETENTION, "holds": [HOLD, HOLD]}))
    with pytest.raises(ConfigurationError, match=r"holds: expected names that differ, found SEC-17 twice"):
        load_custody(str(file))
