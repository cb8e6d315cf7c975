"""The publisher: bounded, all or nothing at its bounds, and rid of what its clients left behind."""

import asyncio
import time
from collections.abc import Callable

import msgspec
import pytest

from api.publisher import _BUSY_POLL_S, Publisher
from stack.broker import Broker
from stack.waiting import wait_until
from tests.integration.http.conftest import WAIT_S, read_topic
from tocsin.errors import BrokerError, TopicMissing
from tocsin.settings import Settings
from tocsin.topics import admin_client, create_topics


@pytest.fixture
def settings(broker: Broker, unique_name: Callable[[str], str]) -> Settings:
    return Settings(
        kafka_bootstrap=broker.bootstrap, topic=unique_name("logs"), publish_timeout_s=WAIT_S
    )


async def started(settings: Settings, **bounds: int) -> Publisher:
    """Return a publisher that has found its topic, however long the broker took to tell."""
    publisher = Publisher(settings, **bounds)
    publisher.start()
    # At once: those that ask meanwhile, and would wait for less, share this answer.
    await publisher.require_topic(WAIT_S)
    return publisher


async def publish_when_answered(publisher: Publisher) -> None:
    """Publish, as often as the broker takes too long to tell whether the topic is there."""
    end = time.monotonic() + WAIT_S
    while True:
        try:
            return await publisher.publish([(b"k", b"v")])
        except BrokerError as error:
            if str(error) != "Kafka does not answer" or time.monotonic() > end:
                raise


def values(settings: Settings) -> list[bytes]:
    return sorted(m.value() or b"" for m in read_topic(settings.kafka_bootstrap, settings.topic))


def test_publish_returns_when_all_is_on_the_topic(settings: Settings) -> None:
    create_topics(settings)

    async def work() -> None:
        publisher = await started(settings)
        await asyncio.gather(*(publisher.publish([(b"k", b"%03d" % i)]) for i in range(200)))
        assert await asyncio.to_thread(values, settings) == [b"%03d" % i for i in range(200)]
        await publisher.stop()

    asyncio.run(work())


def test_request_over_the_bound_is_refused_whole(settings: Settings) -> None:
    create_topics(settings)

    async def work() -> None:
        publisher = await started(settings, records_max=10, bytes_max=1000)
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


def test_record_that_the_client_of_kafka_refuses_is_waited_for_no_longer(
    settings: Settings,
) -> None:
    create_topics(settings)

    async def work() -> None:
        publisher = await started(settings)
        records = [(b"k", b"before"), (b"k", bytes(2 * 1024 * 1024)), (b"k", b"after")]
        with pytest.raises(BrokerError, match="Message size too large"):
            await publisher.publish(records)
        assert publisher.in_flight == (0, 0)
        await publisher.publish([(b"k", b"next")])
        await publisher.stop()

    asyncio.run(work())
    assert values(settings) == [b"after", b"before", b"next"]


def test_client_that_leaves_takes_nothing_out_of_flight(settings: Settings) -> None:
    create_topics(settings)

    async def work() -> None:
        publisher = await started(settings, records_max=1)
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
        publisher = await started(settings)
        sent = asyncio.create_task(publisher.publish([(b"k", b"v")] * 1000))
        await asyncio.sleep(0)
        await publisher.stop()
        assert sent.done()
        await sent

    asyncio.run(work())
    assert len(values(settings)) == 1000


def test_stop_lets_whoever_waited_go_on_first(settings: Settings) -> None:
    create_topics(settings)

    def settle_in_the_turn_of_the_next_look(publisher: Publisher) -> None:
        publisher._poll_in(_BUSY_POLL_S)
        wait_until(lambda: values(settings) == [b"v"], "the record stored", deadline_s=WAIT_S)

    async def work() -> None:
        publisher = await started(settings)
        sent = asyncio.create_task(publisher.publish([(b"k", b"v")]))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(settle_in_the_turn_of_the_next_look, publisher)
        await publisher.stop()
        assert sent.done()

    asyncio.run(work())


def test_topic_is_never_made_by_producing_to_it(
    own_broker: Broker, unique_name: Callable[[str], str]
) -> None:
    own = Settings(kafka_bootstrap=own_broker.bootstrap, topic=unique_name("logs"))

    async def work() -> None:
        publisher = Publisher(own)
        publisher.start()
        for _ in range(2):
            with pytest.raises(TopicMissing, match="tocsin migrate"):
                await publish_when_answered(publisher)
        await publisher.stop()

    asyncio.run(work())
    assert own.topic in create_topics(own)


