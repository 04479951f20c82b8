"""EMR: a live job as a step of a cluster with Flink, and a replay as a job run of EMR Serverless with Spark.

Both run the executable jar of `margin package`, whose workers are processes: the project has to be at one folder of
every machine. A cluster's nodes get it from a bootstrap action (deploy/emr/bootstrap.sh). EMR Serverless has none, and
its spark.archives are unpacked below a working folder whose place no jar can know, so there it is in a custom image
(deploy/emr/Dockerfile).
"""

from __future__ import annotations

import dataclasses
import os
from typing import Annotated, Any, Literal

import pydantic
from pydantic import StringConstraints

from pipeline.configuration import Parameter, load
from runners import flink, spark
from runners.aws import Request, check_objects, send
from runners.engine import Capability, Engine, EngineRefusedError, Run
from runners.harness.command import boot
from runners.submission import SubmissionError, expect

FLINK_MAIN = "org.apache.beam.runners.flink.FlinkPipelineRunner"
SPARK_MAIN = "org.apache.beam.runners.spark.SparkPipelineRunner"

#: The one release with the Flink of the project's jar, 1.19, whose `flink run-application` takes a jar on s3://: AWS,
#: EMR Release Guide, Flink release notes of 7.4.0 (1.19.1) and 7.5.0 (remote jars); later ones have 1.20.
FlinkRelease = Literal["emr-7.5.0"]
#: vCPU of a worker: its least and most memory and the step between, in GB: AWS, EMR Serverless User Guide, "Supported
#: worker configurations".
WORKERS = {1: (2, 8, 1), 2: (4, 16, 1), 4: (8, 30, 1), 8: (16, 60, 4), 16: (32, 120, 8)}

