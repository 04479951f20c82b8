"""The operator's commands say what is missing and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import start_http_server
from typer.testing import CliRunner

from ops.cli import app
from ops.stack.service import Service, ServiceError, running, services, stop
from runners.port import free_port
from tests import live

RUNNER = CliRunner()


def said(*arguments: str | Path) -> str:
    """What a command that fails says, in one line."""
    result = RUNNER.invoke(app, [str(word) for word in arguments])
    assert result.exit_code == 1, result.output
    return " ".join(result.output.split())


def test_without_java_the_stack_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    text = said("up", "--job", live.job_file(tmp_path), "--folder", tmp_path / "stack")
    assert "java is not on the PATH: install Java 17" in text or "mvn is not on the PATH: install Maven" in text


def test_a_broker_elsewhere_is_not_started_here(tmp_path: Path) -> None:
    job = live.job_file(tmp_path, kafka={"bootstrap": "kafka.firm.example:9092", "group": "margin"})
    assert "submit to a cluster elsewhere with `margin live`" in said(
        "up", "--job", job, "--folder", tmp_path / "stack"
    )


def test_a_cluster_that_does_not_answer_is_named(tmp_path: Path) -> None:
    job = live.job_file(tmp_path)
    assert "`margin up` starts it" in said("savepoint", "--job", job)
    assert "`margin up` starts it" in said("cancel", "--job", job)


def test_a_server_that_is_no_cluster_is_named(tmp_path: Path) -> None:
    """Spark's pages were at the port that is Flink's own."""
    server, _ = start_http_server(0, "127.0.0.1")
    try:
        job = live.job_file(tmp_path, flink=f"127.0.0.1:{server.server_port}")
        assert f"Flink does not answer at 127.0.0.1:{server.server_port}" in said("cancel", "--job", job)
    finally:
        server.shutdown()
        server.server_close()


def test_a_job_file_with_a_mistake_is_named_before_anything_starts(tmp_path: Path) -> None:
    job = live.job_file(tmp_path, clock="sundial")
    text = said("live", "--job", job)
    assert "clock" in text
    assert "sundial" in text


def test_a_snapshot_in_the_arrival_clock_is_refused(tmp_path: Path) -> None:
    assert "only what the log says" in said(
        "snapshot", tmp_path / "out", "--job", live.job_file(tmp_path, clock="arrival")
    )


def test_down_ends_what_was_started_and_nothing_else(tmp_path: Path) -> None:
    mine, other = Service(tmp_path / "a", "mine", ["sleep", "600"]), Service(tmp_path / "b", "other", ["sleep", "600"])
    try:
        mine.start()
        other.start()
        assert RUNNER.invoke(app, ["down", "--folder", str(tmp_path / "a")]).exit_code == 0
        assert mine.process() is None
        assert other.process() is not None
        assert services(tmp_path / "a") == []
    finally:
        other.stop()


def test_a_pid_that_another_process_has_now_is_left_alone(tmp_path: Path) -> None:
    service = Service(tmp_path, "mine", ["sleep", "600"]).start()
    process, file = service.process(), tmp_path / "mine.pid"
    assert process is not None
    try:
        file.write_text(file.read_text().replace(str(process.create_time()), "1.0"))
        assert running(tmp_path, "mine") is None
        stop(tmp_path, "mine")
        assert process.is_running()
    finally:
        process.kill()


def test_a_service_that_ends_at_once_shows_the_end_of_its_log(tmp_path: Path) -> None:
    service = Service(tmp_path, "mine", ["sh", "-c", "echo out of luck; exit 3"], port=free_port())
    with pytest.raises(ServiceError, match="out of luck"):
        service.start()


def test_no_two_services_are_given_one_port() -> None:
    """A system may name a port again before anything listens on it: a broker's two listeners once had the same."""
    assert len({free_port() for _ in range(300)}) == 300
