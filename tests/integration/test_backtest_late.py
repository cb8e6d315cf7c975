"""A backtest of records that came long after their time, and of some that have only just come."""

import json
import time
from datetime import datetime, timezone

import pytest

from flows.backtest import backtest_logs, backtest_topic
from flows.course import Course
from flows.replayed import Replay
from flows.topic_range import Asked
from tests.integration.conftest import Line
from tests.integration.test_backtest import incidents_of, live_incidents, live_settings
from tocsin.detection import WINDOW_MS

HOURS = 8
SPIKES = {60 * hour + minute for hour in (3, 7) for minute in range(4)}


def record(at_ms: int, service: str, level: str = "INFO") -> bytes:
    at = datetime.fromtimestamp(at_ms / 1000, timezone.utc).isoformat()
    return json.dumps(
        {"timestamp": at, "service_id": service, "level": level, "message": "it ran"}
    ).encode()


def send_past(line: Line, at_ms: int) -> int:
    """Send hours of a service at once, with two spikes of errors."""
    sent = 0
    for minute in range(60 * HOURS):
        then_ms = at_ms + (minute - 60 * HOURS) * WINDOW_MS
        levels = ["INFO"] * 5 + ["ERROR"] * (40 if minute in SPIKES else minute % 2)
        for level in levels:
            raw = record(then_ms, "nightly-import", level)
            line.send_raw(raw, key=b"nightly-import", arrival_ms=at_ms)
        sent += len(levels)
    return sent


def of_errors(replay: Replay) -> dict[str, tuple[object, ...]]:
    return {key: row for key, row in incidents_of(replay).items() if row[2] == "errors"}


@pytest.mark.producers_time
def test_hours_that_came_at_once_are_judged_as_they_were_live(line: Line) -> None:
    now_ms = int(time.time() * 1000)
    came_ms = now_ms - 20 * WINDOW_MS
    sent = send_past(line, came_ms)
    for at_ms in range(came_ms + WINDOW_MS, now_ms, WINDOW_MS // 6):
        line.send_raw(record(at_ms, "web"), key=b"web", arrival_ms=at_ms)
        sent += 1
    line.flush()
    flow = line.start_flow()
    line.wait_for_logs(sent, flow)
    resolved = (
        "SELECT count(*) FROM incidents WHERE kind = 'errors' AND machine_status = 'RESOLVED'"
    )
    line.wait_for(lambda: line.query(resolved) == [(2,)], "both are resolved", flow)
    assert flow.stop() == 0
    live = {key: row for key, row in live_incidents(line).items() if row[2] == "errors"}
    assert [row[6] is not None for row in live.values()] == [True, True]

    settings, candidates = line.settings, live_settings(line)
    before = Asked(from_ms=came_ms - 24 * 60 * WINDOW_MS)
    for asked in (Asked(), before):
        assert of_errors(backtest_topic(settings, asked, candidates, Course())) == live
        assert of_errors(backtest_logs(settings, asked, candidates, Course())) == live
    after = Asked(from_ms=came_ms + 2 * WINDOW_MS)
    assert of_errors(backtest_topic(settings, after, candidates, Course())) == {}
    assert of_errors(backtest_logs(settings, after, candidates, Course())) == {}


def test_range_ends_no_sooner_than_its_last_record_came(line: Line) -> None:
    line.send({**json.loads(record(int(time.time() * 1000), "web"))})
    replay = backtest_topic(line.settings, Asked(), live_settings(line), Course())
    assert replay.records == 1
    assert replay.begin_ms < replay.end_ms
