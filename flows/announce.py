"""A thread beside the flow: the timeline goes to the topic of incidents, evidence is kept."""

import threading

import msgspec
import psycopg
import structlog

from sql import timeline
from sql.connect import Succession
from tocsin.errors import BrokerError, StorageError
from tocsin.outgoing import ConfirmedProducer, Outgoing
from tocsin.settings import Settings

log = structlog.get_logger()

_ROUND_S = 1.0
_AWAY_S = 2.0
_FINISH_S = 3.0
"""A connection that hangs must not keep the flow from ending."""


class Announcer:
    """Publishes every entry of the timeline, in order, at least once; `seq` tells repetitions.

    Entries wait in the database while Kafka is away. Of several flows one publishes.
    """

    def __init__(self, settings: Settings, stopping: threading.Event) -> None:
        self._connections = Succession(
            settings.database_url,
            name="flow-announce",
            patience_s=settings.database_patience_s,
            autocommit=True,
            stopping=stopping,
        )
        self._producer = ConfirmedProducer(settings, settings.incidents_topic)
        self._stopping = stopping
        self._thread = threading.Thread(target=self._run, name="announce", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def finish(self) -> None:
        """Publish what is waiting, if that goes at once, and end.

        What does not is published after the next start.
        """
        self._thread.join(_FINISH_S)

    def _run(self) -> None:
        said = False
        while not self._stopping.is_set():
            try:
                with self._connections.connect() as conn:
                    timeline.listen(conn)
                    said = False
                    while not self._stopping.is_set():
                        self._round(conn)
                        # One notification is enough: a round publishes whatever there is.
                        for _ in conn.notifies(timeout=_ROUND_S, stop_after=1):
                            pass
                    self._round(conn)
            except (psycopg.Error, StorageError, BrokerError) as error:
                if not said:
                    log.warning("incidents wait to be announced", problem=_line(error))
                said = True
                self._stopping.wait(_AWAY_S)

    def _round(self, conn: psycopg.Connection) -> None:
        more = True
        while more:
            more = self._publish(conn)
        timeline.keep_evidence(conn)

    def _publish(self, conn: psycopg.Connection) -> bool:
        with conn.transaction():
            if not timeline.lock_outbox(conn):
                return False
            entries = timeline.unpublished(conn)
            if not entries:
                return False
            self._producer.send(
                [
                    Outgoing(entry.incident_id.encode(), msgspec.json.encode(entry))
                    for entry in entries
                ]
            )
            timeline.mark_published(conn, entries)
        return True


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
