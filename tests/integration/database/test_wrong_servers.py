"""`tocsin migrate` says what to install, or whom to ask, where TimescaleDB can't be used."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal

import sql.timescale as module
from sql.migrate import migrate
from stack.timescale import FAST, Timescale
from tests.conftest import as_role, running_pglite
from tests.integration.database.conftest import Database
from tocsin.errors import NoTimescale, StorageError
from tocsin.settings import Settings


def refusal(database_url: str) -> str:
    with pytest.raises(NoTimescale) as raised:
        migrate(Settings(database_url=database_url))
    [line] = str(raised.value).splitlines()
    return line


def test_server_without_timescaledb_is_told_what_to_install(tmp_path: Path) -> None:
    with running_pglite(tmp_path, kind="plain") as server:
        line = refusal(server.url)
    assert line.startswith("this PostgreSQL server has no TimescaleDB: install the image")
    assert "postgresql-17-timescaledb" in line
    assert "shared_preload_libraries" in line


def test_server_that_does_not_load_it_is_told_to(timescale: Timescale) -> None:
    """`timescale` has shown that a server can be started, or skipped."""
    server = Timescale(
        f"test-{secrets.token_hex(6)}",
        password=secrets.token_urlsafe(16),
        settings={**FAST, "shared_preload_libraries": ""},
    )
    server.start()
    try:
        assert refusal(server.url) == (
            "TimescaleDB is installed but not loaded: add timescaledb to shared_preload_libraries "
            "in postgresql.conf and restart the server"
        )
    finally:
        server.remove()


@pytest.mark.parametrize("is_created", [False, True])
def test_version_that_is_too_old_is_named(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch, is_created: bool
) -> None:
    """As if this code needed a version that is yet to be made."""
    with psycopg.connect(empty_database_url) as conn:
        [(offered,)] = conn.execute(
            "select default_version from pg_available_extensions where name = 'timescaledb'"
        ).fetchall()
        if is_created:
            conn.execute("create extension timescaledb")
    monkeypatch.setattr(module, "OLDEST", (99, 1))
    assert f"TimescaleDB {offered} is too old, 99.1 or newer is needed" in refusal(
        empty_database_url
    )


def test_extension_that_was_not_updated_with_the_server_is_to_be() -> None:
    with pytest.raises(NoTimescale, match=r"has TimescaleDB 2\.11\.0, .*ALTER EXTENSION .* UPDATE"):
        module.require_new_enough("2.19.3", "2.11.0")


@pytest.fixture
def stranger(empty_database_url: str) -> Iterator[str]:
    """The URL of somebody who may only connect."""
    name = f"stranger_{secrets.token_hex(4)}"
    role = Identifier(name)
    with psycopg.connect(empty_database_url, autocommit=True) as conn:
        password = Literal(conn.info.password)
        conn.execute(SQL("create role {} login password {}").format(role, password))
    yield as_role(empty_database_url, name)
    with psycopg.connect(empty_database_url, autocommit=True) as conn:
        conn.execute(SQL("drop owned by {} cascade").format(role))
        conn.execute(
            SQL("alter database {} owner to postgres").format(Identifier(conn.info.dbname))
        )
        conn.execute(SQL("drop role {}").format(role))


def test_lacking_rights_are_named_with_who_has_them(stranger: str, empty_database_url: str) -> None:
    name = psycopg.conninfo.conninfo_to_dict(stranger)["user"]
    assert f"{name} may not create the extension timescaledb: as a superuser run" in refusal(
        stranger
    )
    with psycopg.connect(empty_database_url, autocommit=True) as conn:
        conn.execute("create extension timescaledb")
    with pytest.raises(StorageError, match=f"{name} may not migrate .*migrate as its owner"):
        migrate(Settings(database_url=stranger))


def test_database_that_takes_no_changes_is_said_to(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url, autocommit=True) as conn:
        read_only = SQL("alter database {} set default_transaction_read_only = on")
        conn.execute(read_only.format(Identifier(conn.info.dbname)))
    with pytest.raises(StorageError, match=r"takes no changes: migrate its primary server"):
        migrate(Settings(database_url=empty_database_url))


def test_longest_time_of_each_setting_can_be_kept(database_url: str) -> None:
    longest = Settings(
        database_url=database_url,
        logs_keep_days=36_500,
        windows_keep_days=36_500,
        dead_letters_keep_days=36_500,
        columnstore_days=36_500,
    )
    assert migrate(longest).applied == []


def test_owner_without_rights_over_roles_is_told_who_has_them(
    stranger: str, empty_database_url: str, migrated_template: str
) -> None:
    """The roles are there, another's; all else is done."""
    name = psycopg.conninfo.conninfo_to_dict(stranger)["user"]
    with psycopg.connect(empty_database_url, autocommit=True) as conn:
        conn.execute("create extension timescaledb")
        own = SQL("alter database {} owner to {}")
        conn.execute(own.format(Identifier(conn.info.dbname), Identifier(str(name))))
    migrated = migrate(Settings(database_url=stranger, flow_password="another"))
    assert migrated.applied
    [line] = migrated.advice
    assert "`ALTER ROLE tocsin_flow LOGIN PASSWORD '…'`" in line
    assert "another" not in line
    assert migrate(Settings(database_url=stranger)).advice == []


def test_plain_views_give_way_when_the_database_comes_to_the_community_edition(
    community_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = community_database
    database.execute("drop schema scoped cascade")
    for view in ("logs_per_day", "logs_per_hour", "logs_per_minute"):
        database.execute(f"drop materialized view {view}")
    monkeypatch.setattr("sql.migrate.edition", lambda _: "apache")
    settings = Settings(database_url=database.url)
    migrate(settings)
    kinds = "select view_name from timescaledb_information.continuous_aggregates"
    assert database.rows(kinds) == []
    monkeypatch.undo()
    migrate(settings)
    assert len(database.rows(kinds)) == 3
    # And not back: nothing would refresh them any more.
    monkeypatch.setattr("sql.migrate.edition", lambda _: "apache")
    assert "run the Community edition" in refusal(database.url)
