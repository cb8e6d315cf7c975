"""What the database knows of a moment that has passed: services as their rows tell, and logs."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from typing import Any

import psycopg
from msgspec import Struct
from psycopg.rows import class_row

from sql.ledger import StoredIncident
from sql.services import PlacedWindow
from sql.statements import statements

_SQL = statements("as_of")
_ROWS_AT_ONCE = 20_000


class BegunIncident(StoredIncident, frozen=True, kw_only=True):
    """An incident that had begun by a window. is_over: its last window was closed by then."""

    is_over: bool


class ServiceThen(Struct, frozen=True):
    """A service with its rows up to a window, in order, and its incidents up to then."""

    windows: list[PlacedWindow]
    incidents: list[BegunIncident]

    @property
    def service_id(self) -> str:
        """Its name."""
        return self.windows[0].service_id


def read_services_then(
    conn: psycopg.Connection, *, start_ms: int, windows: int
) -> Iterator[ServiceThen]:
    """Yield every service that has a row of the window that starts then, with so many before it.

    Runs in one transaction, which the caller ends.
    """
    incidents = defaultdict(list)
    with conn.cursor(row_factory=class_row(BegunIncident)) as cursor:
        cursor.execute(_SQL["select_incidents_as_of"], {"start_ms": start_ms})
        for row in cursor:
            incidents[row.service_id].append(row)
    with conn.cursor("services_then", row_factory=class_row(PlacedWindow)) as cursor:
        cursor.itersize = _ROWS_AT_ONCE
        cursor.execute(_SQL["select_windows_as_of"], {"start_ms": start_ms, "windows": windows})
        for service_id, rows in groupby(cursor, key=attrgetter("service_id")):
            own = sorted(incidents.pop(service_id, []), key=attrgetter("window_start_ms"))
            yield ServiceThen(list(rows), own)


def first_offset_since(
    conn: psycopg.Connection, topic_id: str, partition: int, from_ms: int
) -> int | None:
    """Return the offset of the first stored record of a partition that arrived then or later."""
    values = {"topic_id": topic_id, "partition": partition, "from_ms": from_ms}
    offset: int | None = _one(conn, "select_first_offset", values)[0]
    return offset


def arrivals(
    conn: psycopg.Connection, begin_ms: int | None, end_ms: int | None
) -> tuple[int, int] | None:
    """Return the first and the last arrival of the logs in a range; None where it has none."""
    if begin_ms is None and end_ms is None:
        first_ms, last_ms = _one(conn, "select_first_arrival", {})
    else:
        bounds = {"begin_ms": begin_ms or 0, "end_ms": end_ms or 2**43}
        first_ms, last_ms = _one(conn, "select_arrivals_between", bounds)
    return None if first_ms is None else (first_ms, last_ms)


def counted_between(conn: psycopg.Connection, begin_ms: int, end_ms: int) -> int:
    """Return how many records the windows of a span have counted, of those that came in it."""
    return int(_one(conn, "count_records_between", {"begin_ms": begin_ms, "end_ms": end_ms})[0])


def incarnation_known(conn: psycopg.Connection, topic_id: str) -> int | None:
    """Return the number of a topic's incarnation; None where no flow has ever read it."""
    row = conn.execute(_SQL["select_topic"], {"topic_id": topic_id}).fetchone()
    return None if row is None else int(row[0])


def stored_partitions(conn: psycopg.Connection) -> list[int]:
    """Return the partitions of which logs were ever stored."""
    return [partition for (partition,) in conn.execute(_SQL["select_partitions"])]


def read_slice(
    conn: psycopg.Connection, begin_ms: int, end_ms: int
) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the logs that arrived in a span, partition by partition in the topic's order.

    As (incarnation, partition, offset, arrival in ms, time in us, service, level), many at once.
    """
    with conn.transaction(), conn.cursor("slice") as cursor:
        cursor.execute(_SQL["select_slice"], {"begin_ms": begin_ms, "end_ms": end_ms})
        while rows := cursor.fetchmany(_ROWS_AT_ONCE):
            yield rows


def _one(conn: psycopg.Connection, name: str, values: dict[str, Any]) -> tuple[Any, ...]:
    [row] = conn.execute(_SQL[name], values).fetchall()
    return tuple(row)
