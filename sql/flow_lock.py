"""One flow a topic: a lock in the database that its holder keeps as long as it lives."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

import structlog

from sql.connect import connect
from sql.statements import statements
from tocsin.errors import FlowRunning

log = structlog.get_logger()

_SQL = statements("flow_lock")
_WAIT_S = 30
"""Longer than the server takes to notice that a holder's machine is gone."""


@contextmanager
def only_flow(
    database_url: str, topic: str, process: int, stopping: Event, *, patience_s: float
) -> Iterator[None]:
    """Hold the topic's lock; raise FlowRunning when another flow does not let go of it.

    Every process of a cluster has a lock of its own. A flow that was killed lets go at once. Should
    the connection be lost meanwhile, so is the lock; then the positions tell two flows apart.
    """
    lock = f"{topic}/{process}"
    with connect(
        database_url, name="flow-lock", autocommit=True, patience_s=patience_s, stopping=stopping
    ) as conn:
        conn.execute(_SQL["notice_lost_clients"])
        for second in range(_WAIT_S + 1):
            [(taken,)] = conn.execute(_SQL["try_flow_lock"], {"lock": lock}).fetchall()
            if taken:
                break
            if second == 0:
                log.warning("another flow reads the topic, waiting for it to end", topic=topic)
            if second == _WAIT_S or stopping.wait(1):
                raise FlowRunning(f"another flow reads the topic {topic}: stop it first")
        yield
