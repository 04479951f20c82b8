"""Dataflow: a replay on Google Cloud, launched from a flex template.

A flex template is an image (deploy/dataflow/Dockerfile), which holds the project for the launcher and the workers
alike, and a file on Cloud Storage that names it and says what may be asked of it. Requests are built of the messages
that Google generates from the API's discovery document and Beam ships: they have no field that the API has not.
"""

from __future__ import annotations

import argparse
from typing import Annotated, Any

import google.auth
import pydantic
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.dataflow.internal.clients.dataflow import dataflow_v1b3_messages as api
from apache_beam.version import __version__ as beam_version
from apitools.base.py import encoding
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.auth.transport.requests import AuthorizedSession
from pydantic import Field, StringConstraints
from requests import RequestException

from pipeline.configuration import Parameter, load
from pipeline.replay import replay
from runners.engine import Capability, Engine, EngineRefusedError, Run
from runners.submission import SubmissionError

SERVICE = "https://dataflow.googleapis.com"
SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
#: In seconds; the service answers when it has accepted the job, not when the job runs.
TIMEOUT = 60

GCS = r"^gs://[a-z0-9][a-z0-9._-]+/[^\s/][^\s]*$"
Object = Annotated[str, StringConstraints(pattern=GCS)]


class Replay(pydantic.BaseModel, extra="forbid"):
    """What may be asked of the template: a replay's arguments, with their words in the console; "" is not given."""

    day: str = Field(
        title="Day",
        description="Folder of the day: manifest.json and a file for each topic.",
        pattern=GCS,
        json_schema_extra={"kind": "GCS_READ_FOLDER"},
    )
    out: str = Field(
        title="Output",
        description="Folder for the outputs, a file for each topic.",
        pattern=GCS,
        json_schema_extra={"kind": "GCS_WRITE_FOLDER"},
    )
    rules: str = Field(
        "",
        title="Rulebooks",
        description="Names with commas between them, instead of the manifest's.",
        pattern=r"^[\w.-]+(,[\w.-]+)*$",
        json_schema_extra={"kind": "TEXT"},
    )
    shards: str = Field(
        "",
        title="Account shards",
        description="1 to 64, instead of the job's; cannot change an output.",
        pattern=r"^([1-9]|[1-5][0-9]|6[0-4])$",
        json_schema_extra={"kind": "NUMBER"},
    )


class DataflowJob(pydantic.BaseModel, extra="forbid"):
    """conf/jobs/dataflow.yaml.

    Fields:
      name: of the job; Dataflow runs one of a name at a time.
      template: the template's file.
      image: of the launcher and the workers.
      service_account: what the job may read and write.
      staging: folder for Dataflow's own files.
      machine: type of every worker.
      workers: at most.
      replay: what the template is asked.
    """

    project: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$")]
    region: Annotated[str, StringConstraints(pattern=r"^[a-z]+-[a-z]+\d+$")]
    name: Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")]
    template: Object
    image: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+-docker\.pkg\.dev/\S+[:@]\S+$")]
    service_account: Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+\.gserviceaccount\.com$")]
    staging: Object
    machine: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$")]
    workers: Parameter[Annotated[int, Field(ge=1, le=1000)]]
    replay: Replay


def load_dataflow_job(name: str) -> DataflowJob:
    """A job by name (conf/jobs/NAME.yaml) or by path. Raises ConfigurationError."""
    return load("jobs", name, DataflowJob)[0]


def metadata() -> Any:
    """What the console and the launcher know of the template, a TemplateMetadata; deploy/dataflow/metadata.json."""
    schema = Replay.model_json_schema()
    kinds = api.ParameterMetadata.ParamTypeValueValuesEnum
    return api.TemplateMetadata(
        name="Margin risk monitor: replay",
        description="Replays a day of fills, prices, betas and cash, and writes what the monitor would have published.",
        streaming=False,
        parameters=[
            api.ParameterMetadata(
                name=name,
                label=field["title"],
                helpText=field["description"],
                isOptional=name not in schema["required"],
                regexes=[field["pattern"]],
                paramType=kinds(field["kind"]),
            )
            for name, field in schema["properties"].items()
        ],
    )


