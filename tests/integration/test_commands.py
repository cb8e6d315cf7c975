"""`tocsin explain` and `tocsin detection` as a person runs them, on a real database."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import psycopg
import pytest

from tests.integration.ledgers import replayed, store

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def tocsin(database_url: str) -> Run:
    """Return a function that runs a command of `tocsin` and returns what came of it."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tocsin", *words],
            env={**os.environ, "DATABASE_URL": database_url, "COLUMNS": "120"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def execute(database_url: str, statement: str) -> None:
    with psycopg.connect(database_url) as conn:
        conn.execute(statement.encode())


def failure(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line that a command failed with."""
    assert done.returncode == 1, done
    [line] = done.stderr.splitlines()
    return line


def in_minutes(minutes: int) -> datetime:
    now = datetime.now(timezone.utc).replace(second=0, microsecond=0)
    return now + timedelta(minutes=minutes)


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


@pytest.mark.parametrize("unknown", ["f00", "checkout", "%", "", "A" * 32, "0" * 33])
def test_explain_of_an_unknown_id_is_one_line(database_url: str, tocsin: Run, unknown: str) -> None:
    store(database_url, replayed("checkout"))
    assert failure(tocsin("explain", unknown)).startswith("tocsin: no incident has an id that")


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


def test_new_version_is_made_listed_and_shown(database_url: str, tocsin: Run) -> None:
    start = in_minutes(30)
    done = tocsin(
        "detection", "set", "threshold_sigma=3.5", "minimum_count=8", "--from", start.isoformat()
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"version 2 judges the windows from {start:%Y-%m-%d %H:%M} UTC on",
        "  all: threshold_sigma 3 -> 3.5, minimum_count 5 -> 8",
    ]
    done = tocsin("detection", "set", "minimum_count=20", "--services", "batch-*")
    assert "  batch-*: minimum_count 8 -> 20" in done.stdout.splitlines()
    listed = tocsin("detection", "list").stdout
    assert re.search(r"3 .*batch-\*.*minimum_count 8 -> 20", listed)
    assert re.search(r"1 .*tocsin.*nothing", listed)
    shown = tocsin("detection", "show", "batch-7").stdout
    assert re.search(r"version 1, from 1970-01-01 00:00", shown)
    assert "threshold_sigma 3 -> 3.5, minimum_count 5 -> 20" in " ".join(shown.split())
    shown = tocsin("detection", "show").stdout
    assert re.search(r"minimum_count +│ 5 +│ 5", shown)
    assert "version 2 begins" in shown


def test_version_without_a_start_begins_as_soon_as_one_may(tocsin: Run) -> None:
    done = tocsin("detection", "set", "preset=plain", "silence=false")
    start = datetime.fromisoformat(done.stdout.split("from ")[1].split(" UTC")[0] + "+00:00")
    assert in_minutes(9) < start <= in_minutes(12)
    assert "  all: preset guarded -> plain, silence true -> false" in done.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["threshold_sgima=3"], "threshold_sgima: no such setting, did you mean threshold_sigma?"),
        (["xyz=3"], "xyz: no such setting, `tocsin detection show` lists them"),
        (["threshold_sigma"], "threshold_sigma: give a setting and its value"),
        (["threshold_sigma=high"], "threshold_sigma is 'high': give a number, as 2.5"),
        (["threshold_sigma=1_0"], "threshold_sigma is '1_0': give a number, as 2.5"),
        (["threshold_sigma=0"], "threshold_sigma is 0: give it above 0"),
        (["threshold_sigma=2.0001"], "threshold_sigma is 2.0001: give it above 0, up to 1000"),
        (["calm_windows=2.5"], "calm_windows is '2.5': give a whole number"),
        (["calm_windows=0"], "calm_windows is 0: give a whole number of at least 1"),
        (["silence=off"], "silence is 'off': give true or false"),
        (["preset=loud"], "preset is 'loud': give guarded or plain"),
        (["idle_ms=1"], "idle_ms: cannot be changed"),
        (["version=9"], "version: cannot be changed"),
        (["critical_sigma=2"], "critical_sigma must be at least threshold_sigma"),
        (["calm_windows=4", "calm_windows=6"], "calm_windows: given twice"),
        (["calm_windows=5"], "would change nothing"),
        (["calm_windows=4", "--services", ""], "services: give a pattern"),
        (["calm_windows=4", "--from", "soon"], "--from: 'soon' is no time"),
        (["calm_windows=4", "--from", "2126-03-02T08:00:00"], "is no time"),
        (["calm_windows=4", "--from", "2126-03-02T08:00:01Z"], "is no full minute"),
        (["calm_windows=4", "--from", "2026-03-02T08:00:00Z"], "at least 10 minutes ahead"),
    ],
)
def test_change_that_cannot_be_is_one_line_and_no_version(
    tocsin: Run, words: list[str], complaint: str
) -> None:
    line = failure(tocsin("detection", "set", *words))
    assert line.startswith("tocsin: ")
    assert complaint in line
    assert "2 │" not in tocsin("detection", "list").stdout
