"""Pulses: an empty record to every partition of the inputs, so that an idle one does not hold the log-append clock.

KafkaIO lets the watermark of a partition without records follow two to three seconds behind (LogAppendTimePolicy); a
partition that has just had one is as far as that. A pulse has no value, which the sources take for the clock alone.
"""

from __future__ import annotations

import sys
import time

from confluent_kafka import Producer

from pipeline.job import load_live_job
from pipeline.kafka import Kafka
from schemas.topics import INPUTS

KEY = b"\0pulse"


def pulse(kafka: Kafka, every: float) -> None:
    """Send pulses for ever, a round each `every` seconds."""
    producer = Producer(kafka.client({"linger.ms": 0, "message.timeout.ms": 5_000}))
    topics = producer.list_topics(timeout=30).topics
    places = [(topic.name, partition) for topic in INPUTS for partition in topics[topic.name].partitions]
    while True:
        for topic, partition in places:
            producer.produce(topic, None, KEY, partition)
        producer.poll(0)
        time.sleep(every)


if __name__ == "__main__":
    pulse(load_live_job(sys.argv[1]).kafka, float(sys.argv[2]))
