"""Backtests as the API keeps them: started, listed, cancelled, deleted, and what they came to."""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
import psycopg
from msgspec import Raw, Struct
from psycopg.rows import class_row, scalar_row

from sql.audit import Actor, entry
from sql.reader import Reader
from sql.statements import statements
from tocsin.backtests import NewBacktest
from tocsin.errors import AlreadyRuns, NotFound, StorageError, WrongState

KEPT_MAX: Final = 20
"""The newest so many are kept, with what they came to."""
_NO_SUCH = "there is no backtest of this id: it may have been deleted, or newer ones took its place"

_SQL = statements("backtests")


class BacktestRow(Struct, frozen=True, kw_only=True):
    """A backtest without what it came to. asked: JSON. took_s: until its end, or its last report.

    share, records: how much had been read by then.
    """

    id: UUID
    asked: Raw
    state: str
    created_at: datetime
    created_by: str
    started_at: datetime | None
    ended_at: datetime | None
    share: float
    records: int
    took_s: float | None
    error: str | None


class BacktestTable:
    """Every method raises StorageError when the database is away.

    Those that show something first look whether what should run is still there.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def insert(self, asked: NewBacktest, *, by: Actor) -> BacktestRow:
        """Add a backtest, if none is there that has not ended; the oldest make room.

        Raises AlreadyRuns.
        """
        document = msgspec.json.encode(asked)
        values = {"asked": document.decode(), "created_by": by.name}
        await self._fail_lost()
        try:
            async with self._reader.connection() as conn, conn.transaction():
                async with conn.cursor(row_factory=class_row(BacktestRow)) as cursor:
                    await cursor.execute(_SQL["insert_backtest"], values)
                    row = await cursor.fetchone()
                if row is None:
                    raise StorageError("the new backtest is not there")
                await conn.execute(_SQL["delete_surplus"], {"most": KEPT_MAX})
                await conn.execute(*entry(by, "backtest.started", row.id, asked=Raw(document)))
        except psycopg.errors.UniqueViolation:
            raise AlreadyRuns(await self._active()) from None
        return row

    async def count(self) -> int:
        """Return how many there are."""
        return await self._reader.number(_SQL["count_backtests"], {})

    async def page(self, *, limit: int, offset: int) -> list[BacktestRow]:
        """Return a page of them, newest first."""
        await self._fail_lost()
        values = {"limit": limit, "offset": offset}
        return await self._reader.rows(BacktestRow, _SQL["select_backtests"], values)

    async def get(self, backtest_id: UUID) -> BacktestRow:
        """Return one. Raises NotFound."""
        await self._fail_lost()
        values = {"id": backtest_id}
        rows = await self._reader.rows(BacktestRow, _SQL["select_backtest"], values)
        if not rows:
            raise NotFound(_NO_SUCH)
        return rows[0]

    async def result(self, backtest_id: UUID) -> bytes:
        """Return the scores as JSON, packed by gzip. Raises NotFound, WrongState."""
        return await self._came_to(backtest_id, "select_result")

    async def report(self, backtest_id: UUID) -> bytes:
        """Return the page as HTML, packed by gzip. Raises NotFound, WrongState."""
        return await self._came_to(backtest_id, "select_page")

    async def cancel(self, backtest_id: UUID, *, by: Actor) -> BacktestRow:
        """End one before its time. Raises NotFound, WrongState where it has ended."""
        if not await self._do(backtest_id, "cancel_backtest", "backtest.cancelled", by):
            row = await self.get(backtest_id)
            raise WrongState(f"the backtest has ended already: it is {row.state}")
        return await self.get(backtest_id)

    async def delete(self, backtest_id: UUID, *, by: Actor) -> None:
        """Delete one with what it came to. Raises NotFound, WrongState while it runs."""
        if not await self._do(backtest_id, "delete_backtest", "backtest.deleted", by):
            row = await self.get(backtest_id)
            raise WrongState(f"the backtest is {row.state}: cancel it first")

    async def fail(self, backtest_id: UUID, error: str) -> bool:
        """Say why one failed; return whether it had not ended before."""
        async with self._reader.connection() as conn:
            values = {"id": backtest_id, "error": error}
            cursor = await conn.execute(_SQL["fail_backtest"], values)
            return await cursor.fetchone() is not None

    async def _do(self, backtest_id: UUID, statement: str, action: str, by: Actor) -> bool:
        await self._fail_lost()
        async with self._reader.connection() as conn, conn.transaction():
            cursor = await conn.execute(_SQL[statement], {"id": backtest_id})
            if await cursor.fetchone() is None:
                return False
            await conn.execute(*entry(by, action, backtest_id))
        return True

    async def _came_to(self, backtest_id: UUID, statement: str) -> bytes:
        async with self._reader.connection() as conn, conn.cursor(row_factory=scalar_row) as cursor:
            await cursor.execute(_SQL[statement], {"id": backtest_id})
            found = await cursor.fetchone()
        if found is None:
            raise WrongState(_no_result(await self.get(backtest_id)))
        return bytes(found)

    async def _active(self) -> UUID | None:
        async with self._reader.connection() as conn, conn.cursor(row_factory=scalar_row) as cursor:
            await cursor.execute(_SQL["select_active"])
            found = await cursor.fetchone()
        return found if isinstance(found, UUID) else None

    async def _fail_lost(self) -> None:
        async with self._reader.connection() as conn:
            await conn.execute(_SQL["fail_lost"])


def _no_result(row: BacktestRow) -> str:
    if row.state == "failed":
        return f"the backtest has failed, so it has no result: {row.error}"
    if row.state == "cancelled":
        return "the backtest was cancelled, so it has no result"
    if row.state == "done":  # since it was looked for
        return "the backtest has just ended: ask for its result again"
    return (
        "the backtest has not ended, so it has no result yet: `GET /backtests/ID` tells how it is"
    )
