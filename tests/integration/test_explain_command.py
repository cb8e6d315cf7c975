"""`tocsin explain` as a person runs it, on a real database."""

import os
import subprocess
import sys

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
