"""A migrated database on either edition of TimescaleDB: the same tests prove both."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal

from sql.timescale import Edition
from stack.pglite import PGlite
from tests.conftest import migrate_for_tests

AGGREGATES = {"logs_per_minute": "minute", "logs_per_hour": "hour", "logs_per_day": "day"}
"""The views of statistics, the finer ones first, each with its column of time."""

_POLICIES = """
    select job_id, proc_name, config::text
    from timescaledb_information.jobs
    where proc_schema = '_timescaledb_functions' and proc_name = %s and hypertable_name = %s
"""
_EMPTY = """
    deallocate all;
    drop schema if exists scoped cascade;
    drop materialized view if exists logs_per_day;
    drop materialized view if exists logs_per_hour;
    drop materialized view if exists logs_per_minute;
"""
_FILLED = """
    select relname from pg_class
    where relnamespace = 'public'::regnamespace and relkind = 'r'
      and relname not in ('migrations', 'topics', 'detection_settings', 'audit_log')
"""


class Database:
    """A database to ask and to fill, one statement at a time."""

    def __init__(self, edition: Edition, url: str) -> None:
        self.edition = edition
        self.url = url

    def rows(self, statement: str, *values: Any, timezone: str = "UTC") -> list[tuple[Any, ...]]:
        """Return what a statement finds."""
        with psycopg.connect(self.url, autocommit=True) as conn:
            conn.execute(SQL("set timezone to {}").format(Literal(timezone)))
            return conn.execute(statement.encode(), values or None).fetchall()

    def named_rows(self, statement: bytes, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Return what one of Tocsin's own statements finds."""
        with psycopg.connect(self.url, autocommit=True) as conn:
            return conn.execute(statement, values).fetchall()

    def execute(self, statement: str, *values: Any) -> None:
        """Run a statement that returns nothing."""
        with psycopg.connect(self.url, autocommit=True) as conn:
            conn.execute(statement.encode(), values or None)

    def insert_logs(self, rows: Sequence[tuple[datetime, str, str]]) -> None:
        """Store records: when, of which service, at which level."""
        moments, services, levels = map(list, zip(*rows, strict=True))
        self.execute(
            """
            insert into logs (timestamp, service_id, level, message, arrival, incarnation,
                              partition, "offset")
            select row.timestamp, row.service_id, row.level, 'm', now(), 1, 0, place
            from unnest(%s::timestamptz[], %s::text[], %s::log_level[])
                 with ordinality as row (timestamp, service_id, level, place)
            """,
            moments,
            services,
            levels,
        )

    def run_policy(self, procedure: str, relation: str) -> None:
        """Do what the policy of a relation does when its time has come; on Apache there is none."""
        if self.edition == "apache":
            return
        # By its procedure: PGlite has no background workers, and its run_job never returns.
        with psycopg.connect(self.url, autocommit=True) as conn:
            for job, name, config in conn.execute(_POLICIES, [procedure, relation]).fetchall():
                call = SQL("call _timescaledb_functions.{}({}, {})")
                conn.execute(call.format(Identifier(name), Literal(job), Literal(config)))

    def refresh(self) -> None:
        """Run the refresh policies of all aggregates, the finer ones first."""
        for name in AGGREGATES:
            self.run_policy("policy_refresh_continuous_aggregate", name)


@pytest.fixture(params=["apache", "community"])
def database(request: pytest.FixtureRequest) -> Database:
    """An empty, migrated database of this test's own on one edition, then on the other."""
    return request.getfixturevalue(f"{request.param}_database")  # type: ignore[no-any-return]


@pytest.fixture
def apache_database(database_url: str) -> Database:
    """One on the Apache 2 edition."""
    return Database("apache", database_url)


@pytest.fixture
def community_database(community: PGlite) -> Database:
    """One on the Community edition: the run's only one, emptied and migrated anew."""
    database = Database("community", community.url)
    database.execute(_EMPTY)
    with psycopg.connect(community.url) as conn:
        tables = SQL(", ").join(Identifier(name) for (name,) in conn.execute(_FILLED.encode()))
        conn.execute(SQL("truncate {}").format(tables))
    migrate_for_tests(community.url)
    return database
