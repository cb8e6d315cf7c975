"""The live flow: Kafka in, TimescaleDB out, until it is told to stop."""

import fcntl
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
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
from flows.watch import TopicWatch
from sql.connect import connect
from sql.flow_lock import only_flow
from sql.migrate import require_current
from sql.writer import incarnation_of, read_position
from tocsin.errors import BrokerError, RecoveryDamaged, RecoveryTaken, TocsinError
from tocsin.settings import Settings
from tocsin.topics import describe_topic

log = structlog.get_logger()

# What Bytewax says of a store that is damaged, or of a topic with fewer partitions than before.
_RECOVERY_WORDS = ("Partition", "Sqlite", "sqlite", "recovery", "routing map", "unpickl")


def run(settings: Settings, *, workers: int = 1) -> None:
    """Run the flow until SIGTERM or SIGINT; what was read by then is stored before it returns.

    workers: threads of this process that share the partitions and the services.
    A topic that is deleted and made again meanwhile is read from its beginning.
    Raises TocsinError: a server that does not answer at the start, a topic or schema that is
    missing, a second flow on the same topic, a recovery store that the database does not match.
    """
    stopping = _stop_on_signal()
    announcer = Announcer(settings, stopping)
    with (
        _hold_recovery(settings.recovery_dir),
        only_flow(settings.database_url, settings.topic, stopping),
    ):
        announcer.start()
        try:
            topic_id = _read_topic(settings, workers, stopping)
            while not stopping.is_set():
                log.warning("the topic was made again: reading it from its beginning")
                former_id, topic_id = topic_id, _read_topic(settings, workers, stopping)
                if topic_id == former_id and not stopping.is_set():
                    raise BrokerError(
                        f"the offsets of {settings.topic} went back, though it is the same topic: "
                        "has the broker lost records?"
                    )
        finally:
            stopping.set()
            announcer.finish()
    log.info("flow stopped; everything read is stored")


def _read_topic(settings: Settings, workers: int, stopping: threading.Event) -> str:
    """Read one incarnation of the topic until the flow stops or the topic is made again.

    Returns the topic's id.
    """
    topic_id, partitions = describe_topic(settings, settings.topic)
    with connect(settings.database_url, name="flow") as conn:
        require_current(conn)
        incarnation = incarnation_of(conn, topic_id, settings.topic)
        stored = {part: read_position(conn, "logs", incarnation, part) for part in partitions}
    watch = TopicWatch(settings, topic_id)
    source = TopicSource(
        settings,
        incarnation=incarnation,
        partitions=partitions,
        stored_offset=stored.get,
        stopping=stopping,
        watch=watch,
    )
    sinks = Sinks(
        logs=LogSink(settings, partitions=partitions, stopping=stopping),
        detection=DetectionSink(settings, stopping=stopping),
    )
    log.info("flow starts", topic=settings.topic, topic_id=topic_id, partitions=len(partitions))
    watch.start()
    try:
        _execute(settings, source, sinks, workers)
    finally:
        watch.finish()
    return topic_id


@contextmanager
def _hold_recovery(folder: Path) -> Iterator[None]:
    """Hold the recovery folder, so that no second flow writes into it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RecoveryTaken(
                f"another flow uses the recovery folder {folder}: stop it, or give this one its "
                "own by TOCSIN_RECOVERY_DIR"
            ) from None
        yield


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
        if cause is not None:
            raise cause from None
        if any(word in f"{type(error).__name__} {error}" for word in _RECOVERY_WORDS):
            raise RecoveryDamaged(
                f"the recovery store in {settings.recovery_dir} cannot be used "
                f"({type(error).__name__}: {str(error).splitlines()[0][:200]}): remove the folder "
                "to count the topic again from its beginning; nothing is stored twice"
            ) from None
        raise


def _recovery_store(folder: Path) -> Path:
    """Return the recovery store, a fresh one if there is none.

    It is made aside and then renamed: a store is whole, or it is not there.
    """
    store = folder / "store"
    if not store.exists():
        with tempfile.TemporaryDirectory(dir=folder) as aside:
            fresh = Path(aside) / "store"
            fresh.mkdir()
            init_db_dir(fresh, 1)
            fresh.rename(store)
    return store


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
