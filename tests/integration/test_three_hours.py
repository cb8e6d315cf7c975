"""Three hours of a fleet's logs through the real line, in arrival order: the incidents are known.

Late, skewed, batched and stalled deliveries. Every run takes the services that log least (a seventh
of the records, most of the incidents), for services never influence one another; `make test-long`
takes all of them.
"""

import csv
import gzip
import json
import signal
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from stack.processes import Process
from tests.integration.conftest import Line
from tocsin.detection import WINDOW_MS

pytestmark = pytest.mark.producers_time

DATA = Path(__file__).parents[1] / "data/detection"
MINUTES = 180
LOUD = {"edge-proxy", "gateway", "iot-ingest", "mobile-bff", "search", "web-bff"}
NO_SKIPPED_WINDOW = """
    SELECT service_id FROM error_windows WHERE window_start >= service_first
    GROUP BY service_id, service_first
    HAVING count(*) <> extract(epoch FROM max(window_start) - min(window_start)) / 60 + 1
"""


def messages(start_ms: int, without: set[str]) -> Iterator[tuple[int, str, bytes]]:
    """Yield (arrival in ms, service, record), shifted so that the three hours begin at a time."""
    with gzip.open(DATA / "events_3h_s11.csv.gz", "rt") as file:
        for row in csv.DictReader(file):
            if row["service"] in without:
                continue
            event_ms = start_ms + int(row["event_ms"])
            moment = datetime.fromtimestamp(event_ms / 1000, timezone.utc)
            record = {
                "timestamp": moment.isoformat(timespec="milliseconds"),
                "service_id": row["service"],
                "message": "m",
            }
            for level, count in (("ERROR", row["errors"]), ("INFO", row["others"])):
                raw = json.dumps({**record, "level": level}).encode()
                for _ in range(int(count)):
                    yield start_ms + int(row["arrival_ms"]), row["service"], raw


def send_all(line: Line, start_ms: int, without: set[str]) -> int:
    sent = 0
    for arrival_ms, service, raw in messages(start_ms, without):
        line.send_raw(raw, key=service.encode(), arrival_ms=arrival_ms)
        sent += 1
    line.flush()
    return sent


def stored(line: Line) -> int:
    query = "SELECT coalesce(sum(next_offset), 0) FROM positions WHERE stage = 'logs'"
    return int(line.query(query)[0][0])


def killed(line: Line, records: int, times: int, *, lose_recovery: bool) -> Process:
    flow = line.start_flow()
    for kill in range(1, times + 1):
        reached = records * kill // (times + 2)
        line.wait_for(lambda at=reached: stored(line) >= at, "progress", flow)  # type: ignore[misc]
        flow.popen.send_signal(signal.SIGKILL)
        flow.popen.wait()
        if lose_recovery:
            line.lose_recovery()
        flow = line.start_flow()
    return flow


def rescaled(line: Line, records: int) -> Process:
    """One process, then a cluster of two, then one again."""
    alone = line.start_flow()
    line.wait_for(lambda: stored(line) >= records // 4, "progress", alone)
    assert alone.stop() == 0
    cluster = line.start_cluster(2)
    line.wait_for(lambda: stored(line) >= records // 2, "progress", cluster[0])
    for process in cluster:
        process.popen.send_signal(signal.SIGTERM)
    assert [process.popen.wait(60) for process in cluster] == [0, 0]
    return line.start_flow()


def run_course(line: Line, course: str, records: int) -> Process:
    if course == "killed ten times":
        return killed(line, records, 10, lose_recovery=False)
    if course == "recovery lost five times":
        return killed(line, records, 5, lose_recovery=True)
    if course == "rescaled":
        return rescaled(line, records)
    return line.start_flow(workers=2 if course == "two workers" else 1)


def found(line: Line, start_ms: int) -> set[tuple[Any, ...]]:
    """Return the incidents in the terms of the expected ones, as of three hours."""
    rows = line.query(
        "SELECT service_id, window_start, confirmed_window, machine_severity::text,"
        " round(peak_z::numeric, 2), resolved_window, resolve_reason FROM incidents"
        " WHERE kind = 'errors'"
    )

    def number(moment: datetime | None) -> int | None:
        return None if moment is None else int(moment.timestamp() * 1000 - start_ms) // WINDOW_MS

    known = set()
    for service, opening, confirming, severity, peak_z, resolved, reason in rows:
        end = number(resolved)
        over = end is not None and end < MINUTES
        life = (end, reason) if over else (None, None)
        known.add((service, number(opening), number(confirming), severity, float(peak_z), *life))
    return known


def expected(without: set[str]) -> set[tuple[Any, ...]]:
    golden = json.loads((DATA / "events_3h_s11_expected.json").read_text())["incidents"]["guarded"]
    return {
        (
            one["service"],
            one["window"],
            one["confirmed_window"],
            one["severity"],
            round(one["peak_z"], 2),
            one["resolved_window"],
            one["reason"],
        )
        for one in golden
        if one["service"] not in without
    }


COURSES = [
    "undisturbed",
    "killed ten times",
    "recovery lost five times",
    "two workers",
    "rescaled",
]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("course", COURSES)
def test_three_hours_give_the_expected_incidents(line: Line, course: str) -> None:
    check_three_hours(line, course, LOUD)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("course", COURSES)
def test_three_hours_of_the_whole_fleet_give_the_expected_incidents(
    line: Line, course: str
) -> None:
    check_three_hours(line, course, set())


def check_three_hours(line: Line, course: str, without: set[str]) -> None:
    # The end lies far enough back that the wall clock closes every window.
    start_ms = (int(time.time() * 1000) // WINDOW_MS - MINUTES - 15) * WINDOW_MS
    records = send_all(line, start_ms, without)
    flow = run_course(line, course, records)
    line.wait_for(lambda: stored(line) >= records, "all is stored", flow, deadline_s=900)
    everything_closed = f"""
        SELECT bool_and(last >= to_timestamp({start_ms / 1000 + 60 * MINUTES}))
        FROM (SELECT max(window_start) AS last FROM error_windows GROUP BY service_id) AS newest
    """
    line.wait_for(
        lambda: line.query(everything_closed) == [(True,)], "every window is closed", flow
    )
    assert flow.stop() == 0
    assert line.count("logs") == records
    assert line.query("SELECT sum(total + late_total) FROM error_windows") == [(records,)]
    assert line.query(NO_SKIPPED_WINDOW) == []
    assert found(line, start_ms) == expected(without)
