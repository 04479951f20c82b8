"""A standalone Spark cluster: a master and a worker, from PyPI's pyspark."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ops.stack.service import HOST, Service
from runners.artifact import from_pypi
from runners.port import free_port

VERSION = "3.5.3"


def distribution() -> Path:
    """Spark's home, installed on first use into build/spark."""
    return from_pypi("spark", f"pyspark=={VERSION}", what=f"Spark {VERSION}") / "pyspark"


@dataclass(frozen=True)
class SparkCluster:
    """A cluster of a folder, where its logs and its work are."""

    folder: Path
    port: int
    cores: int = 2

    @property
    def address(self) -> str:
        """The master's URL."""
        return f"spark://{HOST}:{self.port}"

    @property
    def master(self) -> Service:
        """The process that coordinates."""
        ports = ("--port", str(self.port), "--webui-port", str(free_port(self.port)))
        return self._service("spark-master", "master.Master", "--host", HOST, *ports, port=self.port)

    @property
    def worker(self) -> Service:
        """The process that works."""
        work = str((self.folder / "work").absolute())
        limits = ("--cores", str(self.cores), "--memory", "2g", "--work-dir", work)
        return self._service("spark-worker", "worker.Worker", "--host", HOST, *limits, self.address)

    def start(self) -> SparkCluster:
        """Start both. Raises ServiceError or EngineMissingError."""
        self.master.start()
        self.worker.start()
        return self

    def stop(self) -> None:
        """End both."""
        self.worker.stop()
        self.master.stop()

    def _service(self, name: str, program: str, *arguments: str, port: int | None = None) -> Service:
        script = str(distribution() / "bin" / "spark-class")
        command = [script, f"org.apache.spark.deploy.{program}", *arguments]
        environment = {"SPARK_HOME": str(distribution()), "SPARK_LOCAL_IP": HOST, "SPARK_NO_DAEMONIZE": "1"}
        return Service(self.folder, name, command, port, environment)