@pytest.fixture
def own(own_broker: Broker, unique_name: Callable[[str], str]) -> Settings:
    """Settings for a broker to break; a write there may take longer than a test will wait."""
    return Settings(
        kafka_bootstrap=own_broker.bootstrap,
        topic=unique_name("logs"),
        publish_timeout_s=2 * SOON_S,
    )


SOON_S = 60
"""Within this a publisher is over the loss of its topic: less than a write may take."""


async def publish_soon(publisher: Publisher) -> None:
    """Publish as a client does that is told to try again."""
    end = time.monotonic() + SOON_S
    while True:
        try:
            return await asyncio.wait_for(publisher.publish([(b"k", b"v")]), SOON_S)
        except BrokerError:
            assert time.monotonic() < end, "the publisher does not recover"
            await asyncio.sleep(0.1)


def restart_empty(broker: Broker) -> None:
    """Restart it from this thread, with whose end the broker's own would come."""
    broker.kill()
    broker.remove()
    broker.start()


def delete_topic(settings: Settings) -> None:
    admin = admin_client(settings)
    admin.delete_topics([settings.topic])[settings.topic].result()


def topics(settings: Settings) -> set[str]:
    return set(admin_client(settings).list_topics(timeout=WAIT_S).topics)


@pytest.mark.parametrize("busy", [False, True])
def test_publisher_outlives_a_broker_that_came_back_empty(
    own_broker: Broker, own: Settings, busy: bool
) -> None:
    create_topics(own)

    async def work() -> None:
        publisher = await started(own)
        await publisher.publish([(b"k", b"v")])
        sent = [asyncio.create_task(publisher.publish([(b"k", b"v")])) for _ in range(3 * busy)]
        await asyncio.sleep(0)
        restart_empty(own_broker)
        await asyncio.to_thread(create_topics, own)
        await publish_soon(publisher)
        await publisher.stop()
        await asyncio.gather(*sent, return_exceptions=True)

    asyncio.run(work())
    assert b"v" in values(own)


def test_topic_is_not_made_on_a_broker_that_came_back_empty(
    own_broker: Broker, own: Settings
) -> None:
    create_topics(own)

    async def work() -> None:
        publisher = await started(own)
        await publisher.publish([(b"k", b"v")])
        restart_empty(own_broker)
        # Sent at once: a producer that knows nothing of it yet asks for its topic.
        with pytest.raises(BrokerError):
            await asyncio.wait_for(publisher.publish([(b"k", b"v")]), SOON_S)
        with pytest.raises(TopicMissing, match="tocsin migrate"):
            await publish_when_answered(publisher)
        assert own.topic not in await asyncio.to_thread(topics, own)
        await asyncio.to_thread(create_topics, own)
        await publish_soon(publisher)
        await publisher.stop()

    asyncio.run(work())


def test_deleted_topic_is_soon_refused_and_not_made_again(
    own_broker: Broker, own: Settings
) -> None:
    create_topics(own)

    async def work() -> None:
        publisher = await started(own)
        await publisher.publish([(b"k", b"v")])
        await asyncio.to_thread(delete_topic, own)
        end = time.monotonic() + SOON_S
        while True:
            try:
                await publisher.publish([(b"k", b"v")])
            except TopicMissing:
                break
            except BrokerError:
                pass
            assert time.monotonic() < end, "the loss of the topic is not noticed"
            await asyncio.sleep(0.1)
        for _ in range(3):
            with pytest.raises(TopicMissing, match="tocsin migrate"):
                await publish_when_answered(publisher)
        assert own.topic not in await asyncio.to_thread(topics, own)
        await publisher.stop()

    asyncio.run(work())


def test_publisher_gets_over_an_empty_broker_that_gives_topics_no_id(
    own_broker: Broker, own: Settings
) -> None:
    own = msgspec.structs.replace(own, publish_timeout_s=2)
    create_topics(own)

    async def work() -> None:
        publisher = await started(own)
        ask = publisher._source.ask

        async def ask_as_of_old(timeout_s: float) -> str:
            await ask(timeout_s)
            return ""

        publisher._source.ask = ask_as_of_old  # type: ignore[method-assign]
        publisher._topic_id = ""
        await publish_soon(publisher)
        restart_empty(own_broker)
        await asyncio.to_thread(create_topics, own)
        await publish_soon(publisher)
        await publisher.stop()

    asyncio.run(work())
