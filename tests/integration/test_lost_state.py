"""The flow's state lost in every way: it goes on where the rows in the database end."""

import signal
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from flows.explain import Reach, explain_stored
from sql.incidents import read_whole_ledger
from stack.processes import Process
from tests.integration.conftest import Line
from tests.integration.test_flow import history, log_at

MINUTE = timedelta(minutes=1)
SERVICES = 7


def now_at_quarter() -> datetime:
    """A moment early in a minute that is not over yet: what follows is in the same window."""
    return datetime.now(timezone.utc).replace(second=1, microsecond=0)


def logs(count: int, at: datetime, first: int = 0) -> list[Mapping[str, Any]]:
    return [log_at(at, service=f"s-{i % SERVICES}", id=f"{i}") for i in range(first, first + count)]


def kill(flow: Process) -> None:
    flow.popen.send_signal(signal.SIGKILL)
    flow.popen.wait()


def counted(line: Line) -> int:
    [(total,)] = line.query("SELECT coalesce(sum(total + late_total), 0) FROM error_windows")
    return int(total)


def wait_until_counted(line: Line, expected: int, flow: Process) -> None:
    line.wait_for(lambda: counted(line) >= expected, f"{expected} counted", flow)


def burst(line: Line, now: datetime) -> tuple[Process, str]:
    """Have an incident opened; return the flow and the incident's id."""
    flow = line.start_flow()
    line.send(*history(now, minutes=35), *[log_at(now, "ERROR") for _ in range(40)])
    line.wait_for(
        lambda: line.query("SELECT 1 FROM incidents WHERE observed = 40"), "an incident", flow
    )
    [(incident_id,)] = line.query("SELECT id FROM incidents")
    return flow, str(incident_id)


