"""A backtest with the live settings gives the live incidents, id by id, to the last bit."""

import gzip
import json
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import flows.backtest
from flows.backtest import backtest_files, backtest_logs, backtest_topic, database
from flows.candidates import live_candidate
from flows.course import Course
from flows.replayed import Candidate, Replay
from flows.rows import IncidentRow
from flows.topic_range import Asked
from sql.detection_settings import read_book
from tests.integration.conftest import Line
from tests.integration.test_three_hours import LOUD, MINUTES, killed, messages
from tocsin.detection import WINDOW_MS

pytestmark = pytest.mark.producers_time

LEFT_OUT = LOUD | {"catalog", "recommender", "cart", "auth-api", "payments", "config-svc"}
LATE_BY_MS = 25 * 60_000
TOLD = """
    SELECT id, service_id, kind::text, (extract(epoch FROM window_start) * 1000)::bigint,
           (extract(epoch FROM first_window) * 1000)::bigint,
           (extract(epoch FROM hot_window) * 1000)::bigint,
           (extract(epoch FROM confirmed_window) * 1000)::bigint,
           (extract(epoch FROM resolved_window) * 1000)::bigint,
           lower(machine_status::text), resolve_reason, machine_severity::text, peak_z,
           calm_windows, absorbed, detected_late, observed, z, guarded_z, baseline_windows,
           baseline_errors::bigint, baseline_squares::bigint, settings_version, decided_by
    FROM incidents
"""


