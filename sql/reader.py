"""The API's way into the database: an async pool, which the tables share."""

import asyncio
import select
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, TypeVar

import psycopg
from msgspec import Raw, Struct
from psycopg import AsyncConnection
from psycopg.rows import class_row, scalar_row
from psycopg.types.json import set_json_loads
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from sql.connect import BoundedAsyncConnection, connect, connection_arguments
from sql.migrate import require_current
from sql.statements import statements
from tocsin.errors import StorageError

POOL_SIZE = 8
WAITING_MAX = 200
CONNECTION_TIMEOUT_S = 3.0
STATEMENT_TIMEOUT_S = 15
# A pool that backs off longer would take minutes to notice that the database is back.
_RECONNECT_TIMEOUT_S = 1.0
_PROVEN_S = 1.0
"""A connection that answered so shortly ago is lent again without being asked whether it lives."""

_SQL = statements("reader")

Row = TypeVar("Row")
Result = TypeVar("Result")


class PoolUse(Struct, frozen=True):
    """How many connections are used and idle, and how many wait for one."""

    used: int
    idle: int
    waiting: int


class _Connection(BoundedAsyncConnection):
    # Any answer comes sooner: the server ends what takes longer.
    patience_s = STATEMENT_TIMEOUT_S + 2.0
    answered_at = 0.0


class Reader:
    """A pool of connections. Every method raises StorageError when the database is away."""

    def __init__(self, database_url: str) -> None:
        arguments = connection_arguments("api")
        # A plan for each question: which index serves a list depends on its filters.
        arguments["options"] += (
            f" -c statement_timeout={STATEMENT_TIMEOUT_S}s -c plan_cache_mode=force_custom_plan"
        )
        self._pool: AsyncConnectionPool[_Connection] = AsyncConnectionPool(
            database_url,
            connection_class=_Connection,
            kwargs={**arguments, "autocommit": True},
            min_size=1,
            max_size=POOL_SIZE,
            max_waiting=WAITING_MAX,
            timeout=CONNECTION_TIMEOUT_S,
            reconnect_timeout=_RECONNECT_TIMEOUT_S,
            configure=_configure,
            check=_check,
            open=False,
        )

    async def open(self) -> None:
        """Begin to connect; the database need not answer yet."""
        await self._pool.open()

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()

    def pool_use(self) -> PoolUse:
        """Return how much the pool is used now."""
        stats = self._pool.get_stats()
        size, idle = stats.get("pool_size", 0), stats.get("pool_available", 0)
        return PoolUse(size - idle, idle, stats.get("requests_waiting", 0))

    async def ping(self) -> None:
        """Ask the database for an answer."""
        async with self.connection() as conn:
            await conn.execute(_SQL["ping"])

    async def rows(self, row: type[Row], statement: bytes, values: dict[str, Any]) -> list[Row]:
        """Return what a statement finds."""
        async with self.connection() as conn, conn.cursor(row_factory=class_row(row)) as cursor:
            await cursor.execute(statement, values)
            return await cursor.fetchall()

    async def number(self, statement: bytes, values: dict[str, Any]) -> int:
        """Return the one number that a statement counts."""
        async with self.connection() as conn, conn.cursor(row_factory=scalar_row) as cursor:
            await cursor.execute(statement, values)
            number = await cursor.fetchone()
        if not isinstance(number, int):
            raise TypeError(f"a count came back as {number!r}")
        return number

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """Lend a connection."""
        try:
            async with self._pool.connection() as conn:
                yield conn
                conn.answered_at = monotonic()
        except psycopg.errors.QueryCanceled:
            raise StorageError("the database took too long to answer") from None
        except (PoolTimeout, TooManyRequests, psycopg.OperationalError):
            raise StorageError("the database does not answer") from None


async def _check(conn: _Connection) -> None:
    """Raise if a connection is lost. To ask the server takes as long as many a statement does.

    A server that ends closes its connections, which is seen without asking.
    """
    if monotonic() - conn.answered_at < _PROVEN_S and not _has_news(conn):
        return
    await AsyncConnectionPool.check_connection(conn)


def _has_news(conn: _Connection) -> bool:
    """Whether the server has said something unasked, if only by closing the connection."""
    poll = select.poll()
    poll.register(conn.fileno(), select.POLLIN)
    return bool(poll.poll(0))


async def _configure(conn: AsyncConnection) -> None:
    # Metadata goes to the client as it is stored, without a detour over Python's numbers.
    set_json_loads(Raw, conn)


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
