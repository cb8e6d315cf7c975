"""What is kept, and for how long, is what the settings said at the last `tocsin migrate`."""

import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import psycopg
import pytest

from sql.maintain import Maintained, maintain
from sql.migrate import migrate
from stack.processes import Process
from stack.waiting import wait_until
from tests.integration.database.conftest import Database
from tocsin.errors import StorageError
from tocsin.settings import Settings

DAY = timedelta(days=1)
JOBS = """
    select hypertable_name, proc_name,
           coalesce(config ->> 'drop_after', config ->> 'compress_after',
                    config ->> 'start_offset'),
           config ->> 'buckets_per_batch', job_id
    from timescaledb_information.jobs where hypertable_name is not null order by 1, 2
"""
CHUNKS = "select count(*) from show_chunks(%s)"


@pytest.fixture
def now() -> datetime:
    return datetime.now(timezone.utc)


def fill(database: Database, *moments: datetime) -> None:
    """Store a record, a window and a dead letter of each moment."""
    database.insert_logs([(moment, "s", "ERROR") for moment in moments])
    for number, moment in enumerate(moments):
        database.execute(
            """
            insert into dead_letters (incarnation, partition, "offset", topic, arrival, reason, raw)
            values (1, 0, %s, 'logs', %s, 'level: unknown', '')
            """,
            number,
            moment,
        )
        database.execute(
            """
            insert into error_windows (
                service_id, window_start, errors, total, late_errors, late_total, verdict,
                baseline_windows, baseline_errors, baseline_squares, closed, flagged, "unknown",
                settings_version, incarnation, partition, read_offset, "offset", arrival,
                clock_start, service_first, service_last, gap_windows, too_late)
            select 's', %s, 1, 1, 0, 0, 'normal', 30, 30, 60, true, false, false, 1, 1, 0, 0, 0,
                   now(), now(), now(), now(), 0, 0
            """,
            moment,
        )


def stored(database: Database) -> dict[str, int]:
    tables = ("logs", "error_windows", "dead_letters")
    return {name: database.rows(f"select count(*) from {name}")[0][0] for name in tables}


def test_policies_are_those_of_the_settings_and_stay_untouched_while_these_do(
    community_database: Database,
) -> None:
    database = community_database
    jobs = database.rows(JOBS)
    refresh, drop = "policy_refresh_continuous_aggregate", "policy_retention"
    assert [job[:4] for job in jobs] == [
        ("error_windows", "policy_compression", "7 days", None),
        ("error_windows", drop, "400 days", None),
        ("logs", "policy_compression", "7 days", None),
        ("logs", drop, "400 days", None),
        ("logs_per_day", refresh, None, "366"),
        ("logs_per_hour", refresh, "400 days", "744"),
        ("logs_per_minute", refresh, "400 days", "1440"),
        ("logs_per_minute", drop, "400 days", None),
    ]
    migrate(Settings(database_url=database.url))
    assert database.rows(JOBS) == jobs
    changed = Settings(
        database_url=database.url, logs_keep_days=30, windows_keep_days=0, columnstore_days=2
    )
    migrate(changed)
    now_set = {job[:2]: job[2] for job in database.rows(JOBS)}
    assert now_set["logs", drop] == now_set["logs_per_minute", refresh] == "30 days"
    assert now_set["logs", "policy_compression"] == "2 days"
    assert ("error_windows", drop) not in now_set


def test_columnstore_is_by_service_and_takes_late_records(
    community_database: Database, now: datetime
) -> None:
    database = community_database
    settings = """
        select hypertable::text, segmentby, orderby
        from timescaledb_information.hypertable_columnstore_settings
        where hypertable::text in ('logs', 'error_windows') order by 1
    """
    assert database.rows(settings) == [
        ("error_windows", "service_id", "window_start DESC"),
        ("logs", "service_id", '"timestamp" DESC'),
    ]
    moments = [now - 20 * DAY + number * timedelta(minutes=1) for number in range(50)]
    fill(database, *moments)
    database.run_policy("policy_compression", "logs")
    database.run_policy("policy_compression", "error_windows")
    compressed = (
        "select hypertable_name, bool_and(is_compressed) from timescaledb_information.chunks"
    )
    assert sorted(database.rows(f"{compressed} where hypertable_schema = 'public' group by 1")) == [
        ("error_windows", True),
        ("logs", True),
    ]
    database.insert_logs([(moments[0], "s", "ERROR"), (moments[0], "late", "ERROR")])
    assert database.rows("select service_id, count(*) from logs group by 1 order by 1") == [
        ("late", 1),
        ("s", 51),
    ]
    assert database.rows("select count(*), sum(mean) from error_windows") == [(50, 50.0)]


@pytest.mark.parametrize("hours", [6, 24])
def test_chunks_are_as_long_as_the_settings_say(
    database: Database, now: datetime, hours: int
) -> None:
    settings = Settings(database_url=database.url, logs_chunk_hours=hours, windows_chunk_hours=24)
    migrate(settings)
    noon = now.replace(hour=12, minute=0, second=0, microsecond=0) - 3 * DAY
    moments = [noon + number * timedelta(hours=6) for number in range(4)]
    fill(database, *moments)
    assert database.rows(CHUNKS, "logs") == [(4 if hours == 6 else 2,)]
    assert database.rows(CHUNKS, "error_windows") == [(2,)]


