"""Each role of the database may do its work, and nothing beyond."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from sql.migrate import migrate
from tests.conftest import as_role
from tests.integration.database.conftest import Database
from tocsin.settings import Settings

SECRET = ("users", "sessions", "ingest_keys", "audit_log", "backtests", "analyst_services")
FORBIDDEN = {
    "tocsin_flow": [
        *(f"select * from {table}" for table in SECRET),
        "select lock_backtests()",
        "update logs set message = ''",
        "delete from logs",
        "delete from incidents",
        "delete from error_windows",
        "update incident_events set note = ''",
        "update detection_settings set document = '{}'",
    ],
    "tocsin_api": [
        "select * from analyst_services",
        "update audit_log set actor = ''",
        "delete from audit_log",
        "update logs set message = ''",
        "delete from logs",
        "insert into positions values ('logs', 1, 0, 0)",
        "update error_windows set errors = 0",
        "delete from incidents",
        "delete from incident_events",
        "delete from ingest_keys",
        "delete from missed_incidents",
        "insert into missed_incidents (service_id) values ('')",
    ],
    "analyst": [
        *(f"select * from {table}" for table in SECRET),
        "select lock_backtests()",
        "delete from logs",
        "update incidents set title = ''",
        "insert into incident_events (incident_id) values ('')",
        "delete from dead_letters",
    ],
    "scoped_analyst": [
        *(f"select * from public.{table}" for table in SECRET),
        "select public.lock_backtests()",
        "select * from public.logs",
        "select * from public.logs_per_minute",
        "select * from public.error_windows",
        "select * from public.incidents",
        "select * from public.dead_letters",
        "delete from scoped.logs",
        "insert into public.analyst_services values ('scoped_analyst', '*')",
    ],
}
INCIDENT = """
    insert into incidents (id, service_id, kind, title, status, severity, first_window, opened_at)
    values (repeat('0', 32), 's', 'manual', 't', 'OPEN', 'LOW', now(), now())
