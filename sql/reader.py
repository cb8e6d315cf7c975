"""The API's way into the database: an async pool, and one function for each statement."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from msgspec import Raw, Struct
from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import set_json_loads
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from sql.connect import BoundedAsyncConnection, connect, connection_arguments
from sql.migrate import require_current
from sql.statements import statements
from tocsin.errors import AlreadyExists, NotFound, StorageError

POOL_SIZE = 8
WAITING_MAX = 200
CONNECTION_TIMEOUT_S = 3.0
STATEMENT_TIMEOUT_S = 15
# A pool that backs off longer would take minutes to notice that the database is back.
_RECONNECT_TIMEOUT_S = 1.0

_SQL = statements("reader")

Row = TypeVar("Row")
Result = TypeVar("Result")


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

    def __repr__(self) -> str:
        """Leave the hash out."""
        return f"CredentialsRow(id={self.id!r}, …)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Leave the hash out."""
        return [("id", self.id)]


class KeyRow(Struct, frozen=True, kw_only=True):
    """An ingest key that is not revoked. hash: SHA-256 of its secret part."""

    name: str
    hash: bytes


class _Connection(BoundedAsyncConnection):
    # Any answer comes sooner: the server ends what takes longer.
    patience_s = STATEMENT_TIMEOUT_S + 2.0


class Reader:
    """A pool of connections. Every method raises StorageError when the database is away."""

    def __init__(self, database_url: str) -> None:
        arguments = connection_arguments("api")
        # A plan for each question: which index serves a list depends on its filters.
        arguments["options"] += (
            f" -c statement_timeout={STATEMENT_TIMEOUT_S}s -c plan_cache_mode=force_custom_plan"
        )
        self._pool = AsyncConnectionPool(
            database_url,
            connection_class=_Connection,
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
        async with self.connection() as conn:
            await conn.execute(_SQL["ping"])

    async def insert_user(self, email: str, password_hash: str, role: str) -> UserRow:
        """Add a user. Raises AlreadyExists when the address is taken, in whatever case."""
        values = {"email": email, "password_hash": password_hash, "role": role}
        try:
            return _found(await self.rows(UserRow, _SQL["insert_user"], values))
        except psycopg.errors.UniqueViolation:
            raise AlreadyExists(f"there is a user with the address {email} already") from None

    async def select_credentials(self, email: str) -> CredentialsRow | None:
        """Return what a login with this address is checked against, or None."""
        rows = await self.rows(CredentialsRow, _SQL["select_credentials"], {"email": email})
        return rows[0] if rows else None

    async def insert_key(self, key_id: str, name: str, secret_hash: bytes) -> None:
        """Add an ingest key. Raises AlreadyExists when the name is taken."""
        try:
            async with self.connection() as conn:
                values = {"id": key_id, "name": name, "hash": secret_hash}
                await conn.execute(_SQL["insert_key"], values)
        except psycopg.errors.UniqueViolation:
            raise AlreadyExists(f"there is an ingest key named {name} already") from None

    async def select_key(self, key_id: str) -> KeyRow | None:
        """Return the ingest key of this id, or None when there is none or it is revoked."""
        rows = await self.rows(KeyRow, _SQL["select_key"], {"id": key_id})
        return rows[0] if rows else None

    async def rows(self, row: type[Row], statement: bytes, values: dict[str, Any]) -> list[Row]:
        """Return what a statement finds."""
        async with self.connection() as conn, conn.cursor(row_factory=class_row(row)) as cursor:
            await cursor.execute(statement, values)
            return await cursor.fetchall()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """Lend a connection."""
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


def _found(rows: list[Row]) -> Row:
    if not rows:
        raise NotFound("nothing goes by that id")
    return rows[0]


def with_reader(database_url: str, work: Callable[[Reader], Awaitable[Result]]) -> Result:
    """Do one thing with a reader of its own, outside of any loop.

    Raises StorageError, SchemaOutdated.
    """
    # The plain connection says best why a database can't be used.
    with connect(database_url, name="cli") as conn:
        require_current(conn)
    return asyncio.run(_with_reader(database_url, work))


async def _with_reader(database_url: str, work: Callable[[Reader], Awaitable[Result]]) -> Result:
    reader = Reader(database_url)
    await reader.open()
    try:
        return await work(reader)
    finally:
        await reader.close()
