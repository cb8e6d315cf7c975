"""The line's decisions: each can be explained, each window is judged by its version."""

import json
import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from sql.connect import connect
from sql.detection_settings import add_version, read_book
from tests.integration.conftest import Line
from tests.integration.test_flow import history, log_at
from tocsin.settings_changes import read_changes

MINUTE = timedelta(minutes=1)


def tocsin(line: Line, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tocsin", *words],
        env={**os.environ, **line.environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def send_as_it_happened(line: Line, records: list[dict[str, Any]]) -> None:
    """Send records that arrived the moment they happened, in the past."""
    for record in records:
        moment = datetime.fromisoformat(record["timestamp"])
        line.send_raw(
            json.dumps(record).encode(),
            key=record["service_id"].encode(),
            arrival_ms=int(moment.timestamp() * 1000),
        )
    line.flush()


def assert_explained(line: Line) -> None:
    for (incident_id,) in line.query("SELECT id FROM incidents"):
        done = tocsin(line, "explain", incident_id)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.splitlines()[-1] == "Agrees with what is stored, to the last bit"


def test_incident_is_explained_while_it_is_open_and_after_a_kill(line: Line) -> None:
    flow = line.start_flow()
    now = datetime.now(timezone.utc)
    line.send(*history(now, minutes=35))
    line.send(*[log_at(now, "ERROR") for _ in range(40)])
    line.wait_for(
        lambda: line.query("SELECT 1 FROM incidents WHERE observed = 40"), "the incident", flow
    )
    assert_explained(line)
    flow.popen.kill()
    flow.popen.wait()
    flow = line.start_flow()
    line.send(*[log_at(now, "ERROR") for _ in range(10)])
    line.wait_for(
        lambda: line.query("SELECT 1 FROM incidents WHERE observed = 50"), "ten more", flow
    )
    assert_explained(line)


@pytest.mark.producers_time
def test_incident_and_silence_are_explained_when_they_are_over(line: Line) -> None:
    burst = datetime.now(timezone.utc).replace(second=30) - 40 * MINUTE
    talk = [log_at(burst + second * timedelta(seconds=1)) for second in range(20)]
    before = history(burst, minutes=20, errors=4)
    again = [log_at(burst + 20 * MINUTE)]
    send_as_it_happened(
        line, [*before, *[log_at(burst, "ERROR") for _ in range(60)], *talk, *again]
    )
    # Not sooner: a flow that had read all would take a pause between two of them for silence.
    flow = line.start_flow()
    line.wait_for(
        lambda: (
            line.query(
                "SELECT kind::text, count(*) FROM incidents WHERE status = 'RESOLVED'"
                " GROUP BY 1 ORDER BY 1"
            )
            == [("errors", 1), ("silence", 1)]
        ),
        "both are over",
        flow,
    )
    assert_explained(line)


def test_each_window_is_judged_by_the_version_that_begins_before_it(line: Line) -> None:
    start = datetime.now(timezone.utc).replace(second=0, microsecond=0) - 20 * MINUTE
    early, late = start - 10 * MINUTE, start + 10 * MINUTE
    burst = [timedelta(seconds=30 + second) for second in range(20)]
    flow = line.start_flow()
    first_half = [
        *history(start, minutes=30),
        *[log_at(early + second, "ERROR") for second in burst],
    ]
    line.send(*sorted(first_half, key=lambda record: record["timestamp"]))
    line.wait_for(
        lambda: line.query("SELECT 1 FROM incidents WHERE status = 'RESOLVED'"),
        "the first half",
        flow,
    )
    assert flow.stop() == 0
    with connect(line.settings.database_url, name="tests") as conn:
        document = read_book(conn).versions[-1].document
        document = document.with_change(None, read_changes(["minimum_count=30"]))
        add_version(conn, document, created_by="ada")
        # As if it had been made half an hour ago.
        conn.execute("UPDATE detection_settings SET effective_from = %s WHERE version = 2", [start])
    flow = line.start_flow()
    line.send(*history(late, minutes=10), *[log_at(late + second, "ERROR") for second in burst])
    same_burst = f"FROM error_windows WHERE window_start = '{late.isoformat()}' AND errors = 20"
    line.wait_for(lambda: line.query(f"SELECT 1 {same_burst}"), "the second half", flow)
    judged = line.query(
        f"SELECT window_start >= '{start.isoformat()}' AS is_after,"
        " array_agg(DISTINCT settings_version) FROM error_windows GROUP BY 1 ORDER BY 1"
    )
    assert judged == [(False, [1]), (True, [2])]
    assert line.query(f"SELECT verdict::text, z > 3 {same_burst}") == [("below_minimum", True)]
    assert line.query("SELECT settings_version FROM incidents") == [(1,)]
    assert_explained(line)


def test_withdrawn_version_leaves_no_trace_in_a_flow_that_had_read_it(line: Line) -> None:
    now = datetime.now(timezone.utc)
    begin = (now + 30 * MINUTE).replace(second=0, microsecond=0)
    change = ("minimum_count=1000", "baseline_windows=100", "--from", begin.isoformat())
    assert tocsin(line, "detection", "set", *change).returncode == 0
    flow = line.start_flow()
    line.send(*history(now, minutes=35))
    line.wait_for(lambda: line.count("error_windows") >= 35, "the history", flow)
    assert tocsin(line, "detection", "withdraw", "2").returncode == 0
    flow.popen.kill()
    flow.popen.wait()
    line.execute(
        # As if the version had been to begin half an hour ago.
        "UPDATE detection_settings SET withdrawn_at = withdrawn_at - INTERVAL '2 hours',"
        " effective_from = effective_from - INTERVAL '1 hour' WHERE version = 2"
    )
    flow = line.start_flow()
    line.send(*[log_at(now, "ERROR") for _ in range(40)])
    line.wait_for(
        lambda: line.query("SELECT 1 FROM incidents WHERE observed = 40"), "the incident", flow
    )
    assert line.query("SELECT DISTINCT settings_version FROM error_windows") == [(1,)]
    assert_explained(line)
