"""The exactly-once write of logs: rows, dead letters and positions in one transaction."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

import msgspec
import psycopg

from sql import writer
from tocsin.batches import DeadLetter, RecordBatch
from tocsin.errors import PositionMoved
from tocsin.records import EPOCH, REFUSED_BY_DATABASE, Refused

# SQLSTATE classes that speak of a row (bad value, over a limit), not of the server's state.
_ROW_ERRORS = ("22", "54")
_REASON_CHARS_MAX = 200


class Announcer(Protocol):
    """Where dead letters are announced before they are stored."""

    def announce(self, letters: Sequence[DeadLetter]) -> None:
        """Send them and wait until they are safe."""


class LogWriter:
    """Stores batches of records, each once, however often a crash makes it come again.

    It keeps what it knows of the positions; on another connection it reads them again.
    """

    def __init__(self, topic: str, announcer: Announcer) -> None:
        self._topic = topic
        self._announcer = announcer
        self._conn: psycopg.Connection | None = None
        self._positions: dict[tuple[int, int], int | None] = {}
        self._in_doubt: dict[tuple[int, int], int | None] = {}

    def commit(self, conn: psycopg.Connection, batches: list[RecordBatch]) -> None:
        """Store what of the batches is not stored yet, and move the positions.

        Raises PositionMoved when another flow writes the same partitions.
        """
        if conn is not self._conn:
            self._in_doubt, self._positions = self._positions, {}
            self._conn = conn
        with conn.transaction():
            fresh = self._fresh(conn, batches)
            letters = [letter for batch in fresh for letter in batch.dead_letters]
            letters += self._copy(conn, [batch for batch in fresh if len(batch)])
            if letters:
                writer.insert_dead_letters(conn, self._topic, fresh[0].incarnation, letters)
            moved = self._move(conn, fresh)
            # Last, so that only a lost commit makes a letter come twice.
            if letters:
                self._announcer.announce(letters)
        self._positions |= moved

    def _fresh(self, conn: psycopg.Connection, batches: list[RecordBatch]) -> list[RecordBatch]:
        """Drop what lies below the stored positions."""
        fresh = []
        for batch in batches:
            part = (batch.incarnation, batch.partition)
            if part not in self._positions:
                self._positions[part] = self._read_position(conn, part, batches)
            stored = self._positions[part]
            if stored is None or batch.next_offset > stored:
                fresh.append(batch if stored is None else batch.from_offset(stored))
        return fresh

    def _read_position(
        self, conn: psycopg.Connection, part: tuple[int, int], batches: list[RecordBatch]
    ) -> int | None:
        """Read a position; after a lost connection it may only be where this flow put it."""
        stored = writer.read_position(conn, "logs", *part)
        if part in self._in_doubt:
            ends = {b.next_offset for b in batches if (b.incarnation, b.partition) == part}
            if stored not in {self._in_doubt[part], *ends}:
                raise PositionMoved(
                    f"partition {part[1]} stood at {self._in_doubt[part]} before the connection "
                    f"was lost and stands at {stored} now: is another flow running, or was the "
                    "database restored?"
                )
        return stored

    def _move(
        self, conn: psycopg.Connection, batches: list[RecordBatch]
    ) -> dict[tuple[int, int], int | None]:
        ends = {(batch.incarnation, batch.partition): batch.next_offset for batch in batches}
        for part, next_offset in ends.items():
            writer.move_position(
                conn, "logs", *part, expected=self._positions[part], next_offset=next_offset
            )
        return dict(ends)

    def _copy(self, conn: psycopg.Connection, batches: list[RecordBatch]) -> list[DeadLetter]:
        """Copy the records; return those that the database refuses, as dead letters.

        A refused row fails its whole COPY: halves find it.
        """
        if not batches:
            return []
        try:
            with conn.transaction():
                writer.copy_logs(conn, batches)
        except psycopg.Error as error:
            if (error.sqlstate or "")[:2] not in _ROW_ERRORS:
                raise
            if len(batches) == 1 and len(batches[0]) == 1:
                return [_refused(batches[0], error)]
            first, second = _halves(batches)
            return self._copy(conn, first) + self._copy(conn, second)
        return []


def _halves(batches: list[RecordBatch]) -> tuple[list[RecordBatch], list[RecordBatch]]:
    if len(batches) > 1:
        middle = len(batches) // 2
        return batches[:middle], batches[middle:]
    [batch] = batches
    middle = len(batch) // 2
    return [batch.rows(0, middle)], [batch.rows(middle, len(batch))]


def _refused(batch: RecordBatch, error: psycopg.Error) -> DeadLetter:
    """Put aside the one record of a batch, written again from its columns."""
    metadata = batch.metadata[0]
    fields = {
        "timestamp": (EPOCH + timedelta(microseconds=batch.event_us[0])).isoformat(),
        "service_id": batch.service_id[0],
        "level": batch.level[0],
        "message": batch.message[0],
        # As it stands: what reads it could stumble over the very thing that the database refuses.
        "metadata": metadata and msgspec.Raw(metadata.encode()),
        "id": batch.id[0],
    }
    said = " ".join((error.diag.message_primary or str(error)).split())
    return DeadLetter(
        batch.partition,
        batch.offset[0],
        batch.arrival_ms[0],
        str(Refused(f"{REFUSED_BY_DATABASE} ({said[:_REASON_CHARS_MAX]})")),
        batch.service_id[0].encode(),
        msgspec.json.encode({name: value for name, value in fields.items() if value is not None}),
    )
