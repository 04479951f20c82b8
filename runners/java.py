"""The Java side: job servers, KafkaIO, a broker, DynamoDB Local; assembled by Maven from runners/jvm into build/jvm."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from runners.artifact import BUILD, EngineMissingError, built, run

Module = Literal["flink-job-server", "spark-job-server", "kafka-expansion", "kafka-broker", "dynamodb-local"]

#: Run from a folder of jars; the others are one jar.
FOLDERS = ("kafka-broker", "dynamodb-local")

#: What the source of Kafka is part of.
WITH_SOURCE = ("flink-job-server", "kafka-expansion")

PROJECT = Path(__file__).with_name("jvm")
JARS = BUILD / "jvm"


def java() -> str:
    """The java command. Raises EngineMissingError."""
    return _command("java", "Java 17 (a JDK)")


def assembled(module: Module) -> Path:
    """A module's jar, or the folder of its jars. Raises EngineMissingError without Java and Maven."""
    name = module if module in FOLDERS else f"{module}.jar"

    def build() -> None:
        java()
        mvn = _command("mvn", "Maven 3.8 or newer")
        goal = ("-B", "-q", "-f", PROJECT / "pom.xml", "package", "-pl", module, "-am", f"-Dmargin.build={JARS}")
        run(mvn, *goal, what=f"{module} with Maven")

    needs = [PROJECT / module, *([PROJECT / "kafka-source"] if module in WITH_SOURCE else [])]
    # A cluster's node has the jars and not what they are built of.
    files = [PROJECT / "pom.xml", *(file for folder in needs for file in sorted(folder.rglob("*")))]
    return built(JARS / name, build, sources=[file for file in files if file.is_file()])


def _command(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise EngineMissingError(f"{name} is not on the PATH: install {package}")
    return found