def disordered(start_ms: int) -> Iterator[tuple[int, str, bytes]]:
    """The three hours, with poison, repeats, clocks that are wrong and records that come late."""
    moment = datetime.fromtimestamp(start_ms / 1000, timezone.utc)
    for number, (arrival_ms, service, raw) in enumerate(messages(start_ms, LEFT_OUT)):
        yield arrival_ms, service, raw
        if number % 501 == 0:
            yield arrival_ms, service, b'{"level": "poison"}'
        if number % 97 == 0:
            once = {**json.loads(raw), "id": f"once-{number}"}
            for _ in range(3):
                yield arrival_ms, service, json.dumps(once).encode()
        if number % 151 == 0:
            at = moment + timedelta(milliseconds=arrival_ms - start_ms - LATE_BY_MS)
            late = {**json.loads(raw), "timestamp": at.isoformat(), "level": "ERROR"}
            for _ in range(number // 151 % 9):
                yield arrival_ms, service, json.dumps(late).encode()


def send_disordered(line: Line, start_ms: int) -> int:
    sent = 0
    for arrival_ms, service, raw in disordered(start_ms):
        line.send_raw(raw, key=service.encode(), arrival_ms=arrival_ms)
        sent += 1
    line.flush()
    return sent


def closed_by_now(start_ms: int) -> str:
    return f"""
        SELECT bool_and(last >= to_timestamp({start_ms / 1000 + 60 * MINUTES}))
        FROM (SELECT max(window_start) AS last FROM error_windows GROUP BY service_id) AS newest
    """


def live_incidents(line: Line) -> dict[str, tuple[Any, ...]]:
    return {row[0]: tuple(row) for row in line.query(TOLD)}


def told(row: IncidentRow) -> tuple[Any, ...]:
    return (
        row.incident_id,
        row.service_id,
        row.kind.value,
        row.window_start_ms,
        row.low_start_ms,
        row.hot_start_ms,
        row.confirmed_start_ms,
        row.resolved_start_ms,
        row.status.value,
        row.reason and row.reason.value,
        row.severity.value,
        row.peak_z,
        row.calm_windows,
        row.absorbed,
        row.detected_late,
        row.count,
        row.z,
        row.guarded_z,
        row.plain_n,
        row.plain_sum,
        row.plain_squares,
        row.settings_version,
        row.decided_by.value,
    )


def incidents_of(replay: Replay) -> dict[str, tuple[Any, ...]]:
    return {row.incident_id: told(row) for row in replay.incidents[0]}


def live_settings(line: Line) -> list[Candidate]:
    with database(line.settings) as conn:
        return [live_candidate(read_book(conn))]


def test_backtest_of_any_source_and_range_gives_the_live_incidents(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_ms = (int(time.time() * 1000) // WINDOW_MS - MINUTES - 15) * WINDOW_MS
    change_settings(line, start_ms + 70 * WINDOW_MS)
    run_live(line, start_ms)
    live = live_incidents(line)
    assert {row[2] for row in live.values()} == {"errors", "silence"}
    assert any(row[14] for row in live.values()), "none was opened late"
    assert {row[21] for row in live.values()} == {1, 2}
    settings, candidates = line.settings, live_settings(line)
    whole = Asked(to_ms=start_ms + (MINUTES + 9) * WINDOW_MS)

    of_topic = backtest_topic(settings, whole, candidates, Course())
    assert incidents_of(of_topic) == live
    assert of_topic.records == line.count("logs")
    assert of_topic.dead_letters == line.count("dead_letters")
    assert (
        sum(sum(one.total) for one in of_topic.series.values())
        == line.query("SELECT sum(total) FROM error_windows")[0][0]
    )
    of_logs = backtest_logs(settings, whole, candidates, Course())
    assert incidents_of(of_logs) == live
    files = exported(line, tmp_path)
    for file in files:
        assert incidents_of(backtest_files([file], whole, candidates, Course())) == live

    # From the middle on, with the state that the ledger has of it, and of an hour before it.
    monkeypatch.setattr(flows.backtest, "WARM_UP_MS", 60 * WINDOW_MS)
    for minute in (120, 150):
        begin_ms = start_ms + minute * WINDOW_MS
        part = Asked(begin_ms, whole.to_ms)
        newer = {key: row for key, row in live.items() if row[7] is None or row[7] > begin_ms}
        for replay in (
            backtest_topic(settings, part, candidates, Course()),
            backtest_logs(settings, part, candidates, Course()),
        ):
            assert replay.records < of_topic.records // 2
            found = incidents_of(replay)
            assert {key: row for key, row in found.items() if key in newer} == newer
            assert found.items() <= live.items()


def change_settings(line: Line, from_ms: int) -> None:
    """Have other numbers judge from a time on; as if they had been made well before it."""
    document = {
        "settings": {"threshold_sigma": 2.5, "confirm_run_windows": 2},
        "overrides": [{"services": "s*", "settings": {"minimum_count": 8}}],
    }
    line.execute(
        "INSERT INTO detection_settings (version, effective_from, document, created_by)"
        f" VALUES (2, to_timestamp({from_ms / 1000}), '{json.dumps(document)}', 'test')"
    )


def run_live(line: Line, start_ms: int) -> None:
    """Send everything, and run the flow over it with kills, until every window is closed."""
    sent = send_disordered(line, start_ms)
    flow = killed(line, sent, 4, lose_recovery=False)
    stored = "SELECT sum(next_offset) FROM positions WHERE stage = 'logs'"
    line.wait_for(lambda: line.query(stored) == [(sent,)], "all is stored", flow)
    line.wait_for(lambda: line.query(closed_by_now(start_ms)) == [(True,)], "all is closed", flow)
    assert flow.stop() == 0


def exported(line: Line, folder: Path) -> list[Path]:
    """The stored logs as files, in the order of their arrival."""
    rows = line.query(
        "SELECT timestamp, service_id, level::text, arrival, partition FROM logs"
        ' ORDER BY partition, "offset"'
    )
    names = ["timestamp", "service_id", "level", "arrival", "partition"]
    frame = pl.DataFrame(rows, schema=names, orient="row")
    parquet, lines = folder / "logs.parquet", folder / "logs.ndjson.gz"
    frame.write_parquet(parquet)
    with gzip.open(lines, "wt") as file:
        for row in rows:
            at, service, level, arrival, partition = row
            fields = (at.isoformat(), service, level, arrival.isoformat(), partition)
            file.write(json.dumps(dict(zip(names, fields, strict=True))) + "\n")
    return [parquet, lines]
