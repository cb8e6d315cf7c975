"""The versions of the detection settings in the database."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
import psycopg
from msgspec import Struct

from sql.audit import command_line, entry
from sql.reader import Reader
from sql.statements import statements
from tocsin.detection import WINDOW_MS, SettingsTimeline
from tocsin.errors import NotFound, SettingsError, StorageError
from tocsin.settings_versions import (
    SettingsBook,
    SettingsDocument,
    SettingsVersion,
    minute_of,
    next_window_start_ms,
)

_SQL = statements("detection_settings")
AHEAD_MS_MAX = 30 * 86_400_000


class StoredVersion(Struct, frozen=True):
    """A version with who made it and who withdrew it, if somebody did; times are aware UTC."""

    version: SettingsVersion
    created_at: datetime
    created_by: str
    withdrawn_at: datetime | None
    withdrawn_by: str | None


def read_book(conn: psycopg.Connection) -> SettingsBook:
    """Return all versions as they are now, without those that were withdrawn."""
    read_ms = now_ms(conn)
    rows = conn.execute(_SQL["select_detection_settings"]).fetchall()
    return book_of(rows, read_ms=read_ms)


async def read_book_async(reader: Reader) -> SettingsBook:
    """Return the same, for the API. Raises StorageError when the database is away."""
    read_ms = await reader.number(_SQL["select_now_ms"], {})
    async with reader.connection() as conn:
        cursor = await conn.execute(_SQL["select_detection_settings"])
        return book_of(await cursor.fetchall(), read_ms=read_ms)


def book_of(rows: Iterable[tuple[Any, ...]], *, read_ms: int) -> SettingsBook:
    """Return the book of what `select_detection_settings` returned.

    Raises StorageError, naming the version, where no service could be judged by them.
    """
    versions = tuple(_version(*row) for row in rows)
    try:
        SettingsTimeline(tuple(version.settings_of_pattern(None) for version in versions))
    except ValueError as error:
        raise StorageError(f"the detection settings cannot be read: {error}") from None
    return SettingsBook(versions, read_ms)


def read_history(conn: psycopg.Connection) -> list[StoredVersion]:
    """Return every version that was ever made, by number."""
    rows = conn.execute(_SQL["select_history"]).fetchall()
    return [StoredVersion(_version(*row[:3]), *row[3:]) for row in rows]


def lock_versions(conn: psycopg.Connection) -> None:
    """Let nobody else change the versions before the transaction ends.

    Raises StorageError while somebody else does. The transaction that follows ends within
    seconds, or without effect: `flows.books` relies on it.
    """
    conn.execute(_SQL["bound_transaction"])
    try:
        conn.execute(_SQL["lock_detection_settings"])
    except psycopg.errors.LockNotAvailable:
        raise StorageError(
            "somebody else is changing the detection settings: try again in a moment"
        ) from None


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
        history = read_history(conn)
        newest = _in_force(history)[-1]
        number = history[-1].version.version + 1
        start_ms = _start_ms(effective_from_ms, newest, now_ms(conn))
        version = SettingsVersion(number, start_ms, document)
        version.check()
        conn.execute(
            _SQL["insert_detection_settings"],
            {
                "version": number,
                "effective_from_ms": start_ms,
                "document": msgspec.json.encode(document).decode(),
                "created_by": created_by,
            },
        )
        conn.execute(*entry(command_line(), "detection.version_added", number, document=document))
    return version


def withdraw_version(
    conn: psycopg.Connection, number: int, *, withdrawn_by: str
) -> SettingsVersion:
    """Withdraw the newest version while no worker relies on it; return the one before it.

    Whoever still holds the version has read it before now, so it judges by that reading no window
    from LEAD_MS after now on; all of the version's own windows are among those.
    Raises NotFound, and SettingsError for a version that others rely on.
    """
    with conn.transaction():
        lock_versions(conn)
        history = read_history(conn)
        stored = next((row for row in history if row.version.version == number), None)
        if stored is None:
            raise NotFound(f"there is no version {number}, `tocsin detection list` shows them")
        if stored.withdrawn_at is not None:
            raise SettingsError(f"version {number} is withdrawn already, by {stored.withdrawn_by}")
        start_ms, present_ms = stored.version.effective_from_ms, now_ms(conn)
        if start_ms <= present_ms:
            raise SettingsError(
                f"version {number} has begun and cannot be withdrawn: make a new one to follow it"
            )
        if start_ms < next_window_start_ms(present_ms):
            raise SettingsError(
                f"version {number} begins in less than 10 minutes and cannot be withdrawn any "
                "more: make a new one to follow it"
            )
        in_force = _in_force(history)
        if number != in_force[-1].version:
            raise SettingsError(
                f"version {in_force[-1].version} is built on version {number}: withdraw that first"
            )
        conn.execute(
            _SQL["withdraw_detection_settings"], {"version": number, "withdrawn_by": withdrawn_by}
        )
        conn.execute(*entry(command_line(), "detection.version_withdrawn", number))
    return in_force[-2]


def now_ms(conn: psycopg.Connection) -> int:
    """Return the database's time."""
    [(now_ms,)] = conn.execute(_SQL["select_now_ms"]).fetchall()
    return int(now_ms)


def _start_ms(given_ms: int | None, newest: SettingsVersion, present_ms: int) -> int:
    """Return the start of a version that is made now and follows another."""
    earliest_ms = next_window_start_ms(present_ms)
    after_newest_ms = newest.effective_from_ms + WINDOW_MS
    start_ms = max(earliest_ms, after_newest_ms) if given_ms is None else given_ms
    if start_ms < earliest_ms:
        raise SettingsError(
            "a version starts at least 10 minutes ahead: give "
            f"{minute_of(earliest_ms)} UTC or later, or no start"
        )
    is_far = start_ms > present_ms + AHEAD_MS_MAX
    if start_ms < after_newest_ms or (is_far and given_ms is None):
        raise SettingsError(
            f"version {newest.version} starts {minute_of(newest.effective_from_ms)} UTC, and a new "
            "one only after it: give a later start, or withdraw that one first"
        )
    if is_far:
        # Versions begin one after the other: a slip of a year would hold up all that follow.
        raise SettingsError("a version starts at most 30 days ahead: give an earlier start")
    return start_ms


def _in_force(history: list[StoredVersion]) -> list[SettingsVersion]:
    return [stored.version for stored in history if stored.withdrawn_at is None]


def _version(number: int, effective_from_ms: int, document: str) -> SettingsVersion:
    try:
        decoded = msgspec.json.decode(document, type=SettingsDocument)
        version = SettingsVersion(number, effective_from_ms, decoded)
        version.check_numbers()
    except (msgspec.DecodeError, SettingsError) as error:
        raise StorageError(
            f"version {number} of the detection settings cannot be read: {error}"
        ) from None
    return version
