"""Bytewax sinks: the only places of the flow that write.

Both hand their work to a Committer and obey its rule: `snapshot` returns only when everything
written before is committed.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import islice

import psycopg
import structlog
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from msgspec import Struct

from flows import detection_rows, metrics
from flows.committer import Committer
from flows.detect import Changes
from flows.known import Place
from flows.room import ROOM_BYTES, Room, weight_of
from flows.rows import IncidentEvent, IncidentRow, WindowRow
from flows.source import part_name
from flows.titles import title
from sql import writer
from sql.connect import Succession
from sql.log_writer import LogWriter
from tocsin.batches import RecordBatch
from tocsin.detection import Moment
from tocsin.outgoing import DeadLetterTopic
from tocsin.settings import Settings

log = structlog.get_logger()

_LOG_WRITERS = 2
"""Each has a connection and partitions of its own: one lays a COPY out while the other waits for
the database, and these are two sessions there."""
_COMMIT_BYTES = 16 * 1024 * 1024
"""What is sent at once: it is in memory once more while that is done."""
_DETECTION_ROOM_ROWS = 100_000
_LEDGER_ROWS = 10_000
"""What is written at once of the detection, in so many rows or little more."""
_ROWS_AT_ONCE = 1_000
"""What one statement takes."""
_LEDGER_FLUSH_S = 0.5


def _succession(settings: Settings, name: str, stopping: threading.Event) -> Succession:
    return Succession(
        settings.database_url,
        name=name,
        patience_s=settings.database_patience_s,
        stopping=stopping,
    )


class LogSink(FixedPartitionedSink[RecordBatch, None]):
    """Stores records and dead letters exactly once: rows and position in one transaction."""

    def __init__(
        self,
        settings: Settings,
        *,
        partitions: Iterable[int],
        room: Room,
        stopping: threading.Event,
    ) -> None:
        self._partitions = list(partitions)
        self._room = room
        self._committers = [
            self._committer(settings, f"logs-{number}", stopping)
            for number in range(min(_LOG_WRITERS, len(self._partitions)))
        ]
        self._open_parts = len(self._partitions)
        self._closing = threading.Lock()

    def list_parts(self) -> list[str]:
        """One part a partition of the topic."""
        return [part_name(partition) for partition in self._partitions]

    def part_fn(self, item_key: str) -> int:
        """A batch goes to the part of its own partition."""
        return self._partitions.index(int(item_key))

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "_LogPart":
        """The database knows the position: recovery has nothing to add."""
        self._room.stores(int(for_part))
        committer = self._committers[self.part_fn(for_part) % len(self._committers)]
        return _LogPart(committer, self._room, self._part_closed)

    def _committer(
        self, settings: Settings, name: str, stopping: threading.Event
    ) -> Committer[RecordBatch]:
        logs = LogWriter(settings.topic, DeadLetterTopic(settings, stopping))

        def commit(conn: psycopg.Connection, batches: list[RecordBatch]) -> None:
            logs.commit(conn, batches)
            self._room.give_back(sum(batch.weight for batch in batches))

        return Committer(
            name,
            connect=_succession(settings, f"flow-{name}", stopping).connect,
            commit=commit,
            size=lambda batch: weight_of(batch.size_bytes, len(batch)),
            room=ROOM_BYTES,
            at_once=_COMMIT_BYTES,
            stopping=stopping,
        )

    def _part_closed(self) -> None:
        """End the committers with the last part: other workers' parts may still be writing."""
        with self._closing:
            self._open_parts -= 1
            last = self._open_parts == 0
        if last:
            for committer in self._committers:
                committer.close()


class _LogPart(StatefulSinkPartition[RecordBatch, None]):
    def __init__(
        self, committer: Committer[RecordBatch], room: Room, closed: Callable[[], None]
    ) -> None:
        self._committer = committer
        self._room = room
        self._closed = closed

    def write_batch(self, values: list[RecordBatch]) -> None:
        for batch in values:
            # Repeats leave no row, but a position, which recovery is held against.
            if batch.size_bytes or batch.dead_letters:
                metrics.RECORDS.inc(len(batch))
                metrics.DEAD_LETTERS.inc(len(batch.dead_letters))
                metrics.BATCH_RECORDS.observe(len(batch) + len(batch.dead_letters))
                # Here, since the database waits for the thread that commits, and not for this one.
                batch.csv = writer.logs_csv(batch)
                self._committer.submit(batch)
            else:
                self._room.give_back(batch.weight)

    def snapshot(self) -> None:
        self._committer.drain()

    def close(self) -> None:
        self._closed()


class Progress(Struct, frozen=True):
    """How far a partition has been handed to the detectors."""

    incarnation: int
    partition: int
    next_offset: int


