"""Bytewax source of a backtest: the stored logs, in the order that the topic had."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import psycopg
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from flows.course import Course
from sql.as_of import read_slice
from tocsin.batches import RecordBatch
from tocsin.detection import WINDOW_MS
from tocsin.errors import StorageError, TocsinError

_SLICE_MS = 10 * WINDOW_MS
_PART = "logs"


class TableSource(FixedPartitionedSource[RecordBatch, None]):
    """The table `logs` from one arrival to another, in slices, so that no sort is a large one.

    partitions: of the topic, each named once before anything else.
    """

    def __init__(
        self,
        conn: psycopg.Connection,
        partitions: list[int],
        *,
        first_ms: int,
        begin_ms: int,
        end_ms: int,
        course: Course,
    ) -> None:
        self._reading = _reading(conn, partitions, first_ms, begin_ms, end_ms, course)
        self._course = course

    def list_parts(self) -> list[str]:
        """A single part: partitions come one after another in each slice."""
        return [_PART]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "ReadingPart":
        """Read from the beginning: there is no state to resume."""
        return ReadingPart(self._reading, self._course)


class ReadingPart(StatefulSourcePartition[RecordBatch, None]):
    """Gives out what an iterator yields, until it ends or the backtest is stopped."""

    def __init__(self, reading: Iterator[RecordBatch], course: Course) -> None:
        self._reading = reading
        self._course = course

    def next_batch(self) -> list[RecordBatch]:
        """Return the next batch."""
        if self._course.is_over():
            raise StopIteration
        try:
            return [next(self._reading)]
        except TocsinError as error:
            self._course.failure = error
        except psycopg.Error as error:
            self._course.failure = StorageError(f"the database: {' '.join(str(error).split())}")
        raise StopIteration

    def snapshot(self) -> None:
        """Return nothing: a backtest is never resumed."""


def _reading(
    conn: psycopg.Connection,
    partitions: list[int],
    first_ms: int,
    begin_ms: int,
    end_ms: int,
    course: Course,
) -> Iterator[RecordBatch]:
    for partition in partitions:
        yield RecordBatch.empty(0, partition, 0)
    for start_ms in range(first_ms, end_ms, _SLICE_MS):
        until_ms = min(start_ms + _SLICE_MS, end_ms)
        for rows in read_slice(conn, start_ms, until_ms):
            course.records += len(rows)
            for _, own in groupby(rows, key=lambda row: (row[1], row[3] // WINDOW_MS)):
                yield from _batches(list(own), begin_ms, course)
        course.share = (until_ms - first_ms) / (end_ms - first_ms)


def _batches(rows: list[tuple[Any, ...]], begin_ms: int, course: Course) -> Iterator[RecordBatch]:
    """Yield rows of a partition as batches, cut where the scored range begins."""
    partition = rows[0][1]
    if rows[-1][3] < begin_ms or partition in course.scored_from:
        yield _batch(rows, course)
        return
    before = sum(row[3] < begin_ms for row in rows)
    if before:
        yield _batch(rows[:before], course)
    course.scored_from[partition] = rows[before][2]
    yield _batch(rows[before:], course)


def _batch(rows: list[tuple[Any, ...]], course: Course) -> RecordBatch:
    incarnations, partitions, offsets, arrivals, event_us, services, levels = map(
        list, zip(*rows, strict=True)
    )
    course.reached_ms[partitions[0]] = arrivals[-1]
    count = len(offsets)
    return RecordBatch(
        incarnations[0],
        partitions[0],
        offsets[-1] + 1,
        event_us,
        services,
        levels,
        [""] * count,
        [None] * count,
        [None] * count,  # what repeats was never stored
        arrivals,
        offsets,
        [],
        arrivals[-1],
    )
