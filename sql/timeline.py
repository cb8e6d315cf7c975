"""The timeline as the outbox of the topic of incidents, and the log lines kept with each."""

from collections.abc import Sequence
from datetime import datetime

import psycopg
from msgspec import Struct
from psycopg.rows import class_row

from sql.statements import statements

_SQL = statements("timeline")
_BATCH = 500
_LINES = 20


class TimelineEntry(Struct, frozen=True):
    """One step in an incident's life: what the detection decided, or what a person did.

    seq: rises with time within an incident. actor: None for the detection.
    severity, status, assignee, confirmed: of the incident after this.
    window_start, count, z: of the window that decided, where one did.
    """

    seq: int
    incident_id: str
    moment: str
    at: datetime
    actor: str | None
    severity: str
    status: str
    assignee: str | None
    window_start: datetime | None
    count: int | None
    z: float | None
    note: str | None
    service_id: str
    kind: str
    title: str
    confirmed: bool


def listen(conn: psycopg.Connection) -> None:
    """Have the connection notified of new entries."""
    conn.execute(_SQL["listen_timeline"])


def lock_outbox(conn: psycopg.Connection) -> bool:
    """Take the outbox for this transaction; False if another flow has it."""
    [(taken,)] = conn.execute(_SQL["lock_outbox"]).fetchall()
    return bool(taken)


def unpublished(conn: psycopg.Connection) -> list[TimelineEntry]:
    """Return the oldest entries that are not on the topic yet."""
    with conn.cursor(row_factory=class_row(TimelineEntry)) as cursor:
        return cursor.execute(_SQL["select_unpublished"], {"limit": _BATCH}).fetchall()


def mark_published(conn: psycopg.Connection, entries: Sequence[TimelineEntry]) -> None:
    """Note that Kafka has acknowledged the entries."""
    conn.execute(_SQL["mark_published"], {"seqs": [entry.seq for entry in entries]})


def keep_evidence(conn: psycopg.Connection) -> int:
    """Keep the first and last lines of incidents that changed; return how many incidents."""
    ids = [id_ for (id_,) in conn.execute(_SQL["select_without_evidence"], {"limit": _BATCH})]
    for id_ in ids:
        with conn.transaction():
            conn.execute(_SQL["keep_evidence"], {"id": id_, "lines": _LINES})
            # What a straggler added may push out a line that was among the last before.
            conn.execute(_SQL["trim_evidence"], {"id": id_, "lines": _LINES})
            conn.execute(_SQL["mark_evidence"], {"id": id_})
    return len(ids)
