"""What people do to incidents: in the timeline, with their name, once, and never undone."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace

from flows import detection_rows
from flows.known import Place
from sql import writer
from sql.connect import connect
from tests.integration.http.conftest import Api
from tests.integration.http.test_api_incidents import add_incident, database, get
from tests.integration.http.test_api_ingest import assert_problem
from tests.integration.ledgers import replayed, store, went_on
from tocsin.detection import IncidentStatus

__all__ = ["database"]


def change(api: Api, incident_id: str, role: str = "operator", **changes: str) -> dict[str, Any]:
    answer = api.client.patch(f"/incidents/{incident_id}", json=changes, headers=api.headers(role))
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def timeline(api: Api, incident_id: str, **page: object) -> list[dict[str, Any]]:
    return list(get(api, f"/incidents/{incident_id}/timeline", **page)["data"])


def resolved_by_a_person(database: psycopg.Connection, incident_id: str) -> bool:
    query = "select person_resolved_at is not null from incidents where id = %s"
    [(is_set,)] = database.execute(query, [incident_id]).fetchall()
    return bool(is_set)


def test_each_change_is_an_entry_with_who_made_it(api: Api, database: psycopg.Connection) -> None:
    incident_id = add_incident(database, is_confirmed=False)
    change(api, incident_id, status="ACKNOWLEDGED")
    change(api, incident_id, role="admin", status="RESOLVED", severity="LOW")
    change(api, incident_id, status="OPEN")
    entries = timeline(api, incident_id)
    assert [
        (entry["moment"], entry["status"], entry["severity"], entry["note"]) for entry in entries
    ] == [
        ("acknowledged", "ACKNOWLEDGED", "HIGH", "was OPEN"),
        ("resolved", "RESOLVED", "HIGH", "was ACKNOWLEDGED"),
        ("reclassified", "RESOLVED", "LOW", "was HIGH"),
        ("reopened", "OPEN", "LOW", "was RESOLVED"),
    ]
    roles = [entry["actor"].partition("-")[0] for entry in entries]
    assert roles == ["operator", "admin", "admin", "operator"]
    assert all(entry["actor"].endswith("@example.org") for entry in entries)
    assert [entry["seq"] for entry in entries] == sorted(entry["seq"] for entry in entries)


def test_change_to_what_it_is_already_leaves_no_trace(
    api: Api, database: psycopg.Connection
) -> None:
    incident_id = add_incident(database)
    before = get(api, f"/incidents/{incident_id}")
    assert change(api, incident_id, status="OPEN", severity="HIGH") == before
    assert timeline(api, incident_id) == []


def test_two_who_resolve_at_once_leave_one_entry(api: Api, database: psycopg.Connection) -> None:
    incident_id = add_incident(database)
    api.headers("operator")
    with ThreadPoolExecutor(8) as people:
        list(people.map(lambda _: change(api, incident_id, status="RESOLVED"), range(8)))
    assert [entry["moment"] for entry in timeline(api, incident_id)] == ["resolved"]


@pytest.mark.parametrize("status", ["OPEN", "ACKNOWLEDGED"])
def test_person_resolves_until_a_person_takes_it_back(
    api: Api, database: psycopg.Connection, status: str
) -> None:
    incident_id = add_incident(database)
    assert change(api, incident_id, status="RESOLVED")["resolved_at"] is not None
    assert resolved_by_a_person(database, incident_id)
    assert change(api, incident_id, status=status)["resolved_at"] is None
    assert not resolved_by_a_person(database, incident_id)


def test_entry_of_a_person_who_is_gone_still_names_them(
    api: Api, database: psycopg.Connection
) -> None:
    incident_id = add_incident(database)
    gone = api.person("operator")
    body = {"status": "ACKNOWLEDGED"}
    assert api.client.patch(f"/incidents/{incident_id}", json=body, headers=gone.headers).is_success
    api.client.delete(f"/users/{gone.id}", headers=api.headers("admin")).raise_for_status()
    [entry] = timeline(api, incident_id)
    assert entry["actor"] == gone.email


def test_timeline_is_told_in_pages_oldest_first(api: Api, database: psycopg.Connection) -> None:
    incident_id = add_incident(database, is_confirmed=False)
    for status in ("ACKNOWLEDGED", "RESOLVED", "OPEN"):
        change(api, incident_id, status=status)
    pages = [
        get(api, f"/incidents/{incident_id}/timeline", page=page, limit=2) for page in (1, 2, 3)
    ]
    moments = [[entry["moment"] for entry in page["data"]] for page in pages]
    assert moments == [["acknowledged", "resolved"], ["reopened"], []]
    assert pages[0]["meta"] == {"total": 3, "page": 1, "limit": 2, "totalPages": 2}


def test_people_and_the_detection_never_overwrite_each_other(
    api: Api, database: psycopg.Connection, service: str
) -> None:
    [row] = store(api.settings.database_url, replayed(service))
    incident_id = row.incident_id
    still = replace(
        row,
        status=IncidentStatus.OPEN,
        reason=None,
        resolved_start_ms=None,
        resolved_at_ms=None,
        offset=row.offset - 2,
    )
    database.execute("delete from incident_events")
    database.execute("delete from incidents")
    url = api.settings.database_url

    def write(*events: Any, incident: Any) -> None:
        with psycopg.connect(url) as conn:
            writer.upsert_incidents(conn, detection_rows.incidents([(1, incident)]))
            writer.insert_incident_events(conn, detection_rows.events(events))

    opened, confirmed, resolved = replayed(service).events
    write(opened, incident=still)
    change(api, incident_id, status="ACKNOWLEDGED", severity="LOW")
    write(confirmed, incident=replace(still, offset=row.offset - 1))
    found = get(api, f"/incidents/{incident_id}")
    assert (found["status"], found["severity"]) == ("ACKNOWLEDGED", "LOW")
    by_a_person = change(api, incident_id, status="RESOLVED")
    write(resolved, incident=row)
    found = get(api, f"/incidents/{incident_id}")
    assert (found["status"], found["severity"]) == ("RESOLVED", "LOW")
    assert found["resolved_at"] == by_a_person["resolved_at"]
    assert found["resolved_window"] is not None
    told = [
        (entry["moment"], entry["status"], entry["severity"])
        for entry in timeline(api, incident_id)
    ]
    assert told == [
        ("opened", "OPEN", "CRITICAL"),
        ("acknowledged", "ACKNOWLEDGED", "CRITICAL"),
        ("reclassified", "ACKNOWLEDGED", "LOW"),
        ("confirmed", "ACKNOWLEDGED", "LOW"),
        ("resolved", "RESOLVED", "LOW"),
    ]


@pytest.mark.parametrize("status", ["OPEN", "ACKNOWLEDGED"])
def test_what_the_detection_has_resolved_is_not_taken_back(
    api: Api, database: psycopg.Connection, service: str, status: str
) -> None:
    """Else its service could have two open at once: the detection goes on to open the next one."""
    [row] = store(api.settings.database_url, replayed(service))
    path = f"/incidents/{row.incident_id}"
    before = timeline(api, row.incident_id)
    for changes in ({"status": status}, {"status": status, "severity": "LOW"}):
        answer = api.client.patch(path, json=changes, headers=api.headers("operator"))
        problem = assert_problem(answer, 409)
        assert problem["detail"].startswith("the detection has resolved the incident, and")
    assert timeline(api, row.incident_id) == before
    found = get(api, path)
    assert (found["status"], found["severity"]) == ("RESOLVED", "CRITICAL")


@pytest.mark.parametrize("by", ["a person", "the detection"])
def test_what_was_confirmed_while_a_person_had_it_resolved_is_told_when_it_is_open_again(
    api: Api, database: psycopg.Connection, service: str, by: str
) -> None:
    tables = replayed(service)
    [row] = tables.incidents.values()
    opened, confirmed, _ = tables.events
    still = replace(
        row, status=IncidentStatus.OPEN, reason=None, resolved_start_ms=None, resolved_at_ms=None
    )
    weak = replace(still, confirmed_start_ms=None, confirmed_at_ms=None)
    again = went_on(row.incident_id)
    with connect(api.settings.database_url, name="tests", autocommit=True) as conn:
        windows = [(Place(1, 0, found.offset), found) for found in tables.windows.values()]
        writer.upsert_windows(conn, detection_rows.windows(windows))
        writer.upsert_incidents(conn, detection_rows.incidents([(1, weak)]))
        writer.insert_incident_events(conn, detection_rows.events([opened]))
        change(api, row.incident_id, status="RESOLVED")
        writer.upsert_incidents(conn, detection_rows.incidents([(1, still)]))
        writer.insert_incident_events(conn, detection_rows.events([confirmed]))
        assert [entry["moment"] for entry in timeline(api, row.incident_id)][1:] == ["resolved"]
        if by == "a person":
            change(api, row.incident_id, status="OPEN")
        else:
            writer.reopen_incidents(conn, [again, again])
        told = timeline(api, row.incident_id)
        writer.insert_incident_events(conn, detection_rows.events([confirmed]))
    assert timeline(api, row.incident_id) == told
    assert [(entry["moment"], entry["status"], entry["confirmed"]) for entry in told] == [
        ("opened", "OPEN", False),
        ("resolved", "RESOLVED", False),
        ("reopened", "OPEN", False),
        ("confirmed", "OPEN", True),
    ]
    assert (told[3]["window_start"], told[3]["count"], told[3]["z"]) == (
        "2026-03-02T00:40:00Z",
        60,
        117.0,
    )
    if by == "the detection":
        assert (told[2]["count"], told[2]["z"]) == (40, 9.5)
        assert (
            told[2]["at"]
            == told[2]["window_start"]
            == again["at"].isoformat().replace("+00:00", "Z")
        )
