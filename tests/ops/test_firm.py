"""The firm of a folder written by hand: totals, net capital, crowded names, and what a fall of SPY would add."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from ops.cli import app
from ops.firm import read_firm
from ops.folder import OutcomeError
from ops.terminal import console
from pipeline.day import Manifest, write_manifest
from risk.book import REGIMES
from risk.ladder import LEVELS
from schemas.codec import to_json
from schemas.inputs import Instrument, PricedPosition
from schemas.outputs import MarginCalc, MarginCall
from schemas.scalars import Money, Quantity
from tests.ops.folder import at, consequence, money, state, write


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables as on a wide terminal, whatever this one is."""
    monkeypatch.setattr(console, "width", 200)


STRATEGY, PORTFOLIO, _ = range(len(REGIMES))


def holding(symbol: str, units: int, price: float) -> PricedPosition:
    return PricedPosition(symbol=symbol, quantity=Quantity(units * 10**6), price=price, state="LIVE")


def figures(account: str, level: Any, equity: int, requirement: int, gross: int = 0, **more: Any) -> list[Any]:
    """The records of an account at 15:00, its requirement by the rule 100 dollars less than with the house."""
    calc, *others = state(account, "15:00:00", level, equity, requirement, **more)
    assert isinstance(calc, MarginCalc)
    sides = {"long_market_value": money(gross), "maintenance_requirement": money(requirement - 100)}
    return [msgspec.structs.replace(calc, **sides), *others]


