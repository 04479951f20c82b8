"""librdkafka's own mock broker, in the test's process: four partitions a topic, made when they are first named."""

from __future__ import annotations

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, Producer, TopicPartition

from pipeline.kafka import Kafka

PARTITIONS = 4


class MockBroker:
    """A broker that lives as long as this object."""

    def __init__(self) -> None:
        self.producer = Producer({"bootstrap.servers": "replaced:1", "test.mock.num.brokers": 1, "log_level": 0})
        (broker,) = self.producer.list_topics(timeout=10).brokers.values()
        self.kafka = Kafka(bootstrap=f"{broker.host}:{broker.port}", group="test")

    def send(self, topic: str, value: bytes, partition: int = 0) -> None:
        """One record, acknowledged."""
        self.producer.produce(topic, value, partition=partition)
        assert self.producer.flush(10) == 0

    def records(self, topic: str) -> list[Message]:
        """What the topic holds, by partition."""
        consumer = Consumer({**self.kafka.client(), "group.id": "test.records", "log_level": 0})
        places = [TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in range(PARTITIONS)]
        count = sum(consumer.get_watermark_offsets(place, timeout=10)[1] for place in places)
        consumer.assign(places)
        found: list[Message] = []
        while len(found) < count:
            found += consumer.consume(count - len(found), 10)
        consumer.close()
        assert not any(message.error() for message in found)
        return sorted(found, key=lambda message: (message.partition(), message.offset()))
