"""A Kafka broker in KRaft mode, one node, and the monitor's topics on it."""

from __future__ import annotations

import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from ops.stack.service import HOST, Service, ServiceError
from pipeline.kafka import Kafka
from runners.java import assembled, java
from runners.port import free_port
from schemas.topics import ACCOUNTS, ACCOUNTS_STATE, BETAS, BY_NAME, DIGESTS, INSTRUMENTS

#: The newest record of a key is all that these say.
COMPACTED = {topic.name for topic in (ACCOUNTS, INSTRUMENTS, BETAS, ACCOUNTS_STATE)}


@dataclass(frozen=True)
class Broker:
    """A broker that keeps its log under a folder; the same folder and port continue it."""

    folder: Path
    port: int

    @property
    def service(self) -> Service:
        """Its process."""
        return Service(self.folder, "broker", self._java("kafka.Kafka", str(self.properties)), self.port)

    @property
    def properties(self) -> Path:
        """server.properties."""
        return self.folder / "broker.properties"

    def start(self) -> Broker:
        """Format the log on first use, start, and wait for the port. Raises ServiceError or EngineMissingError."""
        if not self.properties.exists():
            self._format()
        self.service.start()
        return self

    def stop(self) -> None:
        """End it; its log stays."""
        self.service.stop()

    def _java(self, *arguments: str) -> list[str]:
        jars = assembled("kafka-broker")
        return [java(), "-Xms256m", "-Xmx256m", "-XX:+UseSerialGC", "-cp", f"{jars}/*", *arguments]

    def _format(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        controller = free_port(self.port)
        settings = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@{HOST}:{controller}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{HOST}:{self.port},CONTROLLER://{HOST}:{controller}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{self.port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": self.folder / "broker-log",
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": 0,
        }
        self.properties.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        identity = ("-t", uuid.uuid4().hex[:22], "-c", str(self.properties))
        made = subprocess.run(
            self._java("kafka.tools.StorageTool", "format", *identity), capture_output=True, text=True, check=False
        )
        if made.returncode:
            self.properties.unlink()
            raise ServiceError(f"the broker's log could not be formatted: {made.stdout[-500:]}{made.stderr[-500:]}")


def create_topics(kafka: Kafka, *, partitions: int = 1) -> list[str]:
    """Create the monitor's topics that are not there yet, with the log-append clock; their names.

    Raises:
      ServiceError: the broker refuses.
    """
    admin = AdminClient(kafka.client())
    missing = {*BY_NAME, DIGESTS} - admin.list_topics(timeout=30).topics.keys()
    wanted = [NewTopic(name, partitions, 1, config=_settings(name)) for name in sorted(missing)]
    for name, made in admin.create_topics(wanted).items() if wanted else ():
        try:
            made.result(30)
        except KafkaException as error:
            raise ServiceError(f"topic {name} could not be created: {error}") from error
    return sorted(missing)


def _settings(name: str) -> dict[str, str]:
    found = {
        # The clock of the graph (design 1B), whose policy fails at once on a topic without it; of outputs it says when
        # they could be read.
        "message.timestamp.type": "LogAppendTime",
        "cleanup.policy": "compact" if name in COMPACTED else "delete",
        # The archive has a week to read what is compacted afterwards.
        "min.compaction.lag.ms": str(7 * 86_400_000 if name in COMPACTED else 0),
    }
    # A digest that is gone proves nothing, and a day has 24.
    return found | ({"retention.ms": "-1"} if name == DIGESTS else {})