def template(job: DataflowJob) -> Any:
    """The content of the template's file, a ContainerSpec."""
    return api.ContainerSpec(
        image=job.image,
        metadata=metadata(),
        sdkInfo=api.SDKInfo(language=api.SDKInfo.LanguageValueValuesEnum.PYTHON, version=beam_version),
    )


def launch_request(job: DataflowJob) -> Any:
    """The body of a call of projects.locations.flexTemplates.launch, a LaunchFlexTemplateRequest."""
    parameters = api.LaunchFlexTemplateParameter.ParametersValue
    asked = job.replay.model_dump(exclude_defaults=True).items()
    return api.LaunchFlexTemplateRequest(
        launchParameter=api.LaunchFlexTemplateParameter(
            jobName=job.name,
            containerSpecGcsPath=job.template,
            parameters=parameters(
                additionalProperties=[parameters.AdditionalProperty(key=name, value=value) for name, value in asked]
            ),
            environment=api.FlexTemplateRuntimeEnvironment(
                # The workers need the project as the launcher does.
                sdkContainerImage=job.image,
                serviceAccountEmail=job.service_account,
                stagingLocation=job.staging,
                tempLocation=job.staging,
                machineType=job.machine,
                maxWorkers=job.workers.value,
            ),
        )
    )


def content(message: Any) -> Any:
    """A message as what its JSON says."""
    return encoding.MessageToPyValue(message)


def submit(job: DataflowJob) -> str:
    """Launch the replay; the job's id. Raises SubmissionError without credentials, or where Google refuses."""
    address = f"{SERVICE}/v1b3/projects/{job.project}/locations/{job.region}/flexTemplates:launch"
    try:
        credentials, _ = google.auth.default(scopes=SCOPES)
        answer = AuthorizedSession(credentials).post(address, json=content(launch_request(job)), timeout=TIMEOUT)
    except DefaultCredentialsError as error:
        raise SubmissionError(
            "no Google credentials: run gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS"
        ) from error
    except (GoogleAuthError, RequestException) as error:
        raise SubmissionError(f"{address}: {error}") from error
    if not answer.ok:
        raise SubmissionError(f"{address}: {answer.status_code} {answer.text}")
    return encoding.JsonToMessage(api.LaunchFlexTemplateResponse, answer.text).job.id


def main(argv: list[str] | None = None) -> None:
    """Run in the image (deploy/dataflow/main.py): the template's parameters, and Beam's options beside them.

    Raises:
      DayError, ConfigurationError: before anything starts.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    for name, field in Replay.model_fields.items():
        parser.add_argument(f"--{name}", required=field.is_required(), default=field.default, help=field.description)
    given, options = parser.parse_known_args(argv)
    replay(
        given.day,
        given.out,
        PipelineOptions(options),
        rules=given.rules.split(",") if given.rules else None,
        shards=int(given.shards) if given.shards else None,
    )


def _flags(_: Run) -> list[str]:
    raise EngineRefusedError("a replay on Dataflow is launched from its template: margin submit dataflow")


ENGINE = Engine(
    "dataflow",
    "replaying history on Google Cloud, from a flex template",
    has={Capability.REPLAY: "a day on gs://, by margin submit dataflow"},
    lacks={
        Capability.LIVE: "KafkaIO's read that recovers on Flink is not Dataflow's; flink runs live",
        Capability.RECOVERY: "a batch is run again; flink saves the state of a live run",
        Capability.CLUSTER: "the job file names the project and the region, not an address",
        Capability.PACKAGE: "the template is an image: deploy/dataflow/Dockerfile",
    },
    flags=_flags,
)
