"""How the flow writes: one function a statement, in the caller's transaction."""

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec
import polars as pl
import psycopg

from sql.statements import statements
from tocsin.batches import DeadLetter, RecordBatch
from tocsin.errors import PositionMoved

Stage = Literal["logs", "detection"]
_SQL = statements("writer")
_TIMELINE_SQL = statements("timeline")
_MICROSECONDS = pl.Datetime("us")
_CSV_TIME = "%Y-%m-%d %H:%M:%S%.6f"


def incarnation_of(conn: psycopg.Connection, topic_id: str, name: str) -> int:
    """Return the number of a topic's incarnation, a new one for a topic id never seen."""
    conn.execute(_SQL["upsert_topic"], {"topic_id": topic_id, "name": name})
    [(incarnation,)] = conn.execute(_SQL["select_incarnation"], {"topic_id": topic_id}).fetchall()
    return int(incarnation)


def read_position(
    conn: psycopg.Connection, stage: Stage, incarnation: int, partition: int
) -> int | None:
    """Return the offset that the stage stores next, or None before the first."""
    row = conn.execute(
        _SQL["select_position"],
        {"stage": stage, "incarnation": incarnation, "partition": partition},
    ).fetchone()
    return None if row is None else int(row[0])


def move_position(
    conn: psycopg.Connection,
    stage: Stage,
    incarnation: int,
    partition: int,
    *,
    expected: int | None,
    next_offset: int,
) -> None:
    """Move a position from the value that was read; raise PositionMoved if it is another now."""
    moved = conn.execute(
        _SQL["insert_position" if expected is None else "update_position"],
        {
            "stage": stage,
            "incarnation": incarnation,
            "partition": partition,
            "expected": expected,
            "next_offset": next_offset,
        },
    ).rowcount
    if moved != 1:
        raise PositionMoved(
            f"partition {partition} is being written by another flow "
            f"(its position is no longer {expected}): stop one of the two"
        )


def set_position(
    conn: psycopg.Connection, stage: Stage, incarnation: int, partition: int, *, next_offset: int
) -> None:
    """Set a position that only tells how far a stage has come; it never goes back."""
    conn.execute(
        _SQL["upsert_position"],
        {
            "stage": stage,
            "incarnation": incarnation,
            "partition": partition,
            "next_offset": next_offset,
        },
    )


def copy_logs(conn: psycopg.Connection, batches: Iterable[RecordBatch]) -> None:
    """Append the records of several batches with one COPY."""
    copy_csv(conn, [batch.csv or logs_csv(batch) for batch in batches])


def logs_csv(batch: RecordBatch) -> bytes:
    """Lay a batch out as `copy_csv` wants it: one line a record."""
    csv = io.BytesIO()
    # Strings are quoted and NULL is not, so an empty message stays one, and so does `\\N`.
    _frame(batch).write_csv(
        csv,
        include_header=False,
        quote_style="non_numeric",
        null_value="\\N",
        datetime_format=_CSV_TIME,
    )
    return csv.getvalue()


def copy_csv(conn: psycopg.Connection, pieces: Iterable[bytes]) -> None:
    """COPY what `logs_csv` made into the logs."""
    with conn.cursor() as cursor, cursor.copy(_SQL["copy_logs"]) as copy:
        for piece in pieces:
            copy.write(piece)


def insert_dead_letters(
    conn: psycopg.Connection, topic: str, incarnation: int, letters: Iterable[DeadLetter]
) -> None:
    """Keep what was put aside; one that is there already stays."""
    with conn.cursor() as cursor:
        cursor.executemany(
            _SQL["insert_dead_letter"],
            [
                {
                    "incarnation": incarnation,
                    "partition": letter.partition,
                    "offset": letter.offset,
                    "topic": topic,
                    "arrival_ms": letter.arrival_ms,
                    "reason": letter.reason,
                    "key": letter.key,
                    "raw": letter.raw,
                }
                for letter in letters
            ],
        )


def upsert_windows(conn: psycopg.Connection, windows: Sequence[Mapping[str, Any]]) -> None:
    """Write window rows; one that is older than what is stored changes nothing.

    No two are of one window of one service. They go as JSON in one statement, for one statement
    each takes a hypertable five times as long.
    """
    conn.execute(_SQL["upsert_windows"], {"rows": msgspec.json.encode(windows).decode()})


def upsert_incidents(conn: psycopg.Connection, incidents: Sequence[Mapping[str, Any]]) -> None:
    """Write incident rows; one that is older than what is stored changes nothing."""
    with conn.cursor() as cursor:
        cursor.executemany(_SQL["upsert_incident"], incidents)


def reopen_incidents(conn: psycopg.Connection, events: Sequence[Mapping[str, Any]]) -> None:
    """Open again what a person has resolved before a window that is abnormal, and tell why.

    What was confirmed in the meantime is told then, too.
    """
    with conn.cursor() as cursor:
        for event in events:
            cursor.execute(_SQL["reopen_incident"], event)
            if cursor.rowcount:
                cursor.execute(_TIMELINE_SQL["tell_confirmation"], event)


def insert_incident_events(conn: psycopg.Connection, events: Sequence[Mapping[str, Any]]) -> None:
    """Append to the timeline; a moment that is there already stays."""
    with conn.cursor() as cursor:
        cursor.executemany(_SQL["insert_incident_event"], events)


def _frame(batch: RecordBatch) -> pl.DataFrame:
    """Lay a batch out as a table, in the order of COPY's columns."""
    rows = len(batch)
    return pl.DataFrame(
        {
            "timestamp": pl.Series(batch.event_us, dtype=pl.Int64).cast(_MICROSECONDS),
            "service_id": pl.Series(batch.service_id, dtype=pl.String),
            "level": pl.Series(batch.level, dtype=pl.String),
            "message": pl.Series(batch.message, dtype=pl.String),
            "metadata": pl.Series(batch.metadata, dtype=pl.String),
            "id": pl.Series(batch.id, dtype=pl.String),
            "arrival": (pl.Series(batch.arrival_ms, dtype=pl.Int64) * 1000).cast(_MICROSECONDS),
            "incarnation": pl.repeat(batch.incarnation, rows, dtype=pl.Int64, eager=True),
            "partition": pl.repeat(batch.partition, rows, dtype=pl.Int64, eager=True),
            "offset": pl.Series(batch.offset, dtype=pl.Int64),
        }
    )
