"""Where a replay sends to: a topic that is there, and neither the one it reads nor a live one."""

from collections.abc import Iterator
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
from msgspec import Struct, structs

from tocsin.errors import BrokerError, SettingsError, TopicMissing
from tocsin.settings import Settings
from tocsin.topics import (
    REQUEST_TIMEOUT_S,
    admin_client,
    create_topic,
    describe_topic,
    unreachable,
)

BOOTSTRAP_OPTION: Final = "--to-bootstrap"
_NO_ID: Final = "AAAAAAAAAAAAAAAAAAAAAA"
"""The topic id that brokers before Kafka 2.8 give."""


class Place(Struct, frozen=True):
    """A topic, told from all others by what its cluster says, whatever address was asked.

    message_bytes_max: the largest batch that it takes; None where the broker does not say.
    """

    settings: Settings
    cluster_id: str
    topic_id: str
    partitions: int
    message_bytes_max: int | None = None

    @property
    def name(self) -> str:
        """Its name."""
        return self.settings.topic

    def is_same_as(self, other: "Place") -> bool:
        """Tell whether both are one topic of one cluster."""
        if self.cluster_id != other.cluster_id:
            return False
        if _NO_ID in {self.topic_id, other.topic_id}:
            return self.name == other.name
        return self.topic_id == other.topic_id


def find_source(settings: Settings) -> Place:
    """Return the topic that is read. Raises TopicMissing, BrokerError."""
    admin = admin_client(settings)
    topic_id, partitions = describe_topic(settings, settings.topic, admin=admin)
    return Place(settings, _cluster_id(admin, settings), topic_id, len(partitions))


def find_target(
    target: Settings, source: Place, live: Settings, *, create: bool, into_live: bool
) -> Place:
    """Return the topic that is sent to; make it, like the source, where that is asked for.

    target, live: its settings and the live flow's, whose cluster is the source's. Raises
    SettingsError where it is the source, or a topic of the live flow that nobody has asked for;
    TopicMissing, BrokerError.
    """
    admin = admin_client(target)
    cluster_id = _cluster_id(admin, target, BOOTSTRAP_OPTION)
    try:
        found = _found(admin, target, cluster_id)
    except TopicMissing:
        if not create:
            raise TopicMissing(
                f"there is no topic {target.topic} at {target.kafka_bootstrap}: make it, or give"
                " --create"
            ) from None
        if cluster_id == source.cluster_id and target.topic in _names(live) and not into_live:
            raise SettingsError(_is_live(target.topic)) from None
        create_topic(target, target.topic, source.partitions)
        return _found(admin, target, cluster_id)
    if found.is_same_as(source):
        raise SettingsError(
            f"--to-topic: {found.name} is the very topic that is read: give another one"
        )
    if not into_live and any(found.is_same_as(own) for own in _live_topics(live, source)):
        raise SettingsError(_is_live(found.name))
    return found


def _found(admin: AdminClient, target: Settings, cluster_id: str) -> Place:
    topic_id, partitions = describe_topic(target, target.topic, admin=admin)
    bytes_max = _message_bytes_max(admin, target.topic)
    return Place(target, cluster_id, topic_id, len(partitions), bytes_max)


def _live_topics(live: Settings, source: Place) -> Iterator[Place]:
    admin = admin_client(live)
    for name in _names(live):
        own = structs.replace(live, topic=name)
        try:
            topic_id, partitions = describe_topic(own, name, admin=admin)
        except TopicMissing:
            continue
        yield Place(own, source.cluster_id, topic_id, len(partitions))


def _names(live: Settings) -> tuple[str, ...]:
    return live.topic, live.dead_letter_topic, live.incidents_topic


def _is_live(name: str) -> str:
    return (
        f"--to-topic: {name} belongs to the live flow, whose users would take what is replayed for"
        " what happens: give another topic, or --into-live"
    )


def _cluster_id(admin: AdminClient, settings: Settings, named: str = "KAFKA_BOOTSTRAP") -> str:
    try:
        return str(admin.list_topics(timeout=REQUEST_TIMEOUT_S).cluster_id)
    except KafkaException as error:
        raise BrokerError(unreachable(settings, error, named)) from None


def _message_bytes_max(admin: AdminClient, topic: str) -> int | None:
    resource = ConfigResource(ResourceType.TOPIC, topic)
    asked = admin.describe_configs([resource], request_timeout=REQUEST_TIMEOUT_S)
    try:
        found = asked[resource].result().get("max.message.bytes")
    except KafkaException:
        # Not every client may ask, nor does every broker answer.
        return None
    return None if found is None else int(found.value)
