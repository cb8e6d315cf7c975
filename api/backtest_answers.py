"""Backtests as the API answers them."""

from datetime import datetime
from enum import Enum
from uuid import UUID

import msgspec
from msgspec import Struct

from api.paging import Meta
from sql.backtests import BacktestRow
from tocsin.backtests import NewBacktest


class BacktestState(str, Enum):
    """How a backtest stands.

    queued: its process starts. done: its result is there. failed: `error` says why.
    """

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Backtest(Struct, frozen=True, kw_only=True):
    """A backtest and how far it has come.

    share: how much of its range has been read, from 0 to 1; records: how many so far, with those
    from before the range that warm it up; rate: of them a second. seconds_left: by the rate so
    far, until all is read; scoring comes after it. They are those of a second ago at most.
    """

    id: UUID
    state: BacktestState
    asked: NewBacktest
    created_at: datetime
    created_by: str
    started_at: datetime | None
    ended_at: datetime | None
    share: float
    records: int
    rate: float | None
    seconds_left: float | None
    error: str | None


class BacktestPage(Struct, frozen=True):
    """A page of backtests, newest first."""

    data: list[Backtest]
    meta: Meta


def backtest_of(row: BacktestRow) -> Backtest:
    """Return a backtest as it is answered."""
    values = msgspec.structs.asdict(row)
    took_s = values.pop("took_s")
    values["asked"] = msgspec.json.decode(row.asked, type=NewBacktest)
    values["state"] = BacktestState(row.state)
    is_read = row.state == BacktestState.RUNNING and took_s and row.share
    return Backtest(
        **values,
        rate=row.records / took_s if took_s else None,
        seconds_left=took_s * (1 - row.share) / row.share if is_read else None,
    )
