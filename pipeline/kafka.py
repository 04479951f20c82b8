"""How the job speaks to Kafka: one description in the job file, for librdkafka's clients and for Java's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal

import pydantic

from pipeline.configuration import ConfigurationError

Setting = str | int | float | bool

#: Secrets come from here and from nowhere else.
USERNAME, PASSWORD = "MARGIN_KAFKA_USERNAME", "MARGIN_KAFKA_PASSWORD"


class Kafka(pydantic.BaseModel, extra="forbid"):
    """A cluster: its brokers, the consumer group whose offsets say where a start without state begins, and its door."""

    bootstrap: str = pydantic.Field(pattern=r"^[^,:\s]+:\d+(,[^,:\s]+:\d+)*$")
    group: str = pydantic.Field(min_length=1)
    security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None

    @pydantic.model_validator(mode="after")
    def _has_mechanism(self) -> Kafka:
        if self.security.startswith("SASL") != (self.mechanism is not None):
            raise ValueError(f"mechanism: expected one with SASL and none without, found {self.mechanism}")
        return self

    def client(self, settings: Mapping[str, Setting] = {}) -> dict[str, Setting]:
        """librdkafka's configuration. Raises ConfigurationError where a secret is missing."""
        found: dict[str, Setting] = {"bootstrap.servers": self.bootstrap, "security.protocol": self.security}
        if self.mechanism is not None:
            found |= {"sasl.mechanism": self.mechanism, "sasl.username": _secret(USERNAME)}
            found |= {"sasl.password": _secret(PASSWORD)}
        return found | dict(settings)

    def consumer(self) -> dict[str, str]:
        """The Java consumer's configuration. Raises ConfigurationError where a secret is missing."""
        found = {
            "bootstrap.servers": self.bootstrap,
            "group.id": self.group,
            "auto.offset.reset": "earliest",
            # One fetch for each record would take a broker and a consumer half a core at 3,000 a second.
            "fetch.min.bytes": "65536",
            "fetch.max.wait.ms": "40",
            "security.protocol": self.security,
        }
        if self.mechanism is not None:
            module = "plain.PlainLoginModule" if self.mechanism == "PLAIN" else "scram.ScramLoginModule"
            login = f'username="{_secret(USERNAME)}" password="{_secret(PASSWORD)}"'
            found |= {
                "sasl.mechanism": self.mechanism,
                "sasl.jaas.config": f"org.apache.kafka.common.security.{module} required {login};",
            }
        return found


def _secret(name: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise ConfigurationError(
            f"kafka: {name} is not set in the environment, and the job file asks for SASL"
        ) from None
