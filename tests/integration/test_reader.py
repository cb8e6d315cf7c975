"""The API's pool: a connection that is lost is not lent, though nobody asks whether it lives."""

import asyncio

import psycopg
from psycopg import AsyncConnection

from sql.reader import Reader
from stack.waiting import wait_until


async def pid_of(conn: AsyncConnection) -> int:
    cursor = await conn.execute("select pg_backend_pid()")
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


def end_session(database_url: str, pid: int) -> None:
    """End a session as a server that stops does, and return when it is gone."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("select pg_terminate_backend(%s)", [pid])
        wait_until(
            lambda: (
                conn.execute("select from pg_stat_activity where pid = %s", [pid]).rowcount == 0
            ),
            "the session ends",
            deadline_s=60,
        )


def test_connection_that_the_server_has_closed_is_not_lent_again(database_url: str) -> None:
    async def work() -> None:
        reader = Reader(database_url)
        await reader.open()
        try:
            for _ in range(5):
                async with reader.connection() as conn:
                    pid = await pid_of(conn)
                # In this very thread: the pool's own tasks see nothing of it before the next loan.
                end_session(database_url, pid)
                async with reader.connection() as conn:
                    assert await pid_of(conn) != pid
        finally:
            await reader.close()

    asyncio.run(work())
