"""What nobody may ask of incidents: lists that cannot be, and what takes another role."""

from typing import Any

import psycopg
import pytest

from tests.integration.http.conftest import Api
from tests.integration.http.test_api_incidents import add_incident, database, get
from tests.integration.http.test_api_ingest import assert_problem

__all__ = ["database"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"page": "0"},
        {"page": "-1"},
        {"page": "abc"},
        {"page": "1.5"},
        {"page": "1e3"},
        {"page": ""},
        {"page": "1" + "0" * 30},
        {"page": "٣"},
        {"page": "1; DROP TABLE incidents"},
        {"page": ["1", "2"]},
        {"limit": "0"},
        {"limit": "101"},
        {"limit": "null"},
        {"limit": "1\0"},
        {"offset": "3"},
        {"' OR 1=1 --": "1"},
        {"confirmed": "yes"},
        {"confirmed": ""},
        {"confirmed": ["true", "false"]},
        {"status": "opened"},
        {"severity": "WORST"},
        {"kind": "noise"},
        {"service_id": ""},
        {"service_id": "x" * 129},
        {"service_id": "a\0b"},
        {"title": "Anomaly Detected"},
        {"assignee": ""},
        {"assignee": "a\0b"},
        {"assignee": "x" * 255},
        {"from": "yesterday"},
        {"from": "2026-03-02T08:00:00"},
        {"from": "1; DROP TABLE incidents"},
        {"to": "0001-01-01T00:00:00+14:00"},
        {"to": "9999-12-31T23:59:59-14:00"},
        {"from": "2026-03-02T08:00:00Z", "to": "2026-03-02T08:00:00Z"},
        {"from": ["2026-03-02T08:00:00Z"] * 2},
    ],
)
def test_page_or_filter_that_cannot_be_is_refused(api: Api, parameters: dict[str, Any]) -> None:
    answer = api.client.get("/incidents", params=parameters, headers=api.headers())
    assert_problem(answer, 400)


@pytest.mark.parametrize("query", ["service_id=%ff", "%c3%28=1", "assignee=%ed%a0%80"])
def test_query_that_is_not_utf_8_is_refused(api: Api, query: str) -> None:
    answer = api.client.get(f"/incidents?{query}", headers=api.headers())
    assert "not UTF-8" in assert_problem(answer, 400)["detail"]


def test_parameter_that_is_misspelt_is_refused_with_a_hint(api: Api) -> None:
    answer = api.client.get("/incidents?servcie_id=checkout", headers=api.headers())
    assert "did you mean service_id?" in assert_problem(answer, 400)["detail"]


@pytest.mark.parametrize("name", ["service_id", "assignee"])
def test_sql_in_a_text_is_text(api: Api, database: psycopg.Connection, name: str) -> None:
    add_incident(database)
    assert get(api, "/incidents", **{name: "' OR '1'='1' --"})["data"] == []


@pytest.mark.parametrize(
    "name", ["page", "limit", "service_id", "status", "severity", "kind", "confirmed"]
)
@pytest.mark.parametrize("values", [["1", "1"], ["", "OPEN", "x"]])
def test_a_parameter_may_be_given_once(api: Api, name: str, values: list[str]) -> None:
    answer = api.client.get("/incidents", params={name: values}, headers=api.headers())
    expected = f"{name}: may be given once, not {len(values)} times"
    assert assert_problem(answer, 400)["detail"] == expected


@pytest.mark.parametrize("list_of", ["logs", "timeline"])
def test_a_page_of_an_incident_may_be_chosen_once(
    api: Api, database: psycopg.Connection, list_of: str
) -> None:
    path = f"/incidents/{add_incident(database)}/{list_of}?limit=1&limit=1"
    answer = api.client.get(path, headers=api.headers())
    assert assert_problem(answer, 400)["detail"] == "limit: may be given once, not 2 times"


