"""Dataflow: what reaches the service, as a server of this machine stands in for it, and what is refused before."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import google.auth
import pytest
import yaml
from apache_beam.runners.dataflow.internal.clients.dataflow import dataflow_v1b3_messages as api
from apitools.base.py import encoding
from google.auth.credentials import AnonymousCredentials
from typer.testing import CliRunner

from ops.generate import write_day
from ops.submit import app
from pipeline.configuration import ConfigurationError
from runners import dataflow
from runners.dataflow import (
    ENGINE,
    DataflowJob,
    Replay,
    content,
    launch_request,
    load_dataflow_job,
    main,
    metadata,
    submit,
    template,
)
from runners.engine import EngineRefusedError, Run
from runners.submission import SubmissionError

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "conf" / "jobs" / "dataflow.yaml"
DEPLOY = ROOT / "deploy" / "dataflow"


class Service(HTTPServer):
    """Answers a launch as Google does, and keeps what was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, Any]] = []
        self.refusal = ""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, json.loads(body)))
        answer = self.server.refusal or json.dumps({"job": {"id": "2026-01-05_12_00_00-1"}})
        self.send_response(403 if self.server.refusal else 200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setattr(google.auth, "default", lambda **_: (AnonymousCredentials(), None))
    with Service() as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        monkeypatch.setattr(dataflow, "SERVICE", server.address)
        yield server
        server.shutdown()
        thread.join()


def job(**changes: Any) -> DataflowJob:
    """The shipped job with fields changed; replay__NAME is a template's parameter."""
    return DataflowJob.model_validate(changed(changes))


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    shipped = yaml.safe_load(SHIPPED.read_text())
    for path, value in changes.items():
        place = shipped["replay"] if path.startswith("replay__") else shipped
        place[path.removeprefix("replay__")] = value
    return shipped


def test_a_launch_reaches_the_service(service: Service) -> None:
    assert submit(job(replay__shards="8")) == "2026-01-05_12_00_00-1"
    ((path, body),) = service.asked
    assert path == "/v1b3/projects/example-margin/locations/us-central1/flexTemplates:launch"
    launch = body["launchParameter"]
    assert launch["containerSpecGcsPath"] == "gs://example-margin/templates/replay.json"
    assert launch["parameters"] == {
        "day": "gs://example-margin/days/2026-01-05",
        "out": "gs://example-margin/out/2026-01-05",
        "shards": "8",
    }
    # Launcher and workers need the same project.
    assert launch["environment"]["sdkContainerImage"] == content(template(job()))["image"]


def test_what_the_service_refuses_is_said(service: Service) -> None:
    service.refusal = "margin-replay@ lacks dataflow.jobs.create"
    with pytest.raises(SubmissionError, match=r"flexTemplates:launch: 403 margin-replay@ lacks dataflow.jobs.create"):
        submit(job())


def test_no_credentials_are_asked_for_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(SubmissionError, match="no Google credentials: run gcloud auth application-default login"):
        submit(job())


@pytest.mark.parametrize("request_of", [launch_request, template], ids=["launch", "template"])
def test_every_field_is_one_of_the_api(request_of: Any) -> None:
    message = request_of(job(replay__rules="seed", replay__shards="8"))
    again = encoding.JsonToMessage(type(message), json.dumps(content(message)))
    assert again == message
    assert not list(encoding.UnrecognizedFieldIter(again))


def test_the_api_is_asked_for_no_field_that_it_lacks() -> None:
    with pytest.raises(AttributeError, match="containerSpec_path"):
        api.LaunchFlexTemplateParameter(containerSpec_path="gs://b/o")


def test_the_metadata_that_ships_is_that_of_the_parameters() -> None:
    assert json.loads((DEPLOY / "metadata.json").read_text()) == content(metadata())


def test_the_template_asks_for_what_the_launcher_passes_and_main_takes() -> None:
    found = content(metadata())
    assert [parameter["name"] for parameter in found["parameters"]] == list(Replay.model_fields)
    assert {p["name"] for p in found["parameters"] if not p["isOptional"]} == {"day", "out"}
    for parameter in found["parameters"]:
        assert parameter["label"]
        assert parameter["helpText"].endswith(".")
    asked = content(launch_request(job(replay__rules="seed,house", replay__shards="64")))["launchParameter"][
        "parameters"
    ]
    for parameter in found["parameters"]:
        (pattern,) = parameter["regexes"]
        assert re.fullmatch(pattern, asked[parameter["name"]])


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("project", "Example", r"project\n.*should match pattern .*input_value='Example'"),
        ("name", "margin_replay", r"name\n.*input_value='margin_replay'"),
        ("template", "s3://example-margin/replay.json", r"template\n.*should match pattern '\^gs.*input_value='s3:"),
        ("image", "margin", r"image\n.*input_value='margin'"),
        ("service_account", "me", r"service_account\n.*input_value='me'"),
        (
            "workers",
            {"value": 0, "source": "nobody at home"},
            r"workers.value\n.*greater than or equal to 1.*input_value=0",
        ),
        ("workers", 8, r"workers\n.*input_value=8"),
        ("replay__day", "/data/day", r"replay.day\n.*input_value='/data/day'"),
        ("replay__shards", "65", r"replay.shards\n.*input_value='65'"),
        ("replay__rules", "seed; rm", r"replay.rules\n.*input_value='seed; rm'"),
        ("replay__speed", "10", r"replay.speed\n.*not permitted"),
        ("api_key", "hunter2", r"api_key\n.*not permitted"),
    ],
)
def test_a_bad_job_is_refused(field: str, value: Any, message: str, tmp_path: Path) -> None:
    file = tmp_path / "dataflow.yaml"
    file.write_text(yaml.safe_dump(changed({field: value})))
    with pytest.raises(ConfigurationError, match=f"jobs {file}: (.*\n)*{message}"):
        load_dataflow_job(str(file))


