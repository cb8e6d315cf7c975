"""The live flow: Kafka in, TimescaleDB out, until it is told to stop."""

import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import structlog
from bytewax._bytewax import cli_main
from bytewax.recovery import RecoveryConfig

from flows import garbage, metrics
from flows.announce import Announcer
from flows.books import LiveBooks
from flows.cause import cause_of
from flows.cluster import Cluster
from flows.detect import Changes, detector_builder
from flows.known import NOTHING_KNOWN, Known, read_known
from flows.parse import parse_batch
from flows.pipeline import Sinks, build_flow
from flows.recovery import RecoveryStore
from flows.repeats import IDS_MAX, seen_in
from flows.room import Room
from flows.sinks import DetectionSink, LogSink
from flows.source import TopicSource
from flows.watch import TopicWatch
from sql.connect import connect
from sql.flow_lock import only_flow
from sql.migrate import require_current
from sql.writer import incarnation_of, read_position
from tocsin.errors import BrokerError, RecoveryAhead, RecoveryDamaged, StorageError
from tocsin.settings import Settings
from tocsin.settings_versions import SettingsBook
from tocsin.signals import heard
from tocsin.topics import describe_topic

log = structlog.get_logger()

_SWITCH_S = 0.0005
"""How long the dataflow may keep the threads that commit from answering the database."""


def run(settings: Settings, cluster: Cluster) -> None:
    """Run the flow until SIGTERM or SIGINT; what was read by then is stored before it returns.

    A topic that is deleted and made again meanwhile is read from its beginning, and so is a
    partition that is added. A recovery store that is lost, damaged or ahead of the database is made
    anew from the rows there.
    Raises TocsinError: a server that does not answer at the start, a topic or schema that is
    missing, a second flow on the same topic.
    """
    sys.setswitchinterval(_SWITCH_S)
    stopping = threading.Event()

    def stop(number: signal.Signals) -> None:
        log.info("stopping", signal=number.name)
        stopping.set()

    with heard(stop):
        metrics.serve(settings)
        _read_alone(settings, cluster, stopping)
        log.info("flow stopped; everything read is stored")


def _read_alone(settings: Settings, cluster: Cluster, stopping: threading.Event) -> None:
    """Read the topic while no other flow does, until this one is told to stop."""
    announcer = Announcer(settings, stopping)
    store = RecoveryStore(settings.recovery_dir, cluster.process)
    with (
        store.held(),
        _told_in_a_line(),
        only_flow(
            settings.database_url,
            settings.topic,
            cluster.process,
            stopping,
            patience_s=settings.database_patience_s,
        ),
    ):
        announcer.start()
        try:
            _read_incarnations(settings, cluster, store, stopping)
        finally:
            stopping.set()
            announcer.finish()


def _read_incarnations(
    settings: Settings, cluster: Cluster, store: RecoveryStore, stopping: threading.Event
) -> None:
    """Read the topic, each time that it was made again or has grown anew, until the flow stops."""
    former_id = None
    while not stopping.is_set():
        reading = _Reading(settings, cluster, store, stopping)
        if reading.topic_id == former_id:
            raise BrokerError(
                f"the offsets of {settings.topic} went back, though it is the same topic: "
                "has the broker lost records?"
            )
        former_id = reading.topic_id
        try:
            reading.run()
        except (RecoveryAhead, RecoveryDamaged) as error:
            if reading.has_begun or reading.is_void or not cluster.is_alone:
                raise type(error)(
                    f"{error}; remove the folder {settings.recovery_dir} and start again: the "
                    "state is rebuilt from the database"
                ) from None
            aside = str(store.set_aside())
            log.warning("the recovery store is of no use", problem=str(error), moved_to=aside)
            former_id = None
        else:
            if reading.has_grown:
                former_id = None
            elif not stopping.is_set():
                log.warning("the topic was made again: reading it from its beginning")


