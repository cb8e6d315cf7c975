"""Labels over HTTP: operators say what an incident was, everybody reads it, the audit log too."""

import psycopg

from tests.integration.http.conftest import Api
from tests.integration.http.test_api_audit import entries_of
from tests.integration.http.test_api_incidents import add_incident, database
from tests.integration.http.test_api_ingest import assert_problem

__all__ = ["database"]


def test_label_is_set_read_replaced_and_taken_back(api: Api, database: psycopg.Connection) -> None:
    where = f"/incidents/{add_incident(database)}/label"
    operator = api.person("operator")
    assert_problem(api.client.get(where, headers=api.headers()), 404)
    body = {"is_true": False, "note": "a deploy"}
    answer = api.client.put(where, json=body, headers=operator.headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["labelled_by"] == operator.email
    assert (answer.json()["is_true"], answer.json()["note"]) == (False, "a deploy")
    assert api.client.get(where, headers=api.headers()).json() == answer.json()
    assert api.client.put(where, json={"is_true": True}, headers=operator.headers).is_success
    read = api.client.get(where, headers=api.headers()).json()
    assert (read["is_true"], read["note"]) == (True, None)
    assert api.client.delete(where, headers=operator.headers).status_code == 204
    assert_problem(api.client.get(where, headers=api.headers()), 404)
    assert_problem(api.client.delete(where, headers=operator.headers), 404)


def test_labels_are_in_the_audit_log(api: Api, database: psycopg.Connection) -> None:
    incident_id = add_incident(database)
    operator = api.person("operator")
    where = f"/incidents/{incident_id}/label"
    api.client.put(where, json={"is_true": True}, headers=operator.headers).raise_for_status()
    api.client.delete(where, headers=operator.headers).raise_for_status()
    labelled, unlabelled = entries_of(api, incident_id)
    assert (labelled["action"], unlabelled["action"]) == (
        "incident.labelled",
        "incident.unlabelled",
    )
    assert labelled["details"] == {"is_true": True, "note": None}
    assert {labelled["actor"], unlabelled["actor"]} == {operator.email}


def test_viewers_label_nothing(api: Api, database: psycopg.Connection) -> None:
    where = f"/incidents/{add_incident(database)}/label"
    refused = api.client.put(where, json={"is_true": True}, headers=api.headers("viewer"))
    assert_problem(refused, 403)
    assert_problem(api.client.delete(where, headers=api.headers("viewer")), 403)


def test_incident_that_is_not_there_has_no_label(api: Api, database: psycopg.Connection) -> None:
    operator = api.headers("operator")
    for incident_id in ("x", "0" * 32):
        where = f"/incidents/{incident_id}/label"
        assert_problem(api.client.put(where, json={"is_true": True}, headers=operator), 404)
    gone = add_incident(database)
    api.client.put(f"/incidents/{gone}/label", json={"is_true": True}, headers=operator)
    api.client.delete(f"/incidents/{gone}", headers=api.headers("admin")).raise_for_status()
    for method in ("GET", "PUT"):
        content = {"is_true": False} if method == "PUT" else None
        answer = api.client.request(
            method, f"/incidents/{gone}/label", json=content, headers=operator
        )
        assert_problem(answer, 404)
