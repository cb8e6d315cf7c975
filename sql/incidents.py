"""Incidents as people see and change them: one function for each statement."""

import re
from datetime import datetime, timedelta
from typing import Any

from msgspec import Raw, Struct
from psycopg.rows import scalar_row, tuple_row

from sql.ledger import Ledger, read_ledger
from sql.reader import Reader, with_reader
from sql.statements import statements
from sql.timeline import TimelineEntry
from tocsin.detection import WINDOW_MS
from tocsin.errors import NotFound, WrongState

_SQL = statements("incidents")

BY_HAND = "a person opened the incident: there is nothing to recompute"
_PREFIX = re.compile(r"[0-9a-f]{1,32}")
_ALL_WINDOWS = 10**9
_NO_SUCH = "there is no incident of this id"


class IncidentRow(Struct, frozen=True, kw_only=True):
    """An incident with the evidence that it was opened on; times are aware UTC.

    Of one that a person opened, what the detection would say is None. revision: the number of the
    newest entry in its timeline.
    """

    id: str
    kind: str
    title: str
    service_id: str
    status: str
    severity: str
    observed: int | None
    decided_by: str | None
    mean: float | None
    sigma: float | None
    z: float | None
    baseline_windows: int | None
    guarded_mean: float | None
    guarded_sigma: float | None
    guarded_z: float | None
    guarded_windows: int | None
    peak_z: float | None
    window_start: datetime | None
    first_window: datetime
    confirmed_window: datetime | None
    resolved_window: datetime | None
    resolve_reason: str | None
    opened_at: datetime
    confirmed_at: datetime | None
    resolved_at: datetime | None
    detected_at: datetime
    detected_late: bool | None
    updated_at: datetime
    settings_version: int | None
    assignee: str | None
    revision: int

    @property
    def confirmed(self) -> bool:
        """Whether it is confirmed."""
        return self.confirmed_at is not None


class LogRow(Struct, frozen=True, kw_only=True):
    """A stored log record. metadata: the JSON object as it is stored, or None."""

    timestamp: datetime
    service_id: str
    level: str
    message: str
    metadata: Raw | None
    id: str | None
    arrival: datetime


class IncidentFilter(Struct, frozen=True, kw_only=True):
    """Which incidents are wanted: those with these values; None leaves one open.

    status_not: those of any status but this. since, until: opened from then on, before then.
    """

    service_id: str | None = None
    status: str | None = None
    status_not: str | None = None
    severity: str | None = None
    kind: str | None = None
    confirmed: bool | None = None
    assignee: str | None = None
    is_assigned: bool | None = None
    since: datetime | None = None
    until: datetime | None = None

    def values(self) -> dict[str, Any]:
        """Return the statement's values."""
        return {name: getattr(self, name) for name in self.__struct_fields__}


