"""Logs that rsyslog sends to the topic by itself, with the templates that we ship."""

import socket
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from stack.broker import LightBroker
from stack.ports import free_port
from stack.waiting import wait_until
from tests.acceptance.conftest import Platform
from tests.acceptance.programs import BROKER, SPOOL, TEMPLATES, Folder, Rsyslog
from tocsin.records import parse_record
from tocsin.settings import Settings
from tocsin.topics import create_topics

SEVERITIES = {
    "debug": "DEBUG",
    "info": "INFO",
    "notice": "INFO",
    "warning": "WARN",
    "err": "ERROR",
    "crit": "FATAL",
    "alert": "FATAL",
    "emerg": "FATAL",
}
HARD_TEXT = ' two spaces, "quotes" \\ back\\slashes / {json}: [1]\n\tsecond line, ñandú 𝄞 🔔'


def test_templates_are_taken_without_a_warning(folder: Folder) -> None:
    names = sorted(path.name for path in TEMPLATES.iterdir())
    assert names == ["tocsin-elasticsearch.conf", "tocsin-postgresql.conf", "tocsin.conf"]
    assert_taken(Rsyslog(folder, "tocsin.conf", "tocsin-postgresql.conf", replacements={}))


def test_template_for_the_api_is_taken_without_a_warning(folder: Folder) -> None:
    assert_taken(Rsyslog(folder, "tocsin-elasticsearch.conf", replacements={}))


def assert_taken(rsyslog: Rsyslog) -> None:
    told = rsyslog.check()
    assert [line.partition(":")[2].split()[0] for line in told.splitlines()] == ["version", "End"]


def test_every_severity_becomes_its_level(
    tocsin: Platform, rsyslog: Rsyslog, unique_name: Callable[[str], str]
) -> None:
    service = unique_name("billing")
    for severity in SEVERITIES:
        rsyslog.log(severity, "--priority", f"local3.{severity}", tag=service)
    stored = tocsin.logs(service, len(SEVERITIES))
    assert [(row["message"], row["level"]) for row in stored] == list(SEVERITIES.items())


@pytest.mark.parametrize("way", ["socket", "udp"])
def test_record_keeps_its_time_text_and_origin(
    way: str, tocsin: Platform, rsyslog: Rsyslog, unique_name: Callable[[str], str]
) -> None:
    service = unique_name("billing")
    options = rsyslog.udp if way == "udp" else ()
    before = datetime.now(timezone.utc)
    rsyslog.log(HARD_TEXT, *options, "--id=77", "--priority", "local3.err", tag=service)
    after = datetime.now(timezone.utc)
    [row] = tocsin.logs(service, 1)
    assert row["message"] == HARD_TEXT
    assert before <= row["timestamp"] <= after
    host = socket.gethostname()
    assert row["metadata"].pop("host") in {host, host.partition(".")[0]}
    assert row["metadata"] == {"facility": "local3", "procid": "77"}


def test_old_encodings_are_mended_not_refused(
    tocsin: Platform, rsyslog: Rsyslog, unique_name: Callable[[str], str]
) -> None:
    service = unique_name("billing")
    rsyslog.log(b"caf\xe9 \xff closed", tag=service)
    [row] = tocsin.logs(service, 1)
    assert row["message"] == "caf    closed"


def test_stopped_rsyslog_has_sent_what_it_took(
    tocsin: Platform, rsyslog: Rsyslog, unique_name: Callable[[str], str]
) -> None:
    service = unique_name("billing")
    lines = [f"line {number}" for number in range(1000)]
    rsyslog.log_lines(lines, tag=service)
    rsyslog.stop()
    assert [row["message"] for row in tocsin.logs(service, len(lines))] == lines


def test_lines_logged_while_kafka_is_away_arrive_even_after_a_restart(
    folder: Folder, tmp_path: Path
) -> None:
    broker = LightBroker(tmp_path / "broker.log", port=free_port())
    settings = Settings(kafka_bootstrap=broker.bootstrap)
    ours = {BROKER: broker.bootstrap, SPOOL: folder.inside}
    rsyslog = Rsyslog(folder, "tocsin.conf", replacements=ours)
    lines = [f"line {number}" for number in range(200)]
    try:
        rsyslog.start()
        rsyslog.log_lines(lines, tag="billing")
        rsyslog.stop()
        broker.start()
        create_topics(settings)
        rsyslog.start()
        # What had reached its Kafka client before goes out when the client is next used. It
        # repeats what it is not sure of, so a line may come twice, and before its elders.
        rsyslog.log_lines(["one more"], tag="billing")
        assert received(settings, len(lines) + 1) == {*lines, "one more"}
    finally:
        rsyslog.stop()
        broker.stop()


def received(settings: Settings, expected: int) -> set[str]:
    """Return the different messages of a topic once there are as many as expected."""
    found: set[str] = set()
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap, "group.id": "unused"})
    consumer.assign([TopicPartition(settings.topic, n, 0) for n in range(settings.partitions)])

    def complete() -> bool:
        for message in consumer.consume(1000, timeout=0.1):
            assert message.error() is None
            found.add(parse_record(message.value() or b"").message)
        return len(found) >= expected

    try:
        wait_until(complete, f"{expected} lines", deadline_s=60)
    finally:
        consumer.close()
    return found
