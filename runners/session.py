"""A Flink session cluster through its REST endpoint: what runs there, cancelled, or stopped to be resumed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import requests

from schemas.errors import UserError

ENDED = ("FAILED", "CANCELED", "FINISHED", "SUSPENDED")


class SessionError(UserError, RuntimeError):
    """The cluster does not answer, refuses, or the job is not there; the text says what to do."""


@dataclass(frozen=True)
class FlinkJob:
    """A job of a cluster; running counts only once every task of it does."""

    id: str
    name: str
    state: str
    running: bool


@dataclass(frozen=True)
class FlinkSession:
    """A session cluster by the address of its REST endpoint, host:port."""

    address: str

    def jobs(self) -> list[FlinkJob]:
        """Every job that the cluster knows, the newest first. Raises SessionError."""
        found = sorted(self._get("/jobs/overview")["jobs"], key=lambda job: -job["start-time"])
        return [
            FlinkJob(
                job["jid"],
                job["name"],
                job["state"],
                job["state"] == "RUNNING" and job["tasks"]["running"] == job["tasks"]["total"],
            )
            for job in found
        ]

    def job(self, name: str) -> FlinkJob | None:
        """The job of a name that has not ended. Raises SessionError."""
        return next((job for job in self.jobs() if job.name == name and job.state not in ENDED), None)

    def wait(self, name: str, *, gone: Callable[[], bool] = lambda: False, timeout: float = 180) -> FlinkJob:
        """The job once every task of it runs.

        Args:
          gone: whether the submission has ended without a job.

        Raises:
          SessionError: it ended, or did not come within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            job = self.job(name)
            if job is not None and job.running:
                return job
            if job is None and gone():
                raise SessionError(
                    f"job {name} was not taken by the cluster at {self.address}; see the job server's log"
                )
            time.sleep(0.2)
        raise SessionError(f"job {name} does not run on {self.address} after {timeout:g} s; see the task manager's log")

    def cancel(self, name: str) -> None:
        """End the job at once; its checkpoints stay. Raises SessionError."""
        self._call("PATCH", f"/jobs/{self._known(name).id}?mode=cancel")
        while self.job(name) is not None:
            time.sleep(0.2)

    def stop(self, name: str, timeout: float = 180) -> Path:
        """Take a savepoint and end the job behind it; the savepoint. Raises SessionError."""
        job = self._known(name)
        request = self._call("POST", f"/jobs/{job.id}/stop", json={"drain": False})["request-id"]
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            answer = self._get(f"/jobs/{job.id}/savepoints/{request}")
            if answer["status"]["id"] == "COMPLETED":
                operation = answer["operation"]
                if "location" in operation:
                    return Path(unquote(urlparse(operation["location"]).path))
                raise SessionError(f"savepoint of {name}: {operation['failure-cause']['class']}; the job goes on")
            time.sleep(0.2)
        raise SessionError(f"savepoint of {name}: not complete after {timeout:g} s; the job goes on")

    def checkpoints(self, name: str) -> dict[str, Any]:
        """Flink's own statistics of the job's checkpoints: counts, sizes, durations. Raises SessionError."""
        return self._get(f"/jobs/{self._known(name).id}/checkpoints")

    def restarts(self, name: str) -> int:
        """How often the job has been started again after a failure. Raises SessionError."""
        # Not the metric of that name, which is up to ten seconds old.
        return len(self._get(f"/jobs/{self._known(name).id}/exceptions")["exceptionHistory"]["entries"])

    def _known(self, name: str) -> FlinkJob:
        job = self.job(name)
        if job is None:
            raise SessionError(f"no job {name} runs on {self.address}; `margin up` submits it")
        return job

    def _get(self, path: str) -> Any:
        return self._call("GET", path)

    def _call(self, method: str, path: str, **body: Any) -> Any:
        try:
            answer = requests.request(method, f"http://{self.address}{path}", timeout=30, **body)
            if answer.ok:
                return answer.json() if answer.text else {}
        except requests.RequestException as error:
            raise SessionError(f"Flink does not answer at {self.address}; `margin up` starts it") from error
        raise SessionError(f"Flink at {self.address} refuses {method} {path}: {answer.text[:300]}")


def last_checkpoint(folder: Path, jobs: Iterable[str]) -> Path | None:
    """The newest complete checkpoint of the jobs with these ids, under a cluster's folder of checkpoints."""
    complete = [file for job in jobs for file in (folder / job).glob("chk-*/_metadata")]
    newest = max(complete, key=lambda file: file.stat().st_mtime_ns, default=None)
    return None if newest is None else newest.parent
