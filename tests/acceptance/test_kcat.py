"""Lines that kcat produces to the topic."""

import json
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from tests.acceptance.conftest import Platform
from tests.acceptance.programs import Folder, Rsyslog

Name = Callable[[str], str]


def produce(tocsin: Platform, folder: Folder, lines: list[tuple[str, str]]) -> None:
    """Produce (key, value) by kcat, with the partitioner that all producers share."""
    text = "".join(f"{key}\t{value}\n" for key, value in lines)
    broker = ("-b", tocsin.stack.kafka_bootstrap, "-t", "logs")
    sure = ("-X", "acks=all", "-X", "topic.partitioner=murmur2_random")
    folder.run("kcat", "-P", *broker, *sure, "-K", "\\t", stdin=text.encode())


def record(service: str, message: str, **more: Any) -> dict[str, Any]:
    when = datetime.now(timezone.utc).isoformat()
    return {
        "timestamp": when,
        "service_id": service,
        "level": "INFO",
        "message": message,
        **more,
    }


def test_lines_are_stored_in_their_order(
    tocsin: Platform, folder: Folder, unique_name: Name
) -> None:
    service = unique_name("checkout")
    metadata = {"user": 7, "tags": ["a", "ü"], "deep": {"x": None}}
    records = [record(service, f"line {n}", metadata=metadata) for n in range(500)]
    produce(tocsin, folder, [(service, json.dumps(line)) for line in records])
    stored = tocsin.logs(service, 500)
    assert [(row["message"], row["metadata"]) for row in stored] == [
        (line["message"], metadata) for line in records
    ]
    assert [row["timestamp"].isoformat() for row in stored] == [
        line["timestamp"] for line in records
    ]


def test_line_that_breaks_the_contract_is_put_aside_and_harms_no_other(
    tocsin: Platform, folder: Folder, unique_name: Name
) -> None:
    service = unique_name("checkout")
    good = json.dumps(record(service, "good"))
    bad = {
        f"{service} is no JSON": "record: not valid JSON",
        json.dumps(record(service, "bad", colour="red")): "colour: unknown field",
        json.dumps(record(service, "bad", level="LOUD")): "level: unknown level",
        json.dumps({"service_id": service, "level": "INFO", "message": ""}): "timestamp: missing",
    }
    produce(tocsin, folder, [(service, line) for line in [good, *bad, good]])
    assert [row["message"] for row in tocsin.logs(service, 2)] == ["good", "good"]
    letters = 'SELECT raw, reason FROM dead_letters WHERE key = %s ORDER BY "offset"'
    tocsin.wait_for(lambda: len(tocsin.query(letters, service.encode())) == len(bad), "all letters")
    found = tocsin.query(letters, service.encode())
    assert [bytes(letter["raw"]).decode() for letter in found] == list(bad)
    for letter, reason in zip(found, bad.values(), strict=True):
        assert letter["reason"].startswith(reason)


def test_service_keeps_to_one_partition_whatever_sends_it(
    tocsin: Platform, rsyslog: Rsyslog, unique_name: Name
) -> None:
    services = [unique_name("checkout") for _ in range(12)]
    produce(
        tocsin,
        rsyslog.folder,
        [(service, json.dumps(record(service, "kcat"))) for service in services],
    )
    tocsin.ingest([record(service, "HTTP") for service in services])
    for service in services:
        rsyslog.log("rsyslog", tag=service)
    used = set()
    for service in services:
        stored = tocsin.logs(service, 3)
        assert sorted(row["message"] for row in stored) == ["HTTP", "kcat", "rsyslog"]
        [partition] = {row["partition"] for row in stored}
        used.add(partition)
    assert len(used) > 1
