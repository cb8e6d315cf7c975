"""What the database knows of every service: enough to go on where its rows end."""

from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter

import psycopg
from msgspec import Struct
from psycopg.rows import class_row

from sql.ledger import StoredIncident, StoredWindow
from sql.statements import statements

_SQL = statements("services")
_ROWS_AT_ONCE = 20_000


class PlacedWindow(StoredWindow, frozen=True, kw_only=True, gc=False):
    """A window's row with where its service's last record was read from."""

    incarnation: int
    partition: int
    read_offset: int


class StoredService(Struct, frozen=True):
    """A service as of its newest row.

    present: the row of its clock's window. windows: that row and those before it.
    last_incident, last_silence: the open one of that kind, else the one that was resolved last.
    """

    present: PlacedWindow
    windows: list[PlacedWindow]
    last_incident: StoredIncident | None
    last_silence: StoredIncident | None


def read_services(conn: psycopg.Connection, *, windows: int) -> Iterator[StoredService]:
    """Yield every service that has a row, with its rows of so many windows up to its clock's.

    Runs in one transaction, which the caller ends.
    """
    with conn.cursor(row_factory=class_row(StoredIncident)) as cursor:
        cursor.execute(_SQL["select_last_incidents"])
        incidents = {(row.service_id, row.kind): row for row in cursor}
    with conn.cursor("services", row_factory=class_row(PlacedWindow)) as cursor:
        cursor.itersize = _ROWS_AT_ONCE
        cursor.execute(_SQL["select_service_windows"], {"windows": windows})
        for service_id, rows in groupby(cursor, key=attrgetter("service_id")):
            kept = list(rows)
            yield StoredService(
                kept[0],
                kept,
                incidents.get((service_id, "errors")),
                incidents.get((service_id, "silence")),
            )
