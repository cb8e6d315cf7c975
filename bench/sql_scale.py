"""sql-scale: what many logs and incidents cost the database: disk, statistics, searches, lists.

On TimescaleDB's Apache 2 edition, which is what can be run here. It has neither columnstore nor
continuous aggregates: there the statistics count the logs themselves. What aggregates would read is
measured on plain tables of their rows, under their names.
"""

import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from statistics import quantiles
from typing import Any, NamedTuple

import psycopg

from api.totals import TOTAL_MAX
from bench.incident_list import FILL as FILL_INCIDENTS
from bench.measurement import Figure
from sql.incidents import IncidentFilter
from sql.logs import LogSearch, LogTable
from sql.reader import Reader
from sql.statements import statements
from stack.running import temporary
from stack.timescale import DURABLE

ID = "sql-scale"
DAYS = 7
SERVICES = 50
LOGS_PER_INCIDENT = 10
INCIDENTS_MAX = 1_000_000
SEARCHES = 300
SEARCH_TIMEOUT_S = 30.0
GOAL_LIST_MS = 5.0
_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)

_FILL_DAY = """
    INSERT INTO logs (timestamp, service_id, level, message, metadata, arrival, incarnation,
                      partition, "offset")
    SELECT at, 'service-' || to_char((hashint8(number) & 2147483647) %% %(services)s, 'FM00'),
           (CASE WHEN number %% 20 = 0 THEN 'ERROR' ELSE 'INFO' END)::log_level,
           'request ' || md5(number::text) || ' of user ' || number %% 9973
               || ' waited for upstream, retried the payment and was accepted',
           jsonb_build_object('request', substr(md5(number::text), 1, 12), 'ms', number %% 900),
           at + INTERVAL '0.2 s', 1, 0, number
    FROM (SELECT number, %(since)s::timestamptz + (number - %(first)s) * %(step)s::interval AS at
          FROM generate_series(%(first)s::bigint, %(last)s) AS number) AS numbered
"""
_RAW_BYTES = """
    SELECT avg(octet_length(format(
        '{"timestamp":"%%s","service_id":"%%s","level":"%%s","message":"%%s","metadata":%%s}',
        to_char(timestamp, 'YYYY-MM-DD"T"HH24:MI:SS.MS+00:00'), service_id, level, message,
        replace(metadata::text, ': ', ':'))))::float8
    FROM (SELECT * FROM logs LIMIT 10000) AS some_logs
"""
_SIZES = """
    SELECT table_bytes + coalesce(toast_bytes, 0), index_bytes
    FROM hypertable_detailed_size('logs')
"""
_MATERIALIZE = """
    CREATE SCHEMA materialized;
    CREATE TABLE materialized.logs_per_minute AS SELECT * FROM logs_per_minute;
    CREATE INDEX ON materialized.logs_per_minute (minute, service_id);
    CREATE TABLE materialized.logs_per_hour AS SELECT * FROM logs_per_hour;
    CREATE INDEX ON materialized.logs_per_hour (hour, service_id);
    CREATE TABLE materialized.logs_per_day AS SELECT * FROM logs_per_day;
    CREATE INDEX ON materialized.logs_per_day (day, service_id)
"""


class _Asked(NamedTuple):
    """A statement with its values."""

    statement: bytes
    values: dict[str, Any]


