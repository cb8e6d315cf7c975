"""One flow a topic: a lock in the database that its holder keeps as long as it lives."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from threading import Event, Thread

import psycopg
import structlog

from sql.connect import connect
from sql.statements import statements
from tocsin.errors import FlowRunning, StorageError

log = structlog.get_logger()

_SQL = statements("flow_lock")
_WAIT_S = 30
"""Longer than the server takes to notice that a holder is gone."""
_LAST_WORD_S = 1.0
_BEAT_S = 4.0
"""The server ends a session in which nothing is heard for 15 s."""


@contextmanager
def only_flow(
    database_url: str, topic: str, process: int, stopping: Event, *, patience_s: float
) -> Iterator[None]:
    """Hold the topic's lock; raise FlowRunning when another flow does not let go of it.

    Every process of a cluster has a lock of its own. A flow that was killed lets go at once, or
    within 15 seconds where something between it and the database keeps its connection open. Should
    the connection be lost meanwhile, so is the lock, until it is taken anew; then the positions
    tell two flows apart.
    """
    lock = _FlowLock(
        f"{topic}/{process}",
        partial(
            connect,
            database_url,
            name="flow-lock",
            autocommit=True,
            patience_s=patience_s,
            stopping=stopping,
        ),
    )
    for second in range(_WAIT_S + 1):
        if lock.hold():
            break
        if second == 0:
            log.warning("another flow reads the topic, waiting for it to end", topic=topic)
        if second == _WAIT_S or stopping.wait(1):
            lock.close()
            raise FlowRunning(f"another flow reads the topic {topic}: stop it first")
    keeping = Thread(target=lock.keep, name="flow-lock", daemon=True)
    keeping.start()
    try:
        yield
    finally:
        lock.ending.set()
        keeping.join(_LAST_WORD_S)  # which may hang as long as the database does


class _FlowLock:
    """A lock of the database, of the session of a connection that is replaced where it is lost."""

    def __init__(self, name: str, connect: Callable[[], psycopg.Connection]) -> None:
        self.ending = Event()
        self._name = name
        self._connect = connect
        self._conn: psycopg.Connection | None = None
        self._is_held = False

    def keep(self) -> None:
        """Hold it until `ending` is set, also over outages of the database; then let go of it."""
        while not self.ending.wait(_BEAT_S):
            # Whoever stores something says that the database is away.
            with suppress(psycopg.Error, StorageError):
                self.hold()
        self.close()

    def hold(self) -> bool:
        """Take the lock, or tell the server that its holder lives; return whether it is held.

        Raises psycopg.Error, StorageError: the connection is lost, and with it the lock.
        """
        if self._conn is None:
            self._conn = self._connect()
        try:
            if self._is_held:
                self._conn.execute(_SQL["tell_flow_lives"])
            else:
                self._conn.execute(_SQL["notice_lost_clients"])
                asked = self._conn.execute(_SQL["try_flow_lock"], {"lock": self._name})
                [(self._is_held,)] = asked.fetchall()
        except BaseException:
            self.close()
            raise
        return self._is_held

    def close(self) -> None:
        """Let go of it."""
        self._is_held = False
        if self._conn is not None:
            self._conn.close()
            self._conn = None
