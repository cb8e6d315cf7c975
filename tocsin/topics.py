"""The topics: their names and settings, how they are made, and which incarnation one is."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from ctypes import py_object, pythonapi
from difflib import get_close_matches
from sys import getrefcount
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ListOffsetsResultInfo, TopicDescription
from confluent_kafka.cimpl import NewTopic

from tocsin.errors import BrokerError, TopicMissing
from tocsin.settings import Settings

REQUEST_TIMEOUT_S = 15.0
PARTITIONER = "murmur2_random"
"""Java's default partitioner; the key is the service id, so a service keeps to one partition."""

# Arrival must be the broker's: a producer's clock is not to be trusted.
_LOGS_CONFIG = {"message.timestamp.type": "LogAppendTime"}


_SOCKET_TIMEOUT_MS = 10_000
"""Who does not answer for so long is not there any more: the connection is given up."""
_RECONNECT_MAX_MS = 1_000
_BOOTSTRAP_AGAIN_MS = 10_000
_NAMED_MAX = 10
_HOLDERS: Final = 2
"""Of a topic's id: its description, and the call that counts them."""


def client_config(settings: Settings, client_id: str) -> dict[str, Any]:
    """Return what every client of Kafka has in common: it finds a broker that comes back."""
    return {
        "bootstrap.servers": settings.kafka_bootstrap,
        "client.id": client_id,
        "socket.timeout.ms": _SOCKET_TIMEOUT_MS,
        "reconnect.backoff.max.ms": _RECONNECT_MAX_MS,
        # A broker that ends or begins may name no broker in its metadata. A client believes it,
        # knows none any more, and by default asks those named above again after five minutes.
        "metadata.recovery.rebootstrap.trigger.ms": _BOOTSTRAP_AGAIN_MS,
        "log_level": 2,  # what matters is told by errors and deliveries
    }


def admin_client(settings: Settings) -> AdminClient:
    """Return a client for the broker's administration. Keep it until its futures are done.

    One that got no answer may have lost the broker for good (see `flows.partition_client`): who
    asks again and again replaces it.
    """
    return AdminClient(client_config(settings, "tocsin-admin"))


def create_topics(settings: Settings) -> list[str]:
    """Create the topics that are missing and return their names.

    Raises BrokerError when the broker cannot be reached or refuses.
    """
    wanted = [
        NewTopic(settings.topic, settings.partitions, settings.replication, config=_LOGS_CONFIG),
        NewTopic(settings.dead_letter_topic, 1, settings.replication, config=_LOGS_CONFIG),
        NewTopic(settings.incidents_topic, settings.partitions, settings.replication),
    ]
    admin = admin_client(settings)
    existing = _existing_topics(admin, settings)
    return _create(admin, [topic for topic in wanted if topic.topic not in existing])


def create_topic(settings: Settings, name: str, partitions: int) -> None:
    """Create a topic of logs, unless it is there. Raises BrokerError when the broker refuses."""
    topic = NewTopic(name, partitions, settings.replication, config=_LOGS_CONFIG)
    _create(admin_client(settings), [topic])


def _create(admin: AdminClient, topics: list[NewTopic]) -> list[str]:
    if not topics:
        return []
    created = []
    for name, future in admin.create_topics(topics, request_timeout=REQUEST_TIMEOUT_S).items():
        try:
            future.result()
            created.append(name)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise BrokerError(f"cannot create the topic {name}: {_text(error)}") from None
    return created


def describe_topic(
    settings: Settings,
    name: str,
    *,
    admin: AdminClient | None = None,
    timeout_s: float = REQUEST_TIMEOUT_S,
) -> tuple[str, Sequence[int]]:
    """Return a topic's id and its partition numbers.

    admin: the client to ask with; without one, a connection is made for this question alone.
    timeout_s: how long to wait for the answer.

    A topic that was deleted and made again has another id: its offsets start anew.
    Raises TopicMissing, or BrokerError when the broker cannot be reached.
    """
    if admin is None:  # a client that has nothing to do is falsy
        admin = admin_client(settings)
    future = admin.describe_topics(TopicCollection([name]), request_timeout=timeout_s)[name]
    # Not raised here: it would hold this frame, and with it the client, until garbage is collected.
    error = future.exception()
    if isinstance(error, KafkaException):
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise TopicMissing(f"there is no topic {name}: run `tocsin migrate`")
        raise BrokerError(unreachable(settings, error))
    topic = future.result()
    return id_of(topic), sorted(part.id for part in topic.partitions)


def id_of(topic: TopicDescription) -> str:
    """Return the id of a topic that was just described, and that nobody else holds.

    confluent-kafka (2.16) never lets go of an id that it gives, 100 bytes each time: a flow, which
    asks after every batch, grew by 12 MB an hour. It is let go of here, where that is so.
    """
    # By no name of its own, which a debugger would hold, too.
    if getrefcount(topic.topic_id) > _HOLDERS:
        pythonapi.Py_DecRef(py_object(topic.topic_id))
    return str(topic.topic_id)


def end_told(answer: "Future[ListOffsetsResultInfo]") -> int | None:
    """Return what a broker was asked for by `list_offsets`; None where it has not answered.

    Of one that hung, the client (2.16) says that the offset is -1001, and no error.
    """
    if answer.exception() is not None:
        return None
    offset = answer.result().offset
    return offset if offset >= 0 else None


@contextmanager
def named_by_hand(settings: Settings, name: str | None) -> Iterator[None]:
    """Question the name of a topic that is missing, where a person gave it; None: nobody did."""
    try:
        yield
    except TopicMissing:
        if name is None:
            raise
        there = _existing_topics(admin_client(settings), settings)
        own = sorted(one for one in there if not one.startswith("_") and one != name)
        near = get_close_matches(name, own, n=1)
        known = ", ".join(own[:_NAMED_MAX]) or "none"
        hint = f"did you mean {near[0]}?" if near else f"topics that there are: {known}"
        raise TopicMissing(f"there is no topic {name}: {hint}") from None


def unreachable(settings: Settings, error: KafkaException, named: str = "KAFKA_BOOTSTRAP") -> str:
    """Say in one line that the broker does not answer, and what to look at.

    named: where its address was given.
    """
    return (
        f"Kafka at {settings.kafka_bootstrap} does not answer ({_text(error)}): "
        f"is it running, and is {named} right?"
    )


def _existing_topics(admin: AdminClient, settings: Settings) -> set[str]:
    try:
        return set(admin.list_topics(timeout=REQUEST_TIMEOUT_S).topics)
    except KafkaException as error:
        raise BrokerError(unreachable(settings, error)) from None


def _text(error: KafkaException) -> str:
    return str(error.args[0].str())
