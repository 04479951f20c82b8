"""The exporter against librdkafka's mock broker and a scrape over HTTP, and the dashboard against what is exposed."""

from __future__ import annotations

import json
import math
import re
import urllib.request
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from confluent_kafka import Consumer, KafkaException, TopicPartition
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.parser import text_string_to_metric_families

from ops.exporter import COUNTED, Exporter, ExporterError, behind
from schemas.archive import Head, HourDigest, digest_json
from schemas.inputs import Cash
from schemas.scalars import Money, Time
from schemas.topics import DIGESTS, INPUTS, OUTPUTS
from tests import days
from tests.broker import MockBroker
from tests.days import at
from tests.transforms.test_ordered import Key, busy_day, worker_of
from transforms import fold as folds
from transforms import unbounded

DEPLOY = Path(__file__).parents[2] / "deploy"
TOPICS = [*(topic.name for topic in (*INPUTS, *OUTPUTS)), DIGESTS]
NOW = Time.parse("2026-11-25T08:00:00Z")

#: Of Flink 1.19's reporter, seen in a scrape of a live job.
FLINK = {
    "flink_taskmanager_job_task_operator_currentInputWatermark",
    "flink_jobmanager_job_lastCheckpointSize",
    "flink_jobmanager_job_lastCheckpointDuration",
    "flink_jobmanager_job_numRestarts",
    "flink_jobmanager_job_numberOfFailedCheckpoints",
}
#: How a counter of Beam's is called there: the namespace, a point that becomes an underscore, and its name.
OPERATOR = "flink_taskmanager_job_task_operator_margin_"
#: Counted outside the fold: by ParseRecords and by InTimeOrder.
AROUND = {"events", "state_bytes"}


@pytest.fixture(scope="module")
def empty() -> MockBroker:
    return MockBroker()


@pytest.fixture
def broker() -> MockBroker:
    broker = MockBroker()
    for topic in TOPICS:
        # The mock makes a topic when it is named first, and says so at the next look.
        while not broker.producer.list_topics(topic, timeout=10).topics[topic].partitions:
            pass
    return broker


def publish(broker: MockBroker, topic: str, later: float, said: dict[str, Any] | None, **headers: str) -> None:
    """A record of NOW that the broker has `later` seconds after it; None is a pulse."""
    value = None if said is None else json.dumps(said).encode()
    sent: Any = {"partition": 0, "timestamp": round(NOW / 1000 + later * 1000), "headers": list(headers.items())}
    broker.producer.produce(topic, value, **sent)
    assert broker.producer.flush(10) == 0


def read(exporter: Exporter, count: int) -> None:
    while count > 0:
        count -= exporter.consume(0.2)


def scraped(registry: CollectorRegistry) -> dict[tuple[str, ...], float]:
    """Samples by name and the values of their labels, from the text that Prometheus gets."""
    server, _ = start_http_server(0, "127.0.0.1", registry)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    finally:
        server.shutdown()
        server.server_close()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(s.name, *(value for _, value in sorted(s.labels.items()))): s.value for s in samples}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def exporter(broker: MockBroker, registry: CollectorRegistry) -> Iterator[Exporter]:
    publish(broker, "accounts.state.v1", 1, {"account_id": "A", "level": "WARNING", "as_of": NOW.text()})
    publish(broker, "alerts.v1", 1, {"kind": "LEVEL", "level": "WARNING", "as_of": NOW.text()})
    exporter = Exporter(broker.kafka, registry)
    read(exporter, 1)
    yield exporter
    exporter.close()


def test_what_was_published_before_is_not_counted_but_says_where_accounts_stand(
    exporter: Exporter, registry: CollectorRegistry
) -> None:
    found = scraped(registry)
    assert found["margin_accounts", "WARNING"] == 1
    assert {value for (name, *_), value in found.items() if name.endswith(("_total", "_count"))} == {0}
    assert found["margin_alerts_total", "LEVEL", "LIQUIDATION"] == 0
    assert found["margin_deadletters_total", "fills.v1"] == 0


