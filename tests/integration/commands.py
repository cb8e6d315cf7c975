"""Commands of `tocsin` as a person runs them, on a real database."""

import os
import subprocess
import sys
from collections.abc import Callable

import psycopg
import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def tocsin(database_url: str) -> Run:
    """Return a function that runs a command of `tocsin` and returns what came of it."""

    def run(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return run_tocsin(*words, **{"DATABASE_URL": database_url, **environ})

    return run


def run_tocsin(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command with more in its environment."""
    return subprocess.run(
        [sys.executable, "-m", "tocsin", *words],
        env={**os.environ, "COLUMNS": "120", **environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def execute(database_url: str, statement: str) -> None:
    with psycopg.connect(database_url) as conn:
        conn.execute(statement.encode())


def failure(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line that a command failed with."""
    assert done.returncode == 1, done
    [line] = done.stderr.splitlines()
    return line
