"""`margin calc` prints the figures, and nothing else, to standard output."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ops import calc
from ops.cli import app

EXAMPLE = Path(__file__).parents[2] / "examples" / "portfolio.yaml"


def test_what_a_solver_prints_is_no_figure(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """HiGHS prints by the C library, whose buffer is written out later than Python's."""
    real = calc.calculate

    def noisy(document: dict[str, Any]) -> dict[str, Any]:
        ctypes.CDLL(None).puts(b"HighsMipSolverData: a line")
        return real(document)

    monkeypatch.setattr(calc, "calculate", noisy)
    assert calc.calculate_file(EXAMPLE)["equity"] is not None
    ctypes.CDLL(None).fflush(None)
    out, err = capfd.readouterr()
    assert out == ""
    assert "a line" in err


def test_json_is_one_document() -> None:
    found = CliRunner().invoke(app, ["calc", str(EXAMPLE), "--json"])
    assert found.exit_code == 0
    assert json.loads(found.stdout)["rulebook"].startswith("seed@")
