"""Incidents over HTTP: pages, evidence, correlated logs, and who may change what."""

import secrets
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest

from tests.integration.http.conftest import Api

FIRST = datetime(2026, 3, 2, 8, 0, tzinfo=timezone.utc)
MINUTE = timedelta(minutes=1)

INSERT_INCIDENT = """
    insert into incidents (
        id, service_id, kind, title, severity, status, machine_status, machine_severity,
        window_start, first_window, confirmed_window, confirmed_at, resolved_window, observed, z,
        peak_z, baseline_windows, baseline_errors, baseline_squares, settings_version, decided_by,
        opened_at, detected_late, calm_windows, absorbed, incarnation, "offset", clock_start,
        hot_window)
    values (
        %(id)s, %(service)s, 'errors', 'Anomaly Detected', 'HIGH', 'OPEN', 'OPEN', 'HIGH',
        %(window)s, %(window)s, %(confirmed)s, %(confirmed)s, %(resolved)s, 12,
        4.5, 6.0, 10, 20, 50, 1, 'plain', %(opened)s,
        false, 0, false, 1, 7, %(window)s, %(window)s)
"""
MANY_BY_HAND = """
    insert into incidents (id, service_id, kind, title, severity, status, first_window, opened_at)
    select md5(number::text), 'checkout', 'manual', 'title', 'LOW', 'OPEN', at, at
    from (select number, %s + number * interval '1 second' as at
          from generate_series(1, 10001) as number) as numbered
"""
INSERT_LOG = """
    insert into logs (timestamp, service_id, level, message, metadata, arrival, incarnation,
                      partition, "offset")
    values (%s, %s, %s, %s, %s, %s, 1, 0, %s)
"""


@pytest.fixture
def database(api: Api) -> Iterator[psycopg.Connection]:
    with psycopg.connect(api.settings.database_url, autocommit=True) as conn:
        yield conn
        conn.execute("truncate incidents, logs cascade")


def add_incident(
    database: psycopg.Connection,
    service: str = "checkout",
    *,
    opened: datetime = FIRST,
    resolved: datetime | None = None,
    is_confirmed: bool = True,
) -> str:
    incident_id = secrets.token_hex(16)
    database.execute(
        INSERT_INCIDENT,
        {
            "id": incident_id,
            "service": service,
            "window": opened.replace(second=0),
            "opened": opened,
            "confirmed": opened if is_confirmed else None,
            "resolved": resolved,
        },
    )
    return incident_id


def add_log(
    database: psycopg.Connection, moment: datetime, level: str = "ERROR", service: str = "checkout"
) -> None:
    database.execute(
        INSERT_LOG,
        [moment, service, level, moment.isoformat(), '{"big": 1e40}', moment, moment.microsecond],
    )


def get(api: Api, path: str, **parameters: object) -> Any:
    answer = api.client.get(path, params=parameters, headers=api.headers())  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_no_incidents_make_an_empty_page(api: Api, database: psycopg.Connection) -> None:
    meta = {"total": 0, "page": 1, "limit": 20, "totalPages": 0}
    assert get(api, "/incidents") == {"data": [], "meta": meta}


def test_pages_together_hold_every_incident_once_newest_first(
    api: Api, database: psycopg.Connection
) -> None:
    ids = [add_incident(database, opened=FIRST + i * MINUTE) for i in range(7)]
    pages = [get(api, "/incidents", page=page, limit=3) for page in (1, 2, 3, 4)]
    assert [row["id"] for page in pages for row in page["data"]] == ids[::-1]
    assert [len(page["data"]) for page in pages] == [3, 3, 1, 0]
    for number, page in enumerate(pages, 1):
        assert page["meta"] == {"total": 7, "page": number, "limit": 3, "totalPages": 3}


