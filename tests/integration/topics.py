"""Topics of the tests' own: made, filled with any bytes, and read as they are."""

from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.cimpl import NewTopic
from msgspec import Struct, structs

from stack.waiting import wait_until
from tocsin.settings import Settings
from tocsin.topics import PARTITIONER, admin_client

WAIT_S = 60


class Kept(Struct, frozen=True):
    """A record as a topic keeps it."""

    partition: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    arrival_ms: int = 0

    def without_arrival(self) -> "Kept":
        """Return what a replay must not change."""
        return structs.replace(self, arrival_ms=0)


def make_topic(
    settings: Settings, name: str, *, partitions: int, config: Mapping[str, str] | None = None
) -> Settings:
    """Make a topic and return the settings of who reads it."""
    admin = admin_client(settings)
    topic = NewTopic(name, partitions, 1, config=dict(config or {}))
    admin.create_topics([topic])[name].result()
    return structs.replace(settings, topic=name)


def fill(settings: Settings, records: Iterable[Kept]) -> None:
    """Produce records to their partitions, with their arrivals."""
    producer = Producer(
        {"bootstrap.servers": settings.kafka_bootstrap, "acks": "all", "partitioner": PARTITIONER}
    )
    for record in records:
        arguments: dict[str, Any] = {"timestamp": record.arrival_ms} if record.arrival_ms else {}
        producer.produce(
            settings.topic,
            record.value,
            record.key,
            record.partition,
            headers=list(record.headers),
            on_delivery=_delivered,
            **arguments,
        )
        producer.poll(0)
    assert producer.flush(WAIT_S) == 0


def kept(settings: Settings, expected: int) -> list[Kept]:
    """Return so many records of a topic, and fail if it has more: each partition in its order."""
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap,
            "group.id": "tests",
            "enable.auto.commit": False,
        }
    )
    partitions = consumer.list_topics(settings.topic, timeout=WAIT_S).topics[settings.topic]
    places = [TopicPartition(settings.topic, part, 0) for part in partitions.partitions]
    consumer.assign(places)
    read: list[Message] = []

    def came() -> bool:
        read.extend(consumer.consume(1_000, timeout=0.1))
        return len(read) >= expected

    try:
        wait_until(came, f"{expected} records of {settings.topic}", deadline_s=WAIT_S)
        ends = [consumer.get_watermark_offsets(place, timeout=WAIT_S)[1] for place in places]
    finally:
        consumer.close()
    assert [message for message in read if message.error()] == []
    assert sum(ends) <= len(read) == expected
    return [_kept(message) for message in read]


def in_partition(records: Iterable[Kept], partition: int) -> list[Kept]:
    """Return what a partition has, in its order, without arrivals."""
    return [record.without_arrival() for record in records if record.partition == partition]


def _kept(message: Message) -> Kept:
    headers = message.headers() or []
    return Kept(
        message.partition() or 0,
        message.key(),
        message.value(),
        tuple(headers),  # type: ignore[arg-type]  # a list, of whatever bytes
        message.timestamp()[1],
    )


def _delivered(error: object, _message: Message) -> None:
    assert error is None, error
