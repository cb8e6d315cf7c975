"""A client that knows no broker any more is replaced, and what it did goes on.

So does librdkafka at times where a broker begins that is not yet let into its cluster: it names no
broker, and the client forgets all. Here it does so each time: it is told not to ask anew.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone

import msgspec
import pytest
from confluent_kafka import Producer
from structlog.testing import capture_logs

from api.publisher import Publisher
from api.tail_source import Arrived, TailSource
from flows.watch import TopicWatch
from stack.kafka import KafkaBroker
from stack.waiting import wait_until
from tests.integration.conftest import WAIT_S
from tests.integration.test_partition_reader import reading
from tests.nameless import NamelessProxy
from tocsin.errors import BrokerError
from tocsin.outgoing import ConfirmedProducer, Outgoing
from tocsin.settings import Settings
from tocsin.topics import client_config, create_topics, describe_topic

HEARD = "the client hears of no broker"
MESSAGE = b'{"timestamp":"%s","service_id":"s","level":"INFO","message":"m"}'


class Forgotten:
    """A topic on a broker that its clients can be made to forget.

    settings: lead to it by the proxy.
    """

    def __init__(self, broker: KafkaBroker, proxy: NamelessProxy, topic: str) -> None:
        self._broker = broker
        self._proxy = proxy
        self.settings = Settings(
            kafka_bootstrap=f"127.0.0.1:{proxy.port}", topic=topic, partitions=1
        )

    @contextmanager
    def by(self, client: str) -> Iterator[Callable[[], bool]]:
        """Name no broker for a while; yield whether a client has heard so."""
        former = self._proxy.emptied[client]
        self._proxy.names_none = True
        try:
            yield lambda: self._proxy.emptied[client] > former
        finally:
            self._proxy.names_none = False

    def send(self) -> None:
        """Write a record, past the proxy."""
        now = datetime.now(timezone.utc).isoformat().encode()
        producer = Producer({"bootstrap.servers": self._broker.bootstrap})
        producer.produce(self.settings.topic, MESSAGE % now, b"s", partition=0)
        assert producer.flush(WAIT_S) == 0


@pytest.fixture(scope="module")
def broker_and_proxy(
    kafka_here: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[KafkaBroker, NamelessProxy]]:
    folder = tmp_path_factory.mktemp("forgotten")
    proxy = NamelessProxy()
    broker = KafkaBroker(folder / "broker", folder / "broker.log", proxy_port=proxy.port)
    try:
        broker.start()
        proxy.target = broker.proxied_port or 0
        proxy.start()
        yield broker, proxy
        proxy.stop()
    finally:
        broker.remove()


@pytest.fixture
def forgotten(
    broker_and_proxy: tuple[KafkaBroker, NamelessProxy],
    unique_name: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> Forgotten:
    """A topic whose clients forget the broker for good once it names none."""
    made = Forgotten(*broker_and_proxy, unique_name("logs"))
    create_topics(made.settings)

    def forgetful(settings: Settings, client_id: str) -> dict[str, object]:
        return {
            **client_config(settings, client_id),
            "metadata.recovery.strategy": "none",
            "topic.metadata.refresh.interval.ms": 100,
        }

    modules = "flows.partition_client", "tocsin.outgoing", "api.publisher", "api.tail_source"
    for module in modules:
        monkeypatch.setattr(f"{module}.client_config", forgetful)
    return made


def test_flow_reads_on(forgotten: Forgotten, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.partition_client.LOST_S", 1.0)
    with reading(forgotten.settings) as read:
        forgotten.send()
        wait_until(lambda: read().offsets == [0], "the first record", deadline_s=WAIT_S)
        with forgotten.by("tocsin-flow") as has_heard:
            wait_until(lambda: read() and has_heard(), HEARD, deadline_s=WAIT_S)
        forgotten.send()
        wait_until(lambda: read().offsets == [0, 1], "the second record", deadline_s=WAIT_S)


def test_topic_is_watched_on(forgotten: Forgotten) -> None:
    settings = forgotten.settings
    watch = TopicWatch(settings, describe_topic(settings, settings.topic)[0], [0])
    watch.start()

    def is_there(since: float) -> bool:
        watch.ask()
        return watch.was_there_at(since)

    with capture_logs() as said:
        wait_until(lambda: is_there(0.1), "the topic", deadline_s=WAIT_S)
        with forgotten.by("tocsin-admin") as has_heard:
            wait_until(lambda: is_there(0.1) and has_heard(), HEARD, deadline_s=WAIT_S)
            wait_until(lambda: is_there(0.1) and said, "no answer", deadline_s=WAIT_S)
        now = time.monotonic()
        wait_until(lambda: is_there(now), "the topic again", deadline_s=WAIT_S)
    watch.finish()
    told = [entry["event"] for entry in said]
    assert told == ["Kafka is away, trying again", "Kafka answers again"]


def test_what_tocsin_writes_is_written(forgotten: Forgotten) -> None:
    producer = ConfirmedProducer(
        forgotten.settings, forgotten.settings.topic, config={"delivery.timeout.ms": 2000}
    )

    def written() -> bool:
        try:
            producer.send([Outgoing(b"key", b"value")])
        except BrokerError:
            return False
        return True

    wait_until(written, "it is written", deadline_s=WAIT_S)
    with forgotten.by("tocsin-flow") as has_heard:
        wait_until(lambda: written() is not None and has_heard(), HEARD, deadline_s=WAIT_S)
    wait_until(written, "it is written again", deadline_s=WAIT_S)


def test_api_takes_records_again(forgotten: Forgotten) -> None:
    publisher = Publisher(msgspec.structs.replace(forgotten.settings, publish_timeout_s=2.0))

    async def is_confirmed() -> bool:
        with suppress(BrokerError):
            await publisher.publish([(b"key", b"value")])
            return True
        return False

    async def is_unanswered() -> bool:
        try:
            await publisher.require_topic(1.0)
        except BrokerError:
            return True
        return False

    async def work() -> None:
        publisher.start()
        while not await is_confirmed():
            pass
        with forgotten.by("tocsin-api") as has_heard:
            while not (has_heard() and await is_unanswered()):
                await is_confirmed()
        while not await is_confirmed():
            pass
        await publisher.stop()

    asyncio.run(asyncio.wait_for(work(), WAIT_S))


def test_tail_goes_on(forgotten: Forgotten, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.tail_source.REFRESH_S", 0.2)
    monkeypatch.setattr("api.tail_source._ANSWER_S", 2.0)
    seen: list[Arrived] = []
    tail = TailSource(forgotten.settings, lambda arrived, _skipped: seen.extend(arrived))
    asyncio.run(tail.start())
    try:
        forgotten.send()
        wait_until(lambda: len(seen) == 1, "the first record", deadline_s=WAIT_S)
        with forgotten.by("tocsin-api-tail") as has_heard:
            wait_until(has_heard, HEARD, deadline_s=WAIT_S)
        for _ in range(2):
            forgotten.send()
        wait_until(lambda: len(seen) == 3, "the others", deadline_s=WAIT_S)
    finally:
        tail.stop()
