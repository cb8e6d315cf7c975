"""A client that knows no broker any more is replaced, and what it did goes on.

So does librdkafka at times where a broker begins that is not yet let into its cluster: it names no
broker, and the client forgets all. Here it does so each time: it is told not to ask anew.
"""

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime, timezone

import pytest
from confluent_kafka import Producer

from api.tail_source import Arrived, TailSource
from stack.kafka import KafkaBroker
from stack.waiting import wait_until
from tests.integration.conftest import WAIT_S
from tests.integration.test_partition_reader import reading
from tests.nameless import NamelessProxy
from tocsin.errors import BrokerError
from tocsin.outgoing import ConfirmedProducer, Outgoing
from tocsin.settings import Settings
from tocsin.topics import client_config, create_topics

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

    def by(self, client: str, go_on: Callable[[], object] = int) -> None:
        """Name no broker until a client has heard so. go_on: what has it ask."""
        former = self._proxy.emptied[client]
        self._proxy.names_none = True

        def heard() -> bool:
            go_on()
            return self._proxy.emptied[client] > former

        wait_until(heard, "the client hears of no broker", deadline_s=WAIT_S)
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

    for module in ("flows.partition_client", "tocsin.outgoing", "api.tail_source"):
        monkeypatch.setattr(f"{module}.client_config", forgetful)
    return made


def test_flow_reads_on(forgotten: Forgotten, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.partition_client.LOST_S", 1.0)
    with reading(forgotten.settings) as read:
        forgotten.send()
        wait_until(lambda: read().offsets == [0], "the first record", deadline_s=WAIT_S)
        forgotten.by("tocsin-flow", read)
        forgotten.send()
        wait_until(lambda: read().offsets == [0, 1], "the second record", deadline_s=WAIT_S)


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
    forgotten.by("tocsin-flow", written)
    wait_until(written, "it is written again", deadline_s=WAIT_S)


def test_tail_goes_on(forgotten: Forgotten, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.tail_source.REFRESH_S", 0.2)
    monkeypatch.setattr("api.tail_source._ANSWER_S", 2.0)
    seen: list[Arrived] = []
    tail = TailSource(forgotten.settings, lambda arrived, _skipped: seen.extend(arrived))
    asyncio.run(tail.start())
    try:
        forgotten.send()
        wait_until(lambda: len(seen) == 1, "the first record", deadline_s=WAIT_S)
        forgotten.by("tocsin-api-tail")
        for _ in range(2):
            forgotten.send()
        wait_until(lambda: len(seen) == 3, "the others", deadline_s=WAIT_S)
    finally:
        tail.stop()
