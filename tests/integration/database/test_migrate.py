"""Migrations apply once, in order, whole or not at all, on either edition."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

import sql.migrate as module
from sql.connect import connect
from sql.migrate import Migration, history, migrate, migrations
from sql.statements import statements
from stack.schema_page import schema_page
from stack.waiting import wait_until
from tests.conftest import as_role, migrate_for_tests
from tests.integration.database.conftest import Database
from tocsin.errors import SchemaOutdated
from tocsin.settings import Settings

NEXT = Migration(
    len(migrations()) + 1,
    "more",
    b"ALTER TABLE logs ADD COLUMN host text;\n"
    b"COMMENT ON COLUMN logs.host IS 'The machine.';\n"
    b"ALTER TABLE incidents ADD COLUMN more integer;\n"
    b"COMMENT ON COLUMN incidents.more IS 'More.';\n",
)
FILL = """
    insert into logs (timestamp, service_id, level, message, arrival, incarnation, partition,
                      "offset")
    select now() - number * interval '6 hours', 's', 'ERROR', 'm', now(), 1, 0, number
    from generate_series(1, 20) as number;
    insert into users (email, password_hash, role) values ('a@example.org', '', 'admin');
    insert into incidents (id, service_id, kind, title, status, severity, first_window, opened_at)
    values (repeat('0', 32), 's', 'manual', 't', 'OPEN', 'LOW', now(), now());
"""


def run(database_url: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tocsin", "migrate", *words],
        env={**os.environ, "DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_list_and_dry_run_change_nothing(empty_database_url: str) -> None:
    listed = run(empty_database_url, "--list")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert listed.stdout.splitlines() == [f"{step.title}: missing" for step in migrations()]
    shown = run(empty_database_url, "--dry-run").stdout
    for step in migrations():
        assert step.text.decode() in shown
    with psycopg.connect(empty_database_url) as conn:
        statement = "select count(*) from pg_class where relnamespace = 'public'::regnamespace"
        assert conn.execute(statement).fetchall() == [(0,)]
    migrate_for_tests(empty_database_url)
    told = "-- no step is missing: the database is at this version\n"
    assert run(empty_database_url, "--dry-run").stdout == told
    assert "missing" not in run(empty_database_url, "--list").stdout


@pytest.mark.parametrize("applied", range(1, len(migrations()) + 1))
def test_every_earlier_version_comes_to_this_one_with_what_is_in_it(
    empty_database_url: str, database_url: str, applied: int
) -> None:
    with connect(empty_database_url, name="test") as conn:
        conn.execute("create extension timescaledb")
        conn.execute(statements("migrate")["create_migrations"])
        for step in migrations()[:applied]:
            conn.execute(step.text)
            values = {"number": step.number, "name": step.name}
            conn.execute(statements("migrate")["insert_migration"], values)
        conn.execute(FILL.encode())
    migrate(Settings(database_url=empty_database_url))
    assert schema_page(empty_database_url) == schema_page(database_url)
    with psycopg.connect(empty_database_url) as conn:
        counts = "select (select count(*) from logs), (select sum(records) from logs_per_day)"
        assert conn.execute(counts).fetchall() == [(20, 20)]


@pytest.fixture
def one_more(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A database at this version, and a code that is one migration ahead."""
    steps = [*migrations(), NEXT]
    monkeypatch.setattr(module, "migrations", lambda: steps)
    yield database
    # The Community database serves other tests.
    database.execute("drop schema scoped cascade")
    database.execute("alter table logs drop column if exists host")
    database.execute("alter table incidents drop column if exists more")
    database.execute("delete from migrations where number = %s", NEXT.number)


