"""A partition is read to its end, whatever lies there, and the silence behind it is known."""

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ListOffsetsResultInfo
from structlog.testing import capture_logs

from flows.reader import CLOCK_SKEW_MS, PartitionReader
from flows.room import Room
from flows.watch import TopicWatch
from stack.kafka import KafkaBroker
from stack.ports import free_port
from stack.waiting import wait_until
from tests.integration.conftest import WAIT_S
from tocsin.settings import Settings
from tocsin.topics import admin_client, create_topics, describe_topic, end_told


class Reading:
    """What a reader has given out so far, and what the last of it said."""

    def __init__(self, reader: PartitionReader, watch: TopicWatch) -> None:
        self._reader = reader
        self.watch = watch
        self.offsets: list[int] = []
        self.next_offset = 0
        self.read_until_ms: int | None = None

    def __call__(self) -> "Reading":
        """Go on."""
        for batch in self._reader.next_batch():
            self.offsets += batch.offset
            self.next_offset = batch.next_offset
            self.read_until_ms = batch.read_until_ms
        return self


@contextmanager
def reading(settings: Settings) -> Iterator[Reading]:
    """Read partition 0 of a topic that has only that one."""
    create_topics(settings)
    watch = TopicWatch(settings, describe_topic(settings, settings.topic)[0], [0])
    watch.start()
    begun, stopping = threading.Event(), threading.Event()
    reader = PartitionReader(settings, 1, 0, 1, None, Room([]), stopping, watch, begun.set)
    try:
        yield Reading(reader, watch)
    finally:
        reader.close()
        watch.finish()


def transactions(broker: KafkaBroker, name: str) -> Producer:
    """Return a producer whose records count once they are committed."""
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": name})
    producer.init_transactions(WAIT_S)
    return producer


@pytest.mark.parametrize("is_committed", [True, False], ids=["committed", "aborted"])
def test_silence_is_known_behind_a_transaction(
    full_broker: KafkaBroker,
    unique_name: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    is_committed: bool,
) -> None:
    """Its mark has an offset of its own, at which no record ever comes."""
    monkeypatch.setattr("flows.reader._END_CHECK_S", 0.1)
    monkeypatch.setattr("flows.partition_client.LOST_S", 0.5)
    topic = unique_name("logs")
    settings = Settings(kafka_bootstrap=full_broker.bootstrap, topic=topic, partitions=1)
    with reading(settings) as read:
        producer = transactions(full_broker, topic)
        producer.begin_transaction()
        for _ in range(3):
            producer.produce(topic, b"value", b"key", partition=0)
        if is_committed:
            producer.commit_transaction(WAIT_S)
        else:
            assert producer.flush(WAIT_S) == 0
            producer.abort_transaction(WAIT_S)
        wait_until(lambda: read().next_offset == 4, "its end", deadline_s=WAIT_S)
        wait_until(lambda: read().read_until_ms, "the silence behind it", deadline_s=WAIT_S)
        assert read.offsets == ([0, 1, 2] if is_committed else [])


def test_open_transaction_is_waited_for(
    full_broker: KafkaBroker, unique_name: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody may read it yet: new clients neither find more than the first, nor lose anything."""
    monkeypatch.setattr("flows.reader._END_CHECK_S", 0.1)
    monkeypatch.setattr("flows.partition_client.LOST_S", 0.2)
    topic = unique_name("logs")
    settings = Settings(kafka_bootstrap=full_broker.bootstrap, topic=topic, partitions=1)
    with reading(settings) as read, capture_logs() as said:
        producer = transactions(full_broker, topic)
        producer.begin_transaction()
        producer.produce(topic, b"value", b"key", partition=0)
        assert producer.flush(WAIT_S) == 0

        def replaced() -> int:
            assert read().read_until_ms is None
            return sum("a new client takes over" in entry["event"] for entry in said)

        wait_until(lambda: replaced() == 3, "three new clients", deadline_s=WAIT_S)
        assert read.offsets == []
        producer.commit_transaction(WAIT_S)
        wait_until(lambda: read().offsets == [0], "its record", deadline_s=WAIT_S)
        wait_until(lambda: read().read_until_ms, "the silence behind it", deadline_s=WAIT_S)
    waited = [entry["waited_s"] for entry in said if "a new client" in entry["event"]]
    assert waited[:3] == [0.2, 0.4, 0.8]


def test_broker_that_hangs_tells_of_no_silence(
    own_full_broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies there unread would come too late for the clocks that it has moved."""
    monkeypatch.setattr("flows.reader._END_CHECK_S", 0.1)
    monkeypatch.setattr("tocsin.topics._SOCKET_TIMEOUT_MS", 1000)
    monkeypatch.setattr("flows.watch.REQUEST_TIMEOUT_S", 1.5)
    settings = Settings(kafka_bootstrap=own_full_broker.bootstrap, topic="logs", partitions=1)
    with reading(settings) as read:
        wait_until(lambda: read().read_until_ms, "the silence", deadline_s=WAIT_S)
        ask_end, asked = read.watch.ask_end, []

        def ask(place: TopicPartition) -> "tuple[AdminClient, Future[ListOffsetsResultInfo]]":
            asked.append(ask_end(place))
            return asked[-1]

        monkeypatch.setattr(read.watch, "ask_end", ask)
        own_full_broker.pause()
        paused_ms = time.time_ns() // 1_000_000

        def is_unanswered() -> bool:
            assert (read().read_until_ms or 0) < paused_ms - CLOCK_SKEW_MS
            return len(asked) == 4  # the first may have been on its way

        try:
            wait_until(is_unanswered, "three questions without an answer", deadline_s=WAIT_S)
        finally:
            own_full_broker.resume()
        wait_until(lambda: read().read_until_ms, "the silence", deadline_s=WAIT_S)


def test_outage_leaves_no_clients_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even until garbage is collected, which the flow has done seldom."""
    made: list[weakref.ref[AdminClient]] = []

    def counted(settings: Settings) -> AdminClient:
        admin = admin_client(settings)
        made.append(weakref.ref(admin))
        return admin

    monkeypatch.setattr("flows.watch.admin_client", counted)
    monkeypatch.setattr("flows.watch._ANSWER_S", 0.2)
    monkeypatch.setattr("flows.watch._AWAY_S", 0.01)
    monkeypatch.setattr("flows.watch.REQUEST_TIMEOUT_S", 0.3)
    watch = TopicWatch(Settings(kafka_bootstrap=f"127.0.0.1:{free_port()}"), "its id", [0])
    asked = watch.ask_end(TopicPartition("logs", 0))

    def seen() -> int:
        nonlocal asked
        if asked[1].done():
            assert end_told(asked[1]) is None
            asked = watch.ask_end(TopicPartition("logs", 0))
        return len(made)

    gc.disable()
    try:
        watch.start()
        wait_until(lambda: seen() >= 10, "nine new clients", deadline_s=WAIT_S)
        watch.finish()
        # The one that asks, the one that was asked for the end, and one that is just replaced.
        assert sum(one() is not None for one in made) <= 3
    finally:
        gc.enable()
