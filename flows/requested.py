"""A backtest that was asked for over HTTP: a process of its own, `python -m flows.requested ID`.

Its row in the database is its master: it says there how far it has come, and ends when it is wanted
no more. Its standard input is the hand of the API's process that started it: when that lets go,
however it ended, so does this one.
"""

import gzip
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn
from uuid import UUID

import psycopg
import structlog
from msgspec import Struct

from flows.backtest import backtest_logs, backtest_topic, database
from flows.candidates import candidates_of, live_candidate, read_document
from flows.course import Course
from flows.label_files import of_services
from flows.page import page_of
from flows.replayed import Candidate, Replay
from flows.said_labels import read_said_labels
from flows.score_frames import json_of
from flows.scorecard import View, score_views
from flows.topic_range import Asked
from sql.backtest_run import BacktestRun
from sql.connect import connect
from sql.detection_settings import read_book
from tocsin.backtests import LET_GO, NewBacktest, ReadFrom, Unlabelled
from tocsin.errors import TocsinError
from tocsin.log import configure_logging
from tocsin.settings import Settings, load_settings

PACKED_BYTES_MAX: Final = 16 * 1024 * 1024
"""So large may a result or a page be, packed: the API holds it whole to answer with it."""
_NICE: Final = 10
"""Ingest, the flow and the database come first."""
_EVERY_S: Final = 1.0
_LOCK_EVERY_S: Final = 0.2
_TURNS: Final = 150
"""So often is the lock tried, in half a minute: one that was cancelled lets go within a second."""

log = structlog.get_logger(__name__)


class Outcome(Struct, frozen=True):
    """What a backtest comes to, packed by gzip."""

    records: int
    result: bytes
    page: bytes


def main() -> None:
    """Carry out the backtest of this id."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the API, which lets go then
    os.nice(_NICE)
    settings = load_settings()
    configure_logging(settings)
    backtest_id = UUID(sys.argv[1])
    structlog.contextvars.bind_contextvars(backtest=str(backtest_id))
    try:
        with connect(
            settings.database_url,
            name="backtest-run",
            autocommit=True,
            patience_s=settings.database_patience_s,
        ) as conn:
            _carry_out(settings, BacktestRun(conn, backtest_id))
    except (TocsinError, psycopg.Error) as error:
        # The row says so too, as soon as somebody looks: the lock is free.
        log.warning("backtest lost", error=" ".join(str(error).split()))
        sys.exit(1)


def _carry_out(settings: Settings, run: BacktestRun) -> None:
    if not _take_turn(run):
        return
    asked = run.begin()
    if asked is None:
        return
    log.info("backtest starts")
    course = Course()
    try:
        with _reporting(run, course):
            outcome = outcome_of(settings, asked, course)
    except TocsinError as error:
        run.fail(str(error))
        log.warning("backtest failed", error=str(error))
        return
    except Exception:  # whoever waits for it is told, then it is raised
        run.fail("something unexpected happened; the API's log tells more")
        raise
    if run.finish(outcome.records, outcome.result, outcome.page):
        log.info("backtest done", records=outcome.records)


def outcome_of(settings: Settings, asked: NewBacktest, course: Course) -> Outcome:
    """Run what was asked for and pack what it comes to. Raises TocsinError."""
    candidates = _candidates(settings, asked)
    labels = read_said_labels(settings.database_url, complete=asked.unlabelled is Unlabelled.FALSE)
    replay = _replay(settings, asked, candidates, course)
    course.share = 1.0
    labels, told = of_services(
        labels.within(replay.begin_ms, replay.end_ms), replay.series, "the database"
    )
    if told:
        log.info("labels left out", told=told)
    cards = score_views(replay, labels, View(asked.view.value))
    return Outcome(
        course.records,
        _packed("the result", json_of(cards)),
        _packed("the page", page_of(cards[0]).encode()),
    )


def _candidates(settings: Settings, asked: NewBacktest) -> list[Candidate]:
    with database(settings) as conn:
        base = live_candidate(read_book(conn))
    return candidates_of(base, read_document(asked.document, asked.services))


def _replay(
    settings: Settings, asked: NewBacktest, candidates: list[Candidate], course: Course
) -> Replay:
    read = backtest_logs if asked.source is ReadFrom.LOGS else backtest_topic
    return read(settings, Asked(asked.from_ms, asked.to_ms), candidates, course)


def _packed(what: str, content: bytes) -> bytes:
    packed = gzip.compress(content, 6, mtime=0)
    if len(packed) > PACKED_BYTES_MAX:
        raise TocsinError(
            f"{what} is larger than {PACKED_BYTES_MAX >> 20} MiB, packed: try fewer candidates, or "
            "a shorter range"
        )
    return packed


def _take_turn(run: BacktestRun) -> bool:
    """Take the lock; say why where another process does not let go of it."""
    for _ in range(_TURNS):
        if run.try_lock():
            return True
        if not run.is_wanted():
            return False
        if _is_let_go(_LOCK_EVERY_S):
            _end_with_starter(run)
    run.fail("another backtest does not end: its process hangs; end it, and start this one again")
    return False


@contextmanager
def _reporting(run: BacktestRun, course: Course) -> Iterator[None]:
    """Say once a second how far the course has come, and end when nobody wants it any more."""
    over = threading.Event()
    reporter = threading.Thread(target=_report, args=(run, course, over), daemon=True)
    reporter.start()
    try:
        yield
    finally:
        # What comes to be stored now is whole; the thread ends with the process.
        over.set()


def _report(run: BacktestRun, course: Course, over: threading.Event) -> None:
    while not over.is_set():
        if _is_let_go(_EVERY_S) and not over.is_set():
            _end_with_starter(run)
        try:
            wanted = run.report(course.share, course.records)
        except psycopg.Error as error:
            log.warning("backtest lost", error=" ".join(str(error).split()))
            os._exit(1)
        if not wanted and not over.is_set():
            log.info("backtest cancelled")
            os._exit(0)


def _is_let_go(timeout_s: float) -> bool:
    """Wait for as long, or until whoever started this process is no more."""
    readable, _, _ = select.select([sys.stdin], [], [], timeout_s)
    return bool(readable)


def _end_with_starter(run: BacktestRun) -> NoReturn:
    try:
        run.fail(LET_GO)
    finally:
        os._exit(1)


if __name__ == "__main__":
    main()
