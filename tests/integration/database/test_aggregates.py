"""The views of statistics say what a plain query over the records says, on both editions."""

from collections import Counter
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from sql.migrate import migrate
from sql.statements import statements
from tests.integration.database.conftest import AGGREGATES, Database
from tocsin.settings import Settings

LEVELS = ("INFO", "ERROR", "WARN", "FATAL", "DEBUG")
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def now() -> datetime:
    return datetime.now(timezone.utc)


def aggregated(database: Database, view: str, *, timezone: str = "UTC") -> list[tuple[Any, ...]]:
    step = AGGREGATES[view]
    statement = f"""
        select {step} at time zone 'UTC', service_id, level::text, records
        from {view} order by 1, 2, 3
    """
    return database.rows(statement, timezone=timezone)


def counted(database: Database, view: str, *, timezone: str = "UTC") -> list[tuple[Any, ...]]:
    """Return the same by a plain query over the records."""
    statement = f"""
        select date_trunc('{AGGREGATES[view]}', timestamp at time zone 'UTC'), service_id,
               level::text, count(*)
        from logs group by 1, 2, 3 order by 1, 2, 3
    """
    return database.rows(statement, timezone=timezone)


def assert_all_agree(database: Database, *, timezone: str = "UTC") -> None:
    for view in AGGREGATES:
        expected = counted(database, view, timezone=timezone)
        assert expected
        assert aggregated(database, view, timezone=timezone) == expected, view


def total(database: Database, view: str) -> int:
    [(records,)] = database.rows(f"select coalesce(sum(records), 0)::bigint from {view}")
    return int(records)


def some_days(end: datetime) -> list[tuple[datetime, str, str]]:
    """Records of three services over five days up to a moment, every level among them."""
    return [
        (end - number * timedelta(minutes=47), f"service-{number % 3}", LEVELS[number % 5])
        for number in range(150)
    ]


def test_aggregates_count_what_is_there_before_and_after_a_refresh(
    database: Database, now: datetime
) -> None:
    database.insert_logs(some_days(now))
    assert_all_agree(database)
    database.refresh()
    assert_all_agree(database)
    # What comes after what is materialized is added when asked.
    database.insert_logs([(now, "service-1", "ERROR")] * 3)
    assert_all_agree(database)


def test_late_records_are_counted_once_they_are_refreshed(
    database: Database, now: datetime
) -> None:
    database.insert_logs(some_days(now))
    database.refresh()
    late = [(now - 3 * DAY, "service-1", "ERROR"), (now - 3 * DAY, "new", "INFO")]
    # As old as a record may be: what is older is a dead letter.
    late += [(now - timedelta(days=days), "service-2", "WARN") for days in (30, 200, 366)]
    database.insert_logs(late)
    missing = len(late) if database.edition == "community" else 0
    for view in AGGREGATES:
        assert total(database, view) == 150 + 5 - missing
    database.refresh()
    assert_all_agree(database)


def test_records_on_either_side_of_a_border_are_counted_on_theirs(
    database: Database, now: datetime
) -> None:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) - 3 * DAY
    borders = [midnight, midnight + 13 * HOUR, midnight + 13 * HOUR + 7 * MINUTE, midnight + DAY]
    instant = timedelta(microseconds=1)
    rows = [(border + side, "s", "ERROR") for border in borders for side in (-instant, 0 * instant)]
    database.insert_logs(rows)
    [(chunks,)] = database.rows("select count(*) from show_chunks('logs')")
    assert chunks == 3
    database.refresh()
    assert_all_agree(database)
    days = Counter(moment.date() for moment, _, _ in rows)
    assert {row[0].date(): row[3] for row in aggregated(database, "logs_per_day")} == days


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
@pytest.mark.parametrize("change", ["2026-03-08", "2026-03-29", "2026-04-05", "2026-10-25"])
def test_aggregates_are_in_utc_whatever_the_clocks_of_the_asker_do(
    database: Database, zone: str, change: str
) -> None:
    start = datetime.fromisoformat(change).replace(tzinfo=timezone.utc) - DAY
    database.insert_logs([(start + number * 20 * MINUTE, "s", "INFO") for number in range(220)])
    for _ in ("before", "after"):
        assert_all_agree(database, timezone=zone)
        days = aggregated(database, "logs_per_day", timezone=zone)
        assert [row[3] for row in days] == [72, 72, 72, 4]
        # The days of the asker's own calendar, of 23 to 25 hours, are made of minutes.
        own_days = (
            "select date_trunc('day', {} at time zone '{}'), {} from {} group by 1 order by 1"
        )
        minutes = own_days.format("minute", zone, "sum(records)::bigint", "logs_per_minute")
        records = own_days.format("timestamp", zone, "count(*)", "logs")
        assert database.rows(minutes) == database.rows(records)
        database.refresh()


@pytest.mark.parametrize("step", AGGREGATES.values())
def test_statistics_of_the_api_are_those_of_the_records(
    database: Database, step: str, now: datetime
) -> None:
    database.insert_logs(some_days(now))
    database.refresh()
    database.insert_logs(some_days(now))
    database.refresh()
    since, until = now.replace(minute=0, second=0, microsecond=0) - 2 * DAY, now + DAY
    values = {"since": since, "until": until, "services": None, "limit": 10}
    found = database.named_rows(statements("statistics")[f"count_per_{step}"], values)
    expected = database.rows(
        f"""
        select service_id, date_trunc('{step}', timestamp, 'UTC'), count(*),
               count(*) filter (where level >= 'ERROR')
        from logs
        where date_trunc('{step}', timestamp, 'UTC') >= %s and timestamp < %s
        group by 1, 2 order by 1, 2
        """,
        since,
        until,
    )
    assert expected
    assert sorted(found) == expected


def test_dropped_records_keep_their_hours_and_days_whatever_is_kept_later(
    community_database: Database, now: datetime
) -> None:
    database = community_database
    database.insert_logs([(now - 40 * DAY, "s", "ERROR"), (now - DAY, "s", "ERROR")])
    database.refresh()
    migrate(Settings(database_url=database.url, logs_keep_days=30))
    database.run_policy("policy_retention", "logs")
    assert database.rows("select count(*) from logs") == [(1,)]
    database.refresh()
    assert total(database, "logs_per_hour") == total(database, "logs_per_day") == 2
    # Kept for longer again: a refresh from then on would find nothing, and delete the counts.
    migrate(Settings(database_url=database.url, logs_keep_days=400))
    database.insert_logs([(now - 20 * DAY, "s", "INFO")])
    database.refresh()
    assert total(database, "logs_per_hour") == total(database, "logs_per_day") == 3