class IncidentTable:
    """Every method raises StorageError when the database is away."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def page(
        self, wanted: IncidentFilter, *, limit: int, offset: int, most: int = 0
    ) -> tuple[list[IncidentRow], int | None]:
        """Return a page of the incidents that pass a filter, newest first, and their number.

        They are counted up to `most`, if the page is full; else the number is None.
        """
        values = {**wanted.values(), "limit": limit, "offset": offset, "most": most}
        async with self._reader.connection() as conn, conn.cursor() as cursor:
            await cursor.execute(_SQL["select_incidents"], values)
            found = await cursor.fetchall()
            *names, _ = [column.name for column in cursor.description or ()]
        rows = [IncidentRow(**dict(zip(names, row, strict=False))) for row in found]
        return rows, found[0][-1] if found else None

    async def count(self, wanted: IncidentFilter, *, most: int) -> int:
        """Return how many incidents pass a filter, or `most` if there are more."""
        rows, total = await self.page(wanted, limit=1, offset=0, most=most)
        return len(rows) if total is None else total

    async def get(self, incident_id: str) -> IncidentRow:
        """Return an incident. Raises NotFound."""
        rows = await self._reader.rows(IncidentRow, _SQL["select_incident"], {"id": incident_id})
        if not rows:
            raise NotFound(_NO_SUCH)
        return rows[0]

    async def find(self, prefix: str) -> list[tuple[str, bool]]:
        """Return the ids that begin like this, two at most, and whether a person opened it."""
        async with self._reader.connection() as conn, conn.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(_SQL["find_incidents"], {"prefix": prefix})
            return await cursor.fetchall()

    async def count_timeline(self, incident_id: str) -> int:
        """Return how many entries an incident's timeline has."""
        return await self._number("count_timeline", {"id": incident_id})

    async def timeline(self, incident_id: str, *, limit: int, offset: int) -> list[TimelineEntry]:
        """Return a page of an incident's timeline, oldest first."""
        values = {"id": incident_id, "limit": limit, "offset": offset}
        return await self._reader.rows(TimelineEntry, _SQL["select_timeline"], values)

    async def count_logs(self, incident: IncidentRow) -> int:
        """Return how many ERROR and FATAL records fall into an incident."""
        return await self._number("count_incident_logs", _interval(incident))

    async def logs(self, incident: IncidentRow, *, limit: int, offset: int) -> list[LogRow]:
        """Return a page of the ERROR and FATAL records of an incident, oldest first."""
        values = {**_interval(incident), "limit": limit, "offset": offset}
        return await self._reader.rows(LogRow, _SQL["select_incident_logs"], values)

    async def has_lost_logs(self, incident_id: str) -> bool:
        """Tell whether retention has removed log records of an incident."""
        async with self._reader.connection() as conn, conn.cursor(row_factory=scalar_row) as cursor:
            await cursor.execute(_SQL["select_is_lost"], {"id": incident_id})
            return await cursor.fetchone() is True

    async def count_evidence(self, incident_id: str) -> int:
        """Return how many log records are kept with an incident."""
        return await self._number("count_evidence", {"id": incident_id})

    async def evidence(self, incident_id: str, *, limit: int, offset: int) -> list[LogRow]:
        """Return a page of the log records that are kept with an incident, oldest first."""
        values = {"id": incident_id, "limit": limit, "offset": offset}
        return await self._reader.rows(LogRow, _SQL["select_evidence"], values)

    async def ledger(self, incident_id: str, *, windows_max: int) -> Ledger:
        """Return what an incident is recomputed from. Raises NotFound."""
        async with self._reader.connection() as conn:
            return await read_ledger(conn, incident_id, windows_max=windows_max)

    async def _number(self, statement: str, values: dict[str, Any]) -> int:
        async with self._reader.connection() as conn, conn.cursor(row_factory=scalar_row) as cursor:
            await cursor.execute(_SQL[statement], values)
            number = await cursor.fetchone()
        if not isinstance(number, int):
            raise TypeError(f"a count came back as {number!r}")
        return number


def _interval(incident: IncidentRow) -> dict[str, Any]:
    """Return from when until when an incident's errors count; open-ended while it is open."""
    end: datetime | str = "infinity"
    if incident.resolved_window is not None:
        end = incident.resolved_window + timedelta(milliseconds=WINDOW_MS)
    elif incident.status == "RESOLVED" and incident.resolved_at is not None:
        end = incident.resolved_at
    return {"service_id": incident.service_id, "since": incident.first_window, "until": end}


def read_whole_ledger(database_url: str, prefix: str) -> Ledger:
    """Return what the incident is recomputed from whose id begins like this.

    Raises NotFound where there is none, or more than one of the detection's; WrongState where a
    person opened it.
    """
    if not prefix.strip():
        raise NotFound("give an incident's id, or how only that one begins")

    async def read(reader: Reader) -> Ledger:
        incidents = IncidentTable(reader)
        found = await incidents.find(prefix) if _PREFIX.fullmatch(prefix) else []
        if not found:
            raise NotFound(f"no incident has an id that begins with {prefix}")
        own = [id_ for id_, by_hand in found if not by_hand]
        if not own:
            raise WrongState(BY_HAND)
        if len(own) > 1:
            raise NotFound(f"more than one incident has an id that begins with {prefix}")
        return await incidents.ledger(own[0], windows_max=_ALL_WINDOWS)

    return with_reader(database_url, read)
