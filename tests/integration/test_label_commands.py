"""`tocsin incidents` as a person runs it: labels are said, listed and taken back."""

from typing import Any

import psycopg
import pytest

from tests.conftest import as_role
from tests.integration.commands import Run, failure, tocsin
from tests.integration.http.test_api_incidents import add_incident

__all__ = ["tocsin"]

FROM, TO = "2026-03-02T08:00:00Z", "2026-03-02T08:30:00Z"


@pytest.fixture
def incident_id(database_url: str) -> str:
    with psycopg.connect(database_url, autocommit=True) as conn:
        return add_incident(conn)


def query(database_url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database_url) as conn:
        return conn.execute(statement.encode()).fetchall()


def test_incident_is_labelled_by_how_its_id_begins_and_the_last_word_counts(
    tocsin: Run, incident_id: str, database_url: str
) -> None:
    said = tocsin("incidents", "label", incident_id[:8], "true", "--note", "the outage of [x]")
    assert said.stdout == f"incident {incident_id} is labelled true\n"
    assert "the outage of [x]" in tocsin("incidents", "labels").stdout
    assert tocsin("incidents", "label", incident_id, "False").returncode == 0
    rows = query(database_url, "SELECT incident_id, is_true, note FROM incident_labels")
    assert rows == [(incident_id, False, None)]
    gone = tocsin("incidents", "unlabel", incident_id[:8])
    assert gone.stdout == f"incident {incident_id} has a label no more\n"
    assert query(database_url, "SELECT * FROM incident_labels") == []
    assert query(
        database_url,
        "SELECT action, details->>'is_true' FROM audit_log WHERE subject IS NOT NULL ORDER BY seq",
    ) == [
        ("incident.labelled", "true"),
        ("incident.labelled", "false"),
        ("incident.unlabelled", "false"),
    ]


def test_missed_incident_is_labelled_listed_and_taken_back(
    tocsin: Run, incident_id: str, database_url: str
) -> None:
    [(service,)] = query(database_url, "SELECT service_id FROM incidents")
    with psycopg.connect(database_url) as conn:
        # A service is known by its windows: any will do.
        conn.execute(
            "INSERT INTO error_windows (service_id, window_start, errors, total, late_errors,"
            " late_total, verdict, baseline_windows, baseline_errors, baseline_squares, closed,"
            ' flagged, "unknown", settings_version, incarnation, partition, read_offset, "offset",'
            " arrival, clock_start, service_first, service_last, gap_windows, too_late)"
            " SELECT %s, t, 0, 1, 0, 0, 'normal', 0, 0, 0, true, false, false, 1, 1, 0, 0, 0,"
            " t, t, t, t, 0, 0 FROM (VALUES (timestamptz '2026-03-02T08:00Z')) AS v (t)",
            (service,),
        )
    words = ("incidents", "missed", service, "--from", FROM, "--to", TO, "--note", "seen by hand")
    assert tocsin(*words).stdout == f"missed:1 of {service} is labelled\n"
    assert "labelled already" in failure(tocsin(*words))
    listed = tocsin("incidents", "labels").stdout
    for cell in ("missed:1", "2026-03-02 08:00", "2026-03-02 08:30"):
        assert cell in listed
    assert tocsin("incidents", "unlabel", "missed:1").returncode == 0
    assert "no missed incident" in failure(tocsin("incidents", "unlabel", "missed:1"))
    actions = query(database_url, "SELECT action, subject FROM audit_log ORDER BY seq")
    assert actions == [("missed_incident.labelled", "1"), ("missed_incident.unlabelled", "1")]


def test_what_cannot_be_labelled_is_told_in_a_line(tocsin: Run, incident_id: str) -> None:
    assert "no incident has an id" in failure(tocsin("incidents", "label", "zz", "true"))
    for words in (
        ("incidents", "label", "", "true"),
        ("incidents", "unlabel", " "),
        ("explain", ""),
    ):
        assert "give an incident's id, or how only that one begins" in failure(tocsin(*words))
    assert "no incident has an id" in failure(tocsin("incidents", "unlabel", "f" * 32))
    assert "has no label" in failure(tocsin("incidents", "unlabel", incident_id))
    assert "give an incident's id" in failure(tocsin("incidents", "unlabel", "missed:x"))
    missed = ("incidents", "missed", "chekout")
    assert "is it misspelt?" in failure(tocsin(*missed, "--from", FROM, "--to", TO))
    assert "--to: must lie after" in failure(tocsin(*missed, "--from", TO, "--to", FROM))
    future = ("--from", FROM, "--to", "2226-03-02T08:30:00Z")
    assert "--to: lies in the future" in failure(tocsin(*missed, *future))
    assert "--from: 'monday' is no time" in failure(tocsin(*missed, "--from", "monday", "--to", TO))


def test_role_that_only_reads_is_told_whose_database_url_it_takes(
    tocsin: Run, incident_id: str, database_url: str
) -> None:
    analyst = as_role(database_url, "analyst")
    told = failure(tocsin("incidents", "label", incident_id, "true", DATABASE_URL=analyst))
    assert told.startswith("tocsin: the database: cannot execute ")
    assert told.endswith(
        "in a read-only transaction: give the DATABASE_URL of its owner, on the primary server"
    )


def test_deleted_incident_can_be_labelled_no_more(
    tocsin: Run, incident_id: str, database_url: str
) -> None:
    tocsin("incidents", "label", incident_id, "true")
    with psycopg.connect(database_url) as conn:
        conn.execute("UPDATE incidents SET deleted_at = now()")
    assert "no incident has an id" in failure(tocsin("incidents", "label", incident_id, "true"))
    assert incident_id[:8] not in tocsin("incidents", "labels").stdout
