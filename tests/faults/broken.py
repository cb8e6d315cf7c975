"""Tocsin, broken on purpose: `python -m tests.faults.broken MUTATION COMMAND…`.

Each mutation takes away one thing that the promises rest on, so that the suite must fail.
"""

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

import psycopg

from api.publisher import Keyed, Publisher
from flows import live, sinks
from flows.repeats import SeenBefore, nothing_seen
from flows.source import TopicSource
from sql import writer
from sql.log_writer import LogWriter
from tocsin.batches import RecordBatch
from tocsin.cli import main
from tocsin.settings import Settings


def logs_undrained() -> None:
    """Let a snapshot count as read what the sink of the logs has not committed yet."""

    def snapshot(_self: sinks._LogPart) -> None:
        pass

    setattr(sinks._LogPart, "snapshot", snapshot)  # noqa: B010  (mypy forbids the plain way)


def logs_undrained_unchecked() -> None:
    """The same, and a start does not hold the recovery store against the database."""
    logs_undrained()
    true_init = TopicSource.__init__

    def init(self: TopicSource, settings: Settings, **arguments: Any) -> None:
        arguments["stored_offset"] = lambda _partition: 2**62
        true_init(self, settings, **arguments)

    setattr(TopicSource, "__init__", init)  # noqa: B010  (mypy forbids the plain way)


def windows_undrained() -> None:
    """Let a snapshot count as judged what the sink of the detection has not committed yet."""
    true_drain = sinks._DetectionPart.snapshot

    def snapshot(self: sinks._DetectionPart) -> None:
        committer = self._committer
        drain, committer.drain = committer.drain, lambda: None  # type: ignore[method-assign]  # the mutation
        try:
            true_drain(self)
        finally:
            committer.drain = drain  # type: ignore[method-assign]  # undone

    setattr(sinks._DetectionPart, "snapshot", snapshot)  # noqa: B010  (mypy forbids the plain way)


def positions_ignored() -> None:
    """Store what is read again, also below the stored position."""

    def fresh(
        self: LogWriter, conn: psycopg.Connection, batches: list[RecordBatch]
    ) -> list[RecordBatch]:
        for batch in batches:
            part = (batch.incarnation, batch.partition)
            if part not in self._positions:
                self._positions[part] = writer.read_position(conn, "logs", *part)
        return batches

    setattr(LogWriter, "_fresh", fresh)  # noqa: B010  (mypy forbids the plain way)


def ids_forgotten() -> None:
    """Know after a start no id that was seen before it."""

    def seen_in(_settings: Settings, _stopping: object, _ids_max: int) -> SeenBefore:
        return nothing_seen

    setattr(live, "seen_in", seen_in)  # noqa: B010  (mypy forbids the plain way)


def acknowledged_early() -> None:
    """Answer before Kafka has acknowledged."""
    true_publish = Publisher.publish
    under_way: set[asyncio.Task[None]] = set()

    async def publish(self: Publisher, records: Sequence[Keyed]) -> None:
        task = asyncio.create_task(true_publish(self, records))
        under_way.add(task)
        task.add_done_callback(under_way.discard)

    setattr(Publisher, "publish", publish)  # noqa: B010  (mypy forbids the plain way)


MUTATIONS: Final[dict[str, Callable[[], None]]] = {
    mutation.__name__: mutation
    for mutation in (
        logs_undrained,
        logs_undrained_unchecked,
        windows_undrained,
        positions_ignored,
        ids_forgotten,
        acknowledged_early,
    )
}

if __name__ == "__main__":
    MUTATIONS[sys.argv.pop(1)]()
    main()
