"""`tocsin explain` as a person runs it, on a real database."""

import os
import subprocess
import sys

import psycopg
import pytest

from tests.integration.commands import Run, execute, failure, tocsin
from tests.integration.ledgers import replayed, store

__all__ = ["tocsin"]


def test_explain_prints_the_arithmetic_and_agrees(database_url: str, tocsin: Run) -> None:
    [row] = store(database_url, replayed("checkout"))
    done = tocsin("explain", row.incident_id)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"Incident {row.incident_id} of checkout"
    assert "  d = n*c - S = 30*60 - 45 = 1755" in lines
    assert lines[-1] == "Agrees with what is stored, to the last bit"


def test_explain_takes_the_beginning_of_an_id(database_url: str, tocsin: Run) -> None:
    [row] = store(database_url, replayed("checkout"))
    assert tocsin("explain", row.incident_id[:6]).returncode == 0


@pytest.mark.parametrize("unknown", ["f00", "checkout", "%", "A" * 32, "0" * 33])
def test_explain_of_an_unknown_id_is_one_line(database_url: str, tocsin: Run, unknown: str) -> None:
    store(database_url, replayed("checkout"))
    assert failure(tocsin("explain", unknown)).startswith("tocsin: no incident has an id that")


def test_explain_of_what_a_person_opened_says_so(database_url: str, tocsin: Run) -> None:
    [row] = store(database_url, replayed("checkout"))
    by_hand = row.incident_id[:2] + "0" * 30
    execute(
        database_url,
        "insert into incidents (id, service_id, kind, title, severity, status, first_window,"
        f" opened_at) values ('{by_hand}', 'checkout', 'manual', '', 'HIGH', 'OPEN', now(), now())",
    )
    line = failure(tocsin("explain", by_hand))
    assert line == "tocsin: a person opened the incident: there is nothing to recompute"
    assert tocsin("explain", row.incident_id[:2]).returncode == 0


def test_explain_of_an_ambiguous_id_is_one_line(database_url: str, tocsin: Run) -> None:
    rows = [store(database_url, replayed(f"s-{number}"))[0] for number in range(17)]
    digits = [row.incident_id[0] for row in rows]
    twice = next(digit for digit in digits if digits.count(digit) > 1)
    line = failure(tocsin("explain", twice))
    assert line == f"tocsin: more than one incident has an id that begins with {twice}"


def test_explain_that_disagrees_says_where_and_fails(database_url: str, tocsin: Run) -> None:
    [row] = store(database_url, replayed("checkout"))
    execute(database_url, "update incidents set observed = 61")
    done = tocsin("explain", row.incident_id)
    assert failure(done).startswith(f"tocsin: incident {row.incident_id} is not what its ledger")
    assert "  errors: stored 61, recomputed 60" in done.stdout.splitlines()


@pytest.mark.parametrize(
    ("tampering", "told"),
    [
        (
            "update incidents set resolve_reason = 'zzz'",
            "reason: invalid enum value 'zzz'",
        ),
        (
            "update incidents set decided_by = ''",
            "decided_by: invalid enum value ''",
        ),
        (
            "update incidents set machine_status = 'ACKNOWLEDGED'",
            "status: invalid enum value 'acknowledged'",
        ),
        (
            "update incidents set peak_z = 'NaN'",
            "peak z: stored nan, recomputed 117.0",
        ),
        (
            "update incidents set baseline_squares = 1e30",
            "the database cannot read what is stored: bigint out of range",
        ),
        (
            "update error_windows set guarded_errors = 'NaN'",
            "the database cannot read what is stored: cannot convert NaN to bigint",
        ),
        (
            "update incidents set confirmed_window = 'infinity'",
            "the database cannot read what is stored: cannot convert infinity to bigint",
        ),
        (
            "update incidents set window_start = '20000-01-01Z'",
            "a time is stored that is none of this age",
        ),
        (
            "update detection_settings set document = '[]'",
            "version 1 of the detection settings cannot be read: Expected `object`, got `array`",
        ),
        (
            """update detection_settings set document = '{"settings": {"calm_windows": "x"}}'""",
            "version 1 of the detection settings cannot be read: calm_windows: expected `int`",
        ),
        (
            "delete from detection_settings",
            "the detection settings cannot be read: there are no detection settings",
        ),
    ],
)
def test_explain_of_what_no_detector_can_have_written_disagrees_and_says_why(
    database_url: str, tocsin: Run, tampering: str, told: str
) -> None:
    [row] = store(database_url, replayed("checkout"))
    for column in ("resolve_reason", "decided_by", "machine_status"):
        execute(database_url, f"alter table incidents drop constraint incidents_{column}_check")
    execute(database_url, tampering)
    done = tocsin("explain", row.incident_id)
    assert failure(done).startswith(f"tocsin: incident {row.incident_id} is not what its ledger")
    lines = done.stdout.splitlines()
    found = lines[lines.index("DISAGREES with what is stored") :]
    assert any(line.startswith(f"  {told}") for line in found), found


@pytest.mark.parametrize(
    "tampering", ["set resolve_reason = 'zzz'", "set decided_by = ''", "set machine_status = NULL"]
)
def test_database_refuses_words_that_the_detection_never_says(
    database_url: str, tampering: str
) -> None:
    store(database_url, replayed("checkout"))
    with pytest.raises(psycopg.errors.CheckViolation):
        execute(database_url, f"update incidents {tampering}")


@pytest.mark.parametrize("document", ["[]", '{"settings": {"calm_windows": "x"}}'])
def test_settings_that_cannot_be_read_are_one_line_of_every_command(
    database_url: str, tocsin: Run, document: str
) -> None:
    execute(database_url, f"update detection_settings set document = '{document}'")
    for command in (["show"], ["list"], ["set", "calm_windows=4"]):
        line = failure(tocsin("detection", *command))
        assert line.startswith("tocsin: version 1 of the detection settings cannot be read: ")


def test_explain_without_a_database_is_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tocsin", "explain", "f00"],
        env={**os.environ, "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "cannot be reached" in failure(done)
