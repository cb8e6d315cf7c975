"""The publisher: bounded, all or nothing at its bounds, and rid of what its clients left behind."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api.publisher import Publisher
from stack.broker import LightBroker
from tests.integration.http.conftest import read_topic
from tocsin.errors import BrokerError, TopicMissing
from tocsin.settings import Settings
from tocsin.topics import create_topics


@pytest.fixture
def settings(broker: LightBroker, unique_name: Callable[[str], str]) -> Settings:
    return Settings(
        kafka_bootstrap=broker.bootstrap, topic=unique_name("logs"), publish_timeout_s=5
    )


@pytest.fixture
def own_broker(broker: LightBroker, tmp_path: Path) -> Iterator[LightBroker]:
    server = LightBroker(tmp_path / "own.log")
    server.start()
    yield server
    server.stop()


def values(settings: Settings) -> list[bytes]:
    return sorted(m.value() or b"" for m in read_topic(settings.kafka_bootstrap, settings.topic))


def test_publish_returns_when_all_is_on_the_topic(settings: Settings) -> None:
    create_topics(settings)

    async def work() -> None:
        publisher = Publisher(settings)
        publisher.start()
        await asyncio.gather(*(publisher.publish([(b"k", b"%03d" % i)]) for i in range(200)))
        assert await asyncio.to_thread(values, settings) == [b"%03d" % i for i in range(200)]
        await publisher.stop()

    asyncio.run(work())


def test_request_over_the_bound_is_refused_whole(settings: Settings) -> None:
    create_topics(settings)

    async def work() -> None:
        publisher = Publisher(settings, records_max=10, bytes_max=1000)
        publisher.start()
        await publisher.publish([(b"k", b"first")])
        waiting = asyncio.create_task(publisher.publish([(b"k", b"second")] * 8))
        await asyncio.sleep(0)
        with pytest.raises(BrokerError, match="too many"):
            await publisher.publish([(b"k", b"never")] * 3)
        await waiting
        with pytest.raises(BrokerError, match="too many"):
            await publisher.publish([(b"k", b"never" * 200)])
        await publisher.publish([(b"k", b"third")] * 10)
        await publisher.stop()

    asyncio.run(work())
    assert set(values(settings)) == {b"first", b"second", b"third"}


def test_client_that_leaves_takes_nothing_out_of_flight(settings: Settings) -> None:
    create_topics(settings)

    async def work() -> None:
        publisher = Publisher(settings, records_max=1)
        publisher.start()
        await publisher.require_topic(5)
        left = asyncio.create_task(publisher.publish([(b"k", b"left")]))
        await asyncio.sleep(0)
        left.cancel()
        with pytest.raises(BrokerError, match="too many"):
            await publisher.publish([(b"k", b"early")])
        await publisher.stop()
        publisher.start()
        await publisher.publish([(b"k", b"next")])
        await publisher.stop()

    asyncio.run(work())
    assert values(settings) == [b"left", b"next"]


def test_stop_waits_for_what_was_sent(settings: Settings) -> None:
    create_topics(settings)

    async def work() -> None:
        publisher = Publisher(settings)
        publisher.start()
        await publisher.require_topic(5)
        sent = asyncio.create_task(publisher.publish([(b"k", b"v")] * 1000))
        await asyncio.sleep(0)
        await publisher.stop()
        assert sent.done()
        await sent

    asyncio.run(work())
    assert len(values(settings)) == 1000


def test_topic_is_never_made_by_producing_to_it(
    own_broker: LightBroker, unique_name: Callable[[str], str]
) -> None:
    own = Settings(kafka_bootstrap=own_broker.bootstrap, topic=unique_name("logs"))

    async def work() -> None:
        publisher = Publisher(own)
        publisher.start()
        for _ in range(2):
            with pytest.raises(TopicMissing, match="tocsin migrate"):
                await publisher.publish([(b"k", b"v")])
        await publisher.stop()

    asyncio.run(work())
    assert own.topic in create_topics(own)
