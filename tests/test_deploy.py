"""What deploy/ asks for is there: no container engine runs here, so the files are held against the project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from ops.cli import app
from pipeline.job import load_live_job

DEPLOY = Path(__file__).parents[1] / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def test_the_job_in_containers_is_the_one_that_ships_but_for_names() -> None:
    shipped, contained = (load_live_job(name).model_dump() for name in ("live", str(DEPLOY / "job.yaml")))
    differing = {key for key in shipped if shipped[key] != contained[key]}
    assert differing <= {"kafka", "flink", "expansion", "shards"}
    assert {contained[key].split(":")[0] for key in ("flink", "expansion")} <= SERVICES.keys()
    assert contained["kafka"]["bootstrap"].split(":")[0] in SERVICES


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_starts_what_there_is_and_waits_for_what_there_is(name: str) -> None:
    service = SERVICES[name]
    if service.get("image") == "margin-monitor:live" and "entrypoint" not in service:
        commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
        options = {option for parameter in commands[service["command"][0]].params for option in parameter.opts}
        assert {word for word in service["command"] if word.startswith("--")} <= options
    assert set(service.get("depends_on", ())) <= SERVICES.keys()
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    for volume in service.get("volumes", ()):
        source = volume.split(":")[0]
        assert (DEPLOY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]


def test_flink_in_containers_differs_from_the_local_cluster_in_addresses_alone(tmp_path: Path) -> None:
    from ops.stack.flink import settings

    contained = yaml.safe_load((DEPLOY / "flink" / "config.yaml").read_text())
    local = settings(tmp_path, port=8081, slots=1)
    same = {key for key in local if key.startswith(("restart-strategy.", "state.", "taskmanager.network."))} - {
        "state.checkpoints.dir",
        "state.savepoints.dir",
    }
    assert {key: contained[key] for key in same} == {key: local[key] for key in same}
