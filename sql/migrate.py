"""Migrations: numbered plain SQL, applied in order, each once; then what is applied each time."""

from dataclasses import dataclass, field
from datetime import datetime
from importlib.resources import files

import psycopg

from sql.connect import connect
from sql.policies import apply_policies
from sql.roles import apply_roles
from sql.statements import statements
from sql.timescale import Edition, edition, require_timescale
from tocsin.errors import NoTimescale, SchemaOutdated, StorageError
from tocsin.settings import Settings

_SQL = statements("migrate")


@dataclass(frozen=True)
class Migration:
    """One numbered step: `0001_schema.sql` has the number 1 and the name `schema`."""

    number: int
    name: str
    text: bytes = field(repr=False)

    @property
    def title(self) -> str:
        """What people call it."""
        return f"{self.number:04d}_{self.name}"


@dataclass(frozen=True)
class Migrated:
    """What a run has done. applied: the steps' titles. advice: what it lacked the right to do."""

    applied: list[str]
    advice: list[str]


def migrations() -> list[Migration]:
    """Return every migration that this code knows, in order."""
    folder = files("sql") / "migrations"
    found = []
    for file in folder.iterdir():
        number, _, name = file.name.removesuffix(".sql").partition("_")
        if file.name.endswith(".sql"):
            found.append(Migration(int(number), name, file.read_bytes()))
    return sorted(found, key=lambda migration: migration.number)


def migrate(settings: Settings) -> Migrated:
    """Bring the database to this code's schema, and its policies and roles to the settings.

    Two at once are safe: the second waits for the first and finds nothing to do.
    Raises NoTimescale when the server lacks the extension, SchemaOutdated when the database is
    newer than this code, StorageError when it cannot be reached, the user may not do it, or
    somebody uses what is to be changed.
    """
    with connect(settings.database_url, name="migrate") as conn:
        try:
            return _migrate(conn, settings)
        except psycopg.errors.InsufficientPrivilege as error:
            raise StorageError(
                f"{conn.info.user} may not migrate the database {conn.info.dbname} "
                f"({error.diag.message_primary}): migrate as its owner"
            ) from None
        except psycopg.errors.ReadOnlySqlTransaction:
            raise StorageError(
                f"the database {conn.info.dbname} takes no changes: migrate its primary server, "
                "and as somebody without default_transaction_read_only"
            ) from None
        except psycopg.errors.LockNotAvailable:
            raise StorageError(
                f"somebody is using what is to be changed in the database {conn.info.dbname}, "
                "nothing was: try again when their transaction has ended"
            ) from None


def history(settings: Settings) -> list[tuple[Migration, datetime | None]]:
    """Return every migration with when it was applied; None: it is yet to be.

    Raises SchemaOutdated when the database is newer than this code.
    """
    with connect(settings.database_url, name="migrate") as conn:
        try:
            rows = conn.execute(_SQL["select_history"]).fetchall()
        except psycopg.errors.UndefinedTable:
            return [(step, None) for step in migrations()]
    applied: dict[int, datetime] = dict(rows)
    _refuse_newer(set(applied))
    return [(step, applied.get(step.number)) for step in migrations()]


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


def _migrate(conn: psycopg.Connection, settings: Settings) -> Migrated:
    conn.execute(_SQL["lock_migrations"])
    conn.execute(_SQL["bound_waiting"])
    require_timescale(conn)
    conn.execute(_SQL["create_migrations"])
    applied = _applied(conn)
    _refuse_newer(applied)
    missing = [step for step in migrations() if step.number not in applied]
    for step in missing:
        conn.execute(step.text)
        conn.execute(_SQL["insert_migration"], {"number": step.number, "name": step.name})
    found = edition(conn)
    _make_room_for(found, conn)
    edition_file = f"editions/{found}/statistics.sql"
    for file in (edition_file, "scoped.sql", "comments.sql"):
        conn.execute(_text(file))
    for path in ("scoped, public, pg_temp", "public, pg_temp"):
        conn.execute(_SQL["set_search_path"], {"path": path})
        conn.execute(_text("functions.sql"))
    apply_policies(conn, found, settings)
    return Migrated([step.title for step in missing], apply_roles(conn, settings))


def _make_room_for(found: Edition, conn: psycopg.Connection) -> None:
    """Drop the plain views of a database that has come to the Community edition."""
    kinds = conn.execute(_SQL["select_statistics_kinds"]).fetchall()
    if found == "apache" and any(is_aggregate for _, is_aggregate in kinds):
        raise NoTimescale(
            "the database has continuous aggregates, which this server's edition of TimescaleDB "
            "can't refresh: run the Community edition (timescaledb.license = 'timescale')"
        )
    if found == "community" and kinds and not any(is_aggregate for _, is_aggregate in kinds):
        conn.execute(_SQL["drop_plain_views"])


def _text(file: str) -> bytes:
    return files("sql").joinpath(file).read_bytes()


def _applied(conn: psycopg.Connection) -> set[int]:
    return {number for (number,) in conn.execute(_SQL["select_migrations"])}


def _refuse_newer(applied: set[int]) -> None:
    newest = migrations()[-1].number
    if applied and max(applied) > newest:
        raise SchemaOutdated(
            f"the database is at migration {max(applied)}, newer than this code's {newest}: "
            "run a newer version of Tocsin"
        )