def run(logs: int) -> list[Figure]:
    """Return what so many logs, and a tenth as many incidents up to a million, cost."""
    until = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)
    with temporary(settings=DURABLE) as stack:
        stack.migrate()
        with psycopg.connect(stack.database_url, autocommit=True) as conn:
            conn.execute("SET timezone = 'UTC'")
            # As the API does: which index serves a search depends on its values.
            conn.execute("SET plan_cache_mode = force_custom_plan")
            fill_rate = _fill(conn, logs, until)
            incidents = min(logs // LOGS_PER_INCIDENT, INCIDENTS_MAX)
            conn.execute(FILL_INCIDENTS, {"count": incidents})
            conn.execute("VACUUM ANALYZE")
            return [
                Figure("filled by INSERT … SELECT", fill_rate, "logs/s"),
                *_disk(conn, logs),
                *_statistics(conn, until),
                *_searches(stack.database_url, until),
                *_lists(conn),
            ]


def _fill(conn: psycopg.Connection, logs: int, until: datetime) -> float:
    """Write as many logs on each day, in order; return how many a second."""
    each, began = logs // DAYS, time.perf_counter()
    for day in range(DAYS):
        values = {
            "services": SERVICES,
            "since": until - (DAYS - day) * _DAY,
            "first": day * each,
            "last": (day + 1) * each - 1,
            "step": _DAY / each,
        }
        conn.execute(_FILL_DAY, values)
    return each * DAYS / (time.perf_counter() - began)


def _disk(conn: psycopg.Connection, logs: int) -> Iterator[Figure]:
    [(raw,)] = conn.execute(_RAW_BYTES, {}).fetchall()
    [(table, index)] = conn.execute(_SIZES).fetchall()
    yield Figure("disk of a log", (table + index) / logs, "bytes", raw, "raw JSON")
    yield Figure("of it indexes", index / logs, "bytes", raw, "raw JSON")


def _statistics(conn: psycopg.Connection, until: datetime) -> Iterator[Figure]:
    """Ask what the API asks, of the logs and of what aggregates would have made of them."""
    conn.execute(_MATERIALIZE)
    conn.execute("VACUUM ANALYZE")
    for name, span in (("minute", _DAY), ("hour", DAYS * _DAY), ("day", DAYS * _DAY)):
        values = {"since": until - span, "until": until, "services": None, "limit": 20}
        asked = _Asked(statements("statistics")[f"count_per_{name}"], values)
        counted = min(_times_ms(conn, [asked] * 4))
        conn.execute("SET search_path = materialized, public")
        aggregated = min(_times_ms(conn, [asked] * 11))
        conn.execute("RESET search_path")
        title = f"by {name} of {span.days} d, as aggregated"
        yield Figure(title, aggregated, "ms", counted, "counted from the logs")


def _searches(database_url: str, until: datetime) -> Iterator[Figure]:
    """Search as the API does, over random hours."""
    rng = random.Random(1)
    for name, services, levels in (
        ("search of an hour", 0, []),
        ("search of a service's hour", 1, []),
        ("search of its errors", 1, ["ERROR", "FATAL"]),
    ):
        asked = []
        for _ in range(SEARCHES):
            since = until - rng.randrange(1, DAYS * 24) * _HOUR
            chosen = [f"service-{rng.randrange(SERVICES):02d}" for _ in range(services)]
            asked.append(
                LogSearch(since=since, until=since + _HOUR, services=chosen, levels=levels)
            )
        yield Figure(f"{name}, p99", _p99(asyncio.run(_search(database_url, asked))), "ms")


async def _search(database_url: str, asked: Sequence[LogSearch]) -> list[float]:
    """Return how long each search took but the first, which warms up."""
    reader = Reader(database_url)
    await reader.open()
    try:
        table = LogTable(reader, timeout_s=SEARCH_TIMEOUT_S)
        took = []
        for wanted in asked:
            began = time.perf_counter()
            await table.search(wanted, limit=100)
            took.append((time.perf_counter() - began) * 1000)
        return took[1:]
    finally:
        await reader.close()


def _lists(conn: psycopg.Connection) -> Iterator[Figure]:
    """Ask for the first page of the lists that people look at."""
    sql = statements("incidents")
    services = [f"service-{number}" for number in range(SEARCHES)]
    for name, wanted in (
        ("newest incidents", [IncidentFilter()] * SEARCHES),
        ("incidents of a service", [IncidentFilter(service_id=name) for name in services]),
        ("open incidents", [IncidentFilter(status="OPEN")] * SEARCHES),
    ):
        pages = [{**one.values(), "limit": 20, "offset": 0, "most": 0} for one in wanted]
        asked = [_Asked(sql["select_incidents"], page) for page in pages]
        p99 = _p99(_times_ms(conn, asked))
        yield Figure(f"{name}, p99", p99, "ms", GOAL_LIST_MS, "goal")
    counted = {**IncidentFilter().values(), "limit": 1, "offset": 0, "most": TOTAL_MAX + 1}
    counting = _Asked(sql["select_incidents"], counted)
    yield Figure("count of a page's incidents", min(_times_ms(conn, [counting] * 6)), "ms")


def _times_ms(conn: psycopg.Connection, asked: Sequence[_Asked]) -> list[float]:
    """Return how long each statement took but the first, which warms up."""
    took = []
    for statement, values in asked:
        began = time.perf_counter()
        conn.execute(statement, values).fetchall()
        took.append((time.perf_counter() - began) * 1000)
    return took[1:]


def _p99(times: Sequence[float]) -> float:
    return quantiles(times, n=100)[98]