Object = Annotated[str, StringConstraints(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[^\s/][^\s]*$")]
Folder = Annotated[str, StringConstraints(pattern=r"^/[\w./-]+[\w]$")]
ClusterId = Annotated[str, StringConstraints(pattern=r"^j-[0-9A-Z]+$")]
Role = Annotated[str, StringConstraints(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/\S+$")]
Image = Annotated[str, StringConstraints(pattern=r"^\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com/\S+[:@]\S+$")]
Count = Parameter[pydantic.PositiveInt]
Settings = dict[str, Parameter[str | int]]


class Nodes(pydantic.BaseModel, extra="forbid"):
    """The machines of a cluster that is to be started, and what its bootstrap action puts on each.

    Fields:
      bootstrap: deploy/emr/bootstrap.sh.
      wheel, constraints, expansion: the project's wheel, constraints.txt and kafka-expansion.jar.
      instance: EC2 type of every node.
      workers: core nodes beside the primary one.
      service_role, instance_profile: what EMR, and what a node, may do.
    """

    bootstrap: Object
    wheel: Object
    constraints: Object
    expansion: Object
    instance: str
    workers: Count
    service_role: str
    instance_profile: str
    subnet: Annotated[str, StringConstraints(pattern=r"^subnet-[0-9a-z]+$")]


class FlinkJob(pydantic.BaseModel, extra="forbid"):
    """A live job.

    Fields:
      cluster: the id of a running one; None starts one of `nodes`.
      jar: of `margin package --runner emr`, for a live run.
      checkpoints: folder of the state that is saved.
      restore: the checkpoint or savepoint to begin with; None begins anew.
      settings: Flink's own.
    """

    name: str
    release: Parameter[FlinkRelease]
    cluster: ClusterId | None
    jar: Object
    checkpoints: Object
    restore: Object | None = None
    settings: Settings
    nodes: Nodes


class SparkJob(pydantic.BaseModel, extra="forbid"):
    """A replay.

    Fields:
      application: the id of an EMR Serverless one that was created with `image`.
      image: built from deploy/emr/Dockerfile.
      jar: of `margin package --runner emr`, for a replay.
      role: what the job may read and write.
      cores, memory_gb, harness_gb: of an executor; the last is for the workers that are not the JVM.
      executors: at most.
      minutes: after which it is stopped.
    """

    name: str
    release: Parameter[Annotated[str, StringConstraints(pattern=r"^emr-7\.\d+\.\d+$")]]
    application: Annotated[str, StringConstraints(pattern=r"^[0-9a-z]{1,64}$")]
    image: Image
    jar: Object
    role: Role
    cores: Parameter[Literal[1, 2, 4, 8, 16]]
    memory_gb: Count
    harness_gb: Count
    executors: Count
    minutes: Count

    @pydantic.model_validator(mode="after")
    def _is_a_worker(self) -> SparkJob:
        least, most, step = WORKERS[self.cores.value]
        total = self.memory_gb.value + self.harness_gb.value
        if total not in range(least, most + 1, step):
            raise ValueError(
                f"memory_gb and harness_gb: expected {least} to {most} in steps of {step} together for "
                f"{self.cores.value} cores, found {total}"
            )
        return self


class EmrJob(pydantic.BaseModel, extra="forbid"):
    """conf/jobs/emr.yaml: the account's region, where the project is on every machine, where logs go, and both jobs."""

    region: Annotated[str, StringConstraints(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")]
    folder: Folder
    logs: Object
    flink: FlinkJob
    spark: SparkJob


def load_emr_job(name: str) -> EmrJob:
    """A job by name (conf/jobs/NAME.yaml) or by path. Raises ConfigurationError."""
    return load("jobs", name, EmrJob)[0]


def live_request(job: EmrJob) -> Request:
    """What starts the live job: AddJobFlowSteps to a running cluster, or RunJobFlow with its bootstrap action.

    Raises:
      SubmissionError: not what AWS's model of the operation asks for.
    """
    live = job.flink
    if live.cluster is not None:
        return Request("emr", "AddJobFlowSteps", {"JobFlowId": live.cluster, "Steps": [_step(job)]})
    nodes = live.nodes
    groups = (("MASTER", 1), ("CORE", nodes.workers.value))
    return Request(
        "emr",
        "RunJobFlow",
        {
            "Name": live.name,
            "ReleaseLabel": live.release.value,
            "LogUri": job.logs,
            "Applications": [{"Name": "Hadoop"}, {"Name": "Flink"}],
            "ServiceRole": nodes.service_role,
            "JobFlowRole": nodes.instance_profile,
            "Instances": {
                "InstanceGroups": [
                    {"InstanceRole": role, "InstanceType": nodes.instance, "InstanceCount": count}
                    for role, count in groups
                ],
                "Ec2SubnetId": nodes.subnet,
                "KeepJobFlowAliveWhenNoSteps": True,
            },
            "BootstrapActions": [{"Name": "margin", "ScriptBootstrapAction": _bootstrap(job)}],
            "Steps": [_step(job)],
        },
    )


def _bootstrap(job: EmrJob) -> dict[str, Any]:
    nodes = job.flink.nodes
    return {"Path": nodes.bootstrap, "Args": [job.folder, nodes.wheel, nodes.constraints, nodes.expansion]}


def _step(job: EmrJob) -> dict[str, Any]:
    live = job.flink
    settings = {
        "yarn.application.name": live.name,
        "state.checkpoints.dir": live.checkpoints,
        # Where the Java worker finds its jar; YARN gives a container no variable of the node's.
        "containerized.taskmanager.env.MARGIN_BUILD": f"{job.folder}/build",
        **{name: setting.value for name, setting in live.settings.items()},
    }
    arguments = ["flink", "run-application", "-t", "yarn-application"]
    arguments += [f"-D{name}={value}" for name, value in settings.items()]
    arguments += ["-s", live.restore] if live.restore else []
    return {
        "Name": live.name,
        # A cluster without its job is there to be looked at, and to be given a corrected step.
        "ActionOnFailure": "CONTINUE",
        "HadoopJarStep": {"Jar": "command-runner.jar", "Args": [*arguments, "-c", FLINK_MAIN, live.jar]},
    }


def replay_request(job: EmrJob) -> Request:
    """What starts the replay, StartJobRun. Raises SubmissionError where it is not what AWS's model of it asks for."""
    batch = job.spark
    settings = {
        "spark.executor.cores": batch.cores.value,
        "spark.executor.memory": f"{batch.memory_gb.value}g",
        "spark.executor.memoryOverhead": f"{batch.harness_gb.value}g",
        "spark.dynamicAllocation.maxExecutors": batch.executors.value,
    }
    parameters = [f"--class {SPARK_MAIN}", *(f"--conf {name}={value}" for name, value in settings.items())]
    return Request(
        "emr-serverless",
        "StartJobRun",
        {
            "applicationId": batch.application,
            "executionRoleArn": batch.role,
            "name": batch.name,
            "jobDriver": {"sparkSubmit": {"entryPoint": batch.jar, "sparkSubmitParameters": " ".join(parameters)}},
            "configurationOverrides": {
                "monitoringConfiguration": {"s3MonitoringConfiguration": {"logUri": job.logs}},
            },
            "executionTimeoutMinutes": batch.minutes.value,
        },
    )


def submit_live(job: EmrJob) -> str:
    """Start the live job; the cluster's id. Raises SubmissionError before it starts, where something is missing."""
    request = live_request(job)
    if job.flink.cluster is None:
        nodes = job.flink.nodes
        files = [
            (f"flink.nodes.{name}", getattr(nodes, name)) for name in ("bootstrap", "wheel", "constraints", "expansion")
        ]
        check_objects([("flink.jar", job.flink.jar), *files], job.region)
        return send(request, job.region)["JobFlowId"]
    check_objects([("flink.jar", job.flink.jar)], job.region)
    _check_cluster(job)
    send(request, job.region)
    return job.flink.cluster


def _check_cluster(job: EmrJob) -> None:
    which = {"ClusterId": job.flink.cluster}
    cluster = send(Request("emr", "DescribeCluster", which), job.region)["Cluster"]
    anew = "set flink.cluster to null to start a cluster that is"
    state = cluster["Status"]["State"]
    if state not in ("STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING"):
        raise SubmissionError(f"flink.cluster: expected one that is running, found it {state}; {anew}")
    expect("flink.cluster: its release", job.flink.release.value, cluster["ReleaseLabel"], anew)
    actions = send(Request("emr", "ListBootstrapActions", which), job.region)["BootstrapActions"]
    if not any(action["Args"][:1] == [job.folder] for action in actions):
        raise SubmissionError(
            f"flink.cluster: expected the project at {job.folder} of its nodes, found it without; {anew}"
        )


def submit_replay(job: EmrJob) -> str:
    """Start the replay; the job run's id. Raises SubmissionError before it starts, where something is missing."""
    request = replay_request(job)
    check_objects([("spark.jar", job.spark.jar)], job.region)
    which = Request("emr-serverless", "GetApplication", {"applicationId": job.spark.application})
    application = send(which, job.region)["application"]
    anew = "create one: aws emr-serverless create-application --type SPARK --release-label .. --image-configuration .."
    expect("spark.application: its release", job.spark.release.value, application["releaseLabel"], anew)
    image = application.get("imageConfiguration", {}).get("imageUri")
    expect("spark.application: its image", job.spark.image, image, anew)
    return send(request, job.region)["jobRunId"]


def _flags(run: Run) -> list[str]:
    if run.package is None:
        raise EngineRefusedError(
            "emr takes jars: margin package --runner emr, then margin submit emr-flink or emr-spark"
        )
    if "MARGIN_HARNESS" not in os.environ:
        raise EngineRefusedError(
            f"the jar would start {boot('python')}, of this machine; set MARGIN_HARNESS to the folder of emr.yaml with "
            "/bin, such as /opt/margin/bin"
        )
    # [auto] is the cluster that `flink run-application` runs on; without it the jar would run in the client.
    return flink.ENGINE.flags(dataclasses.replace(run, master="[auto]")) if run.live else spark.ENGINE.flags(run)


ENGINE = Engine(
    "emr",
    "production on AWS: live on an EMR cluster, history on EMR Serverless",
    has={
        Capability.REPLAY: "a day on s3://, on EMR Serverless with Spark, by margin submit emr-spark",
        Capability.LIVE: "a step of an EMR cluster with Flink, by margin submit emr-flink",
        Capability.RECOVERY: "Flink's checkpoints on S3; a lost job manager is begun anew with `restore`",
        Capability.PACKAGE: "the executable jar of flink for a live run, of spark for a replay",
    },
    lacks={Capability.CLUSTER: "the job file names the cluster or the application, not an address"},
    flags=_flags,
)
