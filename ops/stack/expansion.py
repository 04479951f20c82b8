"""Beam's expansion service for KafkaIO, with the worker boot that its Java steps run in."""

from __future__ import annotations

import json
from pathlib import Path

from ops.stack.service import Service
from runners.harness.command import boot
from runners.java import assembled, java


def expansion_service(folder: Path, port: int) -> Service:
    """The service, to be started. Raises EngineMissingError."""
    return Service(folder, "expansion", command(port), port)


def command(port: int) -> list[str]:
    """The program and its arguments. Raises EngineMissingError."""
    arguments = [
        str(port),
        "--javaClassLookupAllowlistFile=*",
        "--defaultEnvironmentType=PROCESS",
        f"--defaultEnvironmentConfig={json.dumps({'command': boot('java')})}",
        # The unbounded source is the read that Flink checkpoints (runtime.md).
        "--experiments=use_deprecated_read",
    ]
    return [java(), "-Xmx256m", "-XX:+UseSerialGC", "-jar", str(assembled("kafka-expansion")), *arguments]
