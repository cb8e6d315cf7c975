"""The API's way into the database: an async pool, and one function for each statement."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from msgspec import Raw, Struct
from psycopg import AsyncConnection
from psycopg.rows import class_row, scalar_row
from psycopg.types.json import set_json_loads
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from sql.connect import connection_arguments
from sql.statements import statements
from tocsin.detection import WINDOW_MS
from tocsin.errors import AlreadyExists, NotFound, StorageError

POOL_SIZE = 8
WAITING_MAX = 200
CONNECTION_TIMEOUT_S = 3.0
STATEMENT_TIMEOUT_S = 15
# A pool that backs off longer would take minutes to notice that the database is back.
_RECONNECT_TIMEOUT_S = 1.0

_SQL = statements("reader")

Row = TypeVar("Row")


class IncidentRow(Struct, frozen=True, kw_only=True):
    """An incident with the evidence that it was opened on; times are aware UTC."""

    id: str
    kind: str
    title: str
    service_id: str
    status: str
    severity: str
    observed: int
    mean: float | None
    sigma: float | None
    z: float | None
    guarded_z: float | None
    peak_z: float
    baseline_windows: int
    window_start: datetime
    first_window: datetime
    confirmed_window: datetime | None
    resolved_window: datetime | None
    resolve_reason: str | None
    opened_at: datetime
    confirmed_at: datetime | None
    resolved_at: datetime | None
    detected_at: datetime
    detected_late: bool
    updated_at: datetime
    settings_version: int


class LogRow(Struct, frozen=True, kw_only=True):
    """A stored log record. metadata: the JSON object as it is stored, or None."""

    timestamp: datetime
    service_id: str
    level: str
    message: str
    metadata: Raw | None
    id: str | None
    arrival: datetime


class UserRow(Struct, frozen=True, kw_only=True):
    """A person who may log in."""

    id: UUID
    email: str
    role: str
    created_at: datetime


class CredentialsRow(Struct, frozen=True, kw_only=True):
    """What a login is checked against; the hash never leaves the process."""

    id: UUID
    role: str
    password_hash: str


class KeyRow(Struct, frozen=True, kw_only=True):
    """An ingest key that is not revoked. hash: SHA-256 of its secret part."""

    name: str
    hash: bytes


class Reader:
    """A pool of connections. Every method raises StorageError when the database is away."""

    def __init__(self, database_url: str) -> None:
        arguments = connection_arguments("api")
        arguments["options"] += f" -c statement_timeout={STATEMENT_TIMEOUT_S}s"
        self._pool = AsyncConnectionPool(
            database_url,
            kwargs={**arguments, "autocommit": True},
            min_size=1,
            max_size=POOL_SIZE,
            max_waiting=WAITING_MAX,
            timeout=CONNECTION_TIMEOUT_S,
            reconnect_timeout=_RECONNECT_TIMEOUT_S,
            configure=_configure,
            check=AsyncConnectionPool.check_connection,
            open=False,
        )

    async def open(self) -> None:
        """Begin to connect; the database need not answer yet."""
        await self._pool.open()

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()

    async def ping(self) -> None:
        """Ask the database for an answer."""
        async with self._connection() as conn:
            await conn.execute(_SQL["ping"])

    async def count_incidents(self) -> int:
        """Return how many incidents there are."""
        async with self._connection() as conn, conn.cursor(row_factory=scalar_row) as cursor:
            await cursor.execute(_SQL["count_incidents"])
            return _one(await cursor.fetchone())

    async def select_incidents(self, *, limit: int, offset: int) -> list[IncidentRow]:
        """Return a page of the incidents, newest first."""
        return await self._rows(IncidentRow, "select_incidents", {"limit": limit, "offset": offset})

    async def select_incident(self, incident_id: str) -> IncidentRow:
        """Return an incident. Raises NotFound."""
        return _found(await self._rows(IncidentRow, "select_incident", {"id": incident_id}))

    async def update_incident(
        self, incident_id: str, *, status: str | None, severity: str | None
    ) -> IncidentRow:
        """Change what is not None, and return the incident as it is now. Raises NotFound."""
        changes = {"id": incident_id, "status": status, "severity": severity}
        return _found(await self._rows(IncidentRow, "update_incident", changes))

    async def count_incident_logs(self, incident: IncidentRow) -> int:
        """Return how many ERROR and FATAL records fall into an incident."""
        async with self._connection() as conn, conn.cursor(row_factory=scalar_row) as cursor:
            await cursor.execute(_SQL["count_incident_logs"], _interval(incident))
            return _one(await cursor.fetchone())

    async def select_incident_logs(
        self, incident: IncidentRow, *, limit: int, offset: int
    ) -> list[LogRow]:
        """Return a page of the ERROR and FATAL records of an incident, oldest first."""
        values = {**_interval(incident), "limit": limit, "offset": offset}
        return await self._rows(LogRow, "select_incident_logs", values)

    async def insert_user(self, email: str, password_hash: str, role: str) -> UserRow:
        """Add a user. Raises AlreadyExists when the address is taken, in whatever case."""
        values = {"email": email, "password_hash": password_hash, "role": role}
        try:
            return _found(await self._rows(UserRow, "insert_user", values))
        except psycopg.errors.UniqueViolation:
            raise AlreadyExists(f"there is a user with the address {email} already") from None

    async def select_credentials(self, email: str) -> CredentialsRow | None:
        """Return what a login with this address is checked against, or None."""
        rows = await self._rows(CredentialsRow, "select_credentials", {"email": email})
        return rows[0] if rows else None

    async def insert_key(self, key_id: str, name: str, secret_hash: bytes) -> None:
        """Add an ingest key. Raises AlreadyExists when the name is taken."""
        try:
            async with self._connection() as conn:
                values = {"id": key_id, "name": name, "hash": secret_hash}
                await conn.execute(_SQL["insert_key"], values)
        except psycopg.errors.UniqueViolation:
            raise AlreadyExists(f"there is an ingest key named {name} already") from None

    async def select_key(self, key_id: str) -> KeyRow | None:
        """Return the ingest key of this id, or None when there is none or it is revoked."""
        rows = await self._rows(KeyRow, "select_key", {"id": key_id})
        return rows[0] if rows else None

    async def _rows(self, row: type[Row], statement: str, values: dict[str, Any]) -> list[Row]:
        async with self._connection() as conn, conn.cursor(row_factory=class_row(row)) as cursor:
            await cursor.execute(_SQL[statement], values)
            return await cursor.fetchall()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._pool.connection() as conn:
                yield conn
        except psycopg.errors.QueryCanceled:
            raise StorageError("the database took too long to answer") from None
        except (PoolTimeout, TooManyRequests, psycopg.OperationalError):
            raise StorageError("the database does not answer") from None


async def _configure(conn: AsyncConnection) -> None:
    # Metadata goes to the client as it is stored, without a detour over Python's numbers.
    set_json_loads(Raw, conn)


def _interval(incident: IncidentRow) -> dict[str, Any]:
    """Return from when until when an incident's errors count; open-ended while it is open."""
    end: datetime | str = "infinity"
    if incident.resolved_window is not None:
        end = incident.resolved_window + timedelta(milliseconds=WINDOW_MS)
    elif incident.status == "RESOLVED" and incident.resolved_at is not None:
        end = incident.resolved_at
    return {"service_id": incident.service_id, "since": incident.first_window, "until": end}


def _found(rows: list[Row]) -> Row:
    if not rows:
        raise NotFound("nothing goes by that id")
    return rows[0]


def _one(row: Any) -> int:
    if not isinstance(row, int):
        raise TypeError(f"a count came back as {row!r}")
    return row
