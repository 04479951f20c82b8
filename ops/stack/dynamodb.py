"""DynamoDB Local: the archive's index on this machine, as a process that keeps nothing once it ends."""

from __future__ import annotations

from pathlib import Path

from ops.stack.service import Service
from runners.java import assembled, java


def dynamodb_service(folder: Path, port: int) -> Service:
    """The server, to be started; http://127.0.0.1:PORT takes any credentials. Raises EngineMissingError."""
    return Service(folder, "dynamodb", command(port), port)


def command(port: int) -> list[str]:
    """The program and its arguments. Raises EngineMissingError."""
    jars = assembled("dynamodb-local")
    heap = ("-Xms128m", "-Xmx1g", "-XX:+UseSerialGC")
    # SQLite's library lies among the jars.
    return [java(), *heap, f"-Djava.library.path={jars}", "-cp", f"{jars}/*", "margin.Loopback", str(port)]
