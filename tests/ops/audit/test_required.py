"""The record of FINRA 4220, of an archive of calls that were met, waived, extended and liquidated in every manner."""

from __future__ import annotations

import csv
import datetime as dt
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from ops.audit.reader import FolderReader
from ops.audit.required import Compliance, required_on
from ops.cli import app
from ops.terminal import console
from pipeline.objects import encode_rows, rows_of
from pipeline.store import FolderStore
from schemas.archive import linked, object_name
from schemas.codec import to_json
from schemas.ids import identified
from schemas.outputs import Audit, Liquidation, MarginCall
from schemas.scalars import Time
from schemas.topics import BY_RECORD
from tests.ops.folder import at, consequence, head, money
from transforms.parse import decode_plain

DATE = dt.date(2026, 1, 5)
DUE, LATER = Time.parse("2026-01-07T21:00:00Z"), Time.parse("2026-01-12T21:00:00Z")


def step(account: str, time: str, status: str, due: int, **fields: Any) -> Any:
    """A step of the house call of an account, made at 15:10 for 100 dollars or what the step says."""
    told = {"cause_id": f"{account}/HOUSE", "occurred_at": at("15:10:00"), "due_at": DUE, "called": 100} | fields
    told["called"] = money(told["called"])
    told |= {name: money(told[name]) for name in ("covered", "cancelled") if name in told}
    return consequence(MarginCall, account, time, status=status, amount=money(due), **told)


def override(account: str, time: str, action: str) -> Audit:
    told = {"action": action, "operator": "ann", "approver": "bob", "target": f"{account}/HOUSE", "result": "done"}
    link = Audit(**head(account, time), kind="OVERRIDE", causation_id="o", inputs=told, positions=(), previous="")
    return identified(link)


def sale(account: str, time: str, status: str) -> Any:
    sizes: Any = {"deficiency": money(100), "market_value_to_close": money(400), "deficient_since": at("15:10:00")}
    return consequence(Liquidation, account, time, status=status, cause_id=f"{account}/PROPOSAL", **sizes)


def day_after(record: Any) -> Any:
    """The record, a day later."""
    return identified(msgspec.structs.replace(record, as_of=Time(record.as_of + 86_400_000_000), event_id=""))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pays, sells and is corrected; B is waived; C extended; D liquidated; E expires; F pays the day after."""
    paid: Any = {"called": 150, "covered": 60, "by": "DEPOSIT"}
    records = [
        *(step(name, "15:10:00", "OPENED", 100) for name in "ABCDEF"),
        step("A", "15:20:00", "INCREASED", 150, called=150),
        step("A", "15:25:00", "COVERED", 90, **paid),
        step("A", "15:30:00", "REDUCED", 80, **{**paid, "by": None}, cancelled=10),
        step("A", "15:40:00", "MET", 0, called=150, covered=140, cancelled=10, by="TRADE"),
        step("B", "15:30:00", "WAIVED", 0, cancelled=100),
        override("B", "15:30:00", "WAIVE"),
        step("C", "15:30:00", "EXTENDED", 100, due_at=LATER, extended_by="ann, bob"),
        override("C", "15:30:00", "EXTEND"),
        sale("D", "15:40:00", "EXECUTED"),
        step("D", "15:40:00", "MET", 0, covered=100, by="TRADE"),
        step("E", "15:50:00", "EXPIRED", 100),
        day_after(step("F", "15:00:00", "MET", 0, covered=100, by="DEPOSIT")),
    ]
    by_topic: dict[str, list[Any]] = defaultdict(list)
    for record in records:
        by_topic[BY_RECORD[type(record)].name].append(record)
    found = tmp_path_factory.mktemp("required")
    for topic, own in by_topic.items():
        own.sort(key=lambda record: int(record.as_of))
        received = linked("", "log", topic, 0, ((n, int(r.as_of), to_json(r)) for n, r in enumerate(own)))
        content = encode_rows(rows_of("log", topic, 0, received, decode_plain))
        FolderStore(found).put(object_name("log", topic, 0, at("15:00:00"), 0), content)
    return found


def test_each_requirement_says_how_it_was_met(folder: Path) -> None:
    found = {own.account_id: own for own in required_on(FolderReader(folder), DATE, decode_plain)}
    assert {name: (own.status, own.due) for name, own in found.items()} == {
        "A": ("MET", 0),
        "B": ("WAIVED", 0),
        "C": ("EXTENDED", money(100)),
        "D": ("MET", 0),
        "E": ("EXPIRED", money(100)),
        "F": ("MET", 0),
    }
    assert found["A"].complied == (
        Compliance(at("15:25:00"), "deposit", money(60)),
        Compliance(at("15:30:00"), "correction", money(10)),
        Compliance(at("15:40:00"), "trade", money(80)),
    )
    assert found["B"].complied == (Compliance(at("15:30:00"), "waived", money(100), "ann, bob"),)
    assert found["C"].complied == (Compliance(at("15:30:00"), "extended", money(0), "ann, bob", LATER),)
    assert found["D"].complied == (Compliance(at("15:40:00"), "liquidation", money(100)),)
    assert found["E"].complied == (Compliance(at("15:50:00"), "expired", money(0)),)
    assert (found["A"].amount, found["A"].met_at) == (money(150), at("15:40:00"))
    assert (found["C"].due_at, found["F"].outstanding) == (LATER, money(100))
    for own in found.values():
        assert own.amount == sum(part.amount for part in own.complied) + own.due


def test_what_was_met_later_is_of_the_days_until_then(folder: Path) -> None:
    reader = FolderReader(folder)
    (later,) = (own for own in required_on(reader, DATE + dt.timedelta(days=1), decode_plain) if own.status == "MET")
    assert (later.account_id, later.outstanding) == ("F", 0)
    known = {o.account_id: o for o in required_on(reader, DATE, decode_plain, received_before=at("15:26:00"))}
    assert (known["A"].status, known["A"].due, known["F"].status) == ("OPEN", money(90), "OPEN")
    assert not required_on(reader, DATE - dt.timedelta(days=1), decode_plain)


def test_the_report_is_printed_and_written(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "width", 200)
    table = tmp_path / "report.csv"
    command = ["audit", "report-4220", "--date", "2026-01-05", "--store", str(folder)]
    found = CliRunner().invoke(app, [*command, "--csv", str(table)])
    assert found.exit_code == 0, found.output
    assert "margin required on 2026-01-05, of 6 accounts" in found.stdout
    assert "2026-01-05 10:30 waived $100.00 by ann, bob" in found.stdout
    with table.open() as lines:
        rows = {row["account_id"]: row for row in csv.DictReader(lines)}
    assert (rows["A"]["amount"], rows["A"]["called_at"]) == ("150.0000", "2026-01-05T15:10:00Z")
    assert rows["E"]["met_at"] == ""
    told = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert told["required"][0]["complied"][0]["manner"] == "deposit"