def test_outputs_become_lag_counts_and_levels(
    broker: MockBroker, exporter: Exporter, registry: CollectorRegistry
) -> None:
    produced = {"produced_at": str(NOW + 400_000)}
    publish(broker, "accounts.state.v1", 0.6, {"account_id": "A", "level": "MARGIN_CALL", "as_of": NOW.text()})
    publish(broker, "accounts.state.v1", 0.6, {"account_id": "B", "level": "NONE", "as_of": NOW.text()})
    publish(broker, "alerts.v1", 0.6, {"kind": "LEVEL", "level": "MARGIN_CALL", "as_of": NOW.text()}, **produced)
    publish(broker, "margin.calls.v1", 7, {"status": "OPENED", "as_of": NOW.text()})
    publish(broker, "deadletter.v1", 7, {"topic": "fills.v1", "partition": 0, "offset": 3})
    publish(broker, "audit.v1", 7, None)
    broker.send("audit.v1", b"not json")
    read(exporter, 7)
    found = scraped(registry)
    levels = {level: n for (name, *labels), n in found.items() if name == "margin_accounts" and n for level in labels}
    assert levels == {"MARGIN_CALL": 1, "NONE": 1}
    assert found["margin_outputs_total", "accounts.state.v1"] == 2
    assert found["margin_alerts_total", "LEVEL", "MARGIN_CALL"] == 1
    assert found["margin_calls_total", "OPENED"] == 1
    assert found["margin_deadletters_total", "fills.v1"] == 1
    assert found["margin_exporter_errors_total", "record"] == 1
    assert found["margin_end_to_end_lag_seconds_sum", "alerts.v1"] == pytest.approx(0.6)
    assert found["margin_evaluation_lag_seconds_sum", "alerts.v1"] == pytest.approx(0.4)
    assert found["margin_end_to_end_lag_seconds_bucket", "5.0", "margin.calls.v1"] == 0
    assert found["margin_end_to_end_lag_seconds_bucket", "10.0", "margin.calls.v1"] == 1
    assert ("margin_end_to_end_lag_seconds_count", "deadletter.v1") not in found


def test_inputs_are_counted_without_pulses_and_say_how_far_the_job_is_behind(
    broker: MockBroker, exporter: Exporter, registry: CollectorRegistry
) -> None:
    publish(broker, "prices.v1", 2.5, {"symbol": "S"})
    publish(broker, "prices.v1", 9, None)
    read(exporter, 2)
    committed = Consumer({**broker.kafka.client(), "group.id": broker.kafka.group})
    committed.commit(offsets=[TopicPartition("prices.v1", 0, 1)], asynchronous=False)
    committed.close()
    exporter.measure()
    found = scraped(registry)
    assert found["margin_inputs_total", "prices.v1"] == 1
    assert found["margin_input_lag_seconds",] == pytest.approx(2.5)
    assert {key: n for key, n in found.items() if key[0] == "margin_consumer_lag_records"} == {
        ("margin_consumer_lag_records", "0", "prices.v1"): 1
    }


def test_the_archive_says_until_when_it_is_sealed_and_what_waits(
    broker: MockBroker, exporter: Exporter, registry: CollectorRegistry
) -> None:
    before = scraped(registry)
    assert math.isnan(before["margin_archive_sealed_timestamp_seconds",])
    assert not {key for key in before if key[0] == "margin_archive_backlog_records"}
    for _ in range(3):
        publish(broker, "prices.v1", 1, {"symbol": "S"})
    hour = Time.parse("2026-11-25T07:00:00Z")
    head = Head(topic="prices.v1", partition=0, end=2, link="l")
    last = HourDigest(log="margin", hour=hour, seconds=3600, parts=(), facts=(), previous="p", heads=(head,))
    others = msgspec.structs.replace(last, log="another", hour=NOW)
    for digest in (last, others, msgspec.structs.replace(last, hour=Time(hour - 3600 * 10**6), heads=())):
        broker.send(DIGESTS, digest_json(digest))
    broker.send(DIGESTS, b"no digest")
    read(exporter, 7)
    exporter.measure()
    found = scraped(registry)
    assert found["margin_archive_sealed_timestamp_seconds",] == NOW / 1e6
    # Of the others, what was published before: alerts.v1 and accounts.state.v1.
    backlog = {key[1]: n for key, n in found.items() if key[0] == "margin_archive_backlog_records"}
    assert {topic: n for topic, n in backlog.items() if n} == {"prices.v1": 1, "alerts.v1": 1, "accounts.state.v1": 1}
    assert found["margin_exporter_errors_total", "record"] == 1


def test_there_is_no_lag_without_an_input_and_an_output() -> None:
    assert math.isnan(behind(-math.inf, -math.inf))
    assert math.isnan(behind(5.0, -math.inf))
    assert (behind(5.0, 3.0), behind(3.0, 5.0)) == (2.0, 0.0)