@pytest.mark.parametrize(
    "incident_id",
    ["0" * 32, "0", "x" * 32, "A" * 32, "' OR 1=1 --", "%00", "..%2f..%2fetc", "0" * 4000],
)
@pytest.mark.parametrize(
    ("method", "suffix"),
    [
        ("GET", ""),
        ("GET", "/logs"),
        ("GET", "/timeline"),
        ("GET", "/explain"),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/acknowledge"),
        ("POST", "/resolve"),
        ("POST", "/comments"),
    ],
)
def test_unknown_incident_is_not_found(
    api: Api, incident_id: str, method: str, suffix: str
) -> None:
    answer = api.client.request(
        method,
        f"/incidents/{incident_id}{suffix}",
        headers=api.headers("admin"),
        json={"PATCH": {"status": "RESOLVED"}, "POST": {"text": "?"}}.get(method)
        if suffix in {"", "/comments"}
        else None,
    )
    assert_problem(answer, 404)


@pytest.mark.parametrize("suffix", ["", "/logs", "/timeline", "/explain", "/label"])
def test_id_that_is_shortened_is_told_to_be_so(
    api: Api, database: psycopg.Connection, suffix: str
) -> None:
    short = add_incident(database)[:8]
    answer = api.client.get(f"/incidents/{short}{suffix}", headers=api.headers())
    assert assert_problem(answer, 404)["detail"] == (
        "an incident's id has 32 digits, this has 8: "
        "`tocsin incidents list --json` and `GET /incidents` show them whole"
    )


@pytest.mark.parametrize(
    ("role", "method", "suffix", "content"),
    [
        ("viewer", "PATCH", "", {"status": "RESOLVED"}),
        ("viewer", "POST", "/acknowledge", None),
        ("viewer", "POST", "/resolve", {"note": "mine"}),
        ("viewer", "POST", "/comments", {"text": "mine"}),
        ("viewer", "DELETE", "", None),
        ("operator", "DELETE", "", None),
    ],
)
def test_role_that_does_not_suffice_changes_nothing(
    api: Api, database: psycopg.Connection, role: str, method: str, suffix: str, content: object
) -> None:
    path = f"/incidents/{add_incident(database)}"
    before = get(api, path)
    answer = api.client.request(method, path + suffix, json=content, headers=api.headers(role))
    assert_problem(answer, 403)
    assert get(api, path) == before
    assert get(api, f"{path}/timeline")["data"] == []


def test_viewer_opens_no_incident(api: Api, database: psycopg.Connection) -> None:
    content = {"service_id": "checkout", "title": "mine", "severity": "LOW"}
    answer = api.client.post("/incidents", json=content, headers=api.headers("viewer"))
    assert_problem(answer, 403)
    assert get(api, "/incidents")["data"] == []


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"status": None},
        {"status": "open"},
        {"status": "CLOSED"},
        {"status": 1},
        {"severity": "WORST"},
        {"severity": ["LOW"]},
        {"title": "mine"},
        {"status": "RESOLVED", "z": 0},
        {"status": "RESOLVED", "assignee": 1},
        {"status": "RESOLVED", "assignee": ""},
        {"status": "RESOLVED", "assignee": "nobody@example.org"},
        {"status": "RESOLVED", "assignee": "' OR role = 'admin' --"},
        {"status": "RESOLVED", "assignee": "a\0b"},
        [],
        "RESOLVED",
    ],
)
def test_change_that_cannot_be_changes_nothing(
    api: Api, database: psycopg.Connection, change: object
) -> None:
    path = f"/incidents/{add_incident(database)}"
    before = get(api, path)
    assert_problem(api.client.patch(path, json=change, headers=api.headers("operator")), 400)
    assert get(api, path) == before


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/incidents"),
        ("GET", f"/incidents/{'0' * 32}"),
        ("GET", f"/incidents/{'0' * 32}/logs"),
        ("GET", f"/incidents/{'0' * 32}/timeline"),
        ("GET", f"/incidents/{'0' * 32}/explain"),
        ("POST", "/incidents"),
        ("PATCH", f"/incidents/{'0' * 32}"),
        ("DELETE", f"/incidents/{'0' * 32}"),
        ("POST", f"/incidents/{'0' * 32}/acknowledge"),
        ("POST", f"/incidents/{'0' * 32}/resolve"),
        ("POST", f"/incidents/{'0' * 32}/comments"),
    ],
)
def test_incidents_need_a_token(api: Api, method: str, path: str) -> None:
    answer = api.client.request(method, path)
    assert_problem(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Bearer")