"""
BY_ALL = [
    "truncate logs",
    "drop table logs",
    "create table public.own (number integer)",
    "create schema own",
    "alter table logs add column own text",
    "select pg_read_file('/etc/passwd')",
    "copy (select 1) to program 'true'",
    "create role own",
    "create function public.own() returns integer language sql as 'select 1'",
    "select lo_create(0)",
    "select add_job('_timescaledb_functions.policy_retention', '1 hour')",
    "select lo_from_bytea(0, 'own')",
]
# Taken by others, they would keep the flow, migrations and maintenance waiting.
LOCKS = [
    "select pg_advisory_lock(hashtext('tocsin migrate'))",
    "select pg_try_advisory_lock_shared(hashtext('tocsin flow'), hashtext('logs/0'))",
    "select pg_advisory_xact_lock(1)",
]
NOT_FOR = {role: [] if role == "tocsin_flow" else LOCKS for role in FORBIDDEN}


@contextmanager
def acting_as(database: Database, role: str) -> Iterator[psycopg.Connection]:
    """Be a role for a while; what it changes is undone."""
    with psycopg.connect(database.url) as conn:
        # Its settings are those of a login; here it has its rights alone.
        conn.execute(SQL("set role {}").format(Identifier(role)))
        try:
            yield conn
        finally:
            conn.rollback()
            conn.execute("reset role")


@pytest.mark.parametrize("role", FORBIDDEN)
def test_no_role_crosses_its_border(database: Database, role: str) -> None:
    for statement in FORBIDDEN[role] + BY_ALL + NOT_FOR[role]:
        with acting_as(database, role) as conn:
            try:
                conn.execute(statement.encode())
            except psycopg.errors.InsufficientPrivilege:
                continue
            pytest.fail(f"{role} may: {statement}")


def test_rights_are_few_and_none_is_handed_on(database: Database) -> None:
    rights = database.rows(
        """
        select grantee, privilege_type, is_grantable from information_schema.table_privileges
        where table_schema in ('public', 'scoped') and grantee = any(%s)
        """,
        list(FORBIDDEN),
    )
    assert {role for role, _, _ in rights} == set(FORBIDDEN)
    assert {grantable for _, _, grantable in rights} == {"NO"}
    by_role = {role: {right for one, right, _ in rights if one == role} for role in FORBIDDEN}
    changing = {"SELECT", "INSERT", "UPDATE", "DELETE"}
    assert by_role == {
        "tocsin_flow": changing,
        "tocsin_api": changing,
        "analyst": {"SELECT"},
        "scoped_analyst": {"SELECT"},
    }


def test_no_view_that_analysts_may_ask_shows_people_or_keys(database: Database) -> None:
    for name in SECRET[:-1]:
        columns = database.rows(
            """
            select table_schema, table_name from information_schema.view_table_usage
            where table_schema = 'public' and table_name = %s
            """,
            name,
        )
        assert columns == []


def test_rights_that_were_given_beyond_are_taken_back_by_a_migration(database: Database) -> None:
    database.execute("grant select on users to analyst")
    # As in a database that PostgreSQL 14 has made.
    database.execute("grant create on schema public to public")
    migrate(Settings(database_url=database.url))
    for statement in ("select * from users", "create table public.own (number integer)"):
        with (
            acting_as(database, "analyst") as conn,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            conn.execute(statement.encode())


@pytest.mark.parametrize("role", ["tocsin_api", "tocsin_flow"])
def test_no_table_of_ones_own_takes_the_place_of_the_audit_log(
    database: Database, role: str
) -> None:
    database.execute(INCIDENT)
    with acting_as(database, role) as conn:
        conn.execute(
            """
            create temp table users (id uuid, email text);
            create temp table audit_log (
                actor text, actor_id uuid, action text, subject text, details jsonb)
            """
        )
        conn.execute("set search_path = pg_temp, public")
        enter = """
            insert into public.incident_events (incident_id, moment, actor, severity, status)
            values (repeat('0', 32), 'resolved', 'ada@example.org', 'LOW', 'RESOLVED')
        """
        if role == "tocsin_flow":
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"users|audit_log"):
                conn.execute(enter)
        else:
            conn.execute(enter)
            count = "select (select count(*) from {}.audit_log where action = 'incident.resolved')"
            assert conn.execute(count.format("pg_temp").encode()).fetchall() == [(0,)]
            assert conn.execute(count.format("public").encode()).fetchall() == [(1,)]


def test_analyst_is_bounded_and_reads_only_from_the_login_on(apache_database: Database) -> None:
    database = apache_database
    with psycopg.connect(as_role(database.url, "analyst"), autocommit=True) as conn:
        for role in ("postgres", "tocsin_flow", "tocsin_api"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(SQL("set role {}").format(Identifier(role)))
        assert conn.execute("select count(*) from logs_per_hour").fetchall() == [(0,)]
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            conn.execute("create temporary table own (number integer)")
        assert conn.execute("show statement_timeout").fetchall() == [("1min",)]
        idle = "show idle_in_transaction_session_timeout"
        assert conn.execute(idle).fetchall() == [("10min",)]
        conn.execute("set statement_timeout = 50")
        with pytest.raises(psycopg.errors.QueryCanceled):
            conn.execute("select pg_sleep(10)")


@pytest.fixture
def analyst(database: Database) -> Iterator[str]:
    """A person who may see two services."""
    name = f"alice_{secrets.token_hex(4)}"
    role = Identifier(name)
    with psycopg.connect(database.url, autocommit=True) as conn:
        conn.execute(SQL("create role {} in role scoped_analyst").format(role))
        for services in ("checkout", "batch_*"):
            conn.execute("insert into analyst_services values (%s, %s)", [name, services])
        conn.execute("insert into analyst_services values ('somebody', 'search')")
    yield name
    with psycopg.connect(database.url, autocommit=True) as conn:
        conn.execute(SQL("drop role {}").format(role))


@pytest.fixture
def services(database: Database) -> list[str]:
    """Logs of some services, each with an error that names it."""
    names = ["checkout", "checkout2", "batch_night", "batchXday", "search"]
    start = datetime.now(timezone.utc) - timedelta(days=1)
    database.insert_logs([(start, name, "ERROR") for name in names])
    database.execute("update logs set message = 'secret of ' || service_id")
    return names


def test_analyst_of_some_services_sees_these_alone(
    database: Database, analyst: str, services: list[str]
) -> None:
    database.refresh()
    for view in ("logs", "logs_per_minute", "logs_per_hour", "logs_per_day"):
        with acting_as(database, analyst) as conn:
            conn.execute("set search_path = scoped, public")
            rows = conn.execute(f"select service_id from {view} order by 1".encode()).fetchall()
            assert rows == [("batch_night",), ("checkout",)], view
    with acting_as(database, "scoped_analyst") as conn:
        assert conn.execute("select * from scoped.logs").fetchall() == []


def test_dead_letters_are_seen_by_their_key_whatever_its_bytes(
    database: Database, analyst: str
) -> None:
    keys = [b"checkout", b"checkout2", b"batch_night", b"batchXnight", b"\xff\x00", None]
    database.execute("insert into analyst_services values (%s, '*ü')", analyst)
    keys.append("für ü".encode())
    for number, key in enumerate(keys):
        database.execute(
            """
            insert into dead_letters (incarnation, partition, "offset", topic, arrival, reason, key,
                                      raw)
            values (1, 0, %s, 'logs', now(), 'level: unknown', %s, '')
            """,
            number,
            key,
        )
    with acting_as(database, analyst) as conn:
        seen = conn.execute('select key from scoped.dead_letters order by "offset"').fetchall()
    assert seen == [(b"checkout",), (b"batch_night",), ("für ü".encode(),)]


def test_no_function_of_the_asker_sees_a_row_of_another_service(
    database: Database, analyst: str, services: list[str]
) -> None:
    """Cheaper than the check of the service, it would come first where a view were no barrier."""
    seen: list[str] = []
    with psycopg.connect(database.url) as conn:
        conn.add_notice_handler(lambda notice: seen.append(notice.message_primary or ""))
        conn.execute(SQL("set role {}").format(Identifier(analyst)))
        try:
            conn.execute(
                """
                create function pg_temp.look(message text) returns boolean
                language plpgsql cost 0.0001 as $$
                begin raise notice '%', message; return true; end $$
                """
            )
            conn.execute("select count(*) from scoped.logs where pg_temp.look(message)")
        finally:
            conn.rollback()
            conn.execute("reset role")
    assert sorted(text for text in seen if "secret" in text) == [
        "secret of batch_night",
        "secret of checkout",
    ]


def test_chunks_of_logs_are_closed_to_analysts_of_some_services(
    database: Database, analyst: str, services: list[str]
) -> None:
    [(chunk,)] = database.rows("select show_chunks('logs')::text")
    with acting_as(database, analyst) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
        conn.execute(f"select * from {chunk}".encode())


def test_scoped_views_find_a_service_by_the_index(
    apache_database: Database,
) -> None:
    database = apache_database
    start = datetime.now(timezone.utc) - timedelta(days=3)
    database.execute(
        """
        insert into logs (timestamp, service_id, level, message, arrival, incarnation, partition,
                          "offset")
        select %s + number * interval '1 second', 's' || number %% 100, 'INFO', 'm', now(), 1, 0, 0
        from generate_series(1, 20000) as number
        """,
        start,
    )
    database.execute("analyze logs")
    database.execute("insert into analyst_services values ('scoped_analyst', 's1*')")
    with acting_as(database, "scoped_analyst") as conn:
        plan = "\n".join(
            line
            for (line,) in conn.execute(
                "explain select * from scoped.logs where service_id = 's12' and timestamp > %s",
                [start],
            )
        )
    assert "logs_service_time" in plan, plan
