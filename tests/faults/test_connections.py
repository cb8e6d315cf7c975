"""What asks Kafka again and again keeps its connection, and gives up one that hangs."""

import pytest
from confluent_kafka.admin import AdminClient

from stack.waiting import wait_until
from tests.faults.rig import Servers
from tocsin.errors import BrokerError
from tocsin.settings import Settings, load_settings
from tocsin.topics import admin_client, create_topics, describe_topic

GIVEN_UP_WITHIN_S = 40


@pytest.fixture
def settings(servers: Servers) -> Settings:
    return load_settings(
        {
            "DATABASE_URL": servers.timescale.url,
            "KAFKA_BOOTSTRAP": f"127.0.0.1:{servers.kafka_proxy.port}",
        }
    )


@pytest.fixture
def admin(settings: Settings) -> AdminClient:
    """A client that knows the broker."""
    create_topics(settings)
    admin = admin_client(settings)
    for _ in range(5):
        describe_topic(settings, settings.topic, admin=admin)
    return admin


def test_topic_is_asked_for_over_one_connection(
    servers: Servers, settings: Settings, admin: AdminClient
) -> None:
    former = servers.kafka_proxy.accepted
    for _ in range(20):
        describe_topic(settings, settings.topic, admin=admin)
    assert servers.kafka_proxy.accepted == former


def test_connection_that_hangs_is_given_up_within_seconds(
    servers: Servers, settings: Settings, admin: AdminClient
) -> None:
    servers.kafka_proxy.forget()

    def answers() -> bool:
        try:
            describe_topic(settings, settings.topic, admin=admin)
        except BrokerError:
            return False
        return True

    wait_until(answers, "Kafka answers", deadline_s=GIVEN_UP_WITHIN_S)
