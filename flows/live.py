"""The live flow: Kafka in, TimescaleDB out, until it is told to stop."""

import signal
import threading
from datetime import timedelta
from pathlib import Path

import structlog
from bytewax._bytewax import cli_main, init_db_dir
from bytewax.recovery import RecoveryConfig

from flows.announce import Announcer
from flows.books import LiveBooks
from flows.pipeline import Sinks, build_flow
from flows.sinks import DetectionSink, LogSink
from flows.source import TopicSource
from sql.connect import connect
from sql.migrate import require_current
from sql.writer import incarnation_of, read_position
from tocsin.errors import TocsinError
from tocsin.settings import Settings
from tocsin.topics import describe_topic

log = structlog.get_logger()


def run(settings: Settings, *, workers: int = 1) -> None:
    """Run the flow until SIGTERM or SIGINT; what was read by then is stored before it returns.

    workers: threads of this process that share the partitions and the services.

    Raises TocsinError: a server that does not answer at the start, a topic or schema that is
    missing, a second flow on the same topic, a recovery store that the database does not match.
    """
    stopping = _stop_on_signal()
    topic_id, partitions = describe_topic(settings, settings.topic)
    with connect(settings.database_url, name="flow") as conn:
        require_current(conn)
        incarnation = incarnation_of(conn, topic_id, settings.topic)
        stored = {part: read_position(conn, "logs", incarnation, part) for part in partitions}
    source = TopicSource(
        settings,
        incarnation=incarnation,
        partitions=partitions,
        stored_offset=stored.get,
        stopping=stopping,
    )
    sinks = Sinks(
        logs=LogSink(settings, partitions=partitions, stopping=stopping),
        detection=DetectionSink(settings, stopping=stopping),
    )
    announcer = Announcer(settings, stopping)
    announcer.start()
    log.info("flow starts", topic=settings.topic, topic_id=topic_id, partitions=len(partitions))
    try:
        _execute(settings, source, sinks, workers)
    finally:
        stopping.set()
        announcer.finish()
    log.info("flow stopped; everything read is stored")


def _execute(settings: Settings, source: TopicSource, sinks: Sinks, workers: int) -> None:
    try:
        cli_main(
            build_flow(source, sinks, LiveBooks(settings)),
            workers_per_process=workers,
            epoch_interval=timedelta(seconds=settings.epoch_s),
            recovery_config=RecoveryConfig(_recovery_store(settings.recovery_dir)),
        )
    except Exception as error:
        # Bytewax wraps what a step raises; a person wants the cause.
        cause = _cause(error)
        if cause is None:
            raise
        raise cause from None


def _recovery_store(folder: Path) -> Path:
    """Return the recovery store's folder, made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.glob("part-*.sqlite3")):
        init_db_dir(folder, 1)
    return folder


def _stop_on_signal() -> threading.Event:
    stopping = threading.Event()

    def stop(number: int, _frame: object) -> None:
        log.info("stopping", signal=signal.Signals(number).name)
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return stopping


def _cause(error: BaseException) -> TocsinError | None:
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, TocsinError):
        seen = seen.__cause__ or seen.__context__
    return seen
