"""The firm of a folder written by hand: totals, net capital, crowded names, and what a fall of SPY would add."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ops.cli import app
from ops.firm import firm_of, read_firm
from ops.folder import OutcomeError
from ops.terminal import console
from schemas.outputs import FirmCalls, FirmGroup, FirmHolding, FirmTotals
from schemas.scalars import Money, Ratio
from tests.ops.folder import head, money, write


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables as on a wide terminal, whatever this one is."""
    monkeypatch.setattr(console, "width", 200)


def group(margin_type: Any, level: Any, accounts: int, equity: int, requirement: int, **more: Any) -> FirmGroup:
    """Its requirement by the rule 100 dollars less than with the house."""
    figures: dict[str, Any] = {
        "equity": money(equity),
        "requirement": money(requirement),
        "maintenance_requirement": money(requirement - 100),
        "excess": money(max(0, equity - requirement)),
        "deficient": int(equity < requirement),
        "deficiency": money(max(0, requirement - equity)),
        "falling": 0,
        "shortfall": Money(0),
        "deepening": Money(0),
    }
    return FirmGroup(margin_type=margin_type, level=level, accounts=accounts, **figures | more)


def totals(time: str, *groups: FirmGroup) -> FirmTotals:
    return FirmTotals(
        **head("FIRM", time),
        severe_move=Ratio(-80_000),
        groups=groups,
        calls=(
            FirmCalls(type="REG_T", calls=2, accounts=2, due=money(62.5)),
            FirmCalls(type="HOUSE", calls=1, accounts=1, due=money(100)),
        ),
        called_accounts=2,
        held=3,
        crowded=(
            FirmHolding(symbol="XYZ", accounts=2, gross=money(1000)),
            FirmHolding(symbol="XYZ C", accounts=1, gross=money(800)),
        ),
    )


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """At 15:30 one account lacks 100, and a warned one would lack 400 after SPY falls 8%."""
    lacking = group("STRATEGY", "MARGIN_CALL", 1, 900, 1000, deepening=money(500))
    warned = group("PORTFOLIO", "WARNING", 1, 1100, 1000, falling=1, shortfall=money(400))
    records = [
        totals("15:00:00", group("STRATEGY", "NONE", 4, 20_000, 4000)),
        totals("15:30:00", lacking, group("PORTFOLIO", "NONE", 2, 18_000, 2000), warned),
    ]
    return write(tmp_path / "out", records)


def run(*words: object) -> str:
    found = CliRunner().invoke(app, [str(word) for word in words])
    assert found.exit_code == 0, found.output
    return found.stdout


def test_the_last_totals_are_summed_by_level_and_margin_type(out: Path) -> None:
    told = json.loads(run("firm", out, "--json", "--net-capital", 180))
    assert (told["as_of"], told["severe_move"]) == ("2026-01-05T15:30:00Z", "-0.080000")
    assert (told["total"]["equity"], told["total"]["accounts"]) == ("20000.0000", 4)
    assert told["levels"]["MARGIN_CALL"]["deficiency"] == "100.0000"
    assert told["levels"]["NONE"]["accounts"] == 2
    assert told["margin_types"]["PORTFOLIO"]["maintenance_requirement"] == "2800.0000"
    assert told["margin_types"]["GOOD_FAITH"]["accounts"] == 0
    assert told["calls"][0] == {"type": "REG_T", "calls": 2, "accounts": 2, "due": "62.5000"}
    assert told["crowded"][1] == {"symbol": "XYZ C", "accounts": 1, "gross": "800.0000"}
    assert told["capital"] == {"aggregate": "2800.0000", "limit": "1800.0000", "room": "-1000.0000"}


def test_net_capital_is_compared_with_what_the_rule_asks_of_portfolio_margin(out: Path) -> None:
    capital = firm_of(read_firm(out), net_capital=money(280)).capital
    assert capital is not None
    assert (capital.aggregate, capital.limit, capital.room) == (money(2800), money(2800), 0)
    assert "room for $0" in run("firm", out, "--net-capital", 280)
    text = run("firm", out, "--net-capital", 279.5)
    assert "$5 too much" in text
    assert "no portfolio-margin account" in text
    found = CliRunner().invoke(app, ["firm", str(out), "--net-capital", "-1"])
    assert found.exit_code == 1
    assert "at least zero" in found.stderr


def test_the_firm_is_printed(out: Path) -> None:
    text = run("firm", out, "--limit", 1)
    for expected in (
        "4 accounts at 05 Jan 10:30 New York, by test@0",
        "By level",
        "By margin type",
        "If SPY moves \N{MINUS SIGN}8%",
        "1 account that lacks nothing now would lack $400; the 1 that lack $100 would lack $500 more.",
        "Held by most of the 2 called accounts, 1 of 3 names",
    ):
        assert expected in text
    assert "XYZ C" not in text


def test_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(OutcomeError, match="Replay a day into it first"):
        read_firm(tmp_path)
    with pytest.raises(OutcomeError, match=r"Look at .*deadletter"):
        read_firm(write(tmp_path / "empty", []))
    found = CliRunner().invoke(app, ["firm"])
    assert found.exit_code == 2
    assert "expected OUT" in found.stderr
