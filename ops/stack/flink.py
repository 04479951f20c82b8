"""A Flink session cluster: a job manager and a task manager, from the distribution that PyPI carries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from ops.stack.service import HOST, Service
from runners.artifact import from_pypi
from runners.port import free_port

VERSION = "1.19.3"


def distribution() -> Path:
    """Flink's home, installed on first use into build/flink; its own pins keep it out of the project's environment."""

    def executable(folder: Path) -> None:
        for script in (folder / "pyflink" / "bin").iterdir():
            script.chmod(script.stat().st_mode | 0o111)

    packages = (f"apache-flink=={VERSION}", f"apache-flink-libraries=={VERSION}")
    return from_pypi("flink", *packages, what=f"Flink {VERSION}", prepare=executable) / "pyflink"


@dataclass(frozen=True)
class FlinkCluster:
    """A cluster of a folder, where its configuration, logs, checkpoints and savepoints are.

    Fields:
      port: of the REST endpoint.
      slots: of the task manager.
      metrics: port of the Prometheus reporter; None has none, since it listens on every interface.
    """

    folder: Path
    port: int
    slots: int = 1
    metrics: int | None = None

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
        shipped_options = yaml.safe_load((shipped / "config.yaml").read_text())["env"]["java"]["opts"]["all"]
        options = {"env.java.opts.all": f"{shipped_options} -XX:+UseSerialGC"}
        content = options | settings(self.folder, port=self.port, slots=self.slots)
        if self.metrics is not None:
            content |= reporter(self.metrics)
        (conf / "config.yaml").write_text(yaml.safe_dump(content))

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


def reporter(port: int) -> dict[str, str | int]:
    """Flink's configuration of its Prometheus reporter, at the first free port from this one."""
    return {
        "metrics.reporter.prom.factory.class": "org.apache.flink.metrics.prometheus.PrometheusReporterFactory",
        "metrics.reporter.prom.port": f"{port}-{port + 9}",
    }


def settings(folder: Path, *, port: int, slots: int) -> dict[str, str | int]:
    """Flink's configuration of a cluster of this machine."""
    return {
        "jobmanager.rpc.address": HOST,
        "jobmanager.rpc.port": free_port(port),
        "jobmanager.bind-host": HOST,
        "jobmanager.memory.process.size": "1000m",
        "taskmanager.host": HOST,
        "taskmanager.bind-host": HOST,
        "taskmanager.numberOfTaskSlots": slots,
        "taskmanager.memory.process.size": "1400m",
        # Catching up, one worker parses while the other folds a hundred instants: Flink's own ten buffers between the
        # two hold a quarter of them.
        "taskmanager.network.memory.buffers-per-channel": 64,
        "taskmanager.network.memory.max-buffers-per-channel": 64,
        "taskmanager.network.memory.floating-buffers-per-gate": 64,
        "rest.address": HOST,
        "rest.bind-address": HOST,
        "rest.port": port,
        "parallelism.default": slots,
        "state.backend.type": "hashmap",
        "state.checkpoints.dir": (folder / "checkpoints").absolute().as_uri(),
        "state.savepoints.dir": (folder / "savepoints").absolute().as_uri(),
        "restart-strategy.type": "exponential-delay",
        "restart-strategy.exponential-delay.initial-backoff": "1 s",
        "restart-strategy.exponential-delay.max-backoff": "10 s",
        "heartbeat.interval": 2000,
        "heartbeat.timeout": 10000,
    }
