"""The processes that backtests run in: this worker starts one, and it ends with this worker."""

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import PIPE, Process
from uuid import UUID

import structlog

from api.metrics import BACKTESTS_ENDED, BACKTESTS_RUNNING
from sql.backtests import BacktestTable
from tocsin.backtests import LET_GO
from tocsin.errors import NotFound, StorageError

_PROGRAM = ("-m", "flows.requested")
_GRACE_S = 3.0
_LAST_WORD_S = 1.0
# What it needs not know, and files that only the API's own processes write.
_KEPT_BACK = frozenset(
    {"TOCSIN_JWT_SECRET", "TOCSIN_JWT_SECRET_PREVIOUS", "PROMETHEUS_MULTIPROC_DIR"}
)
_UNEXPECTED = "its process ended unexpectedly ({how}): the API's log may tell more; start it again"

log = structlog.get_logger(__name__)


class BacktestRuns:
    """Starts backtests, each as a process of its own, and looks after their end.

    A process reads its settings from the environment, as the API did. It lives as long as its
    standard input is open, which ends with this process, however it ends.
    """

    def __init__(self, table: BacktestTable) -> None:
        self._table = table
        self._running: dict[UUID, tuple[Process, asyncio.Task[None]]] = {}

    async def start(self, backtest_id: UUID) -> None:
        """Start the process of a backtest that is queued. Raises OSError where that fails."""
        environ = {name: value for name, value in os.environ.items() if name not in _KEPT_BACK}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *_PROGRAM,
            str(backtest_id),
            stdin=PIPE,
            env=environ,
            start_new_session=True,  # Ctrl-C is for the API
        )
        watching = asyncio.create_task(self._watch(backtest_id, process))
        self._running[backtest_id] = process, watching
        BACKTESTS_RUNNING.set(len(self._running))

    async def stop(self) -> None:
        """End all; what they were at has failed."""
        running = dict(self._running)
        for process, _ in running.values():
            if process.stdin is not None:
                process.stdin.close()
        if running:
            await asyncio.wait([watching for _, watching in running.values()], timeout=_GRACE_S)
        killed = []
        for backtest_id, (process, watching) in running.items():
            watching.cancel()
            if process.returncode is None:
                process.kill()
                killed.append(self._table.fail(backtest_id, LET_GO))
        # Where the database is away, who looks for them sees that they are lost.
        with contextlib.suppress(StorageError, asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.gather(*killed), _LAST_WORD_S)

    async def _watch(self, backtest_id: UUID, process: Process) -> None:
        code = await process.wait()
        self._running.pop(backtest_id, None)
        BACKTESTS_RUNNING.set(len(self._running))
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        try:
            if await self._table.fail(backtest_id, _UNEXPECTED.format(how=how)):
                log.error("backtest ended unexpectedly", backtest=str(backtest_id), how=how)
            state = (await self._table.get(backtest_id)).state
        except NotFound:
            return  # cancelled, then deleted
        except StorageError as error:
            # Whoever looks for it sees that nobody holds its lock any more.
            log.warning("backtest", backtest=str(backtest_id), error=str(error))
            return
        BACKTESTS_ENDED.labels(state).inc()