def test_maintenance_drops_what_is_older_than_is_kept_and_nothing_else(
    database: Database, now: datetime
) -> None:
    fill(database, now - 410 * DAY, now - 390 * DAY, now - 40 * DAY, now)
    # Old windows lie in chunks of a week, dropped once all of it is old.
    done = maintain(database.url)
    by_policy = database.edition == "community"
    assert done == Maintained(
        logs=0 if by_policy else 1, error_windows=0 if by_policy else 1, dead_letters=1
    )
    for name in ("logs", "error_windows"):
        database.run_policy("policy_retention", name)
    assert stored(database) == {"logs": 3, "error_windows": 3, "dead_letters": 3}
    migrate(Settings(database_url=database.url, logs_keep_days=30, dead_letters_keep_days=0))
    maintain(database.url)
    database.run_policy("policy_retention", "logs")
    assert stored(database) == {"logs": 1, "error_windows": 3, "dead_letters": 3}
    assert maintain(database.url) == Maintained(logs=0, error_windows=0, dead_letters=0)


def test_nothing_is_dropped_while_somebody_reads_it(
    apache_database: Database, now: datetime
) -> None:
    database = apache_database
    fill(database, now - 410 * DAY, now)
    with psycopg.connect(database.url) as reader:
        reader.execute("select count(*) from logs")
        with pytest.raises(StorageError, match=r"somebody is using .* try again later"):
            maintain(database.url)
    assert stored(database) == {"logs": 2, "error_windows": 2, "dead_letters": 2}
    maintain(database.url)
    assert stored(database) == {"logs": 1, "error_windows": 1, "dead_letters": 1}


def test_deadlock_with_who_reads_is_waited_for_no_longer(
    apache_database: Database, now: datetime
) -> None:
    """A reader that wants what maintenance has changed already, and has what it wants to drop."""
    database = apache_database
    fill(database, now - 410 * DAY, now)
    with (
        ThreadPoolExecutor(1) as pool,
        psycopg.connect(database.url) as reader,
    ):
        reader.execute("set deadlock_timeout = '1min'")
        reader.execute("select count(*) from error_windows")
        reader.execute("select count(*) from logs")
        maintaining = pool.submit(maintain, database.url)
        wait_until(
            lambda: database.rows("select from pg_locks where not granted"),
            "maintenance waits",
            deadline_s=30,
        )
        reader.execute("select keep from retention where relation = 'logs' for update")
        with pytest.raises(StorageError, match=r"somebody is using .* try again later"):
            maintaining.result(30)
    maintain(database.url)
    assert stored(database) == {"logs": 1, "error_windows": 1, "dead_letters": 1}


def test_maintenance_tells_of_a_database_that_went_away(apache_database: Database) -> None:
    end = """
        select pg_terminate_backend(pid) from pg_stat_activity
        where application_name = 'tocsin-maintain' and wait_event_type = 'Lock'
          and datname = current_database()
    """
    with (
        ThreadPoolExecutor(1) as pool,
        psycopg.connect(apache_database.url) as holder,
    ):
        holder.execute("lock table retention")
        maintaining = pool.submit(maintain, apache_database.url)
        wait_until(lambda: apache_database.rows(end), "maintenance waits", deadline_s=30)
        with pytest.raises(StorageError, match="the database went away, nothing was dropped"):
            maintaining.result(30)


def test_refreshes_go_back_further_as_more_is_kept(community_database: Database) -> None:
    database = community_database
    start = """
        select config ->> 'start_offset' from timescaledb_information.jobs
        where hypertable_name = 'logs_per_hour'
    """
    for days, expected in ((30, "30 days"), (400, "30 days")):
        migrate(Settings(database_url=database.url, logs_keep_days=days))
        assert database.rows(start) == [(expected,)]
    # As if a day had gone by.
    database.execute("update retention set whole_from = whole_from - interval '1 day'")
    maintain(database.url)
    assert database.rows(start) == [("31 days",)]
    # Nothing was ever dropped: all the way.
    database.execute("update retention set whole_from = null, keep = null")
    migrate(Settings(database_url=database.url, logs_keep_days=0))
    assert database.rows(start) == [(None,)]


@pytest.fixture
def hourly(apache_database: Database, tmp_path: Path) -> Iterator[Process]:
    process = Process(
        "maintain",
        [sys.executable, "-m", "tocsin", "maintain", "--hourly"],
        log=tmp_path / "maintain.log",
        env={**os.environ, "DATABASE_URL": apache_database.url, "TOCSIN_LOG_FORMAT": "json"},
    )
    yield process
    process.kill()


def test_hourly_maintenance_goes_on_until_it_is_told_to_end(
    hourly: Process, apache_database: Database
) -> None:
    wait_until(lambda: b"0 chunks of logs" in hourly.log.read_bytes(), "maintenance", deadline_s=60)
    assert hourly.exit_code() is None
    hourly.popen.send_signal(signal.SIGTERM)
    assert hourly.popen.wait(30) == 0
    assert b"Traceback" not in hourly.log.read_bytes()
