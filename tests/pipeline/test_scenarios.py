"""Every scenario of examples/days ends as its file says, however its records are cut and ordered."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ops.cli import app
from ops.scenario import Scenario, ScenarioError

DAYS = Path(__file__).parents[2] / "examples" / "days"
FILES = sorted(path for path in DAYS.glob("*.yaml") if path.stem != "desk")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_scenario_ends_as_it_says(path: Path) -> None:
    scenario = Scenario.read(path)
    assert scenario.expected
    assert scenario.lines() == scenario.expected
    # The order in a file says nothing, nor does a record that comes twice.
    mixed = scenario.model_copy(update={"records": [*reversed(scenario.records), *scenario.records[::3]]})
    assert mixed.lines() == scenario.expected


def test_the_command_tells_the_story_and_what_followed() -> None:
    found = CliRunner().invoke(app, ["scenario", str(DAYS / "partial-cover.yaml")])
    assert found.exit_code == 0
    assert "The customer pays in 1,000" in found.output
    assert "A call HOUSE COVERED by DEPOSIT: $1,500.00" in found.output


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("story: a", "rulebook"),
        ("records: [{cash: {}}]", "expected `at` and one of account, instrument, beta, price, fill, cash, override"),
        ('records: [{at: "2026-09-14T13:00:00Z", price: {symbol: X, price: -1}}]', "records.0.price: "),
    ],
)
def test_a_wrong_file_is_refused_by_its_field(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "wrong.yaml"
    rest = "story: a\nrulebook: desk\nbegins: 2026-09-14\nends: 2026-09-14T20:00:00Z\nexpected: []\n"
    path.write_text(text if text.startswith("story") else rest + text)
    with pytest.raises(ScenarioError, match=reason):
        Scenario.read(path).inputs()
