"""Acknowledging, resolving, assigning, commenting, deleting: once, in order, and told."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg
import pytest
from msgspec.structs import replace

from flows import detection_rows
from sql import writer
from sql.connect import connect
from tests.integration.http.conftest import Api
from tests.integration.http.test_api_changes import change, timeline
from tests.integration.http.test_api_incidents import add_incident, database, get
from tests.integration.http.test_api_ingest import assert_problem
from tests.integration.ledgers import replayed, went_on
from tocsin.detection import IncidentStatus

__all__ = ["database"]


def post(api: Api, path: str, content: object = None, **headers: str) -> httpx.Response:
    return api.client.post(path, json=content, headers={**api.headers("operator"), **headers})


def moments(api: Api, incident_id: str) -> list[tuple[str, str | None]]:
    return [(entry["moment"], entry["note"]) for entry in timeline(api, incident_id)]


def test_acknowledge_and_resolve_need_no_body_and_take_a_note(
    api: Api, database: psycopg.Connection
) -> None:
    incident_id = add_incident(database)
    answer = post(api, f"/incidents/{incident_id}/acknowledge")
    assert (answer.status_code, answer.json()["status"]) == (200, "ACKNOWLEDGED")
    answer = post(api, f"/incidents/{incident_id}/resolve", {"note": "rolled back"})
    assert (answer.status_code, answer.json()["status"]) == (200, "RESOLVED")
    assert answer.json() == get(api, f"/incidents/{incident_id}")
    assert moments(api, incident_id) == [
        ("acknowledged", "was OPEN"),
        ("resolved", "was ACKNOWLEDGED"),
        ("commented", "rolled back"),
    ]


def test_acknowledging_never_reopens_what_is_resolved(
    api: Api, database: psycopg.Connection
) -> None:
    incident_id = add_incident(database)
    change(api, incident_id, status="RESOLVED")
    answer = post(api, f"/incidents/{incident_id}/acknowledge", {"note": "on it"})
    assert_problem(answer, 409)
    assert moments(api, incident_id) == [("resolved", "was OPEN")]


def test_comment_is_an_entry_and_changes_nothing_else(
    api: Api, database: psycopg.Connection
) -> None:
    incident_id = add_incident(database)
    before = get(api, f"/incidents/{incident_id}")
    answer = post(api, f"/incidents/{incident_id}/comments", {"text": "line one\nlínea dos 🔔"})
    assert answer.status_code == 201, answer.text
    assert timeline(api, incident_id) == [answer.json()]
    entry = answer.json()
    assert (entry["moment"], entry["note"]) == ("commented", "line one\nlínea dos 🔔")
    assert entry["actor"].startswith("operator-")
    after = get(api, f"/incidents/{incident_id}")
    assert {**after, "revision": 0} == {**before, "revision": 0}
    assert after["revision"] == entry["seq"]


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("comments", {}),
        ("comments", {"text": ""}),
        ("comments", {"text": " \n"}),
        ("comments", {"text": "a\0b"}),
        ("comments", {"text": "x" * 10_001}),
        ("comments", {"text": 1}),
        ("comments", {"text": "x", "actor": "ada"}),
        ("acknowledge", {"note": ""}),
        ("acknowledge", {"status": "OPEN"}),
        ("resolve", {"note": ["x"]}),
        ("resolve", []),
    ],
)
def test_deed_that_cannot_be_changes_nothing(
    api: Api, database: psycopg.Connection, path: str, content: object
) -> None:
    incident_id = add_incident(database)
    assert_problem(post(api, f"/incidents/{incident_id}/{path}", content), 400)
    assert timeline(api, incident_id) == []


def test_assignment_is_told_with_who_it_was_before(api: Api, database: psycopg.Connection) -> None:
    incident_id = add_incident(database)
    mine = change(api, incident_id, assignee="me")["assignee"]
    assert mine.startswith("operator-")
    theirs = change(api, incident_id, role="admin", assignee="me")["assignee"]
    assert change(api, incident_id, assignee=theirs.upper())["assignee"] == theirs
    headers = api.headers("operator")
    path = f"/incidents/{incident_id}"
    assert api.client.patch(path, json={"assignee": None}, headers=headers).is_success
    told = [
        (entry["moment"], entry["note"], entry["assignee"]) for entry in timeline(api, incident_id)
    ]
    assert told == [
        ("assigned", "was nobody", mine),
        ("assigned", f"was {mine}", theirs),
        ("assigned", f"was {theirs}", None),
    ]


def test_viewer_cannot_be_assigned(api: Api, database: psycopg.Connection) -> None:
    incident_id = add_incident(database)
    api.headers("viewer")
    query = "select email from users where role = 'viewer' limit 1"
    [(viewer,)] = database.execute(query).fetchall()
    answer = api.client.patch(
        f"/incidents/{incident_id}", json={"assignee": viewer}, headers=api.headers("operator")
    )
    assert_problem(answer, 400)
    assert get(api, f"/incidents/{incident_id}")["assignee"] is None


def test_tag_is_the_revision_and_moves_with_what_is_decided_alone(
    api: Api, database: psycopg.Connection
) -> None:
    incident_id = add_incident(database)
    path = f"/incidents/{incident_id}"
    answer = api.client.get(path, headers=api.headers())
    assert answer.headers["etag"] == f'"{answer.json()["revision"]}"'
    assert answer.headers["cache-control"] == "no-store"
    database.execute(
        "update incidents set observed = 99, peak_z = 50, updated_at = clock_timestamp()"
    )
    assert api.client.get(path, headers=api.headers()).headers["etag"] == answer.headers["etag"]
    change(api, incident_id, severity="LOW")
    assert api.client.get(path, headers=api.headers()).headers["etag"] != answer.headers["etag"]


@pytest.mark.parametrize("deed", ["PATCH", "acknowledge", "resolve", "DELETE"])
def test_deed_on_what_somebody_changed_in_between_is_refused(
    api: Api, database: psycopg.Connection, deed: str
) -> None:
    incident_id = add_incident(database)
    path = f"/incidents/{incident_id}"
    seen = api.client.get(path, headers=api.headers()).headers["etag"]
    change(api, incident_id, severity="LOW")
    before = get(api, path)

    def do(tag: str) -> httpx.Response:
        headers = {**api.headers("admin"), "if-match": tag}
        if deed == "PATCH":
            return api.client.patch(path, json={"status": "RESOLVED"}, headers=headers)
        if deed == "DELETE":
            return api.client.delete(path, headers=headers)
        return api.client.post(f"{path}/{deed}", headers=headers)

    problem = assert_problem(do(seen), 412)
    assert f"revision {before['revision']}" in problem["detail"]
    assert get(api, path) == before
    assert do(f'"0", W/"{before["revision"]}"').is_success


@pytest.mark.parametrize(
    "tag", ["", "42", '"x"', '"1" "2"', "W/42", '"1",', '"9999999999999999999"']
)
def test_tag_that_cannot_be_is_refused(api: Api, database: psycopg.Connection, tag: str) -> None:
    answer = post(api, f"/incidents/{add_incident(database)}/resolve", **{"if-match": tag})
    assert_problem(answer, 400)


def test_of_several_who_decide_on_the_same_revision_one_succeeds(
    api: Api, database: psycopg.Connection
) -> None:
    incident_id = add_incident(database)
    path = f"/incidents/{incident_id}"
    headers = {
        **api.headers("operator"),
        "if-match": api.client.get(path, headers=api.headers()).headers["etag"],
    }

    def decide(number: int) -> int:
        severity = ["LOW", "MEDIUM", "CRITICAL"][number % 3]
        return api.client.patch(path, json={"severity": severity}, headers=headers).status_code

    with ThreadPoolExecutor(8) as people:
        codes = list(people.map(decide, range(8)))
    assert sorted(codes) == [200, *[412] * 7]
    assert len(timeline(api, incident_id)) == 1


def test_without_a_tag_the_last_one_wins_field_by_field(
    api: Api, database: psycopg.Connection
) -> None:
    incident_id = add_incident(database)
    deeds: list[dict[str, Any]] = [
        {"severity": "LOW"},
        {"status": "ACKNOWLEDGED"},
        {"assignee": "me"},
    ] * 3
    with ThreadPoolExecutor(8) as people:
        list(people.map(lambda deed: change(api, incident_id, **deed), deeds))
    found = get(api, f"/incidents/{incident_id}")
    assert (found["severity"], found["status"]) == ("LOW", "ACKNOWLEDGED")
    assert sorted(moment for moment, _ in moments(api, incident_id)) == [
        "acknowledged",
        "assigned",
        "reclassified",
    ]


def test_deleted_incident_is_seen_by_nobody_and_told_to_all(
    api: Api, database: psycopg.Connection
) -> None:
    incident_id = add_incident(database)
    path = f"/incidents/{incident_id}"
    answer = api.client.delete(path, headers=api.headers("admin"))
    assert (answer.status_code, answer.content) == (204, b"")
    for suffix in ("", "/logs", "/timeline", "/explain"):
        assert_problem(api.client.get(path + suffix, headers=api.headers("admin")), 404)
    assert_problem(post(api, f"{path}/comments", {"text": "?"}), 404)
    assert_problem(api.client.delete(path, headers=api.headers("admin")), 404)
    assert get(api, "/incidents")["meta"]["total"] == 0
    told = database.execute(
        "select moment, status::text, left(actor, 6) from incident_events"
        " where published_at is null order by seq"
    ).fetchall()
    assert told == [("resolved", "RESOLVED", "admin-"), ("deleted", "RESOLVED", "admin-")]


def test_deleted_incident_that_goes_on_comes_back(
    api: Api, database: psycopg.Connection, service: str
) -> None:
    [row] = replayed(service).incidents.values()
    still = replace(
        row, status=IncidentStatus.OPEN, reason=None, resolved_start_ms=None, resolved_at_ms=None
    )
    path = f"/incidents/{row.incident_id}"
    with connect(api.settings.database_url, name="tests", autocommit=True) as conn:
        writer.upsert_incidents(conn, detection_rows.incidents([(1, still)]))
        assert api.client.delete(path, headers=api.headers("admin")).status_code == 204
        writer.upsert_incidents(conn, detection_rows.incidents([(1, still)]))
        writer.reopen_incidents(conn, [went_on(row.incident_id, minutes=-1)])
        assert_problem(api.client.get(path, headers=api.headers()), 404)
        writer.reopen_incidents(conn, [went_on(row.incident_id, minutes=1)])
    assert get(api, path)["status"] == "OPEN"
    told = [moment for moment, _ in moments(api, row.incident_id)]
    assert told == ["resolved", "deleted", "reopened", "confirmed"]
