"""EMR: what reaches AWS, as moto stands in for it, and what is refused before anything is sent.

moto runs no step and no bootstrap action, and forgets an application's image: the script runs here by itself, and the
fixture `image` says what moto forgets.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from moto import mock_aws
from typer.testing import CliRunner

from ops.submit import app
from pipeline.configuration import ConfigurationError, known
from runners import aws
from runners.aws import Request
from runners.emr import ENGINE, EmrJob, live_request, load_emr_job, replay_request, submit_live, submit_replay
from runners.engine import EngineRefusedError, Run
from runners.submission import SubmissionError

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "conf" / "jobs" / "emr.yaml"
IMAGE = load_emr_job("emr").spark.image


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Clients of a region of moto's."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "moto")
    with mock_aws():
        yield lambda service: boto3.client(service, region_name="us-east-1")


@pytest.fixture
def files(cloud: Callable[[str], Any]) -> Any:
    """The objects that the shipped job names."""
    s3 = cloud("s3")
    s3.create_bucket(Bucket="example-margin")
    for key in re.findall(r"s3://example-margin/(\S+\.\w+)$", SHIPPED.read_text(), re.MULTILINE):
        s3.put_object(Bucket="example-margin", Key=key, Body=b"")
    return s3


@pytest.fixture
def image(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], None]:
    """Say what image applications have: moto takes it at their creation and does not give it back."""

    def have(uri: str | None) -> None:
        def remember(parsed: dict[str, Any], **_: Any) -> None:
            if uri is not None:
                parsed["application"]["imageConfiguration"] = {"imageUri": uri}

        def client(service: str, region_name: str) -> BaseClient:
            made = boto3.session.Session().client(service, region_name=region_name)
            made.meta.events.register("after-call.emr-serverless.GetApplication", remember)
            return made

        monkeypatch.setattr(aws.boto3, "client", client)

    return have


def job(**changes: Any) -> EmrJob:
    """The shipped job with fields changed, by path with dots as __."""
    return EmrJob.model_validate(changed(changes))


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    content = yaml.safe_load(SHIPPED.read_text())
    for path, value in changes.items():
        *folders, name = path.split("__")
        place = content
        for folder in folders:
            place = place[folder]
        place[name] = value
    return content


def steps_of(emr: Any, cluster: str) -> list[list[str]]:
    return [step["Config"]["Args"] for step in emr.list_steps(ClusterId=cluster)["Steps"]]


def test_a_new_cluster_gets_the_project_and_the_job(cloud: Callable[[str], Any], files: Any) -> None:
    cluster = submit_live(job())
    emr = cloud("emr")
    (arguments,) = steps_of(emr, cluster)
    assert arguments[:4] == ["flink", "run-application", "-t", "yarn-application"]
    assert arguments[-3:] == [
        "-c",
        "org.apache.beam.runners.flink.FlinkPipelineRunner",
        "s3://example-margin/jars/live.jar",
    ]
    assert "-Dstate.checkpoints.dir=s3://example-margin/checkpoints" in arguments
    assert "-Dtaskmanager.numberOfTaskSlots=2" in arguments
    assert "-s" not in arguments
    found = emr.describe_cluster(ClusterId=cluster)["Cluster"]
    assert found["ReleaseLabel"] == "emr-7.5.0"
    assert "Flink" in [application["Name"] for application in found["Applications"]]
    (action,) = emr.list_bootstrap_actions(ClusterId=cluster)["BootstrapActions"]
    assert action["ScriptPath"] == "s3://example-margin/deploy/bootstrap.sh"
    assert action["Args"][0] == "/opt/margin"
    groups = emr.list_instance_groups(ClusterId=cluster)["InstanceGroups"]
    assert {group["InstanceGroupType"]: group["RequestedInstanceCount"] for group in groups} == {"MASTER": 1, "CORE": 2}


def test_a_running_cluster_gets_a_step_that_begins_with_a_savepoint(cloud: Callable[[str], Any], files: Any) -> None:
    cluster = submit_live(job())
    again = job(flink__cluster=cluster, flink__restore="s3://example-margin/checkpoints/1/chk-7")
    assert submit_live(again) == cluster
    second, first = steps_of(cloud("emr"), cluster)
    assert second[second.index("-s") + 1] == "s3://example-margin/checkpoints/1/chk-7"
    assert [part for part in second if part not in ("-s", again.flink.restore)] == first


def test_a_cluster_without_the_project_gets_no_step(cloud: Callable[[str], Any], files: Any) -> None:
    emr = cloud("emr")
    bare = emr.run_job_flow(
        Name="bare", ReleaseLabel="emr-7.5.0", Instances={"KeepJobFlowAliveWhenNoSteps": True}, Steps=[]
    )["JobFlowId"]
    with pytest.raises(
        SubmissionError, match=r"flink.cluster: expected the project at /opt/margin .* found it without"
    ):
        submit_live(job(flink__cluster=bare))
    assert steps_of(emr, bare) == []


def test_a_cluster_of_another_release_gets_no_step(cloud: Callable[[str], Any], files: Any) -> None:
    emr = cloud("emr")
    other = emr.run_job_flow(
        Name="other", ReleaseLabel="emr-7.9.0", Instances={"KeepJobFlowAliveWhenNoSteps": True}, Steps=[]
    )["JobFlowId"]
    with pytest.raises(SubmissionError, match=r"flink.cluster: its release: expected emr-7.5.0, found emr-7.9.0"):
        submit_live(job(flink__cluster=other))
    assert steps_of(emr, other) == []


def test_a_terminated_cluster_gets_no_step(cloud: Callable[[str], Any], files: Any) -> None:
    cluster = submit_live(job())
    cloud("emr").terminate_job_flows(JobFlowIds=[cluster])
    with pytest.raises(SubmissionError, match=r"flink.cluster: expected one that is running, found it TERMINAT"):
        submit_live(job(flink__cluster=cluster))


def test_an_unknown_cluster_is_said_to_be(cloud: Callable[[str], Any], files: Any) -> None:
    with pytest.raises(SubmissionError, match=r"emr DescribeCluster in us-east-1: .*j-NONE"):
        submit_live(job(flink__cluster="j-NONE"))


def test_a_missing_file_starts_no_cluster(cloud: Callable[[str], Any], files: Any) -> None:
    files.delete_object(Bucket="example-margin", Key="deploy/bootstrap.sh")
    with pytest.raises(SubmissionError, match=r"flink.nodes.bootstrap: expected an object .* aws s3 cp FILE s3://"):
        submit_live(job())
    assert cloud("emr").list_clusters()["Clusters"] == []


def application_of(cloud: Callable[[str], Any], release: str = "emr-7.6.0") -> str:
    return cloud("emr-serverless").create_application(name="margin", releaseLabel=release, type="SPARK")[
        "applicationId"
    ]


def test_a_replay_is_run(cloud: Callable[[str], Any], files: Any, image: Callable[[str | None], None]) -> None:
    application = application_of(cloud)
    image(IMAGE)
    run = submit_replay(job(spark__application=application))
    found = cloud("emr-serverless").get_job_run(applicationId=application, jobRunId=run)["jobRun"]
    driver = found["jobDriver"]["sparkSubmit"]
    assert driver["entryPoint"] == "s3://example-margin/jars/replay.jar"
    assert driver["sparkSubmitParameters"].startswith("--class org.apache.beam.runners.spark.SparkPipelineRunner ")
    assert "--conf spark.executor.memoryOverhead=6g" in driver["sparkSubmitParameters"]
    assert found["executionRole"] == "arn:aws:iam::123456789012:role/margin-replay"


@pytest.mark.parametrize(
    ("release", "uri", "message"),
    [
        ("emr-7.6.0", None, r"its image: expected \S+/margin-emr:0.1.0, found None; create one: aws emr-serverless"),
        ("emr-7.6.0", IMAGE.replace("0.1.0", "0.0.9"), r"its image: expected \S+0.1.0, found \S+0.0.9"),
        ("emr-7.0.0", IMAGE, r"its release: expected emr-7.6.0, found emr-7.0.0"),
    ],
)
def test_an_application_without_the_project_runs_nothing(
    release: str, uri: str | None, message: str, cloud: Callable[[str], Any], files: Any, image: Any
) -> None:
    application = application_of(cloud, release)
    image(uri)
    with pytest.raises(SubmissionError, match=message):
        submit_replay(job(spark__application=application))
    # moto lists the runs of an application only once there is one.
    with pytest.raises(ClientError, match="ResourceNotFound"):
        cloud("emr-serverless").list_job_runs(applicationId=application)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("region", "here", r"region\n.*should match pattern .*input_value='here'"),
        ("flink__jar", "/tmp/live.jar", r"flink.jar\n.*should match pattern '\^s3.*input_value='/tmp/live.jar'"),
        ("flink__cluster", "my-cluster", r"flink.cluster\n.*input_value='my-cluster'"),
        (
            "flink__release",
            {"value": "emr-7.9.0", "source": "someone's wish"},
            r"flink.release.value\n.*'emr-7.5.0'.*'emr-7.9.0'",
        ),
        ("flink__release", {"value": "emr-7.5.0"}, r"flink.release.source\n.*required"),
        ("flink__password", "hunter2", r"flink.password\n.*not permitted"),
        ("spark__role", "margin-replay", r"spark.role\n.*input_value='margin-replay'"),
        ("spark__image", "margin-emr", r"spark.image\n.*input_value='margin-emr'"),
        (
            "spark__memory_gb",
            {"value": 28, "source": "as much as there is"},
            r"spark\n.*: expected 8 to 30 .* 4 cores, found 34",
        ),
        (
            "spark__cores",
            {"value": 3, "source": "what was left over"},
            r"spark.cores.value\n.*1, 2, 4, 8 or 16.*input_value=3",
        ),
        ("folder", "opt/margin", r"folder\n.*input_value='opt/margin'"),
    ],
)
def test_a_bad_job_is_refused(field: str, value: Any, message: str, tmp_path: Path) -> None:
    file = tmp_path / "emr.yaml"
    file.write_text(yaml.safe_dump(changed({field: value})))
    with pytest.raises(ConfigurationError, match=f"jobs {file}: (.*\n)*{message}"):
        load_emr_job(str(file))


def test_aws_own_model_refuses_what_no_operation_takes() -> None:
    with pytest.raises(SubmissionError, match=r"emr AddJobFlowSteps: .*Unknown parameter in input: \"Step\""):
        Request("emr", "AddJobFlowSteps", {"JobFlowId": "j-1", "Steps": [], "Step": []})


def test_no_credentials_are_asked_for_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    # boto3 remembers those that another test had.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(SubmissionError, match=r"^no AWS credentials: set AWS_PROFILE"):
        submit_live(job())


def test_the_command_prints_and_sends_nothing(cloud: Callable[[str], Any], files: Any) -> None:
    for command, request in (("emr-flink", live_request(job())), ("emr-spark", replay_request(job()))):
        found = CliRunner().invoke(app, [command])
        assert (found.exit_code, json.loads(found.stdout)) == (0, request.content)
        assert "nothing was sent" in found.stderr
    assert cloud("emr").list_clusters()["Clusters"] == []


def test_the_command_sends_when_told_to(cloud: Callable[[str], Any], files: Any) -> None:
    found = CliRunner().invoke(app, ["emr-flink", "--submit"])
    (cluster,) = cloud("emr").list_clusters()["Clusters"]
    assert found.exit_code == 0
    assert f"aws emr list-steps --cluster-id {cluster['Id']}" in found.stderr


def test_the_command_fails_with_what_to_fix(tmp_path: Path) -> None:
    found = CliRunner().invoke(app, ["emr-spark", "--job", str(tmp_path / "none.yaml"), "--submit"])
    assert found.exit_code == 1
    assert f"known: {known('jobs')}" in found.stderr


BIN = {
    "sudo": 'exec "$@"',
    "dnf": 'echo "dnf $*" >> "$LOG"',
    "aws": 'echo "$*" >> "$LOG"; object=${4##*/}; echo "$object" > "$5/$object"',
    "python3.11": """