class _Reading:
    """One incarnation of the topic, read until the flow stops or the topic is another.

    has_begun: something was read. is_void: there was no recovery state.
    """

    def __init__(
        self,
        settings: Settings,
        cluster: Cluster,
        store: RecoveryStore,
        stopping: threading.Event,
    ) -> None:
        self._settings = settings
        self._cluster = cluster
        self._store = store
        self._stopping = stopping
        self.topic_id, self._partitions = describe_topic(settings, settings.topic)
        self._watch = TopicWatch(settings, self.topic_id, self._partitions)
        self.has_begun = False
        self.is_void = False

    @property
    def has_grown(self) -> bool:
        """Whether it ended because the topic has more partitions now."""
        return self._watch.grown.is_set()

    def run(self) -> None:
        """Read on where the recovery store stands, or else where the rows do."""
        settings, partitions = self._settings, self._partitions
        self._store.prepare(self._stopping)
        self.is_void = self._store.is_void()
        books = LiveBooks(settings, self._stopping)
        with connect(
            settings.database_url,
            name="flow",
            patience_s=settings.database_patience_s,
            stopping=self._stopping,
        ) as conn:
            require_current(conn)
            incarnation = incarnation_of(conn, self.topic_id, settings.topic)
            conn.commit()
            stored = {part: read_position(conn, "logs", incarnation, part) for part in partitions}
            known, first = NOTHING_KNOWN, {}
            if self.is_void:
                known = _read_known(conn, partitions, books.book_for(0))
                first = _first_offsets(conn, incarnation, stored)
        room = Room(partitions if self._cluster.is_alone else ())
        source = TopicSource(
            settings,
            incarnation=incarnation,
            partitions=partitions,
            stored_offset=stored.get,
            first_offset=first.get,
            room=room,
            stopping=self._stopping,
            watch=self._watch,
        )
        sinks: Sinks[Changes] = Sinks(
            logs=LogSink(settings, partitions=partitions, room=room, stopping=self._stopping),
            detection=DetectionSink(settings, stopping=self._stopping),
        )
        log.info(
            "flow starts",
            topic=settings.topic,
            topic_id=self.topic_id,
            partitions=len(partitions),
        )
        self._watch.start()
        try:
            self._execute(source, sinks, books, known)
        finally:
            self.has_begun = source.has_begun
            self._watch.finish()

    def _execute(
        self, source: TopicSource, sinks: Sinks[Changes], books: LiveBooks, known: Known
    ) -> None:
        cluster = self._cluster
        ids_max = max(IDS_MAX // len(self._partitions), 1)
        seen_before = seen_in(self._settings, self._stopping, ids_max)
        flow = build_flow(
            source,
            parse_batch,
            detector_builder(books, known),
            sinks,
            known,
            seen_before,
            ids_max,
        )
        try:
            with garbage.searched_for_seldom():
                cli_main(
                    flow,
                    workers_per_process=cluster.workers,
                    process_id=None if cluster.is_alone else cluster.process,
                    addresses=None if cluster.is_alone else list(cluster.addresses),
                    epoch_interval=timedelta(seconds=self._settings.epoch_s),
                    recovery_config=RecoveryConfig(self._store.path),
                )
        except Exception as error:
            # Bytewax wraps what a step raises; a person wants the cause.
            cause = cause_of(error)
            if cause is not None:
                raise cause from None
            if self._store.says(error):
                raise self._store.damaged(error) from None
            raise


def _read_known(conn: psycopg.Connection, partitions: Iterable[int], book: SettingsBook) -> Known:
    """Rebuild what no recovery store knows; say so, unless the flow starts for the first time."""
    known = read_known(conn, partitions, book)
    if len(known):
        log.warning(
            "no recovery state: every service is taken up where its rows end", services=len(known)
        )
    return known


def _first_offsets(
    conn: psycopg.Connection, incarnation: int, stored: Mapping[int, int | None]
) -> dict[int, int]:
    """Return from where on records may be missing, in the rows or in the logs."""
    counted = {part: read_position(conn, "detection", incarnation, part) for part in stored}
    return {
        part: min(logs, windows)
        for part, logs in stored.items()
        if logs is not None and (windows := counted[part]) is not None
    }


@contextmanager
def _told_in_a_line() -> Iterator[None]:
    """Raise StorageError where the database goes away while the flow starts or ends."""
    try:
        yield
    except psycopg.OperationalError as error:
        problem = " ".join(str(error).split())
        raise StorageError(f"the database went away, start again: {problem}") from None
