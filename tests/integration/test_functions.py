"""The functions for analysts: the same answers as the API and plain counting."""

import itertools
import random
from datetime import datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from sql.migrate import migrate
from sql.statements import statements
from tests.integration.ledgers import BURST, replayed, store
from tocsin.records import EPOCH
from tocsin.settings import Settings

Rows = list[dict[str, Any]]


def query(database_url: str, statement: str, *values: object) -> Rows:
    with psycopg.connect(database_url, row_factory=dict_row) as conn:
        return conn.execute(statement.encode(), values).fetchall()


FIRST = datetime(2026, 3, 2, 8, tzinfo=timezone.utc)


def add_logs(database_url: str, *logs: tuple[str, timedelta, str]) -> None:
    with psycopg.connect(database_url) as conn:
        for offset, (service, after, level) in enumerate(logs):
            conn.execute(
                "insert into logs (timestamp, service_id, level, message, arrival, incarnation, "
                'partition, "offset") values (%s, %s, %s, %s, %s, 1, 0, %s)',
                [FIRST + after, service, level, f"m{offset}", FIRST + after, offset],
            )


def test_error_rate_counts_every_step_also_without_records(database_url: str) -> None:
    minute = timedelta(minutes=1)
    add_logs(
        database_url,
        ("checkout", 0 * minute, "INFO"),
        ("checkout", 0.5 * minute, "ERROR"),
        ("checkout", 3 * minute, "FATAL"),
        ("other", 1 * minute, "FATAL"),
        ("checkout", 4 * minute, "INFO"),
    )
    statement = "select * from error_rate('checkout', %s, %s, %s)"
    rows = query(database_url, statement, FIRST, FIRST + 4 * minute, minute)
    assert [tuple(row.values()) for row in rows] == [
        (FIRST, 2, 1, 0.5),
        (FIRST + minute, 0, 0, None),
        (FIRST + 2 * minute, 0, 0, None),
        (FIRST + 3 * minute, 1, 1, 1.0),
    ]
    assert query(database_url, statement, FIRST, FIRST, minute) == []


@pytest.mark.parametrize(
    ("since", "until", "step"),
    [
        (timedelta(0), timedelta(hours=50), timedelta(hours=1)),
        (timedelta(0), timedelta(hours=50), timedelta(hours=5)),
        (timedelta(hours=-8), timedelta(hours=64), timedelta(days=1)),
        (timedelta(hours=-8), timedelta(hours=160), timedelta(days=7)),
        (timedelta(minutes=7), timedelta(minutes=607), timedelta(hours=1)),
        (timedelta(minutes=7), timedelta(minutes=607), timedelta(minutes=15)),
    ],
)
def test_error_rate_is_the_same_from_minutes_hours_and_days(
    database_url: str, since: timedelta, until: timedelta, step: timedelta
) -> None:
    rng = random.Random(5)
    minutes = [timedelta(minutes=rng.randrange(50 * 60)) for _ in range(400)]
    add_logs(database_url, *(("s", after, rng.choice(["INFO", "ERROR"])) for after in minutes))
    counted = """
        select time_bucket(%s, timestamp) as start, count(*) as records,
               count(*) filter (where level >= 'ERROR') as errors
        from logs where timestamp >= %s and timestamp < %s group by 1 order by 1
    """
    since_at, until_at = FIRST + since, FIRST + until
    expected = query(database_url, counted, step, since_at, until_at)
    rows = query(
        database_url, "select * from error_rate('s', %s, %s, %s)", since_at, until_at, step
    )
    counts = [{name: row[name] for name in ("start", "records", "errors")} for row in rows]
    assert expected == [row for row in counts if row["records"]]
    assert all(later["start"] - row["start"] == step for row, later in itertools.pairwise(rows))
    assert rows[0]["start"] <= since_at < rows[0]["start"] + step


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
@pytest.mark.parametrize("step", ["1 day", "7 days", "1 month", "36 hours"])
def test_error_rate_is_the_same_whatever_the_clocks_of_the_asker_do(
    database_url: str, zone: str, step: str
) -> None:
    days = [timedelta(days=number) for number in range(280)]
    add_logs(database_url, *(("s", after, "ERROR") for after in days))
    statement = "select * from error_rate('s', '2026-03-01 00:00Z', '2026-12-01 00:00Z', %s)"
    expected = query(database_url, statement, step)
    assert sum(row["records"] for row in expected) == 30 + 30 + 31 + 30 + 31 + 31 + 30 + 31 + 30
    with psycopg.connect(database_url, row_factory=dict_row) as conn:
        conn.execute(f"set timezone = '{zone}'".encode())
        rows = conn.execute(statement.encode(), [step]).fetchall()
    assert [{**row, "start": row["start"].astimezone(timezone.utc)} for row in rows] == expected


@pytest.mark.parametrize(
    ("since", "until", "step"),
    [
        ("-infinity", "2026-03-02", "1 day"),
        ("2026-03-02", "infinity", "1 month"),
        ("0001-01-01", "2026-03-02", "1 minute"),
    ],
)
def test_error_rate_of_more_steps_than_anybody_reads_is_refused(
    database_url: str, since: str, until: str, step: str
) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="more than 1000000 steps"):
        query(database_url, "select * from error_rate('s', %s, %s, %s)", since, until, step)