@pytest.mark.parametrize("way", ["lost", "garbage", "torn"])
def test_incident_goes_on_when_the_recovery_store_is_of_no_use(line: Line, way: str) -> None:
    now = now_at_quarter()
    flow, incident_id = burst(line, now)
    kill(flow)
    [store] = line.settings.recovery_dir.glob("store/part-*.sqlite3")
    if way == "lost":
        line.lose_recovery()
    elif way == "garbage":
        store.write_bytes(b"garbage" * 1000)
    else:
        store.write_bytes(store.read_bytes()[: store.stat().st_size // 2])
    flow = line.start_flow()
    line.send(*[log_at(now, "ERROR") for _ in range(10)])
    line.wait_for(
        lambda: line.query("SELECT 1 FROM incidents WHERE observed = 50"), "ten more", flow
    )
    words = flow.log.read_text()
    assert "every service is taken up where its rows end" in words
    assert ("the recovery store is of no use" in words) == (way != "lost")
    assert line.query("SELECT id, baseline_windows FROM incidents") == [(incident_id, 30)]
    assert line.query("SELECT DISTINCT verdict::text FROM error_windows WHERE errors > 30") == [
        ("fire",)
    ]
    assert flow.stop() == 0
    assert line.query("SELECT count(*), sum(total + late_total) FROM error_windows") == [
        (36, line.count("logs"))
    ]


def test_flow_killed_before_its_first_snapshot_is_rebuilt_again(line: Line) -> None:
    now = now_at_quarter()
    flow = line.start_flow()
    line.send(*logs(1000, now))
    wait_until_counted(line, 1000, flow)
    kill(flow)
    line.lose_recovery()
    for round_ in range(1, 4):
        # No epoch of these runs ends.
        flow = line.start_flow(environ={"TOCSIN_EPOCH_S": "600"})
        line.send(*logs(500, now, first=1000 + 500 * round_))
        wait_until_counted(line, 1000 + 500 * round_, flow)
        kill(flow)
    flow = line.start_flow()
    wait_until_counted(line, 2500, flow)
    assert flow.stop() == 0
    assert (counted(line), line.count("logs")) == (2500, 2500)


def test_rebuilt_service_that_says_nothing_is_in_the_first_snapshot(line: Line) -> None:
    now = now_at_quarter()
    flow, incident_id = burst(line, now)
    kill(flow)
    line.lose_recovery()
    flow = line.start_flow()
    line.send(*[log_at(now, service="other") for _ in range(10)])
    line.wait_for(
        lambda: line.query(
            "SELECT 1 FROM positions JOIN logs USING (incarnation, partition)"
            " WHERE stage = 'detection' AND service_id = 'other' HAVING min(next_offset) >= 10"
        ),
        "a snapshot",
        flow,
    )
    assert flow.stop() == 0
    flow = line.start_flow()
    assert "every service is taken up" not in flow.log.read_text()
    line.send(*[log_at(now, "ERROR") for _ in range(10)])
    line.wait_for(
        lambda: line.query("SELECT 1 FROM incidents WHERE observed = 50"), "ten more", flow
    )
    assert line.query("SELECT id FROM incidents") == [(incident_id,)]


def test_database_restored_from_an_older_backup_is_seen_and_caught_up(
    line: Line, tmp_path: Path
) -> None:
    now = now_at_quarter()
    flow, incident_id = burst(line, now)
    assert flow.stop() == 0
    backup = backup_of(line)
    flow = line.start_flow()
    line.send(*logs(500, now), *[log_at(now, "ERROR") for _ in range(10)])
    line.wait_for(
        lambda: line.query("SELECT 1 FROM incidents WHERE observed = 50"), "ten more", flow
    )
    line.wait_for_logs(35 + 35 + 17 + 40 + 510, flow)
    assert flow.stop() == 0

    restored = Line({**line.environ, "DATABASE_URL": backup}, tmp_path)
    flow = restored.start_flow()
    restored.wait_for(
        lambda: restored.query("SELECT 1 FROM incidents WHERE observed = 50"), "all again", flow
    )
    restored.wait_for_logs(line.count("logs"), flow)
    assert flow.stop() == 0
    words = flow.log.read_text()
    assert "restored from a backup" in words
    assert "every service is taken up where its rows end" in words
    tables = (
        "SELECT service_id, window_start, errors, total, verdict FROM error_windows ORDER BY 1,2"
    )
    assert restored.query(tables) == line.query(tables)
    assert restored.query("SELECT id, observed FROM incidents") == [(incident_id, 50)]
    assert restored.count("logs") == line.count("logs")


def test_topic_made_again_after_the_recovery_store_was_lost_goes_on_from_the_rows(
    line: Line,
) -> None:
    now = now_at_quarter()
    flow, incident_id = burst(line, now)
    assert flow.stop() == 0
    line.lose_recovery()
    line.make_topic_again()
    line.send(*[log_at(now + MINUTE, "ERROR") for _ in range(30)])
    flow = line.start_flow()
    line.wait_for(
        lambda: line.query("SELECT 1 FROM incidents WHERE hot_window > window_start"),
        "the next minute",
        flow,
    )
    assert flow.stop() == 0
    assert line.query("SELECT id, baseline_windows FROM incidents") == [(incident_id, 30)]
    assert counted(line) == line.count("logs") == 35 + 35 + 17 + 40 + 30
    ledger = read_whole_ledger(line.settings.database_url, incident_id)
    explanation = explain_stored(ledger.incident, ledger.windows, ledger.timeline)
    assert (explanation.agrees, explanation.reach) == (True, Reach.FULL)


def test_service_that_logs_to_several_partitions_is_counted_whole_and_named(line: Line) -> None:
    now = now_at_quarter()
    flow = line.start_flow()
    line.send(*[log_at(now, service="other") for _ in range(300)], partition=1)
    for round_ in range(1, 5):
        line.send(*[log_at(now) for _ in range(50)], partition=round_ % 2)
        wait_until_counted(line, 300 + 50 * round_, flow)
    assert line.query("SELECT service_id, total FROM error_windows ORDER BY 1") == [
        ("checkout", 200),
        ("other", 300),
    ]
    assert flow.log.read_text().count("logs to several partitions") == 1
    assert flow.stop() == 0


def backup_of(line: Line) -> str:
    """Copy the database while nobody uses it; return the copy's URL."""
    place = urlsplit(line.settings.database_url)
    name = place.path.lstrip("/")
    copy = f"{name}_backup"
    with (
        line.database_away(),
        psycopg.connect(place._replace(path="/postgres").geturl(), autocommit=True) as conn,
    ):
        conn.execute(
            SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(copy), Identifier(name))
        )
    return place._replace(path=f"/{copy}").geturl()
