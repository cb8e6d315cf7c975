"""Incidents that people open: the detection neither sees nor changes them."""

from datetime import datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest

from flows import detection_rows
from sql import services, writer
from sql.connect import connect
from sql.timeline import keep_evidence
from tests.integration.http.conftest import Api
from tests.integration.http.test_api_changes import change, timeline
from tests.integration.http.test_api_incidents import add_log, database, get
from tests.integration.http.test_api_ingest import assert_problem
from tests.integration.ledgers import replayed, store, went_on

__all__ = ["database"]

DETECTED = (
    *("decided_by", "guarded_mean", "guarded_sigma", "guarded_windows"),
    *("window_start", "observed", "mean", "sigma", "z", "guarded_z", "peak_z", "baseline_windows"),
    *("confirmed_window", "resolved_window", "resolve_reason", "detected_late", "settings_version"),
)


def open_incident(api: Api, service: str = "checkout", **more: object) -> dict[str, Any]:
    content = {"service_id": service, "title": "Payments fail", "severity": "CRITICAL", **more}
    answer = api.client.post("/incidents", json=content, headers=api.headers("operator"))
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/incidents/{answer.json()['id']}"
    return dict(answer.json())


def test_incident_by_hand_is_told_with_who_opened_it(
    api: Api, database: psycopg.Connection
) -> None:
    opened = open_incident(api, note="three customers called")
    assert get(api, f"/incidents/{opened['id']}") == opened
    expected = {
        "kind": "manual",
        "title": "Payments fail",
        "service_id": "checkout",
        "severity": "CRITICAL",
        "status": "OPEN",
        "confirmed": True,
        "assignee": None,
        **dict.fromkeys(DETECTED),
    }
    assert {name: opened[name] for name in expected} == expected
    entries = timeline(api, opened["id"])
    told = [(entry["moment"], entry["note"], entry["kind"]) for entry in entries]
    assert told == [
        ("opened", None, "manual"),
        ("confirmed", None, "manual"),
        ("commented", "three customers called", "manual"),
    ]
    assert all(entry["actor"].startswith("operator-") for entry in entries)
    assert opened["revision"] == entries[-1]["seq"]


def test_incident_by_hand_is_in_the_list_and_the_outbox(
    api: Api, database: psycopg.Connection
) -> None:
    opened = open_incident(api)
    assert get(api, "/incidents", kind="manual", confirmed="true")["data"] == [opened]
    waiting = "select moment from incident_events where published_at is null order by seq"
    assert database.execute(waiting).fetchall() == [("opened",), ("confirmed",)]


def test_logs_of_an_incident_by_hand_are_those_since_it_began(
    api: Api, database: psycopg.Connection
) -> None:
    began = datetime.now(timezone.utc) - timedelta(minutes=10)
    inside = began + timedelta(minutes=1)
    add_log(database, began - timedelta(seconds=1))
    add_log(database, inside)
    opened = open_incident(api, started_at=began.isoformat())
    assert datetime.fromisoformat(opened["first_window"].replace("Z", "+00:00")) == began
    found = get(api, f"/incidents/{opened['id']}/logs")["data"]
    assert [row["message"] for row in found] == [inside.isoformat()]
    change(api, opened["id"], status="RESOLVED")
    add_log(database, datetime.now(timezone.utc) + timedelta(minutes=1))
    assert get(api, f"/incidents/{opened['id']}/logs")["data"] == found


def test_evidence_of_an_incident_by_hand_outlives_the_logs(
    api: Api, database: psycopg.Connection
) -> None:
    now = datetime.now(timezone.utc)
    opened = open_incident(api, started_at=(now - timedelta(hours=1)).isoformat())
    for number in range(50):
        add_log(database, now - timedelta(minutes=50 - number, microseconds=number))
    database.execute("delete from positions")
    topic = "insert into topics (topic_id, name) values ('manual', 't') returning incarnation"
    [(incarnation,)] = database.execute(topic).fetchall()
    for stage in ("logs", "detection"):
        insert = "insert into positions values (%s, %s, 0, 99)"
        database.execute(insert, [stage, incarnation])
    assert keep_evidence(database) == 1
    database.execute("delete from logs")
    found = get(api, f"/incidents/{opened['id']}/logs")
    assert (found["meta"]["source"], found["meta"]["total"]) == ("evidence", 40)
    database.execute("delete from positions")