def call(account: str, kind: Any, due: float, time: str = "15:00:00", ends: Any = None, **more: Any) -> Any:
    told = {"status": "OPENED", "type": kind, "amount": money(due), "called": money(due), "due_at": at("21:00:00")}
    return consequence(MarginCall, account, time, ends, **told | {"cause_id": f"{account}/{kind}"} | more)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A lacks 100 and B would lack 400 after SPY falls 8% (every account loses 500); C is called without lacking."""
    xyz, opt = holding("XYZ", 10, 50.0), holding("XYZ C", -2, 4.0)
    met = call("B", "HOUSE", 30)
    records = [
        *figures("A", "NONE", 5000, 1000, margin_type="STRATEGY"),
        *figures("B", "WARNING", 1100, 1000, margin_type="PORTFOLIO"),
        *figures("C", "NONE", 9000, 1000, 508, margin_type="PORTFOLIO", positions=(xyz, opt)),
        *figures("D", "NONE", 9000, 1000),
        *(
            msgspec.structs.replace(record, as_of=at("15:30:00"))
            for record in figures("A", "MARGIN_CALL", 900, 1000, 500, margin_type="STRATEGY", positions=(xyz,))
        ),
        call("A", "HOUSE", 100),
        call("A", "REG_T", 12.5),
        call("C", "REG_T", 50),
        met,
        call("B", "HOUSE", 0, "15:10:00", met, status="MET", covered=money(30), by="DEPOSIT"),
    ]
    return write(tmp_path / "out", records)


def run(*words: object) -> str:
    found = CliRunner().invoke(app, [str(word) for word in words])
    assert found.exit_code == 0, found.output
    return found.stdout


def test_totals_are_of_the_last_figures_by_level_and_margin_type(out: Path) -> None:
    firm = read_firm(out)
    totals = firm.totals
    assert (firm.as_of, firm.rulebooks) == (at("15:30:00"), ("test@0",))
    assert totals.accounts.sum(axis=1).tolist() == [1, 2, 0, 1]
    assert totals.accounts[:, LEVELS.index("MARGIN_CALL")].tolist() == [1, 0, 0, 0]
    assert int(totals.equity.sum()) == money(900 + 1100 + 9000 + 9000)
    assert int(totals.requirement[PORTFOLIO].sum()) == money(2000)
    assert int(totals.excess.sum()) == money(100 + 8000 + 8000)
    assert (int(totals.deficient.sum()), int(totals.deficiency[STRATEGY].sum())) == (1, money(100))


def test_a_fall_adds_who_lacks_nothing_yet_and_what_the_others_lack_more(out: Path) -> None:
    firm = read_firm(out)
    assert firm.severe_move == -80_000
    assert (int(firm.totals.falling.sum()), int(firm.totals.shortfall.sum())) == (1, money(400))
    assert int(firm.totals.deepening.sum()) == money(500)


def test_calls_are_what_is_still_due_by_type(out: Path) -> None:
    found = json.loads(run("firm", out, "--json"))["calls"]
    assert found["HOUSE"] == {"calls": 1, "accounts": 1, "due": "100.0000"}
    assert found["REG_T"] == {"calls": 2, "accounts": 2, "due": "62.5000"}
    assert found["INTRADAY"] == {"calls": 0, "accounts": 0, "due": "0.0000"}


def test_crowded_names_are_those_of_called_accounts(out: Path) -> None:
    firm = read_firm(out)
    assert [(own.symbol, own.accounts, own.gross) for own in firm.crowded] == [
        ("XYZ", 2, money(1000)),
        ("XYZ C", 1, money(8)),
    ]
    assert (firm.called_accounts, firm.held, firm.partial) == (2, 2, 0)
    known = read_firm(out, multipliers={"XYZ C": 100.0}, most=1)
    assert [own.symbol for own in known.crowded] == ["XYZ"]
    assert read_firm(out, multipliers={"XYZ C": 100.0}).crowded[1].gross == money(800)


def test_multipliers_are_those_of_the_day(out: Path, tmp_path: Path) -> None:
    day = tmp_path / "day"
    day.mkdir()
    opens, closes = (dt.datetime(2026, 1, 5, hour, tzinfo=dt.UTC) for hour in (14, 21))
    write_manifest(day, Manifest(business_date=dt.date(2026, 1, 5), interval_ms=1000, opens_at=opens, closes_at=closes))
    option: dict[str, Any] = {"type": "OPTION", "underlying": "XYZ", "strike": 50.0, "right": "CALL"}
    listed = Instrument(
        arrived_at=at("14:30:00"),
        symbol="XYZ C",
        expiry=at("21:00:00"),
        multiplier=100.0,
        exercise="AMERICAN",
        **option,
    )
    (day / "instruments.v1.jsonl").write_bytes(to_json(listed) + b"\n")
    told = json.loads(run("firm", out, "--day", day, "--json"))
    assert told["crowded"][1] == {"symbol": "XYZ C", "accounts": 1, "gross": "800.0000"}


def test_without_multipliers_it_says_that_options_count_as_one_unit(out: Path, tmp_path: Path) -> None:
    assert "--day" not in run("firm", out)
    held = (holding("XYZ C", -2, 4.0),)
    other = write(tmp_path / "other", [*figures("A", "NONE", 9000, 1000, 800, positions=held), call("A", "REG_T", 5)])
    assert "1 of these accounts hold what has a multiplier" in run("firm", other)


def test_net_capital_is_compared_with_what_the_rule_asks_of_portfolio_margin(out: Path) -> None:
    capital = read_firm(out, net_capital=Money(money(180))).capital
    assert capital is not None
    assert (capital.aggregate, capital.limit, capital.room) == (money(1800), money(1800), 0)
    assert "room for $0" in run("firm", out, "--net-capital", 180)
    text = run("firm", out, "--net-capital", 179.5)
    assert "$5 too much" in text
    assert "no portfolio-margin account" in text
    found = CliRunner().invoke(app, ["firm", str(out), "--net-capital", "-1"])
    assert found.exit_code == 1
    assert "at least zero" in found.stderr


def test_the_firm_is_printed_and_told_as_json(out: Path) -> None:
    text = run("firm", out)
    for expected in (
        "4 accounts at 05 Jan 10:30 New York, by test@0",
        "By level",
        "By margin type",
        "unknown",
        "If SPY moves \N{MINUS SIGN}8%",
        "1 account that lacks nothing now would lack $400; the 1 that lack $100 would lack $500 more.",
        "Held by most of the 2 called accounts, 2 of 2 names",
    ):
        assert expected in text
    told = json.loads(run("firm", out, "--json", "--net-capital", 180))
    assert told["total"]["equity"] == "20000.0000"
    assert told["levels"]["MARGIN_CALL"]["deficiency"] == "100.0000"
    assert told["margin_types"]["PORTFOLIO"]["maintenance"] == "1800.0000"
    assert told["capital"] == {"aggregate": "1800.0000", "limit": "1800.0000", "room": "0.0000"}


def test_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(OutcomeError, match="Replay a day into it first"):
        read_firm(tmp_path)
    with pytest.raises(OutcomeError, match=r"Look at .*deadletter"):
        read_firm(write(tmp_path / "empty", []))