mkdir -p "$3/bin"
printf '#!/bin/sh\\necho "pip $*" >> "$LOG"\\n' > "$3/bin/pip"
printf '#!/bin/sh\\nexit 0\\n' > "$3/bin/margin-boot-python"
printf '#!/bin/sh\\nexit '"${BOOT:-0}"'\\n' > "$3/bin/margin-boot-java"
chmod +x "$3"/bin/*""",
}


@pytest.fixture
def bootstrap(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the bootstrap action with stand-ins for what only a node has."""
    (tmp_path / "bin").mkdir()
    for name, script in BIN.items():
        command = tmp_path / "bin" / name
        command.write_text(f"#!/bin/bash\nset -e\n{script}\n")
        command.chmod(0o755)
    nodes = job().flink.nodes
    given = [str(tmp_path / "margin"), nodes.wheel, nodes.constraints, nodes.expansion]

    def run(arguments: int = 4, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ROOT / "deploy" / "emr" / "bootstrap.sh", *given[:arguments]],
            env={"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "LOG": str(tmp_path / "log"), **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_the_bootstrap_action_installs_the_project(tmp_path: Path, bootstrap: Callable[..., Any]) -> None:
    found = bootstrap()
    assert (found.returncode, found.stderr) == (0, "")
    assert (tmp_path / "margin" / "build" / "jvm" / "kafka-expansion.jar").read_text() == "kafka-expansion.jar\n"
    (pip,) = [line for line in (tmp_path / "log").read_text().splitlines() if line.startswith("pip")]
    assert re.search(r"/margin_monitor-0.1.0-py3-none-any.whl --constraint \S+/constraints.txt$", pip)


def test_a_node_whose_worker_does_not_start_is_none(bootstrap: Callable[..., Any]) -> None:
    assert bootstrap(BOOT="3").returncode == 3


def test_the_bootstrap_action_says_what_it_takes(bootstrap: Callable[..., Any]) -> None:
    found = bootstrap(3)
    assert (found.returncode, found.stderr) == (2, "expected FOLDER WHEEL CONSTRAINTS EXPANSION, found 3 arguments\n")


def test_the_image_is_of_the_release_and_has_the_folder_of_the_job() -> None:
    arguments = dict(
        re.findall(r"^ARG (\w+)=(\S+)", (ROOT / "deploy" / "emr" / "Dockerfile").read_text(), re.MULTILINE)
    )
    assert arguments == {"RELEASE": job().spark.release.value, "FOLDER": job().folder}


def test_the_engine_takes_jars_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineRefusedError, match="emr takes jars: margin package"):
        ENGINE.options(Run(live=True))
    monkeypatch.delenv("MARGIN_HARNESS", raising=False)
    with pytest.raises(EngineRefusedError, match="set MARGIN_HARNESS to the folder"):
        ENGINE.options(Run(live=True, package=Path("live.jar")))


def test_a_jar_runs_on_the_cluster_and_starts_its_workers_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARGIN_HARNESS", f"{job().folder}/bin")
    run = Run(live=True, package=Path("live.jar"), checkpoint_ms=5000, job_server=Path("flink.jar"))
    options = ENGINE.options(run).get_all_options()
    assert options["flink_master"] == "[auto]"
    assert json.loads(options["environment_config"]) == {"command": "/opt/margin/bin/margin-boot-python"}
    assert options["output_executable_path"] == "live.jar"
