"""The timeline is on the topic of incidents, and the log lines stay with their incident."""

import json
from datetime import datetime, timedelta, timezone
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from sql.timeline import TimelineEntry
from stack.waiting import wait_until
from tests.integration.conftest import Line
from tests.integration.test_flow import history, log_at


def announced(line: Line, count: int) -> list[dict[str, Any]]:
    """Read the topic of incidents until it has so many messages."""
    consumer = Consumer({"bootstrap.servers": line.settings.kafka_bootstrap, "group.id": "test"})
    topic = line.settings.incidents_topic
    consumer.assign([TopicPartition(topic, part, 0) for part in range(line.settings.partitions)])
    found: list[dict[str, Any]] = []

    def enough() -> bool:
        for message in consumer.consume(100, timeout=0.2):
            assert message.error() is None
            entry = json.loads(message.value() or b"")
            assert message.key() == entry["incident_id"].encode()
            found.append(entry)
        return len(found) >= count

    wait_until(enough, f"{count} messages on {topic}", deadline_s=30)
    consumer.close()
    return found


def burst(line: Line, errors: int = 40, *, ago: timedelta = timedelta(0)) -> datetime:
    now = datetime.now(timezone.utc) - ago
    line.send(*history(now, minutes=12))
    line.send(*[log_at(now, "ERROR", id=f"e-{number:03d}") for number in range(errors)])
    return now


def test_every_step_of_an_incident_is_on_the_topic(line: Line) -> None:
    flow = line.start_flow()
    burst(line)
    entries = announced(line, 2)
    assert [entry["moment"] for entry in entries] == ["opened", "confirmed"]
    assert {entry["service_id"] for entry in entries} == {"checkout"}
    assert entries[0]["title"].startswith("Anomaly Detected")
    assert [list(entry) for entry in entries] == [list(TimelineEntry.__struct_fields__)] * 2
    line.wait_for(
        lambda: (
            line.query("SELECT bool_and(published_at IS NOT NULL) FROM incident_events")
            == [(True,)]
        ),
        "all is marked as published",
        flow,
    )


def test_entry_that_was_not_published_before_a_stop_is_published_after(line: Line) -> None:
    flow = line.start_flow()
    burst(line)
    announced(line, 2)
    assert flow.stop() == 0
    line.execute(
        "INSERT INTO incident_events (incident_id, moment, actor, severity, status)"
        " SELECT id, 'acknowledged', 'ada', severity, 'ACKNOWLEDGED' FROM incidents"
    )
    line.start_flow()
    [*_, last] = announced(line, 3)
    assert (last["moment"], last["actor"], last["status"]) == (
        "acknowledged",
        "ada",
        "ACKNOWLEDGED",
    )


def test_first_and_last_lines_stay_with_the_incident(line: Line) -> None:
    flow = line.start_flow()
    burst(line, errors=50)
    kept = "SELECT count(*), min(id), max(id) FROM incident_evidence"
    line.wait_for(lambda: line.query(kept) == [(40, "e-000", "e-049")], "the lines are kept", flow)
    line.execute("DELETE FROM logs")
    assert line.query(kept) == [(40, "e-000", "e-049")]


def test_incident_that_a_person_resolved_is_opened_again_if_it_goes_on(line: Line) -> None:
    flow = line.start_flow()
    now = burst(line)
    announced(line, 2)
    line.execute(
        "UPDATE incidents SET status = 'RESOLVED', resolved_at = now(),"
        f" person_resolved_at = '{now.isoformat()}'"
    )
    later = now.replace(second=0, microsecond=0) + timedelta(minutes=2)
    line.send(*[log_at(later, "ERROR") for _ in range(40)])
    line.wait_for(
        lambda: line.query("SELECT status::text, resolved_at FROM incidents") == [("OPEN", None)],
        "open again",
        flow,
    )
    entries = line.query(
        "SELECT moment, window_start, count, z > 3 FROM incident_events ORDER BY seq"
    )
    assert [moment for moment, *_ in entries] == ["opened", "confirmed", "reopened"]
    _, start, count, is_above = entries[2]
    assert (start, is_above) == (later, True)
    assert 5 < count <= 40
    arrivals = f"SELECT arrival FROM logs WHERE timestamp >= '{later.isoformat()}'"
    line.wait_for(lambda: len(line.query(arrivals)) == 40, "the logs are stored", flow)
    assert line.query("SELECT at FROM incident_events ORDER BY seq")[2] in line.query(arrivals)


def test_incident_that_went_on_and_ended_while_the_flow_was_away_is_told_in_order(
    line: Line,
) -> None:
    """However the backlog is cut into transactions."""
    flow = line.start_flow()
    began = burst(line, ago=timedelta(minutes=20))
    announced(line, 2)
    assert flow.stop() == 0
    line.execute(
        "UPDATE incidents SET status = 'RESOLVED', resolved_at = now(),"
        f" person_resolved_at = '{began.isoformat()}'"
    )
    later = began.replace(second=0, microsecond=0) + timedelta(minutes=2)
    line.send(*[log_at(later, "ERROR") for _ in range(40)])
    line.send(*[log_at(later + timedelta(minutes=n), "INFO") for n in range(1, 10)])
    line.start_flow()
    entries = announced(line, 4)
    told = [(entry["moment"], entry["status"], entry["confirmed"]) for entry in entries]
    assert told == [
        ("opened", "OPEN", False),
        ("confirmed", "OPEN", True),
        ("reopened", "OPEN", True),
        ("resolved", "RESOLVED", True),
    ]
    assert line.query("SELECT status::text, resolved_at FROM incidents") == [
        ("RESOLVED", datetime.fromisoformat(entries[3]["at"].replace("Z", "+00:00")))
    ]


def test_incident_that_a_person_resolved_stays_so_while_only_the_same_minute_grows(
    line: Line,
) -> None:
    flow = line.start_flow()
    now = burst(line)
    announced(line, 2)
    line.execute(
        "UPDATE incidents SET status = 'RESOLVED', resolved_at = now(), person_resolved_at = now()"
    )
    line.send(*[log_at(now, "ERROR") for _ in range(40)])
    line.wait_for(lambda: line.query("SELECT 1 FROM incidents WHERE observed = 80"), "80", flow)
    assert line.query("SELECT status::text FROM incidents") == [("RESOLVED",)]