def test_brokers_that_are_away_are_said(
    broker: MockBroker, exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.exporter.TIMEOUT", 0.5)
    del broker.producer
    with pytest.raises(KafkaException):
        exporter.measure()
    assert exporter.consume(0.1) == 0


def test_missing_topics_are_named(empty: MockBroker, registry: CollectorRegistry) -> None:
    with pytest.raises(ExporterError, match=r"expected .*prices\.v1.*`margin up` creates them"):
        Exporter(empty.kafka, registry)


def dashboard() -> tuple[dict[str, Any], list[str]]:
    """The dashboard, and its expressions with Grafana's own variable filled in."""
    found = json.loads((DEPLOY / "grafana" / "margin.json").read_text())
    targets = [target for panel in found["panels"] for target in panel["targets"]]
    return found, [target["expr"].replace("$__rate_interval", "1m") for target in targets]


def test_the_dashboard_can_be_imported() -> None:
    found, _ = dashboard()
    assert (found["title"], found["schemaVersion"]) == ("Margin monitor", 39)
    panels = found["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    source = {"type": "prometheus", "uid": "${datasource}"}
    assert all(part["datasource"] == source for panel in panels for part in (panel, *panel["targets"]))
    assert [(v["name"], v["type"], v["query"]) for v in found["templating"]["list"]] == [
        ("datasource", "datasource", "prometheus")
    ]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_every_expression_parses() -> None:
    parser = pytest.importorskip("promql_parser")
    for expression in dashboard()[1]:
        parser.parse(expression)


def test_every_metric_of_the_dashboard_is_exposed(exporter: Exporter, registry: CollectorRegistry) -> None:
    exporter.left.labels("prices.v1", "0")
    exporter.unsealed.labels("prices.v1")
    fold, cash = days.fold_of(), Cash(cash_id="D", account_id="A", amount=Money(1), kind="DEPOSIT", arrived_at=at(30))
    counts = counts_of(fold.advance(fold.start(), [days.by_topic([cash])], at(60)))
    known = {name for name, *_ in scraped(registry)} | FLINK | {OPERATOR + name for name in (*counts, *AROUND)}
    named = {name for expression in dashboard()[1] for name in re.findall(r"\b(?:margin|flink)_\w+", expression)}
    assert named <= known
    assert {f"{name}_total" for _, name, *_ in COUNTED} <= named


def counts_of(outputs: Iterator[Any]) -> dict[str, int]:
    """What an advance says that it counted."""
    while True:
        try:
            next(outputs)
        except StopIteration as end:
            return dict(end.value)


def test_the_fold_counts_instants_accounts_and_late_records() -> None:
    fold = days.fold_of()
    state = fold.start()
    cash = [
        Cash(cash_id=f"D{n}", account_id=f"A{n}", amount=Money(1), kind="DEPOSIT", arrived_at=at(30 + n))
        for n in range(3)
    ]
    first = counts_of(fold.advance(state, [days.by_topic(cash[:2])], at(60)))
    assert first == {"instants": 1, "recomputed_accounts": 2, "late_records": 0, "deadletters": 0}
    late = counts_of(fold.advance(state, [days.by_topic(cash[2:])], state.now + fold.interval))
    assert (late["late_records"], late["recomputed_accounts"] >= 1) == (1, True)


def test_a_state_that_is_made_again_is_not_counted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unbounded, "JOURNAL", 500)
    fold, found = days.fold_of(), []
    for moves in (False, True):
        counts: Counter[str] = Counter()
        for module in (folds, unbounded):
            monkeypatch.setattr(module, "counter", partial(Tally, counts))
        key, worker = Key(fold), worker_of(fold)
        key.arrive(worker, busy_day())
        for instant in range(at(60), at(1200), 60_000_000):
            list(key.wake(worker_of(fold) if moves else worker, instant))
        found.append(counts)
    written = [counts.pop("state_bytes") for counts in found]
    # A worker that has taken a key over does not know how much was written, and writes sooner.
    assert found[0]["recomputed_accounts"] > 0 < written[0] <= written[1]
    assert found[0] == found[1]


class Tally:
    """A counter of the engine's, kept here."""

    def __init__(self, counts: Counter[str], name: str) -> None:
        self.counts, self.name = counts, name

    def inc(self, count: int) -> None:
        self.counts[self.name] += count


def test_prometheus_scrapes_the_exporter_and_both_of_flinks_processes() -> None:
    found = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    jobs = {job["job_name"]: job["static_configs"][0]["targets"] for job in found["scrape_configs"]}
    assert jobs == {"margin": ["127.0.0.1:9464"], "flink": ["127.0.0.1:9249", "127.0.0.1:9250"]}