def test_the_command_prints_and_sends_nothing(service: Service) -> None:
    found = CliRunner().invoke(app, ["dataflow"])
    assert found.exit_code == 0
    assert json.loads(found.stdout) == {"template": content(template(job())), "launch": content(launch_request(job()))}
    assert service.asked == []


def test_the_command_sends_when_told_to(service: Service) -> None:
    found = CliRunner().invoke(app, ["dataflow", "--submit"])
    assert found.exit_code == 0
    assert "gcloud dataflow jobs describe 2026-01-05_12_00_00-1" in found.stderr
    assert len(service.asked) == 1


def test_the_image_has_the_beam_of_the_project_and_starts_what_it_copies() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    (beam,) = re.findall(r"beam_python3.11_sdk:(\S+)", text)
    assert f"apache-beam=={beam}" in (ROOT / "constraints.txt").read_text().splitlines()
    rooms = re.findall(r"^COPY (\w+) \w+$", text, re.MULTILINE)
    assert rooms == re.findall(r"^COPY (\w+) \w+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)


def test_main_replays_with_beams_options_beside_its_own(tmp_path: Path) -> None:
    write_day(tmp_path / "day", scenario="calm", accounts=3, symbols=3, seed=7, interval_ms=300_000)
    runner = "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"
    arguments = [f"--day={tmp_path / 'day'}", f"--out={tmp_path / 'out'}", "--shards=2", "--rules=seed"]
    main([*arguments, runner, "--job_name=margin-replay"])
    assert (tmp_path / "out" / "snapshots.v1.jsonl").read_text()


def test_the_engine_is_launched_from_its_template() -> None:
    with pytest.raises(EngineRefusedError, match="launched from its template: margin submit dataflow"):
        ENGINE.options(Run())
    with pytest.raises(EngineRefusedError, match=r"dataflow, live: .* flink runs live"):
        ENGINE.options(Run(live=True))