def test_next_version_is_applied_to_a_database_with_records_in_it(one_more: Database) -> None:
    for statement in FILL.split(";\n"):
        if statement.strip():
            one_more.execute(statement)
    one_more.refresh()
    settings = Settings(database_url=one_more.url)
    assert migrate(settings).applied == [NEXT.title]
    assert migrate(settings).applied == []
    assert all(applied_at for _, applied_at in history(settings))
    for view in ("logs", "scoped.logs"):
        assert one_more.rows(f"select count(host) from {view}") == [(0,)]
    counts = "select (select count(*) from logs), (select sum(records)::int from logs_per_day)"
    assert one_more.rows(counts) == [(20, 20)]


def test_step_that_fails_leaves_the_database_as_it_was(
    apache_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Migration(NEXT.number, "broken", NEXT.text + b"SELECT 1 / 0;\n")
    steps = [*migrations(), broken]
    monkeypatch.setattr(module, "migrations", lambda: steps)
    before = schema_page(apache_database.url)
    settings = Settings(database_url=apache_database.url)
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate(settings)
    assert schema_page(apache_database.url) == before
    assert [applied_at for _, applied_at in history(settings)][-1] is None


def test_migration_that_is_killed_before_its_end_has_done_nothing(
    database_url: str, empty_database_url: str
) -> None:
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
    # What comes last are the roles' settings, which all databases share.
    with psycopg.connect(database_url) as holder:
        holder.execute("alter role analyst set statement_timeout to '77s'")
        process = subprocess.Popen(
            [sys.executable, "-m", "tocsin", "migrate"],
            env={
                **os.environ,
                "DATABASE_URL": empty_database_url,
                "TOCSIN_ANALYST_TIMEOUT_S": "78",
            },
        )
        with psycopg.connect(empty_database_url, autocommit=True) as conn:
            wait_until(
                lambda: conn.execute(waiting.encode()).fetchall() == [(1,)],
                "the migration waits",
                deadline_s=60,
            )
        process.kill()
        assert process.wait() == -signal.SIGKILL
        holder.rollback()
    applied = migrate(Settings(database_url=empty_database_url)).applied
    assert applied == [step.title for step in migrations()]


def test_database_of_a_newer_code_is_refused(apache_database: Database) -> None:
    apache_database.execute("insert into migrations values (%s, 'newer')", NEXT.number)
    with pytest.raises(SchemaOutdated, match="run a newer version"):
        migrate(Settings(database_url=apache_database.url))
    listed = run(apache_database.url, "--list")
    assert (listed.returncode, listed.stdout) == (1, "")
    assert "run a newer version of Tocsin" in listed.stderr


def test_who_reads_what_is_to_be_changed_is_not_waited_for(apache_database: Database) -> None:
    url = apache_database.url
    with psycopg.connect(as_role(url, "analyst")) as reader:
        reader.execute("select count(*) from logs_per_minute")
        done = run(url)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("tocsin: somebody is using what is to be changed in the database")
    assert line.endswith("nothing was: try again when their transaction has ended")
    assert migrate(Settings(database_url=url)).applied == []


def test_databases_of_one_server_may_be_migrated_at_once(
    database_url: str, empty_database_url: str
) -> None:
    """They share the roles. Whatever one changes of these, the other one waits for."""
    urls = [database_url, empty_database_url]
    together = threading.Barrier(len(urls), timeout=60)

    def migrate_together(number: int) -> None:
        for seconds in range(61, 66):
            together.wait()
            migrate(Settings(database_url=urls[number], analyst_timeout_s=seconds))

    try:
        with ThreadPoolExecutor(len(urls)) as pool:
            assert list(pool.map(migrate_together, range(len(urls)))) == [None, None]
    finally:
        migrate(Settings(database_url=database_url))


def test_two_migrations_at_once_apply_each_step_once(empty_database_url: str) -> None:
    settings = Settings(database_url=empty_database_url)
    together = threading.Barrier(3)

    def migrate_together(_: int) -> list[str]:
        together.wait(30)
        return migrate(settings).applied

    with ThreadPoolExecutor(3) as pool:
        applied = sorted(pool.map(migrate_together, range(3)))
    assert applied == [[], [], [step.title for step in migrations()]]
