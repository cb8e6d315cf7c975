"""A backtest's row as its own process sees it: a lock, what was asked, how far it has come."""

from uuid import UUID

import msgspec
import psycopg

from sql.statements import statements
from tocsin.backtests import NewBacktest

_SQL = statements("backtests")
_LOCKS = statements("flow_lock")


class BacktestRun:
    """What one process says of its backtest; nothing it says counts once that has ended.

    conn: of its own, in autocommit; it holds the lock that lets one run at a time, all hosts
    together. May be used by several threads.
    """

    def __init__(self, conn: psycopg.Connection, backtest_id: UUID) -> None:
        self._conn = conn
        self._key = {"id": backtest_id}
        conn.execute(_LOCKS["notice_lost_clients"])

    def try_lock(self) -> bool:
        """Take the lock; return whether nobody else holds it."""
        [(taken,)] = self._conn.execute(_SQL["try_lock"]).fetchall()
        return bool(taken)

    def is_wanted(self) -> bool:
        """Return whether it still waits for its turn."""
        [(wanted,)] = self._conn.execute(_SQL["is_wanted"], self._key).fetchall()
        return bool(wanted)

    def begin(self) -> NewBacktest | None:
        """Say that it runs, and return what was asked; None where it is wanted no more."""
        row = self._conn.execute(_SQL["begin_backtest"], self._key).fetchone()
        return None if row is None else msgspec.json.decode(row[0], type=NewBacktest)

    def report(self, share: float, records: int) -> bool:
        """Say how far it has come; return whether it is still wanted."""
        return self._do("report_backtest", share=share, records=records)

    def finish(self, records: int, result: bytes, page: bytes) -> bool:
        """Store what it came to, packed by gzip; return whether that was still wanted."""
        return self._do("finish_backtest", records=records, result=result, page=page)

    def fail(self, error: str) -> bool:
        """Say why it failed; return whether it was still wanted."""
        return self._do("fail_backtest", error=error)

    def _do(self, statement: str, **values: object) -> bool:
        row = self._conn.execute(_SQL[statement], {**self._key, **values}).fetchone()
        return row is not None
