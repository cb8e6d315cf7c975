"""An incident with the part of the ledger that its decision is recomputed from."""

from typing import Any

import psycopg
from msgspec import Struct
from psycopg import AsyncConnection
from psycopg.rows import class_row

from sql.detection_settings import book_of
from sql.statements import statements
from tocsin.detection import SettingsTimeline
from tocsin.errors import NotFound, StorageError

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
    decided_by: str
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


class StoredName(Struct, frozen=True, kw_only=True):
    """What of an incident's row can be read whatever the rest of it holds."""

    incident_id: str
    service_id: str
    kind: str
    settings_version: int


class Ledger(Struct, frozen=True):
    """What there is to recompute an incident from, all as of one moment.

    windows: its service's, in order, from the first one that there is up to the incident's last.
    settings: the rows of their versions, as they are stored.
    damage: why nothing but the incident's name could be read, if so.
    """

    incident: StoredIncident | StoredName
    windows: list[StoredWindow]
    settings: list[tuple[Any, ...]]
    damage: str | None = None

    def timeline(self) -> SettingsTimeline:
        """Return the versions of the settings that judge the service.

        Raises StorageError for damage, and for versions that can't be read.
        """
        if self.damage is not None:
            raise StorageError(self.damage)
        return book_of(self.settings, read_ms=0).timeline(self.incident.service_id)


async def read_ledger(conn: AsyncConnection, incident_id: str, *, windows_max: int) -> Ledger:
    """Read an incident's ledger, with at most so many windows before its own. Raises NotFound."""
    async with conn.transaction():
        await conn.execute(_SQL["begin_snapshot"])
        values = {"id": incident_id, "windows": windows_max}
        async with conn.cursor(row_factory=class_row(StoredName)) as cursor:
            await cursor.execute(_SQL["select_name"], values)
            name = await cursor.fetchone()
        if name is None:
            raise NotFound("the detection has opened no incident of this id")
        try:
            async with conn.transaction():
                return await _read(conn, values)
        except (psycopg.DataError, psycopg.NotSupportedError) as error:
            damage = " ".join(str(error).split())
            return Ledger(name, [], [], f"the database cannot read what is stored: {damage}")


async def _read(conn: AsyncConnection, values: dict[str, Any]) -> Ledger:
    async with conn.cursor(row_factory=class_row(StoredIncident)) as cursor:
        await cursor.execute(_SQL["select_incident"], values)
        [incident] = await cursor.fetchall()
    async with conn.cursor(row_factory=class_row(StoredWindow)) as cursor:
        await cursor.execute(_SQL["select_windows"], values)
        windows = await cursor.fetchall()
    async with conn.cursor() as cursor:
        await cursor.execute(_SETTINGS_SQL["select_detection_settings"])
        return Ledger(incident, windows, await cursor.fetchall())
