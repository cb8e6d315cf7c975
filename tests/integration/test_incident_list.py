"""`tocsin incidents list` as a person at night runs it."""

import json
from datetime import timedelta

import psycopg
import pytest

from tests.conftest import as_role
from tests.integration.commands import Run, execute, tocsin
from tests.integration.http.test_api_incidents import FIRST, MINUTE, add_incident

__all__ = ["tocsin"]


@pytest.fixture
def ids(database_url: str) -> list[str]:
    """Three incidents, oldest first: one is acknowledged, one resolved, one open."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        found = [
            add_incident(conn, service, opened=FIRST + number * MINUTE)
            for number, service in enumerate(("search", "checkout", "checkout"))
        ]
        for incident_id, status in zip(found, ("ACKNOWLEDGED", "RESOLVED"), strict=False):
            conn.execute(
                "UPDATE incidents SET status = %s, resolved_at = %s WHERE id = %s",
                (status, FIRST + timedelta(hours=1) if status == "RESOLVED" else None, incident_id),
            )
    return found


def listed(done_text: str) -> list[str]:
    """Return how the ids begin that a table shows, from the top."""
    rows = [line.strip("│ ").split(" ")[0] for line in done_text.splitlines() if "│" in line]
    assert {len(row) for row in rows} == {8}
    return rows


def test_incidents_are_listed_newest_first_with_ids_that_other_commands_take(
    tocsin: Run, ids: list[str], database_url: str
) -> None:
    shown = tocsin("incidents", "list", DATABASE_URL=as_role(database_url, "analyst"))
    assert shown.stderr == ""
    assert listed(shown.stdout) == [one[:8] for one in reversed(ids)]
    last = [cell.strip() for cell in shown.stdout.splitlines()[-2].strip("│").split("│")]
    assert last == [
        ids[0][:8],
        "search",
        "HIGH",
        "ACKNOWLEDGED",
        "2026-03-02 08:00",
        "yes",
        "Anomaly Detected",
    ]
    said = tocsin("incidents", "label", listed(shown.stdout)[-1], "true").stdout
    assert said == f"incident {ids[0]} is labelled true\n"


def test_open_ones_those_of_a_service_and_the_newest_are_listed_alone(
    tocsin: Run, ids: list[str]
) -> None:
    acknowledged, resolved, newest = (one[:8] for one in ids)
    assert listed(tocsin("incidents", "list", "--open").stdout) == [newest, acknowledged]
    ours = tocsin("incidents", "list", "--service", "checkout").stdout
    assert listed(ours) == [newest, resolved]
    both = tocsin("incidents", "list", "--service", "checkout", "--open").stdout
    assert listed(both) == [newest]
    first = tocsin("incidents", "list", "--limit", "1").stdout
    assert listed(first) == [newest]
    assert "these are the newest 1, there are more" in first
    assert "there are more" not in tocsin("incidents", "list", "--limit", "3").stdout


def test_json_has_an_incident_a_line(tocsin: Run, ids: list[str]) -> None:
    lines = tocsin("incidents", "list", "--json", "--limit", "2").stdout.splitlines()
    found = [json.loads(line) for line in lines]
    assert [one["id"] for one in found] == ids[:0:-1]
    assert found[1]["status"] == "RESOLVED"


def test_where_there_is_none_a_sentence_says_so(
    tocsin: Run, ids: list[str], database_url: str
) -> None:
    assert tocsin("incidents", "list", "--service", "chekout", "--open").stdout == (
        "no incident of chekout is open\n"
    )
    execute(database_url, "UPDATE incidents SET deleted_at = now()")
    assert tocsin("incidents", "list").stdout == "there is no incident\n"
    assert tocsin("incidents", "list", "--json").stdout == ""
