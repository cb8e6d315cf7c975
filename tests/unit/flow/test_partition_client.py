"""What the clients that read a topic say of their troubles."""

import pytest
from confluent_kafka import KafkaError
from structlog.testing import capture_logs

from flows.partition_client import say_error


def test_each_kind_of_trouble_is_said_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every client of a flow tells of every attempt to connect that fails."""
    now = 1000.0
    monkeypatch.setattr("flows.partition_client._said_at", {})
    monkeypatch.setattr("flows.partition_client.time.monotonic", lambda: now)
    away, refused = KafkaError._ALL_BROKERS_DOWN, KafkaError._AUTHENTICATION
    told = []
    for now, code in ((1000, away), (1001, away), (1002, refused), (1029, away), (1030, away)):
        for _ in range(4):
            with capture_logs() as said:
                say_error(KafkaError(code))
            told += [now for _ in said]
    assert told == [1000, 1002, 1030]
