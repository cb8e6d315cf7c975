"""Searches through the stored logs: newest first, bounded in time, number and bytes."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import psycopg
from msgspec import Raw, Struct
from psycopg import AsyncConnection
from psycopg.rows import class_row

from sql.reader import Reader
from sql.statements import statements
from tocsin.errors import TookTooLong

_SQL = statements("logs")
BYTES_MAX = 8 * 1024 * 1024
"""So many bytes of messages and metadata end a page, which has one record at least."""
_FIRST_SLICE = timedelta(minutes=1)
_WIDER = 4


class LogPosition(NamedTuple):
    """Where a record stands among all: they are ordered by these."""

    timestamp: datetime
    incarnation: int
    partition: int
    offset: int


class LogSearch(Struct, frozen=True, kw_only=True):
    """Which records are wanted.

    services, levels: any where there is none. since (inclusive), until (exclusive): aware UTC.
    text: what the message contains, in any case. metadata: JSON objects of which it must contain
    one. last: only those that come after this one, newest first.
    """

    since: datetime
    until: datetime
    services: Sequence[str] = ()
    levels: Sequence[str] = ()
    text: str | None = None
    metadata: Sequence[str] = ()
    last: LogPosition | None = None


class FoundLog(Struct, frozen=True, kw_only=True):
    """A stored record with its place. found: how many its statement found, up to the limit."""

    timestamp: datetime
    service_id: str
    level: str
    message: str
    metadata: Raw | None
    id: str | None
    arrival: datetime
    incarnation: int
    partition: int
    offset: int
    found: int

    @property
    def position(self) -> LogPosition:
        """Where it stands."""
        return LogPosition(self.timestamp, self.incarnation, self.partition, self.offset)


class LogTable:
    """Every method raises StorageError when the database is away."""

    def __init__(self, reader: Reader, *, timeout_s: float) -> None:
        self._reader = reader
        self._timeout_s = timeout_s

    async def search(self, wanted: LogSearch, *, limit: int) -> tuple[list[FoundLog], bool]:
        """Return the newest records that are wanted, and whether there are more.

        Raises TookTooLong.
        """
        async with self._bounded() as conn:
            if not wanted.services:
                return await self._search_all(conn, wanted, limit)
            statement = _SQL["search_logs_of_services"]
            rows = await _rows(conn, statement, wanted, limit, self._timeout_s)
            return rows[:limit], _has_more(rows, limit)

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[AsyncConnection]:
        """Lend a connection in a transaction, and say what to do when a statement is cancelled."""
        async with self._reader.connection() as conn:
            try:
                async with conn.transaction():
                    yield conn
            except psycopg.errors.QueryCanceled:
                raise self._too_long() from None

    async def _search_all(
        self, conn: AsyncConnection, wanted: LogSearch, limit: int
    ) -> tuple[list[FoundLog], bool]:
        """Look into the newest minute first, and further back while there is too little.

        No index has all services in order of time: most often a minute has enough of them.
        """
        end_s = time.monotonic() + self._timeout_s
        until = wanted.until
        if wanted.last is not None:
            until = min(until, wanted.last.timestamp + timedelta(microseconds=1))
        width, bytes_left = _FIRST_SLICE, BYTES_MAX
        found: list[FoundLog] = []
        while True:
            since = max(wanted.since, until - width)
            values = {"since": since, "until": until, "bytes": bytes_left}
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                raise self._too_long()
            room = limit - len(found)
            rows = await _rows(conn, _SQL["search_logs"], wanted, room, left_s, **values)
            found += rows[:room]
            bytes_left -= sum(len(row.message) + len(row.metadata or b"") for row in rows)
            if _has_more(rows, room):
                return found, True
            if since <= wanted.since:
                return found, False
            until, width = since, width * _WIDER

    def _too_long(self) -> TookTooLong:
        return TookTooLong(
            f"the search took longer than {self._timeout_s:g} s: ask for a shorter time, or for "
            "some services only"
        )


async def _rows(
    conn: AsyncConnection,
    statement: bytes,
    wanted: LogSearch,
    limit: int,
    timeout_s: float,
    **slice_: Any,
) -> list[FoundLog]:
    """Return one more than the limit, if there are as many."""
    timeout = {"timeout_ms": str(max(1, round(timeout_s * 1000)))}
    await conn.execute(_SQL["bound_search"], timeout)
    async with conn.cursor(row_factory=class_row(FoundLog)) as cursor:
        await cursor.execute(statement, {**search_values(wanted, limit), **slice_})
        return await cursor.fetchall()


def search_values(wanted: LogSearch, limit: int) -> dict[str, Any]:
    """Return the values of either statement."""
    last = wanted.last
    return {
        "services": list(wanted.services),
        "since": wanted.since,
        "until": wanted.until,
        "levels": list(wanted.levels) or None,
        "text": wanted.text,
        "metadata": list(wanted.metadata) or None,
        "last_timestamp": last and last.timestamp,
        "last_incarnation": last and last.incarnation,
        "last_partition": last and last.partition,
        "last_offset": last and last.offset,
        "limit": limit + 1,
        "bytes": BYTES_MAX,
    }


def _has_more(rows: list[FoundLog], limit: int) -> bool:
    """Whether more were found than the limit, or than the bytes allowed."""
    return bool(rows) and rows[0].found > min(limit, len(rows))
