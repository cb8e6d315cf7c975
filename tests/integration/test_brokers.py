"""Both brokers start, stop, pause, fail and leave nothing behind; Apache Kafka keeps its topics."""

import asyncio
import gc
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic, Uuid

from api.topic import Topic
from stack import brokers, kafka_jars
from stack.broker import Broker, LightBroker
from stack.errors import StackError
from stack.kafka import KafkaBroker
from stack.ports import LOOPBACK, free_port
from stack.processes import descendants, is_running
from stack.waiting import wait_until
from tests.integration.conftest import Line
from tocsin.topics import admin_client, describe_topic


@pytest.fixture(params=brokers.NAMES)
def kind(request: pytest.FixtureRequest) -> brokers.Kind:
    """Either kind of broker, where this machine can run it."""
    if request.param == "kafka":
        request.getfixturevalue("kafka_here")
    return brokers.chosen({"BROKER": request.param})


@pytest.fixture
def either(kind: brokers.Kind, tmp_path: Path) -> Iterator[Broker]:
    """A broker of either kind, to break; not yet started."""
    server = brokers.make(kind, tmp_path / "broker", tmp_path / "broker.log")
    yield server
    server.remove()


def family_of(broker: Broker) -> list[int]:
    return [broker.process.pid, *descendants(broker.process.pid)]


def topics_of(broker: Broker) -> set[str]:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    return set(admin.list_topics(timeout=10).topics)


def make_topic(broker: Broker, name: str) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.create_topics([NewTopic(name, 1)])[name].result(10)


@pytest.mark.parametrize("ending", [LightBroker.stop, LightBroker.kill])
def test_light_broker_starts_empty_on_its_port(
    tmp_path: Path, ending: Callable[[LightBroker], None]
) -> None:
    server = LightBroker(tmp_path / "tansu.log")
    server.start()
    make_topic(server, "gone")
    ending(server)
    server.start()
    assert topics_of(server) == set()
    server.stop()


def test_removed_broker_starts_empty_on_its_port(either: Broker) -> None:
    either.start()
    bootstrap = either.bootstrap
    make_topic(either, "gone")
    assert topics_of(either) == {"gone"}
    family = family_of(either)
    either.remove()
    assert not any(map(is_running, family))
    either.start()
    assert either.bootstrap == bootstrap
    assert topics_of(either) == set()


def test_broker_names_the_port_in_use(kind: brokers.Kind, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, free_port()))
        taken.listen()
        port = taken.getsockname()[1]
        server = brokers.make(kind, tmp_path / "broker", tmp_path / "broker.log", port=port)
        with pytest.raises(StackError, match=f"port {port} for the broker is in use"):
            server.start()


def test_broker_ends_when_asked(either: Broker) -> None:
    either.start()
    assert either.process.stop() in (0, -signal.SIGTERM, 128 + signal.SIGTERM)


def test_paused_broker_answers_nothing_until_it_goes_on_and_can_be_stopped(either: Broker) -> None:
    either.start()
    admin = AdminClient({"bootstrap.servers": either.bootstrap})
    either.pause()
    with pytest.raises(KafkaException):
        admin.list_topics(timeout=0.5)
    either.resume()
    admin.list_topics(timeout=10)
    either.pause()
    assert either.process.stop() in (0, -signal.SIGTERM, 128 + signal.SIGTERM)


def produce(broker: Broker, *values: bytes) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap, "acks": "all"})
    for value in values:
        producer.produce("kept", value)
    assert producer.flush(20) == 0


def consume(broker: Broker, count: int) -> list[bytes | None]:
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "reader"})
    try:
        consumer.assign([TopicPartition("kept", 0, 0)])
        return [message.value() for message in consumer.consume(count, timeout=20)]
    finally:
        consumer.close()


@pytest.mark.parametrize("ending", [KafkaBroker.stop, KafkaBroker.kill])
def test_kafka_keeps_what_it_acknowledged(
    own_full_broker: KafkaBroker, ending: Callable[[KafkaBroker], None]
) -> None:
    make_topic(own_full_broker, "kept")
    produce(own_full_broker, b"1", b"2")
    bootstrap, family = own_full_broker.bootstrap, family_of(own_full_broker)
    ending(own_full_broker)
    assert not any(map(is_running, family))
    own_full_broker.start()
    assert own_full_broker.bootstrap == bootstrap
    produce(own_full_broker, b"3")
    assert consume(own_full_broker, 3) == [b"1", b"2", b"3"]


def test_kafka_names_its_last_words_when_its_data_is_damaged(own_full_broker: KafkaBroker) -> None:
    own_full_broker.stop()
    (own_full_broker.folder / "data/meta.properties").write_text("garbage")
    with pytest.raises(StackError, match=r"exit code 1: .*node ID not found"):
        own_full_broker.start()


def test_jars_are_copied_whole_or_not_at_all(
    kafka_here: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    pom = tmp_path / "pom.xml"
    pom.write_text(kafka_jars.POM.read_text().replace(kafka_jars.version(), "0.0.1"))
    monkeypatch.setattr(kafka_jars, "POM", pom)
    with pytest.raises(
        StackError, match=r"copying Apache Kafka by Maven failed: .*0\.0\.1"
    ) as error:
        kafka_jars.fetch()
    assert "\n" not in str(error.value)
    assert [path.name for path in (tmp_path / "tocsin").iterdir()] == ["kafka.lock"]


def ids_in_memory() -> int:
    return sum(isinstance(one, Uuid) for one in gc.get_objects())


def test_who_asks_for_a_topic_again_and_again_keeps_no_answer(line: Line) -> None:
    settings = line.settings
    admin = admin_client(settings)
    answered = {describe_topic(settings, settings.topic, admin=admin)[0]}
    gc.collect()
    former = ids_in_memory()
    for _ in range(20):
        answered.add(describe_topic(settings, settings.topic, admin=admin)[0])

    async def ask() -> None:
        topic = Topic(settings)
        for _ in range(20):
            answered.add(await topic.ask(10))

    asyncio.run(ask())
    assert len(answered) == 1
    # The thread that brought the last answer may still hold it.
    wait_until(lambda: ids_in_memory() <= former, "no id is kept", deadline_s=10)
