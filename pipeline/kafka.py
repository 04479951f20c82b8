"""How the job speaks to Kafka: one description in the job file, for librdkafka's clients and for Java's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import pydantic

from pipeline.configuration import ConfigurationError

if TYPE_CHECKING:
    from confluent_kafka import Consumer

Setting = str | int | float | bool

#: Secrets come from here and from nowhere else. Java reads them itself, where it runs: in the job server and on every
#: worker; it takes no password with a quotation mark or a backslash.
USERNAME, PASSWORD = "MARGIN_KAFKA_USERNAME", "MARGIN_KAFKA_PASSWORD"
KEY_PASSWORD = "MARGIN_KAFKA_KEY_PASSWORD"

_LOGIN = {
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "SCRAM-SHA-256": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "AWS_MSK_IAM": "software.amazon.msk.auth.iam.IAMLoginModule",
}


class Kafka(pydantic.BaseModel, extra="forbid", frozen=True):
    """A cluster: its brokers, the consumer group whose offsets say where a start without state begins, and its door.

    Fields:
      mechanism: of SASL. AWS_MSK_IAM takes no secret, but the AWS credentials of the machine that it runs on.
      region: of MSK.
      ca: PEM file with the authorities that sign the brokers' certificates, on every machine; None: the well-known.
      certificate: PEM file with this client's certificate chain and its key (PKCS #8), on every machine.
      encrypted: whether that key has a password. Java reads those of `openssl pkcs8 -topk8 -v1 PBE-SHA1-3DES`.
    """

    bootstrap: str = pydantic.Field(pattern=r"^[^,:\s]+:\d+(,[^,:\s]+:\d+)*$")
    group: str = pydantic.Field(min_length=1)
    security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "AWS_MSK_IAM"] | None = None
    region: str | None = None
    ca: str | None = None
    certificate: str | None = None
    encrypted: bool = False

    @pydantic.model_validator(mode="after")
    def _fits_together(self) -> Kafka:
        iam = self.mechanism == "AWS_MSK_IAM"
        if self.security.startswith("SASL") != (self.mechanism is not None):
            raise ValueError(f"mechanism: expected one with SASL and none without, found {self.mechanism}")
        if iam != (self.region is not None):
            raise ValueError(f"region: expected one with AWS_MSK_IAM and none without, found {self.region}")
        if iam and self.security != "SASL_SSL":
            raise ValueError(f"security: expected SASL_SSL with AWS_MSK_IAM, found {self.security}")
        if (self.ca or self.certificate) and not self.security.endswith("SSL"):
            raise ValueError(f"security: expected SSL or SASL_SSL with ca or certificate, found {self.security}")
        if self.encrypted and not self.certificate:
            raise ValueError("certificate: expected the file of the encrypted key, found nothing")
        return self

    def client(self, settings: Mapping[str, Setting] = {}) -> dict[str, Any]:
        """librdkafka's configuration. Raises ConfigurationError where a secret is missing."""
        found: dict[str, Any] = {"bootstrap.servers": self.bootstrap, "security.protocol": self.security}
        if self.ca is not None:
            found["ssl.ca.location"] = self.ca
        if self.certificate is not None:
            # One file for both: each reads its own sections.
            found |= {"ssl.certificate.location": self.certificate, "ssl.key.location": self.certificate}
        if self.encrypted:
            found["ssl.key.password"] = secret(KEY_PASSWORD)
        if self.mechanism == "AWS_MSK_IAM":
            found |= {"sasl.mechanism": "OAUTHBEARER", "oauth_cb": self._token}
        elif self.mechanism is not None:
            found |= {"sasl.mechanism": self.mechanism, "sasl.username": secret(USERNAME)}
            found |= {"sasl.password": secret(PASSWORD)}
        return found | dict(settings)

    def reader(self, name: str, settings: Mapping[str, Setting] = {}) -> Consumer:
        """A consumer beside the job, in a group of its own; it moves no offset. Raises ConfigurationError."""
        from confluent_kafka import Consumer

        own: dict[str, Setting] = {"group.id": f"{self.group}.{name}", "enable.auto.commit": False}
        return Consumer(self.client(own | dict(settings)))

    def begin_at(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Let the group begin at the offsets, by topic and partition. Raises KafkaException."""
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer(self.client({"group.id": self.group}))
        try:
            places = [TopicPartition(topic, partition, offset) for (topic, partition), offset in offsets.items()]
            consumer.commit(offsets=places, asynchronous=False)
        finally:
            consumer.close()

    def _token(self, _: str) -> tuple[str, float]:
        """A signed request for MSK, and when it expires, seconds of the epoch."""
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider

        token, expires_ms = MSKAuthTokenProvider.generate_auth_token(self.region)
        return token, expires_ms / 1000

    def consumer(self) -> dict[str, str]:
        """The Java consumer's configuration; it travels within the pipeline, and so names secrets and holds none."""
        found = {
            "bootstrap.servers": self.bootstrap,
            "group.id": self.group,
            "auto.offset.reset": "earliest",
            # The group's offsets say where a start without state begins (ops/snapshot): nothing but that moves them.
            # KafkaIO would commit what was polled, whether or not a checkpoint holds it.
            "enable.auto.commit": "false",
            "isolation.level": "read_committed",
            # One fetch for each record would take a broker and a consumer half a core at 3,000 a second.
            "fetch.min.bytes": "65536",
            "fetch.max.wait.ms": "25",
            "security.protocol": self.security,
        }
        if self.ca is not None:
            found |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": self.ca}
        if self.certificate is not None:
            found |= {"ssl.keystore.type": "PEM", "ssl.keystore.location": self.certificate}
        if self.encrypted:
            found["ssl.key.password"] = _reference(KEY_PASSWORD)
        if self.mechanism is not None:
            found |= {"sasl.mechanism": self.mechanism, "sasl.jaas.config": self._login()}
        if self.mechanism == "AWS_MSK_IAM":
            found["sasl.client.callback.handler.class"] = "software.amazon.msk.auth.iam.IAMClientCallbackHandler"
        if any("${" in value for value in found.values()):
            found |= {
                "config.providers": "env",
                "config.providers.env.class": "org.apache.kafka.common.config.provider.EnvVarConfigProvider",
                "config.providers.env.param.allowlist.pattern": "MARGIN_KAFKA_.*",
            }
        return found

    def _login(self) -> str:
        login = f"{_LOGIN[self.mechanism or '']} required"
        if self.mechanism == "AWS_MSK_IAM":
            return f"{login};"
        return f'{login} username="{_reference(USERNAME)}" password="{_reference(PASSWORD)}";'


def _reference(name: str) -> str:
    """What Kafka's own EnvVarConfigProvider (kafka-clients 3.5 and later) replaces by the variable's value."""
    return f"${{env:{name}}}"


def secret(name: str) -> str:
    """A variable of the environment. Raises ConfigurationError where it is not set."""
    try:
        return os.environ[name]
    except KeyError:
        raise ConfigurationError(f"{name} is not set in the environment, and the job file asks for it") from None