class _Ledger(Struct):
    """What is to be written of the detection: the newest row of each window and incident."""

    windows: dict[tuple[str, int], tuple[Place, WindowRow]]
    incidents: dict[str, tuple[int, IncidentRow]]
    events: list[IncidentEvent]
    positions: dict[int, Progress]

    @classmethod
    def empty(cls) -> "_Ledger":
        return cls({}, {}, [], {})

    def __len__(self) -> int:
        return len(self.windows) + len(self.incidents) + len(self.events)

    def add(self, changes: Changes) -> None:
        for window in changes.outcome.windows:
            self.windows[window.service_id, window.window_start_ms] = (changes.place, window)
        for incident in changes.outcome.incidents:
            self.incidents[incident.incident_id] = (changes.place.incarnation, incident)
        self.events.extend(changes.outcome.events)


class DetectionSink(FixedPartitionedSink[Changes | Progress, None]):
    """Writes windows, incidents and their timeline; a row never goes back in time.

    Incidents are written at once. Windows of the present minute change with every batch, so only
    the newest row of each is written, twice a second. How far each partition has been counted is
    written at each snapshot, when everything before it has passed.
    """

    KEY = "detection"

    def __init__(self, settings: Settings, *, stopping: threading.Event) -> None:
        self._settings = settings
        self._stopping = stopping

    def list_parts(self) -> list[str]:
        """A single part: there are few rows, and their order matters."""
        return [self.KEY]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "_DetectionPart":
        """The rows' own offsets decide what is news: recovery has nothing to add."""
        return _DetectionPart(
            Committer(
                "detection",
                connect=_succession(self._settings, "flow-detection", self._stopping).connect,
                commit=_commit_ledgers,
                size=len,
                room=_DETECTION_ROOM_ROWS,
                at_once=_LEDGER_ROWS,
                stopping=self._stopping,
            )
        )


class _DetectionPart(StatefulSinkPartition[Changes | Progress, None]):
    def __init__(self, committer: Committer[_Ledger]) -> None:
        self._committer = committer
        self._ledger = _Ledger.empty()
        self._positions: dict[int, Progress] = {}
        self._flushed_at = time.monotonic()

    def write_batch(self, values: list[Changes | Progress]) -> None:
        for value in values:
            if isinstance(value, Progress):
                self._positions[value.partition] = value
            else:
                self._ledger.add(value)
                if len(self._ledger) >= _LEDGER_ROWS:
                    self._flush()
        due = time.monotonic() - self._flushed_at > _LEDGER_FLUSH_S
        if self._ledger.incidents or (due and self._ledger.windows):
            self._flush()

    def snapshot(self) -> None:
        self._ledger.positions, self._positions = self._positions, {}
        if self._ledger.windows or self._ledger.positions:
            self._flush()
        self._committer.drain()

    def close(self) -> None:
        self._committer.close()

    def _flush(self) -> None:
        self._committer.submit(self._ledger)
        self._ledger = _Ledger.empty()
        self._flushed_at = time.monotonic()


def _commit_ledgers(conn: psycopg.Connection, ledgers: list[_Ledger]) -> None:
    for ledger in ledgers:
        with conn.transaction():
            # Some at a time: as parameters and as JSON they take several times their own memory.
            rows = iter(ledger.windows.values())
            while chunk := list(islice(rows, _ROWS_AT_ONCE)):
                writer.upsert_windows(conn, detection_rows.windows(chunk))
            # Before incidents: what follows is told of an open one then, and may resolve it again.
            writer.reopen_incidents(conn, detection_rows.renewals(ledger.events))
            writer.upsert_incidents(conn, detection_rows.incidents(ledger.incidents.values()))
            writer.insert_incident_events(conn, detection_rows.events(ledger.events))
            for progress in ledger.positions.values():
                writer.set_position(
                    conn,
                    "detection",
                    progress.incarnation,
                    progress.partition,
                    next_offset=progress.next_offset,
                )
        verdicts = Counter(window.verdict for _, window in ledger.windows.values())
        for verdict, count in verdicts.items():
            metrics.WINDOWS.labels(verdict.value).inc(count)
        _tell(ledger)


def _tell(ledger: _Ledger) -> None:
    """Log what happened to incidents, for whoever watches the flow."""
    for event in ledger.events:
        if event.moment is Moment.WENT_ON:
            continue
        metrics.INCIDENTS.labels(event.moment.value).inc()
        _, incident = ledger.incidents[event.incident_id]
        log.info(
            f"incident {event.moment.value}",
            incident=event.incident_id,
            severity=event.severity.value,
            title=title(incident),
        )
