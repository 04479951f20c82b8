"""A Flink session cluster: a job manager and a task manager, from the distribution that PyPI carries."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from ops.stack.service import HOST, Service, free_port
from runners.artifact import BUILD, built, run

VERSION = "1.19.3"


def distribution() -> Path:
    """Flink's home, installed on first use into build/flink; its own pins keep it out of the project's environment."""
    target = BUILD / "flink"
    home = target / "pyflink"

    def install() -> None:
        names = (f"apache-flink=={VERSION}", f"apache-flink-libraries=={VERSION}")
        pip = (sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", target)
        run(*pip, *names, what=f"Flink {VERSION} from PyPI")
        for script in (home / "bin").iterdir():
            script.chmod(script.stat().st_mode | 0o111)

    return built(home, install)


@dataclass(frozen=True)
class FlinkCluster:
    """A cluster of a folder, where its configuration, logs, checkpoints and savepoints are."""

    folder: Path
    port: int
    slots: int = 1

    @property
    def address(self) -> str:
        """Of the REST endpoint, host:port."""
        return f"{HOST}:{self.port}"

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints are kept, by job."""
        return self.folder / "checkpoints"

    @property
    def jobmanager(self) -> Service:
        """The process that coordinates."""
        return Service(self.folder, "jobmanager", self._script("jobmanager"), self.port, self._environment)

    @property
    def taskmanager(self) -> Service:
        """The process that works."""
        return Service(self.folder, "taskmanager", self._script("taskmanager"), None, self._environment)

    def start(self) -> FlinkCluster:
        """Start what does not run of the two. Raises ServiceError or EngineMissingError."""
        if not (self.folder / "conf" / "config.yaml").exists():
            self._configure()
        for service in (self.jobmanager, self.taskmanager):
            if not service.process():
                service.start()
        return self

    def _configure(self) -> None:
        # Once: a job manager that is started again is found where its task manager looks for it.
        conf = self.folder / "conf"
        conf.mkdir(parents=True, exist_ok=True)
        shipped = distribution() / "conf"
        for name in ("log4j.properties", "log4j-console.properties"):
            (conf / name).write_bytes((shipped / name).read_bytes())
        options = yaml.safe_load((shipped / "config.yaml").read_text())["env"]["java"]["opts"]["all"]
        settings = {
            "env.java.opts.all": f"{options} -XX:+UseSerialGC",
            "jobmanager.rpc.address": HOST,
            "jobmanager.rpc.port": free_port(),
            "jobmanager.bind-host": HOST,
            "jobmanager.memory.process.size": "1000m",
            "taskmanager.host": HOST,
            "taskmanager.bind-host": HOST,
            "taskmanager.numberOfTaskSlots": self.slots,
            "taskmanager.memory.process.size": "1400m",
            "rest.address": HOST,
            "rest.bind-address": HOST,
            "rest.port": self.port,
            "parallelism.default": self.slots,
            # It listens on every interface: Flink's reporter takes a port and nothing else.
            "metrics.reporter.prom.factory.class": "org.apache.flink.metrics.prometheus.PrometheusReporterFactory",
            "metrics.reporter.prom.port": "9249-9259",
            "state.backend.type": "hashmap",
            "state.checkpoints.dir": self.checkpoints.absolute().as_uri(),
            "state.savepoints.dir": (self.folder / "savepoints").absolute().as_uri(),
            "restart-strategy.type": "exponential-delay",
            "restart-strategy.exponential-delay.initial-backoff": "1 s",
            "restart-strategy.exponential-delay.max-backoff": "10 s",
            "heartbeat.interval": 2000,
            "heartbeat.timeout": 10000,
        }
        (conf / "config.yaml").write_text(yaml.safe_dump(settings))

    def stop(self) -> None:
        """End both."""
        self.taskmanager.stop()
        self.jobmanager.stop()

    @property
    def _environment(self) -> dict[str, str]:
        return {
            "FLINK_HOME": str(distribution()),
            "FLINK_CONF_DIR": str((self.folder / "conf").absolute()),
            "FLINK_LOG_DIR": str(self.folder.absolute()),
        }

    def _script(self, role: str) -> list[str]:
        return [str(distribution() / "bin" / f"{role}.sh"), "start-foreground"]
