"""A service: a process started in the background, known by its pid and the moment it began, with a log of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from schemas.errors import UserError

HOST = "127.0.0.1"


class ServiceError(UserError, RuntimeError):
    """A service that did not start, with the last lines of its log."""


def listening(port: int) -> bool:
    """Whether something accepts connections on the port of this machine."""
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


@dataclass(frozen=True)
class Service:
    """A service of a folder, where its log and its pid are kept.

    Fields:
      name: of the files.
      command: the program and its arguments.
      port: that it listens on when it is ready; None is ready at once.
      environment: variables beside those of this process.
    """

    folder: Path
    name: str
    command: Sequence[str]
    port: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        """Everything that it said."""
        return self.folder / f"{self.name}.log"

    def start(self, timeout: float = 90) -> Service:
        """Start it and wait until it is ready. Raises ServiceError."""
        if self.port is not None and listening(self.port):
            raise ServiceError(f"{self.name}: port {self.port} is taken; stop what listens there, or choose another")
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | self.environment,
                # Of its own session: Ctrl-C in a terminal ends what watches the stack, not the stack.
                start_new_session=True,
            )
        begun = {"pid": process.pid, "began": psutil.Process(process.pid).create_time()}
        _pid_file(self.folder, self.name).write_text(json.dumps(begun))
        deadline = time.monotonic() + timeout
        while self.port is not None and not listening(self.port):
            if process.poll() is not None or time.monotonic() > deadline:
                stop(self.folder, self.name)
                last = "\n".join(self.log.read_text(errors="replace").splitlines()[-12:])
                raise ServiceError(f"{self.name} did not start; the end of {self.log}:\n{last}")
            time.sleep(0.1)
        return self

    def stop(self) -> None:
        """End it and what it started."""
        stop(self.folder, self.name)

    def process(self) -> psutil.Process | None:
        """Its process, if it lives."""
        return running(self.folder, self.name)


def running(folder: Path, name: str) -> psutil.Process | None:
    """The process of a service, if it lives; never another that was given its pid."""
    try:
        begun = json.loads(_pid_file(folder, name).read_text())
        process = psutil.Process(begun["pid"])
        alive = process.create_time() == begun["began"] and process.status() != psutil.STATUS_ZOMBIE
    except (OSError, ValueError, psutil.NoSuchProcess):
        return None
    return process if alive else None


def stop(folder: Path, name: str, timeout: float = 20) -> None:
    """End a service and the processes that it started: asked first, killed if they do not go."""
    process = running(folder, name)
    if process is not None:
        family = [process, *process.children(recursive=True)]
        for member in family:
            with suppress(psutil.NoSuchProcess):
                # A stopped process would take the signal only once it goes on.
                member.resume()
                member.terminate()
        _, left = psutil.wait_procs(family, timeout)
        for member in left:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(left, timeout)
    _pid_file(folder, name).unlink(missing_ok=True)


def services(folder: Path) -> list[str]:
    """Names of the services that were started in the folder and not stopped, in the order of their start."""
    return [path.stem for path in sorted(folder.glob("*.pid"), key=lambda path: path.stat().st_mtime_ns)]


def _pid_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.pid"
