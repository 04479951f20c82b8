"""An account of a day as a document, why its figures changed, and what they would be if."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from ops.account import AccountDay
from ops.bars import write_topic
from ops.cli import app
from ops.document import supposed
from ops.portfolio import PortfolioError, calculate
from pipeline.day import DayError, Manifest, write_manifest
from schemas.inputs import Account, Cash, Fill, Input, Instrument, Price
from schemas.scalars import Money, Quantity, Time
from schemas.topics import BY_RECORD

PUT = "XYZ P100"


def at(text: str) -> Time:
    return Time.parse(f"2026-06-15T{text}Z")


def fill(fill_id: str, symbol: str, quantity: int, price: float, time: str, **fields: object) -> Fill:
    return Fill(
        fill_id=fill_id,
        account_id="A",
        symbol=symbol,
        quantity=Quantity(quantity * 10**6),
        price=price,
        arrived_at=at(time),
        **fields,  # type: ignore[arg-type]
    )


def quote(symbol: str, price: float, time: str) -> Price:
    return Price(symbol=symbol, price=price, as_of=at(time), arrived_at=at(time))


@pytest.fixture
def day(tmp_path: Path) -> Path:
    """A short put, then a fall, a purchase, its correction, and other rules from 16:00."""
    put = Instrument(
        symbol=PUT,
        type="OPTION",
        underlying="XYZ",
        strike=100.0,
        expiry=Time.parse("2026-09-18T20:00:00Z"),
        right="PUT",
        multiplier=100.0,
        arrived_at=at("13:31:00"),
    )
    records: list[Input] = [
        put,
        Account(account_id="A", arrived_at=at("13:30:30")),
        Cash(cash_id="C", account_id="A", amount=Money(50_000 * 10**4), kind="DEPOSIT", arrived_at=at("13:32:00")),
        fill("F0", PUT, -5, 4.0, "13:40:00"),
        quote("XYZ", 100.0, "13:35:00"),
        quote(PUT, 4.0, "13:35:00"),
        quote("XYZ", 90.0, "15:00:00"),
        quote(PUT, 11.5, "15:00:00"),
        fill("F1", "XYZ", 100, 90.0, "15:10:00"),
        fill("F1-2", "XYZ", 200, 90.0, "15:20:00", kind="CORRECT", ref_fill_id="F1", version=2),
        msgspec.structs.replace(fill("F9", "XYZ", 1, 90.0, "15:20:00"), account_id="B"),
    ]
    folder = tmp_path / "day"
    house = tmp_path / "house.yaml"
    house.write_text(
        "name: house\nlayers_on: finra-4210\neffective_at: 2026-06-15T16:00:00Z\n"
        "house: {long_rate: {value: 0.4, source: 'a house rate of 40% for the test'}}\n"
    )
    manifest = Manifest(
        business_date=dt.date(2026, 6, 15),
        interval_ms=60_000,
        opens_at=dt.datetime(2026, 6, 15, 13, 30, tzinfo=dt.UTC),
        closes_at=dt.datetime(2026, 6, 15, 20, 0, tzinfo=dt.UTC),
        rulebooks=["finra-4210", str(house)],
    )
    write_manifest(folder, manifest)
    for kind in {type(record) for record in records}:
        write_topic(folder, BY_RECORD[kind], [record for record in records if type(record) is kind])
    return folder


def test_the_document_is_the_account_as_it_stood(day: Path) -> None:
    result = calculate(AccountDay.read(day, "A").document(at("14:00:00")))
    # 4 + 20% of 100, times 500.
    assert (result["equity"], result["maintenance_requirement"]) == (52_000, 12_000)
    assert result["rulebook"].startswith("finra-4210@")


def test_why_the_figures_changed(day: Path) -> None:
    changes = AccountDay.read(day, "A").changes(at("14:00:00"), at("17:00:00"))
    assert [cause for cause, _ in changes] == ["then", "time", "prices", "positions", "corrections", "rules"]
    requirements = [result["maintenance_requirement"] for _, result in changes]
    # 11.5 + 20% of 90; 25% of 100 and then of 200 shares at 90; 40% of them from 16:00.
    assert requirements == [12_000, 12_000, 14_750, 17_000, 19_250, 21_950]
    equities = [result["equity"] for _, result in changes]
    assert equities == [52_000] * 6


def test_the_command_explains(day: Path) -> None:
    since = ["--at", "2026-06-15T17:00:00Z", "--since", "2026-06-15T14:00:00Z"]
    done = CliRunner().invoke(app, ["explain", str(day), "A", *since, "--what-if", "100 XYZ @ 90"])
    assert done.exit_code == 0, done.output
    for text in ("25,550.00", "Why the figures changed", "corrections", "options.rates"):
        assert text in done.output
    document = CliRunner().invoke(app, ["explain", str(day), "A", "--json"])
    assert calculate(msgspec.json.decode(document.output.encode()))["maintenance_requirement"] == 21_950


def test_an_unknown_account_is_said(day: Path) -> None:
    with pytest.raises(DayError, match="expected records of account Z, found none"):
        AccountDay.read(day, "Z")


@pytest.mark.parametrize("text", ["", "AAPL", "-50 AAPL 249", "AAPL volatility 0.4"])
def test_a_what_if_that_cannot_be_read_is_said(text: str) -> None:
    with pytest.raises(PortfolioError, match=r"what-if: expected '-50 AAPL @ 249\.5'"):
        supposed(text)
