"""A thread that commits in the background, while the dataflow decodes what comes next.

The rule that makes the flow exactly-once: Bytewax counts as read what an epoch's snapshot says,
so a sink's `snapshot` must not return before everything submitted earlier is committed (`drain`).
The database may be ahead of the recovery store, never behind it.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import psycopg
import structlog

from flows import metrics
from sql.connect import SilentDatabase
from tocsin.errors import BrokerError, StorageError

log = structlog.get_logger()

Job = TypeVar("Job")
_RETRY_S = (0.1, 0.3, 1.0, 2.0, 5.0)
_SAY_AGAIN_S = 30.0
# SQLSTATE classes: connection lost, transaction rolled back, out of resources, object not in the
# needed state, shut down by an operator.
_PASSING_STATES = frozenset({"08", "40", "53", "55", "57"})


class Committer(Generic[Job]):
    """Commits jobs in the order in which they came, several at once where they have piled up.

    commit: writes the jobs in one transaction on the connection it is given, and commits. It is
        called again with the same jobs, on another connection, when the database went away, so it
        must find out for itself what of them is stored.
    size: how much a job weighs; `submit` waits while more than `room` is waiting. What is committed
        at once weighs `at_once` at most, or is one job.
    stopping: when set while nothing can be stored, the wait ends with a StorageError; a connection
        that was lost is replaced once more, and what waits to try again does so once, at once.
    """

    def __init__(
        self,
        name: str,
        *,
        connect: Callable[[], psycopg.Connection],
        commit: Callable[[psycopg.Connection, list[Job]], None],
        size: Callable[[Job], int],
        room: int,
        at_once: int,
        stopping: threading.Event,
    ) -> None:
        self._name = name
        self._connect = connect
        self._commit = commit
        self._size = size
        self._room = room
        self._at_once = at_once
        self._stopping = stopping
        self._jobs: deque[Job] = deque()
        self._waiting = 0
        self._busy = False
        self._closed = False
        self._away = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._took = metrics.COMMIT_SECONDS.labels(name)
        self._fullness = metrics.WAITING.labels(name)
        self._database_away = metrics.AWAY.labels(name)
        self._thread = threading.Thread(target=self._run, name=f"commit-{name}", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Hand over a job; wait while there is no room, which holds back the whole dataflow."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting < self._room or self._failed())
            self._raise()
            self._jobs.append(job)
            self._waiting += self._size(job)
            self._fullness.set(self._waiting / self._room)
            self._changed.notify_all()

    def drain(self) -> None:
        """Wait until everything submitted before is committed."""
        with self._changed:
            self._changed.wait_for(lambda: (not self._jobs and not self._busy) or self._failed())
            self._raise()

    def close(self) -> None:
        """Commit what is waiting and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _failed(self) -> bool:
        return self._error is not None

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        conn: psycopg.Connection | None = None
        try:
            while jobs := self._take():
                with self._took.time():
                    conn = self._commit_for_sure(conn, jobs)
                with self._changed:
                    self._busy = False
                    self._waiting -= sum(map(self._size, jobs))
                    self._fullness.set(self._waiting / self._room)
                    self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001  (the edge of a thread: raised in the flow's)
            with self._changed:
                self._error = error
                self._changed.notify_all()
        finally:
            if conn is not None:
                conn.close()

    def _take(self) -> list[Job]:
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            jobs: list[Job] = []
            taken = 0
            while self._jobs:
                taken += self._size(self._jobs[0])
                if jobs and taken > self._at_once:
                    break
                jobs.append(self._jobs.popleft())
            self._busy = bool(jobs)
            return jobs

    def _commit_for_sure(
        self, conn: psycopg.Connection | None, jobs: list[Job]
    ) -> psycopg.Connection:
        """Commit, over as many connections as it takes."""
        attempt = 0
        said_at = -_SAY_AGAIN_S
        while True:
            is_last = attempt > 0 and self._stopping.is_set()
            try:
                conn = conn or self._connect()
                self._commit(conn, jobs)
            except (psycopg.Error, StorageError, BrokerError) as error:
                if conn is not None:
                    conn.close()
                conn = None
                self._database_away.set(1)
                if not _passing(error):
                    raise
                if time.monotonic() - said_at > _SAY_AGAIN_S:
                    said_at = time.monotonic()
                    log.warning(
                        "cannot store, trying again", writer=self._name, problem=_line(error)
                    )
                if is_last or self._gives_up(error, _RETRY_S[min(attempt, len(_RETRY_S) - 1)]):
                    raise StorageError(
                        f"stopped while nothing could be stored ({_line(error)}); "
                        "what it had not stored is read again at the next start"
                    ) from None
                attempt += 1
            else:
                if attempt:
                    self._database_away.set(0)
                    log.info("can store again", writer=self._name)
                return conn

    def _gives_up(self, error: Exception, seconds: float) -> bool:
        """Pause; tell whether the flow was asked to end, and to try once more would take too long.

        Where only the connection was lost, the database answers another one at once; and if the
        signal comes during the pause, it may have come back by then.
        """
        if self._stopping.is_set():
            return not isinstance(error, psycopg.Error) or isinstance(error, SilentDatabase)
        self._stopping.wait(seconds)
        return False


def _passing(error: Exception) -> bool:
    """Tell a server that went away, or is short of something, from one that says no."""
    if isinstance(error, psycopg.Error):
        if error.sqlstate is None:
            return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
        # The chunk that late records were for was dropped while they waited for its lock.
        is_dropped = error.sqlstate == "XX000" and "could not open relation" in str(error)
        return is_dropped or error.sqlstate[:2] in _PASSING_STATES
    return type(error) in {StorageError, BrokerError}


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
