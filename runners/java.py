"""The Java side: job servers, KafkaIO and a broker, assembled by Maven from runners/jvm into build/jvm."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from runners.artifact import BUILD, EngineMissingError, built, run

Module = Literal["flink-job-server", "spark-job-server", "kafka-expansion", "kafka-broker"]

PROJECT = Path(__file__).with_name("jvm")
JARS = BUILD / "jvm"


def java() -> str:
    """The java command. Raises EngineMissingError."""
    return _command("java", "Java 17 (a JDK)")


def assembled(module: Module) -> Path:
    """A module's jar, or the folder of a broker's jars. Raises EngineMissingError without Java and Maven."""
    name = "kafka-broker" if module == "kafka-broker" else f"{module}.jar"

    def build() -> None:
        java()
        mvn = _command("mvn", "Maven 3.8 or newer")
        goal = ("-B", "-q", "-f", PROJECT / "pom.xml", "package", "-pl", module, f"-Dmargin.build={JARS}")
        run(mvn, *goal, what=f"{module} with Maven")

    poms = (PROJECT / "pom.xml", PROJECT / module / "pom.xml")
    # A cluster's node has the jars and not what they are built of.
    return built(JARS / name, build, sources=[pom for pom in poms if pom.exists()])


def _command(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise EngineMissingError(f"{name} is not on the PATH: install {package}")
    return found
