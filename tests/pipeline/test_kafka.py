"""The cluster's description: what fits together, and that no secret is in what travels."""

from __future__ import annotations

import json
from typing import Any

import pydantic
import pytest

from pipeline.configuration import ConfigurationError
from pipeline.kafka import KEY_PASSWORD, PASSWORD, USERNAME, Kafka


def kafka(**fields: Any) -> Kafka:
    return Kafka(bootstrap="k1:9096,k2:9096", group="margin", **fields)


SCRAM = kafka(security="SASL_SSL", mechanism="SCRAM-SHA-512", ca="/etc/margin/ca.pem")
MUTUAL = kafka(security="SSL", ca="/etc/margin/ca.pem", certificate="/etc/margin/client.pem", encrypted=True)
IAM = kafka(security="SASL_SSL", mechanism="AWS_MSK_IAM", region="eu-west-1")


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (USERNAME, PASSWORD, KEY_PASSWORD):
        monkeypatch.setenv(name, f"the {name}")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"security": "SASL_SSL"}, "mechanism: expected one with SASL"),
        ({"mechanism": "PLAIN"}, "mechanism: .* found PLAIN"),
        ({"security": "SASL_SSL", "mechanism": "AWS_MSK_IAM"}, "region: expected one with AWS_MSK_IAM"),
        ({"security": "SSL", "region": "eu-west-1"}, "region: .* found eu-west-1"),
        ({"security": "SASL_PLAINTEXT", "mechanism": "AWS_MSK_IAM", "region": "r"}, "expected SASL_SSL"),
        ({"ca": "/ca.pem"}, "security: expected SSL or SASL_SSL .* found PLAINTEXT"),
        ({"security": "SSL", "encrypted": True}, "certificate: expected the file of the encrypted key"),
        ({"sasl_password": "hunter2"}, "sasl_password"),
    ],
)
def test_what_does_not_fit_together_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=said):
        kafka(**fields)


def test_librdkafka_is_given_the_secrets() -> None:
    found = SCRAM.client({"linger.ms": 5})
    assert found["sasl.username"] == f"the {USERNAME}"
    assert found["sasl.password"] == f"the {PASSWORD}"
    assert (found["sasl.mechanism"], found["ssl.ca.location"]) == ("SCRAM-SHA-512", "/etc/margin/ca.pem")
    assert found["linger.ms"] == 5
    mutual = MUTUAL.client()
    assert mutual["ssl.certificate.location"] == mutual["ssl.key.location"] == "/etc/margin/client.pem"
    assert mutual["ssl.key.password"] == f"the {KEY_PASSWORD}"


@pytest.mark.parametrize("name", [USERNAME, PASSWORD])
def test_a_missing_secret_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(name)
    with pytest.raises(ConfigurationError, match=name):
        SCRAM.client()


@pytest.mark.parametrize("cluster", [SCRAM, MUTUAL, IAM])
def test_javas_configuration_and_the_job_hold_no_secret(cluster: Kafka) -> None:
    for text in (json.dumps(cluster.consumer()), cluster.model_dump_json()):
        assert "the MARGIN" not in text


def test_java_resolves_the_secrets_where_it_runs() -> None:
    found = SCRAM.consumer()
    assert found["sasl.jaas.config"] == (
        "org.apache.kafka.common.security.scram.ScramLoginModule required "
        'username="${env:MARGIN_KAFKA_USERNAME}" password="${env:MARGIN_KAFKA_PASSWORD}";'
    )
    assert found["config.providers"] == "env"
    assert found["config.providers.env.class"] == "org.apache.kafka.common.config.provider.EnvVarConfigProvider"
    assert MUTUAL.consumer()["ssl.key.password"] == "${env:MARGIN_KAFKA_KEY_PASSWORD}"
    assert "config.providers" not in kafka().consumer()


def test_msk_takes_a_token_of_the_machines_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    found = IAM.client()
    assert found["sasl.mechanism"] == "OAUTHBEARER"
    token, expires = found["oauth_cb"]("")
    again, later = found["oauth_cb"]("")
    assert token
    assert again
    # Fifteen minutes, in seconds of the epoch.
    assert 0 <= later - expires < 600
    assert 1.7e9 < expires < 1e11
    java = IAM.consumer()
    assert java["sasl.mechanism"] == "AWS_MSK_IAM"
    assert java["sasl.jaas.config"] == "software.amazon.msk.auth.iam.IAMLoginModule required;"
    assert "config.providers" not in java
