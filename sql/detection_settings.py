"""The versions of the detection settings in the database."""

from collections.abc import Iterable
from typing import Any

import msgspec
import psycopg

from sql.statements import statements
from tocsin.errors import SettingsError
from tocsin.settings_versions import (
    SettingsBook,
    SettingsDocument,
    SettingsVersion,
    next_window_start_ms,
)

_SQL = statements("detection_settings")
AHEAD_MS_MAX = 30 * 86_400_000


def read_book(conn: psycopg.Connection) -> SettingsBook:
    """Return all versions as they are now."""
    read_ms = now_ms(conn)
    rows = conn.execute(_SQL["select_detection_settings"]).fetchall()
    return book_of(rows, read_ms=read_ms)


def book_of(rows: Iterable[tuple[Any, ...]], *, read_ms: int) -> SettingsBook:
    """Return the book of what `select_detection_settings` returned."""
    versions = tuple(
        SettingsVersion(version, from_ms, msgspec.json.decode(document, type=SettingsDocument))
        for version, from_ms, document in rows
    )
    return SettingsBook(versions, read_ms)


def read_authors(conn: psycopg.Connection) -> dict[int, str]:
    """Return who made each version."""
    return dict(conn.execute(_SQL["select_authors"]).fetchall())


def lock_versions(conn: psycopg.Connection) -> None:
    """Let nobody else add a version before the transaction ends."""
    conn.execute(_SQL["lock_detection_settings"])


def add_version(
    conn: psycopg.Connection,
    document: SettingsDocument,
    *,
    created_by: str,
    effective_from_ms: int | None = None,
) -> SettingsVersion:
    """Add a version and return it; without a start it begins as soon as one may.

    Raises SettingsError for numbers that cannot work, and for a start too soon or too far.
    """
    with conn.transaction():
        # Two at once: the second sees the first, and takes the next number.
        lock_versions(conn)
        newest = read_book(conn).versions[-1]
        earliest_ms = max(next_window_start_ms(now_ms(conn)), newest.effective_from_ms + 60_000)
        if effective_from_ms is None:
            effective_from_ms = earliest_ms
        if effective_from_ms < earliest_ms:
            raise SettingsError(
                "a version starts at least 10 minutes ahead, and after the one before it: "
                "give a later start, or none"
            )
        if effective_from_ms > now_ms(conn) + AHEAD_MS_MAX:
            # Versions begin one after the other: a slip of a year would hold up all that follow.
            raise SettingsError("a version starts at most 30 days ahead: give an earlier start")
        version = SettingsVersion(newest.version + 1, effective_from_ms, document)
        version.check()
        conn.execute(
            _SQL["insert_detection_settings"],
            {
                "version": version.version,
                "effective_from_ms": effective_from_ms,
                "document": msgspec.json.encode(document).decode(),
                "created_by": created_by,
            },
        )
    return version


def now_ms(conn: psycopg.Connection) -> int:
    """Return the database's time."""
    [(now_ms,)] = conn.execute(_SQL["select_now_ms"]).fetchall()
    return int(now_ms)