def test_incidents_are_counted_no_further_than_ten_thousand(
    api: Api, database: psycopg.Connection
) -> None:
    # A filter that no other test has: that there are more is believed for seconds.
    database.execute(MANY_BY_HAND, [FIRST])
    meta = {"total": 10_000, "page": 1, "limit": 100, "totalPages": 100}
    assert get(api, "/incidents", limit=100, severity="LOW")["meta"] == {
        **meta,
        "totalRelation": "gte",
    }
    last = get(api, "/incidents", limit=100, page=101, severity="LOW")
    assert last["meta"] == {**meta, "page": 101, "totalRelation": "gte"}
    assert len(last["data"]) == 1
    exact = get(api, "/incidents", **{"limit": 100, "from": "2026-03-02T08:00:02Z"})
    assert exact["meta"] == meta


def test_incident_carries_its_evidence(api: Api, database: psycopg.Connection) -> None:
    incident = get(api, f"/incidents/{add_incident(database)}")
    expected = {
        "kind": "errors",
        "title": "Anomaly Detected",
        "service_id": "checkout",
        "severity": "HIGH",
        "status": "OPEN",
        "observed": 12,
        "mean": 2.0,
        "sigma": 1.0,
        "decided_by": "plain",
        "z": 4.5,
        "guarded_mean": None,
        "guarded_sigma": None,
        "guarded_z": None,
        "guarded_windows": None,
        "peak_z": 6.0,
        "baseline_windows": 10,
        "window_start": "2026-03-02T08:00:00Z",
        "opened_at": "2026-03-02T08:00:00Z",
        "confirmed": True,
        "confirmedAt": "2026-03-02T08:00:00Z",
        "resolved_at": None,
    }
    assert {name: incident[name] for name in expected} == expected


def test_logs_of_a_resolved_incident_are_its_errors_oldest_first(
    api: Api, database: psycopg.Connection
) -> None:
    resolved = FIRST + 2 * MINUTE
    incident_id = add_incident(database, resolved=resolved)
    inside = [FIRST, FIRST + MINUTE, resolved + MINUTE - timedelta(microseconds=1)]
    for moment in [*inside[::-1], FIRST - timedelta(microseconds=1), resolved + MINUTE]:
        add_log(database, moment)
    add_log(database, FIRST + MINUTE, level="WARN")
    add_log(database, FIRST + MINUTE, service="another")
    answer = get(api, f"/incidents/{incident_id}/logs", limit=2)
    assert answer["meta"] == {
        "total": 3,
        "page": 1,
        "limit": 2,
        "totalPages": 2,
        "source": "logs",
    }
    rest = get(api, f"/incidents/{incident_id}/logs", limit=2, page=2)
    found = [row["message"] for row in [*answer["data"], *rest["data"]]]
    assert found == [moment.isoformat() for moment in inside]


def test_logs_of_an_open_incident_go_on_until_now(api: Api, database: psycopg.Connection) -> None:
    incident_id = add_incident(database)
    add_log(database, FIRST + timedelta(days=3), level="FATAL")
    (row,) = get(api, f"/incidents/{incident_id}/logs")["data"]
    assert row["level"] == "FATAL"
    assert row["service_id"] == "checkout"
    assert row["metadata"] == {"big": 10**40}


def test_operator_acknowledges_resolves_and_reclassifies(
    api: Api, database: psycopg.Connection
) -> None:
    path = f"/incidents/{add_incident(database)}"
    for change in ({"status": "ACKNOWLEDGED"}, {"severity": "LOW"}, {"status": "RESOLVED"}):
        answer = api.client.patch(path, json=change, headers=api.headers("operator"))
        assert answer.status_code == 200, answer.text
        assert answer.json() == get(api, path)
    incident = get(api, path)
    assert (incident["status"], incident["severity"]) == ("RESOLVED", "LOW")
    assert incident["resolved_at"] is not None
    reopened = api.client.patch(path, json={"status": "OPEN"}, headers=api.headers("admin")).json()
    assert (reopened["status"], reopened["resolved_at"]) == ("OPEN", None)
