"""An incident with the part of the ledger that its decision is recomputed from."""

from msgspec import Struct
from psycopg import AsyncConnection
from psycopg.rows import class_row

from sql.detection_settings import book_of
from sql.statements import statements
from tocsin.errors import NotFound
from tocsin.settings_versions import SettingsBook

_SQL = statements("ledger")
_SETTINGS_SQL = statements("detection_settings")


class StoredIncident(Struct, frozen=True, kw_only=True):
    """The detection's side of an incident's row; times in epoch ms, names as the detector's."""

    incident_id: str
    service_id: str
    kind: str
    title: str
    window_start_ms: int
    low_start_ms: int
    hot_start_ms: int
    confirmed_start_ms: int | None
    resolved_start_ms: int | None
    status: str
    reason: str | None
    severity: str
    peak_z: float
    calm_windows: int
    absorbed: bool
    detected_late: bool
    opened_at_ms: int
    confirmed_at_ms: int | None
    resolved_at_ms: int | None
    count: int
    z: float | None
    guarded_z: float | None
    plain_n: int
    plain_sum: int
    plain_squares: int
    guarded_n: int | None
    guarded_sum: int | None
    guarded_squares: int | None
    guarded_records: int | None
    settings_version: int
    offset: int
    clock_start_ms: int


class StoredWindow(Struct, frozen=True, kw_only=True, gc=False):
    """A window's row; times in epoch ms, names as the detector's."""

    service_id: str
    window_start_ms: int
    errors: int
    total: int
    late_errors: int
    late_total: int
    plain_n: int
    plain_sum: int
    plain_squares: int
    guarded_n: int | None
    guarded_sum: int | None
    guarded_squares: int | None
    guarded_records: int | None
    z: float | None
    guarded_z: float | None
    verdict: str
    severity: str | None
    closed: bool
    flagged: bool
    unknown: bool
    settings_version: int
    offset: int
    arrival_ms: int
    clock_start_ms: int
    first_start_ms: int
    last_start_ms: int
    gap_windows: int
    too_late: int


class Ledger(Struct, frozen=True):
    """What there is to recompute an incident from, all as of one moment.

    windows: its service's, in order, from the first one that there is up to the incident's last.
    """

    incident: StoredIncident
    windows: list[StoredWindow]
    book: SettingsBook


async def read_ledger(conn: AsyncConnection, incident_id: str, *, windows_max: int) -> Ledger:
    """Read an incident's ledger, with at most so many windows before its own. Raises NotFound."""
    async with conn.transaction():
        await conn.execute(_SQL["begin_snapshot"])
        values = {"id": incident_id, "windows": windows_max}
        async with conn.cursor(row_factory=class_row(StoredIncident)) as cursor:
            await cursor.execute(_SQL["select_incident"], values)
            incident = await cursor.fetchone()
        if incident is None:
            raise NotFound("the detection has opened no incident of this id")
        async with conn.cursor(row_factory=class_row(StoredWindow)) as cursor:
            await cursor.execute(_SQL["select_windows"], values)
            windows = await cursor.fetchall()
        async with conn.cursor() as cursor:
            await cursor.execute(_SETTINGS_SQL["select_detection_settings"])
            book = book_of(await cursor.fetchall(), read_ms=0)
    return Ledger(incident, windows, book)
