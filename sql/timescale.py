"""Which TimescaleDB the server has: none, too old a one, or one of its two editions."""

import re
from typing import Literal

import psycopg

from sql.statements import statements
from tocsin.errors import NoTimescale

Edition = Literal["apache", "community"]

OLDEST = (2, 19)
"""The first that refreshes in batches."""

_SQL = statements("timescale")
_INSTALL = (
    "the image timescale/timescaledb, or Debian's postgresql-17-timescaledb, "
    "with shared_preload_libraries = 'timescaledb'"
)


def require_timescale(conn: psycopg.Connection) -> None:
    """Make sure that the database has the extension, creating it where it is only installed.

    Raises NoTimescale, which says what to install or whom to ask.
    """
    row = conn.execute(_SQL["select_extension"]).fetchone()
    if row is None:
        raise NoTimescale(f"this PostgreSQL server has no TimescaleDB: install {_INSTALL}")
    offered, installed = row
    require_new_enough(offered, installed)
    try:
        conn.execute(_SQL["create_extension"])
        # The library is loaded only now, where the extension was there already.
        conn.execute(_SQL["select_license"])
    except psycopg.errors.InsufficientPrivilege:
        raise NoTimescale(
            f"{conn.info.user} may not create the extension timescaledb: as a superuser run "
            f"`CREATE EXTENSION timescaledb` in the database {conn.info.dbname}, then migrate again"
        ) from None
    except psycopg.Error as error:
        if "must be preloaded" not in str(error):
            raise
        raise NoTimescale(
            "TimescaleDB is installed but not loaded: add timescaledb to shared_preload_libraries "
            "in postgresql.conf and restart the server"
        ) from None


def edition(conn: psycopg.Connection) -> Edition:
    """Return which edition of TimescaleDB the server runs."""
    row = conn.execute(_SQL["select_license"]).fetchone()
    return "community" if row is not None and row[0] == "timescale" else "apache"


def require_new_enough(offered: str, installed: str | None) -> None:
    """Raise NoTimescale unless both are: what the server offers, what the database has of it."""
    needed = ".".join(map(str, OLDEST))
    if _numbers(offered) < OLDEST:
        raise NoTimescale(
            f"TimescaleDB {offered} is too old, {needed} or newer is needed: install {_INSTALL}"
        )
    if installed is not None and _numbers(installed) < OLDEST:
        raise NoTimescale(
            f"the database has TimescaleDB {installed}, {needed} or newer is needed: "
            "run `ALTER EXTENSION timescaledb UPDATE` first thing in a new session"
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:2]))
