"""A topic filled before the measuring begins, and what reading it costs at the least."""

import time
from collections.abc import Iterable

import msgspec
from confluent_kafka import Consumer, Producer, TopicPartition

from stack.errors import StackError
from tocsin.records import LogRecord
from tocsin.topics import PARTITIONER

_POLL_RECORDS = 10_000


def fill(bootstrap: str, wire: Iterable[tuple[str, bytes]], topic: str = "logs") -> None:
    """Put (service id, record) on a topic and return when the broker has all."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "partitioner": PARTITIONER,
            "compression.type": "lz4",
            "linger.ms": 20,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    for service_id, value in wire:
        while True:
            try:
                producer.produce(topic, value, service_id)
            except BufferError:
                producer.poll(0.1)
            else:
                break
    if producer.flush(120):
        raise StackError("the topic could not be filled: the broker acknowledges nothing")


def consumer_rate(bootstrap: str, records: int, topic: str = "logs") -> float:
    """Return at what rate a bare consumer reads the topic and msgspec decodes it."""
    decode = msgspec.json.Decoder(LogRecord).decode
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "bench",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 25,
        }
    )
    parts = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, part, 0) for part in parts])
    read, began = 0, time.perf_counter()
    while read < records:
        messages = consumer.consume(_POLL_RECORDS, timeout=1)
        for message in messages:
            decode(message.value() or b"")
        read += len(messages)
    took_s = time.perf_counter() - began
    consumer.close()
    return records / took_s
