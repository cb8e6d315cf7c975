"""A backtest: the same dataflow over a bounded range, with many settings in one pass.

It reads with consumers of its own, which keep no position, and writes nothing.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
from bytewax._bytewax import cli_main
from bytewax.inputs import Source
from msgspec import Struct

from flows import garbage
from flows.bounded import RangeSource
from flows.cause import cause_of
from flows.course import Course
from flows.file_source import FileSource
from flows.known import NOTHING_KNOWN, Known
from flows.known_then import read_known_then
from flows.parse import parse_batch
from flows.pipeline import Sinks, build_flow
from flows.reader import CLOCK_SKEW_MS
from flows.repeats import IDS_MAX, SeenBefore, nothing_seen, seen_in
from flows.replayed import Candidate, Replay
from flows.rows import IncidentRow
from flows.table_source import TableSource
from flows.topic_range import Asked, Lost, resolve
from flows.trial import Found
from flows.trial_step import Collecting, Tally, Trials, trial_builder
from flows.wording import moment
from sql.as_of import (
    arrivals,
    counted_between,
    first_offset_since,
    incarnation_known,
    stored_partitions,
)
from sql.connect import connect
from sql.detection_settings import read_book
from sql.migrate import require_current
from tocsin.batches import RecordBatch
from tocsin.detection import WINDOW_MS
from tocsin.errors import FileUnusable, RangeUnusable, StorageError
from tocsin.settings import Settings

WARM_UP_MS: Final = 190 * WINDOW_MS
"""So long before the range reading begins: every window that late records amend is counted anew."""

_STORED: Final = "read what is stored by --logs"


class Reading(Struct, frozen=True):
    """What is to be read, and the state in which the services are taken up at `since_ms`.

    named: the source as a person names it.
    """

    named: str
    source: Source[Any]
    parse: Callable[[Any], RecordBatch]
    known: Known = NOTHING_KNOWN
    since_ms: int = 0
    seen_before: SeenBefore = nothing_seen


def backtest_topic(
    settings: Settings, asked: Asked, candidates: Sequence[Candidate], course: Course
) -> Replay:
    """Judge a range of the topic by every candidate.

    What was before the range is taken from the rows of the live flow, where they tell of it.
    Raises TocsinError: RangeUnusable, TopicMissing, or a server that does not answer.
    """
    with database(settings) as conn:
        topic_range = course.ask(
            "Kafka", lambda: resolve(settings, asked, WARM_UP_MS, _lost(conn), _STORED)
        )
        incarnation = incarnation_known(conn, topic_range.topic_id)
        known = NOTHING_KNOWN
        if incarnation is not None:
            partitions = [part.partition for part in topic_range.parts]
            known = read_known_then(conn, partitions, read_book(conn), topic_range.since_ms)
    course.begin_ms, course.until_ms = topic_range.begin_ms, topic_range.until_ms
    reading = Reading(
        f"topic {settings.topic}",
        RangeSource(settings, topic_range, incarnation or 0, course),
        parse_batch,
        known,
        topic_range.since_ms,
        nothing_seen if incarnation is None else seen_in(settings, course.stopping, IDS_MAX),
    )
    return _run(reading, candidates, course)


def topic_reaches(settings: Settings, from_ms: int) -> bool:
    """Tell whether the topic still has what the stored logs have since a time.

    Raises TocsinError for a server that does not answer, and for a topic that is missing.
    """
    with database(settings) as conn:
        stored = arrivals(conn, from_ms, None)
        if stored is None:
            return True
        try:
            # A topic that was made again has nothing that came before; retention has cut others.
            resolve(settings, Asked(from_ms, stored[0] + 1), lost=_lost(conn))
        except RangeUnusable:
            return False
    return True


def backtest_logs(
    settings: Settings, asked: Asked, candidates: Sequence[Candidate], course: Course
) -> Replay:
    """Judge a range of the stored logs by every candidate, as `backtest_topic` does."""
    with database(settings) as conn:
        found = arrivals(conn, asked.from_ms, asked.to_ms)
        if found is None:
            everything = arrivals(conn, None, None)
            told = "" if everything is None else f": they arrived from {_span(everything)}"
            raise RangeUnusable(f"there are no logs in that range{told}")
        begin_ms = found[0] if asked.from_ms is None else asked.from_ms
        end_ms = found[1] + 1 if asked.to_ms is None else asked.to_ms
        first_ms, _ = arrivals(conn, None, None) or found
        _refuse_lost_logs(conn, asked.from_ms, first_ms)
        since_ms = begin_ms - WARM_UP_MS
        if since_ms < first_ms and counted_between(conn, since_ms, first_ms):
            since_ms = first_ms
        partitions = stored_partitions(conn)
        known = read_known_then(conn, partitions, read_book(conn), since_ms)
        conn.commit()
        course.begin_ms = begin_ms
        course.until_ms = None if asked.to_ms is None else min(asked.to_ms, _now_ms())
        source = TableSource(
            conn,
            partitions,
            first_ms=max(since_ms, first_ms),
            begin_ms=begin_ms,
            end_ms=min(end_ms, found[1] + 1),
            course=course,
        )
        reading = Reading("stored logs", source, _as_it_is, known, since_ms)
        return _run(reading, candidates, course)


def backtest_files(
    paths: Sequence[Path], asked: Asked, candidates: Sequence[Candidate], course: Course
) -> Replay:
    """Judge the records of files by every candidate; what lies before the range warms up.

    Raises FileUnusable, also for a file that is given twice; RangeUnusable where no record is in
    the range.
    """
    _refuse_repeated(paths)
    course.until_ms = None if asked.to_ms is None else min(asked.to_ms, _now_ms())
    source = FileSource(paths, asked.from_ms, asked.to_ms, course)
    named = ", ".join(path.name for path in paths)
    replay = _run(Reading(named, source, _as_it_is), candidates, course)
    if not (replay.records or replay.dead_letters or replay.ended_early):
        where = "" if asked == Asked() else " in that range"
        raise RangeUnusable(f"{named}: no records{where}")
    return replay


@contextmanager
def database(settings: Settings) -> Iterator[psycopg.Connection]:
    """Lend a connection to a database of this schema. Raises StorageError, in one line."""
    with connect(settings.database_url, name="backtest") as conn:
        try:
            require_current(conn)
            yield conn
        except psycopg.Error as error:
            raise StorageError(f"the database: {' '.join(str(error).split())}") from None


def _run(reading: Reading, candidates: Sequence[Candidate], course: Course) -> Replay:
    tally, found = Tally(course), list[Found]()
    trials = Trials(candidates, reading.known, reading.since_ms, course)
    sinks: Sinks[Found] = Sinks(Collecting(tally.add), Collecting(found.append))
    flow = build_flow(
        reading.source,
        reading.parse,
        trial_builder(trials),
        sinks,
        reading.known,
        reading.seen_before,
    )
    try:
        with garbage.searched_for_seldom():
            cli_main(flow)
    except Exception as error:
        cause = cause_of(error)
        if cause is not None:
            raise cause from None
        raise
    if course.failure is not None:
        raise course.failure
    if tally.dead_letters and not tally.records and not course.has_ended_early:
        raise RangeUnusable(
            f"{reading.named}: nothing in the range is a log record, all {tally.dead_letters:,} are"
            " dead letters"
        )
    begin_ms = course.begin_ms or 0
    return Replay(
        begin_ms=begin_ms,
        end_ms=course.end_of_range_ms,
        candidates=list(candidates),
        incidents=[_within(found, number, begin_ms) for number in range(len(candidates))],
        series={one.service_id: one.series for one in found if one.series is not None},
        records=tally.records,
        dead_letters=tally.dead_letters,
        ended_early=course.has_ended_early,
        source=reading.named,
    )


def _refuse_repeated(paths: Sequence[Path]) -> None:
    seen = set()
    for path in paths:
        if path.resolve() in seen:
            raise FileUnusable(f"{path}: is given twice, its records would count twice")
        seen.add(path.resolve())


def _within(found: list[Found], number: int, begin_ms: int) -> list[IncidentRow]:
    """Return a candidate's incidents that were opened, or still open, within the range."""
    rows = (row for one in found for row in one.incidents[number])
    own = [row for row in rows if row.resolved_at_ms is None or row.resolved_at_ms >= begin_ms]
    return sorted(own, key=lambda row: (row.window_start_ms, row.service_id))


def _lost(conn: psycopg.Connection) -> Lost:
    def lost(topic_id: str, partition: int, low: int, from_ms: int) -> int | None:
        first = first_offset_since(conn, topic_id, partition, from_ms)
        return None if first is None else max(low - first, 0)

    return lost


def _refuse_lost_logs(conn: psycopg.Connection, from_ms: int | None, first_ms: int) -> None:
    if from_ms is None or from_ms >= first_ms:
        return
    missing = counted_between(conn, from_ms, first_ms)
    if missing:
        raise RangeUnusable(
            f"some {missing} records are missing: retention has removed the logs that arrived"
            f" before {moment(first_ms)}; begin there"
        )


def _as_it_is(batch: RecordBatch) -> RecordBatch:
    return batch


def _span(ends: tuple[int, int]) -> str:
    return " to ".join(map(moment, ends))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000 - CLOCK_SKEW_MS
