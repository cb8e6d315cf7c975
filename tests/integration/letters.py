"""Dead letters without a flow, and `tocsin dead-letters` as a person runs it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timezone

import psycopg

from sql import writer
from tests.integration.conftest import Line
from tocsin.batches import DeadLetter

Run = Callable[..., subprocess.CompletedProcess[bytes]]


def wire(**changes: object) -> bytes:
    now = datetime.now(timezone.utc).isoformat()
    base = {"timestamp": now, "service_id": "checkout", "level": "INFO", "message": "m"}
    return json.dumps({**base, **changes}).encode()


def run(line: Line, *words: str, **environ: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command of `tocsin dead-letters`."""
    return subprocess.run(
        [sys.executable, "-m", "tocsin", "dead-letters", *words],
        env={**os.environ, "COLUMNS": "200", **line.environ, **environ},
        capture_output=True,
        timeout=120,
        check=False,
    )


def put_aside(line: Line, *records: bytes, reason: str = "level: unknown level 'LOUD'") -> None:
    """Store letters as if the flow had refused the records by former rules."""
    with psycopg.connect(line.settings.database_url) as conn:
        [(first,)] = conn.execute("SELECT count(*) FROM dead_letters").fetchall()
        arrival_ms = int(datetime.now(timezone.utc).timestamp() * 1000)
        writer.insert_dead_letters(
            conn,
            line.settings.topic,
            1,
            [
                DeadLetter(0, offset, arrival_ms, reason, b"checkout", raw)
                for offset, raw in enumerate(records, first)
            ],
        )


def failure(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return the one line that a command failed with."""
    assert done.returncode == 1, done
    [line] = done.stderr.decode().splitlines()
    return line


def output(done: subprocess.CompletedProcess[bytes]) -> list[str]:
    assert (done.returncode, done.stderr) == (0, b""), done
    return done.stdout.decode().splitlines()


def stored_ids(line: Line) -> list[str]:
    return [id_ for (id_,) in line.query("SELECT id FROM logs ORDER BY id")]


def redriven(line: Line) -> int:
    return int(line.query("SELECT count(*) FROM dead_letters WHERE redriven_at IS NOT NULL")[0][0])
