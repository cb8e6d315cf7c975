"""Why there is an incident, over HTTP: its decision recomputed, its lines without the logs."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest

from sql.timeline import keep_evidence
from tests.integration.http.conftest import Api
from tests.integration.http.test_api_incidents import FIRST, add_incident, add_log, database, get
from tests.integration.ledgers import BURST, replayed, store

__all__ = ["database"]

SECOND = timedelta(seconds=1)
QUIET = [5] * 30 + [-1] * 8 + [5] * 3


def explain(api: Api, incident_id: str) -> dict[str, Any]:
    return dict(get(api, f"/incidents/{incident_id}/explain"))


def test_incident_is_explained_and_recomputed(
    api: Api, database: psycopg.Connection, service: str
) -> None:
    [row] = store(api.settings.database_url, replayed(service))
    told = explain(api, row.incident_id)
    assert (told["agrees"], told["disagreements"], told["reach"]) == (True, [], "full")
    assert (told["service_id"], told["kind"], told["settings_version"]) == (service, "errors", 1)
    assert told["plain"]["n"] == len(told["plain"]["windows"]) == 30
    assert told["plain"]["z"] == get(api, f"/incidents/{row.incident_id}")["z"] == 117.0
    assert told["guarded"]["windows"][-1] == {"window_start": "2026-03-02T00:38:00Z", "errors": 1}
    tests = "  z = 117 > 3, 60 errors > 5, 30 windows >= 5: signal, CRITICAL for z > 5"
    assert tests in told["lines"]
    assert told["lines"][-1] == "Agrees with what is stored, to the last bit"


def test_silence_is_explained(api: Api, database: psycopg.Connection, service: str) -> None:
    [row] = store(api.settings.database_url, replayed(service, QUIET))
    told = explain(api, row.incident_id)
    assert (told["agrees"], told["kind"]) == (True, "silence"), told["lines"]
    assert get(api, f"/incidents/{row.incident_id}")["kind"] == "silence"


@pytest.mark.parametrize(
    "tampering",
    [
        "update incidents set observed = observed + 1",
        "update incidents set z = z + 1e-13 * z",
        "update incidents set baseline_squares = baseline_squares + 1",
        "update incidents set peak_z = peak_z + 1",
        "update error_windows set errors = errors + 1 where window_start = '2026-03-02 00:20Z'",
        "update error_windows set settings_version = 2",
        "delete from error_windows where window_start = '2026-03-02 00:20Z'",
    ],
)
def test_explanation_finds_out_what_was_tampered_with(
    api: Api, database: psycopg.Connection, service: str, tampering: str
) -> None:
    [row] = store(api.settings.database_url, replayed(service))
    database.execute(tampering.encode())
    told = explain(api, row.incident_id)
    assert told["agrees"] is False
    assert told["disagreements"]
    assert "DISAGREES with what is stored" in told["lines"]


def test_explanation_says_of_settings_that_cannot_be_read_that_they_cannot(
    api: Api, database: psycopg.Connection, service: str
) -> None:
    [row] = store(api.settings.database_url, replayed(service))
    database.execute("update detection_settings set document = '[]'")
    told = explain(api, row.incident_id)
    database.execute("update detection_settings set document = '{}'")
    assert (told["agrees"], told["reach"]) == (False, "sums")
    [why] = told["disagreements"]
    assert why.startswith("version 1 of the detection settings cannot be read: ")


def test_without_the_oldest_minutes_the_explanation_says_how_far_it_reaches(
    api: Api, database: psycopg.Connection, service: str
) -> None:
    [row] = store(api.settings.database_url, replayed(service))
    for oldest, reach in (("00:09", "plain"), ("00:20", "sums"), ("00:45", "sums")):
        database.execute(
            f"delete from error_windows where window_start < '2026-03-02 {oldest}Z'".encode()
        )
        told = explain(api, row.incident_id)
        assert (told["agrees"], told["reach"]) == (True, reach), told["lines"]


def test_what_people_did_is_no_disagreement(
    api: Api, database: psycopg.Connection, service: str
) -> None:
    [row] = store(api.settings.database_url, replayed(service, BURST[:43]))
    answer = api.client.patch(
        f"/incidents/{row.incident_id}",
        json={"status": "RESOLVED", "severity": "LOW"},
        headers=api.headers("operator"),
    )
    assert answer.status_code == 200
    assert explain(api, row.incident_id)["agrees"] is True


def test_lines_that_were_kept_stand_in_for_logs_that_retention_removed(
    api: Api, database: psycopg.Connection
) -> None:
    incident_id = add_incident(database, resolved=FIRST)
    for number in range(50):
        add_log(database, FIRST + number * SECOND + timedelta(microseconds=number))
    keep(database)
    path = f"/incidents/{incident_id}/logs"
    assert get(api, path)["meta"] == {
        "total": 50,
        "page": 1,
        "limit": 20,
        "totalPages": 3,
        "source": "logs",
    }
    database.execute("delete from logs where timestamp < %s", [FIRST + timedelta(seconds=10)])
    answer = get(api, path, limit=100)
    assert answer["meta"]["source"] == "evidence"
    assert answer["meta"]["total"] == 40
    stamps = [row["timestamp"] for row in answer["data"]]
    assert stamps == sorted(stamps)
    assert stamps[0].startswith("2026-03-02T08:00:00")
    assert answer["data"][0].keys() == get(api, path)["data"][0].keys()


def test_lines_once_kept_are_not_lost_by_a_later_change(
    api: Api, database: psycopg.Connection
) -> None:
    incident_id = add_incident(database, resolved=FIRST)
    for number in range(50):
        add_log(database, FIRST + number * SECOND + timedelta(microseconds=number))
    keep(database)
    database.execute("delete from logs")
    answer = api.client.patch(
        f"/incidents/{incident_id}", json={"status": "RESOLVED"}, headers=api.headers("operator")
    )
    assert answer.status_code == 200
    keep(database)
    assert get(api, f"/incidents/{incident_id}/logs")["meta"]["total"] == 40


def keep(database: psycopg.Connection) -> None:
    """Keep the lines, as the flow does when it has stored the logs."""
    database.execute(
        "insert into topics (topic_id, name) values ('topic', 'logs') on conflict do nothing"
    )
    for stage in ("detection", "logs"):
        database.execute(
            "insert into positions (stage, incarnation, partition, next_offset)"
            " select %s, incarnation, 0, 1 from topics where topic_id = 'topic'"
            " on conflict (stage, incarnation, partition)"
            " do update set moved_at = clock_timestamp()",
            [stage],
        )
    assert keep_evidence(database) == 1