def test_functions_find_nothing_by_what_is_none(database_url: str) -> None:
    for statement in (
        "select * from incident_logs(null)",
        "select * from incident_logs('unknown')",
        "select * from explain_incident(null)",
        "select * from explain_incident('unknown')",
        "select * from error_rate('s', null, now(), '1 minute')",
        "select * from error_rate('s', now(), null, '1 minute')",
        "select * from error_rate('s', now() - interval '1 hour', now(), null)",
        "select * from error_rate('s', now(), now() - interval '1 hour', '1 minute')",
    ):
        assert query(database_url, statement) == [], statement


@pytest.mark.parametrize("step", ["0", "-1 minute", "59 seconds", "90 seconds"])
def test_error_rate_of_a_step_that_cannot_be_says_which(database_url: str, step: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="no number of whole minutes"):
        query(database_url, "select * from error_rate('s', now(), now(), %s::interval)", step)


def test_logs_of_an_incident_are_those_of_the_api_and_outlive_retention(database_url: str) -> None:
    [row] = store(database_url, replayed("checkout"))
    start = EPOCH + timedelta(milliseconds=row.window_start_ms) - FIRST
    resolved = EPOCH + timedelta(milliseconds=row.resolved_start_ms or 0) - FIRST
    second = timedelta(seconds=1)
    add_logs(
        database_url,
        ("checkout", start - second, "ERROR"),
        ("checkout", start + 2 * second, "ERROR"),
        ("checkout", start + 2 * second, "FATAL"),
        ("checkout", start + second, "ERROR"),
        ("checkout", start + second, "WARN"),
        ("other", start + second, "ERROR"),
        ("checkout", resolved + 59 * second, "ERROR"),
        ("checkout", resolved + 60 * second, "ERROR"),
    )
    keep = statements("timeline")["keep_evidence"]
    statement = "select message from incident_logs(%s)"
    with psycopg.connect(database_url) as conn:
        conn.execute(keep, {"id": row.incident_id, "lines": 1})
        found = conn.execute(statement.encode(), [row.incident_id]).fetchall()
        assert found == [("m3",), ("m1",), ("m2",), ("m6",)]
        conn.execute("delete from logs where message in ('m3', 'm1')")
        found = conn.execute(statement.encode(), [row.incident_id]).fetchall()
        assert found == [("m3",), ("m2",), ("m6",)]


def test_functions_are_told_and_safe_and_made_again(database_url: str) -> None:
    migrate(Settings(database_url=database_url))
    own = """
        select proname, pronamespace::regnamespace::text as schema,
               obj_description(pg_proc.oid, 'pg_proc') as comment, provolatile, prosecdef,
               array_to_string(proconfig, ',') as config
        from pg_proc join pg_language on pg_language.oid = prolang
        where pronamespace in ('public'::regnamespace, 'scoped'::regnamespace)
          and lanname in ('sql', 'plpgsql')
          and prorettype <> 'trigger'::regtype
          and not exists (select from pg_depend where objid = pg_proc.oid and deptype = 'e')
    """
    rows = query(database_url, own)
    assert {row["proname"] for row in rows} >= {"incident_logs", "explain_incident", "error_rate"}
    # It is no analyst's, and has a right of its owner's.
    [lock] = [row for row in rows if row["proname"] == "lock_backtests"]
    assert (lock["prosecdef"], lock["config"]) == (True, "search_path=pg_catalog, pg_temp")
    for row in rows:
        assert row["comment"], row
        if row is lock:
            continue
        assert row["provolatile"] in {"s", "i"}, row
        assert not row["prosecdef"], row
        paths = {"public": "public, pg_temp", "scoped": "scoped, public, pg_temp"}
        zone = ",TimeZone=UTC" if row["proname"] == "error_rate" else ""
        assert row["config"] == f"search_path={paths[row['schema']]}{zone}", row


def test_nobody_can_slip_a_function_a_table_of_their_own(database_url: str) -> None:
    [row] = store(database_url, replayed("checkout", BURST))
    with psycopg.connect(database_url) as conn:
        conn.execute("create temp table incidents as select * from incidents limit 0")
        conn.execute("set search_path = pg_temp, public")
        found = conn.execute("select count(*) from explain_incident(%s)", [row.incident_id])
        assert found.fetchall() == [(2,)]


def test_analyst_of_some_services_is_told_of_these_alone(database_url: str) -> None:
    [own] = store(database_url, replayed("checkout"))
    [other] = store(database_url, replayed("search"))
    start = EPOCH + timedelta(milliseconds=own.window_start_ms) - FIRST
    add_logs(database_url, ("checkout", start, "ERROR"), ("search", start, "ERROR"))
    count = "select count(*) from {}(%s)"
    rate = "select sum(records) from error_rate(%s, %s, %s, interval '1 hour')"
    with psycopg.connect(database_url) as conn:
        conn.execute("insert into analyst_services values ('scoped_analyst', 'check*')")
        conn.execute("set role scoped_analyst")
        conn.execute("set search_path = scoped, public")
        for row, seen in ((own, 1), (other, 0)):
            for name, expected in (("incident_logs", seen), ("explain_incident", 2 * seen)):
                found = conn.execute(count.format(name).encode(), [row.incident_id]).fetchall()
                assert found == [(expected,)], (name, row.service_id)
            at, hour = FIRST + start, timedelta(hours=1)
            assert conn.execute(
                rate.encode(), [row.service_id, at - hour, at + hour]
            ).fetchall() == [(seen,)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("select * from public.incident_logs(%s)", [own.incident_id])
