"""The services as they were at a moment, from the rows that the live flow has written since."""

import psycopg

from flows import stored
from flows.as_of import snapshot_as_of, window_as_of
from flows.known import Known, KnownService, Place, ServiceState, history_windows
from sql.as_of import ServiceThen, read_services_then
from tocsin.detection import WINDOW_MS
from tocsin.settings_versions import SettingsBook


def read_known_then(
    conn: psycopg.Connection, partitions: list[int], book: SettingsBook, since_ms: int
) -> Known:
    """Return who was there at a moment, in the state that the live flow had of it."""
    services = read_services_then(
        conn, start_ms=window_as_of(since_ms) * WINDOW_MS, windows=history_windows(book)
    )
    then = (_known(service, book, since_ms) for service in services)
    return Known((service for service in then if service is not None), partitions)


def _known(service: ServiceThen, book: SettingsBook, since_ms: int) -> KnownService | None:
    snapshot = snapshot_as_of(
        since_ms,
        map(stored.window_row, service.windows),
        [stored.incident_row(incident) for incident in service.incidents],
        book.timeline(service.service_id),
    )
    if snapshot is None:
        return None
    newest = service.windows[-1]
    # Nothing is left out of what is read: the state holds back what its rows have counted.
    place = Place(newest.incarnation, newest.partition, -1)
    return KnownService(ServiceState(place, snapshot), since_ms)
