"""A file of theoretical values: what it gives, and by which line and column it is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ops.calc import calculate_file
from ops.cli import app
from ops.theoretical import POINTS, TheoreticalError, load_values

FIX, NAMED = (",".join(("symbol", *names)) for names in POINTS)
RISING = [1.5, 2.0, 2.5, 3.0, 3.5, 4.5, 5.0, 5.5, 6.0, 6.5]
TEN = ",".join(str(value) for value in RISING)
PRICES = {"XYZ": 100.0, "CALL": 4.0, "PUT": None}
DOCUMENT: dict[str, Any] = {
    "rulebook": "finra-4210",
    "as_of": "2026-06-15T20:00:00Z",
    "account": {"margin_type": "PORTFOLIO", "cash": 10_000},
    "instruments": {
        "XYZ": {"price": 100.0},
        "CALL": {
            "type": "OPTION",
            "underlying": "XYZ",
            "right": "CALL",
            "strike": 100,
            "expiry": "2026-09-18",
            "price": 4.0,
        },
    },
    "positions": [{"symbol": "CALL", "quantity": 10}],
}


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("head", [FIX, NAMED])
def test_values_are_those_of_the_file(tmp_path: Path, head: str) -> None:
    file = write(tmp_path / "v.csv", head, f"CALL,{TEN}", "", f"OTHER,{TEN.replace('2.0', 'x')}")
    assert load_values(file, PRICES) == {"CALL": RISING}


def test_columns_may_be_in_any_order(tmp_path: Path) -> None:
    names = ["kind", *reversed(POINTS[0]), "symbol"]
    row = ["value", *(str(value) for value in reversed(RISING)), "CALL"]
    assert load_values(write(tmp_path / "v.csv", ", ".join(names), ", ".join(row)), PRICES) == {"CALL": RISING}


def test_a_gain_is_added_to_the_price_of_the_document(tmp_path: Path) -> None:
    gains = ",".join(str(value - 4.0) for value in RISING)
    file = write(tmp_path / "v.csv", f"{FIX},kind", f"CALL,{gains},pnl", f"XYZ,{TEN},value")
    assert load_values(file, PRICES) == {"CALL": RISING, "XYZ": RISING}


def test_a_compressed_file_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "v.csv.gz"
    # As a spreadsheet writes it: a mark of the encoding, lines that end twice.
    path.write_bytes(gzip.compress(f"\ufeff{FIX}\r\nCALL,{TEN}\r\n".encode()))
    assert load_values(path, PRICES) == {"CALL": RISING}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "v.csv:1: expected a header of symbol, .*found nothing"),
        ([FIX.removesuffix(",5"), f"CALL,{TEN}"], "v.csv:1: expected a header .*found symbol,-5,"),
        ([f"{FIX},Kind", f"CALL,{TEN},pnl"], "v.csv:1: expected a header .*,Kind"),
        ([FIX.replace("-5", "point1"), f"CALL,{TEN}"], "v.csv:1: expected a header"),
        ([FIX, f"OTHER,{TEN}", f"CALL,{TEN},7"], "v.csv:3: expected 11 columns, found 12"),
        ([FIX, f"CALL,{TEN}".removesuffix(",6.5")], "v.csv:2: expected 11 columns, found 10"),
        (
            [FIX, f"CALL,{TEN.replace('2.5', 'x')}"],
            "v.csv:2: column -3: expected a number of dollars a unit, found 'x'",
        ),
        ([NAMED, f"CALL,{TEN.replace('6.5', '')}"], "v.csv:2: column point10: expected a number.* found ''"),
        ([FIX, f"CALL,{TEN.replace('4.5', 'nan')}"], "v.csv:2: column 1: expected a number.* found 'nan'"),
        (
            [FIX, f"CALL,{TEN.replace('1.5', '-1.5')}"],
            "v.csv:2: column -5: expected a value not below zero.* found -1.5",
        ),
        ([f"{FIX},kind", f"CALL,{TEN},gain"], "v.csv:2: column kind: expected value or pnl, found 'gain'"),
        ([f"{FIX},kind", f"PUT,{TEN},pnl"], "v.csv:2: column kind: expected value, for PUT has no price.* found pnl"),
        ([FIX, f"CALL,{TEN}", f"CALL,{TEN}"], "v.csv:3: column symbol: expected each symbol once, .* as on line 2"),
        ([FIX, f"OTHER,{TEN}"], r"v.csv: expected at least one symbol of the document \(XYZ, CALL, PUT\), found none"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, lines: list[str], said: str) -> None:
    with pytest.raises(TheoreticalError, match=said):
        load_values(write(tmp_path / "v.csv", *lines), PRICES)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(TheoreticalError, match=r"absent.csv: No such file"):
        load_values(tmp_path / "absent.csv", PRICES)
    broken = tmp_path / "v.csv.gz"
    broken.write_bytes(gzip.compress(f"{FIX}\nCALL,{TEN}\n".encode())[:-9])
    with pytest.raises(TheoreticalError, match=r"v.csv.gz: Compressed file ended"):
        load_values(broken, PRICES)
    broken.write_text(FIX)
    with pytest.raises(TheoreticalError, match=r"v.csv.gz: Not a gzipped file"):
        load_values(broken, PRICES)
    (tmp_path / "v.csv").write_bytes(FIX.encode() + b"\nCALL\xff,1\n")
    with pytest.raises(TheoreticalError, match=r"v.csv: 'utf-8' codec"):
        load_values(tmp_path / "v.csv", PRICES)


def test_the_command_takes_them(tmp_path: Path) -> None:
    document = tmp_path / "account.json"
    document.write_text(json.dumps(DOCUMENT))
    values = write(tmp_path / "v.csv", FIX, f"CALL,{TEN}")
    ran = CliRunner().invoke(app, ["calc", str(document), "--theoretical", str(values), "--json"])
    assert ran.exit_code == 0
    found = json.loads(ran.stdout)["portfolio_margin"]
    # Ten contracts of 100, from 4.00 to 1.50 at -15%.
    assert (found["published_values"], found["requirement"]) == (["CALL"], 2_500.0)
    shown = CliRunner().invoke(app, ["calc", str(document), "--theoretical", str(values)])
    assert "CALL: valued as published at the valuation points" in shown.stdout
    refused = CliRunner().invoke(app, ["calc", str(document), "--theoretical", str(tmp_path / "absent.csv")])
    assert refused.exit_code == 1


def test_the_values_of_the_document_come_first(tmp_path: Path) -> None:
    document = tmp_path / "account.json"
    document.write_text(json.dumps(DOCUMENT | {"theoretical_values": {"CALL": [3.0, *RISING[1:]]}}))
    values = write(tmp_path / "v.csv", FIX, f"CALL,{TEN}", f"XYZ,{TEN}")
    assert calculate_file(document, values)["portfolio_margin"]["requirement"] == 2_000.0
