"""The boot of a worker in a PROCESS environment, in place of the one in Beam's container images.

An engine calls it as `boot --id=.. --provision_endpoint=.. [--logging_endpoint=.. --control_endpoint=..]`; it asks the
provision service for the rest and becomes the worker. It fetches no artifacts: the project is installed where it runs.
Contract: beam_provision_api.proto and sdks/python/container/boot.go.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Mapping

import grpc

# Beam's Google dependencies greet every start with future warnings that an operator can do nothing about.
warnings.filterwarnings("ignore")

from apache_beam.portability.api import beam_provision_api_pb2, beam_provision_api_pb2_grpc  # noqa: E402
from google.protobuf import json_format  # noqa: E402

#: Milliseconds between two looks of Beam's sampler at which step a worker is in.
SAMPLING_MS = 5

JAVA_HARNESS = "org.apache.beam.fn.harness.FnHarness"


def environment_of(argv: list[str], worker: str) -> dict[str, str]:
    """The variables that a worker reads, its id in the variable named by `worker`."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("id", "provision_endpoint", "logging_endpoint", "control_endpoint", "artifact_endpoint"):
        parser.add_argument(f"--{name}")
    given, _ = parser.parse_known_args(argv)
    # Prism wraps the id in quotes.
    identity = given.id.strip("\"'")
    with grpc.insecure_channel(given.provision_endpoint) as channel:
        service = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
        request = beam_provision_api_pb2.GetProvisionInfoRequest()
        info = service.GetProvisionInfo(request, metadata=[("worker_id", identity)], timeout=60).info
    return {
        worker: identity,
        "PIPELINE_OPTIONS": json_format.MessageToJson(info.pipeline_options, indent=None),
        "LOGGING_API_SERVICE_DESCRIPTOR": _descriptor(given.logging_endpoint or info.logging_endpoint.url),
        "CONTROL_API_SERVICE_DESCRIPTOR": _descriptor(given.control_endpoint or info.control_endpoint.url),
        "RUNNER_CAPABILITIES": " ".join(info.runner_capabilities),
        "SEMI_PERSISTENT_DIRECTORY": tempfile.gettempdir(),
    }


def _descriptor(url: str) -> str:
    return f'url: "{url}"'


def python(argv: list[str] | None = None) -> None:
    """Become a Python worker."""
    os.environ.update(environment_of(sys.argv[1:] if argv is None else argv, "WORKER_ID"))
    from apache_beam.runners.worker import sdk_worker_main

    sample_often()
    logging.getLogger().setLevel(logging.INFO)
    sdk_worker_main.main([])


def sample_often() -> None:
    """Have the bundles of this process end when they are done.

    Beam waits at the end of each for its sampler to wake up, which sleeps for up to 200 ms: a tenth of a long bundle
    (docs/engines.md). There is no option for it.
    """
    from apache_beam.runners.worker import statesampler

    statesampler.StateSampler.__init__.__defaults__ = (SAMPLING_MS,)


def java(argv: list[str] | None = None) -> None:
    """Become a Java worker, with the classes of the Kafka expansion jar."""
    from runners.java import assembled
    from runners.java import java as command

    environment = os.environ | environment_of(sys.argv[1:] if argv is None else argv, "HARNESS_ID")
    _become(
        [command(), "-Xmx256m", "-XX:+UseSerialGC", "-cp", str(assembled("kafka-expansion")), JAVA_HARNESS], environment
    )


def _become(command: list[str], environment: Mapping[str, str]) -> None:
    os.execvpe(command[0], command, environment)
