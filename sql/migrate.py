"""Migrations: numbered plain SQL, applied in order, each once, each in a transaction."""

from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

import psycopg

from sql.connect import connect
from sql.statements import statements
from tocsin.errors import NoTimescale, SchemaOutdated

Edition = Literal["apache", "community"]
_SQL = statements("migrate")


@dataclass(frozen=True)
class Migration:
    """One numbered step: `0001_schema.sql` has the number 1 and the name `schema`."""

    number: int
    name: str
    text: bytes


def migrations() -> list[Migration]:
    """Return every migration that this code knows, in order."""
    folder = files("sql") / "migrations"
    found = []
    for file in folder.iterdir():
        number, _, name = file.name.removesuffix(".sql").partition("_")
        found.append(Migration(int(number), name, file.read_bytes()))
    return sorted(found, key=lambda migration: migration.number)


def migrate(database_url: str) -> list[str]:
    """Bring the database to this code's schema and return the names of the migrations applied.

    Two at once are safe: the second waits for the first and finds nothing to do.
    Raises NoTimescale when the server lacks the extension, SchemaOutdated when the database is
    newer than this code, StorageError when it cannot be reached.
    """
    with connect(database_url, name="migrate") as conn:
        conn.execute(_SQL["lock_migrations"])
        _require_timescale(conn)
        conn.execute(_SQL["create_migrations"])
        applied = _applied(conn)
        _refuse_newer(applied)
        missing = [step for step in migrations() if step.number not in applied]
        for step in missing:
            conn.execute(step.text)
            conn.execute(_SQL["insert_migration"], {"number": step.number, "name": step.name})
        conn.execute(_edition_text(edition(conn)))
        conn.execute((files("sql") / "functions.sql").read_bytes())
        return [f"{step.number:04d}_{step.name}" for step in missing]


def require_current(conn: psycopg.Connection) -> None:
    """Raise SchemaOutdated unless the database has exactly this code's migrations."""
    try:
        applied = _applied(conn)
    except psycopg.errors.UndefinedTable:
        raise SchemaOutdated("the database has no schema yet: run `tocsin migrate`") from None
    _refuse_newer(applied)
    missing = [step.number for step in migrations() if step.number not in applied]
    if missing:
        found = max(applied, default=0)
        raise SchemaOutdated(
            f"the database is at migration {found}, this code needs {missing[-1]}: "
            "run `tocsin migrate`"
        )


def edition(conn: psycopg.Connection) -> Edition:
    """Return which edition of TimescaleDB the server runs."""
    row = conn.execute(_SQL["select_license"]).fetchone()
    return "community" if row is not None and row[0] == "timescale" else "apache"


def _require_timescale(conn: psycopg.Connection) -> None:
    if conn.execute(_SQL["select_extension"]).fetchone() is None:
        raise NoTimescale(
            "this PostgreSQL server has no TimescaleDB: install the extension timescaledb "
            "(the image timescale/timescaledb, or Debian's postgresql-17-timescaledb) and set "
            "shared_preload_libraries = 'timescaledb'"
        )
    conn.execute(_SQL["create_extension"])


def _applied(conn: psycopg.Connection) -> set[int]:
    return {number for (number,) in conn.execute(_SQL["select_migrations"])}


def _refuse_newer(applied: set[int]) -> None:
    newest = migrations()[-1].number
    if applied and max(applied) > newest:
        raise SchemaOutdated(
            f"the database is at migration {max(applied)}, newer than this code's {newest}: "
            "run a newer version of Tocsin"
        )


def _edition_text(found: Edition) -> bytes:
    return (files("sql") / "editions" / found / "statistics.sql").read_bytes()