def test_incident_by_hand_is_not_explained(api: Api, database: psycopg.Connection) -> None:
    path = f"/incidents/{open_incident(api)['id']}/explain"
    assert_problem(api.client.get(path, headers=api.headers()), 409)


def test_detection_goes_on_beside_an_incident_by_hand_as_if_there_were_none(
    api: Api, database: psycopg.Connection, service: str
) -> None:
    opened = open_incident(api, service)
    before = get(api, f"/incidents/{opened['id']}")
    [row] = store(api.settings.database_url, replayed(service))
    with connect(api.settings.database_url, name="tests") as conn:
        writer.reopen_incidents(conn, [went_on(opened["id"])])
        [known] = [
            found
            for found in services.read_services(conn, windows=5)
            if found.present.service_id == service
        ]
    assert known.last_incident is not None
    assert known.last_incident.incident_id == row.incident_id
    assert known.last_silence is None
    assert get(api, f"/incidents/{opened['id']}") == before
    assert get(api, f"/incidents/{row.incident_id}/explain")["agrees"]


def test_resolved_incident_by_hand_is_reopened_by_people_alone(
    api: Api, database: psycopg.Connection, service: str
) -> None:
    opened = open_incident(api, service)
    change(api, opened["id"], status="RESOLVED")
    tables = replayed(service)
    store(api.settings.database_url, tables)
    with connect(api.settings.database_url, name="tests") as conn:
        writer.upsert_incidents(
            conn, detection_rows.incidents((1, row) for row in tables.incidents.values())
        )
        writer.reopen_incidents(conn, [went_on(opened["id"])])
    assert get(api, f"/incidents/{opened['id']}")["status"] == "RESOLVED"
    assert change(api, opened["id"], status="OPEN")["status"] == "OPEN"


@pytest.mark.parametrize(
    "wrong",
    [
        {"service_id": ""},
        {"service_id": "x" * 129},
        {"service_id": "a\0b"},
        {"service_id": 7},
        {"title": ""},
        {"title": "  "},
        {"title": "x" * 201},
        {"title": "two\nlines"},
        {"title": "ends\n"},
        {"title": "a\0b"},
        {"title": None},
        {"severity": "WORST"},
        {"severity": None},
        {"note": " "},
        {"note": "a\0b"},
        {"note": "x" * 10_001},
        {"started_at": "2026-03-02T08:00:00"},
        {"started_at": "1999-03-02T08:00:00Z"},
        {"started_at": "9999-03-02T08:00:00Z"},
        {"started_at": "0001-01-01T00:00:00+14:00"},
        {"kind": "errors"},
        {"id": "0" * 32},
    ],
)
def test_incident_by_hand_that_cannot_be_is_refused(
    api: Api, database: psycopg.Connection, wrong: dict[str, Any]
) -> None:
    content = {"service_id": "checkout", "title": "x", "severity": "LOW", **wrong}
    answer = api.client.post("/incidents", json=content, headers=api.headers("operator"))
    assert_problem(answer, 400)
    assert get(api, "/incidents")["data"] == []


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 415), (b"{", 400), (b"\xff", 400), (b'{"title": "\\ud800"}', 400), (b"[]", 400)],
)
def test_body_that_is_no_incident_is_refused(api: Api, body: bytes, status: int) -> None:
    headers = api.headers("operator")
    if body:
        headers["content-type"] = "application/json"
    assert_problem(api.client.post("/incidents", content=body, headers=headers), status)


def test_sql_in_an_incident_by_hand_is_text(api: Api, database: psycopg.Connection) -> None:
    text = "'); DROP TABLE incidents; --"
    opened = open_incident(api, text, title=text, note=text)
    assert (opened["service_id"], opened["title"]) == (text, text)
    assert timeline(api, opened["id"])[-1]["note"] == text
