"""Statistics of services: counts by step, baselines, the most frequent errors."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Literal, TypeVar

import psycopg
from msgspec import Struct
from psycopg import AsyncConnection
from psycopg.rows import class_row

from sql.detection_settings import book_of
from sql.reader import Reader
from sql.statements import statements
from tocsin.errors import TookTooLong
from tocsin.settings_versions import SettingsBook

Step = Literal["minute", "hour", "day"]

_SQL = statements("statistics")
_LOGS_SQL = statements("logs")
_SETTINGS_SQL = statements("detection_settings")

Row = TypeVar("Row")


class StepCount(Struct, frozen=True):
    """How many records and errors a service has in the step that begins then."""

    service_id: str
    start: datetime
    records: int
    errors: int


class JudgedWindow(Struct, frozen=True, kw_only=True):
    """A window with what it was compared with. mean, sigma: None without a baseline."""

    window_start: datetime
    errors: int
    late_errors: int
    total: int
    late_total: int
    verdict: str
    severity: str | None
    settings_version: int
    z: float | None
    mean: float | None
    sigma: float | None
    baseline_windows: int
    guarded_z: float | None
    guarded_mean: float | None
    guarded_sigma: float | None
    guarded_windows: int | None


class MessageCount(Struct, frozen=True, kw_only=True):
    """Errors whose messages are alike but for numbers and ids.

    looked_at: how many errors were looked at for the whole list.
    """

    shape: str
    count: int
    services: int
    first_seen: datetime
    last_seen: datetime
    example: str
    example_service: str
    looked_at: int


class ServiceRow(Struct, frozen=True, kw_only=True):
    """A service. last_seen: the minute of its newest record. severity: the worst that is open."""

    service_id: str
    last_seen: datetime
    verdict: str
    open_incidents: int
    severity: str | None


class Statistics:
    """Every method raises TookTooLong, and StorageError when the database is away.

    since is inclusive, until exclusive. services: all where there is none.
    """

    def __init__(self, reader: Reader, *, timeout_s: float) -> None:
        self._reader = reader
        self._timeout_s = timeout_s

    async def counts(
        self,
        step: Step,
        *,
        services: Sequence[str],
        since: datetime,
        until: datetime,
        limit: int,
    ) -> list[StepCount]:
        """Return the counts, in no order, of so many services: those with the most errors."""
        values = {"services": list(services) or None, "since": since, "until": until}
        return await self._rows(StepCount, f"count_per_{step}", {**values, "limit": limit})

    async def windows(
        self, service_id: str, *, since: datetime, until: datetime
    ) -> list[JudgedWindow]:
        """Return the windows of a service in order."""
        values = {"service_id": service_id, "since": since, "until": until}
        return await self._rows(JudgedWindow, "select_baseline_windows", values)

    async def settings(self) -> SettingsBook:
        """Return all versions of the detection settings."""
        async with self._bounded() as conn, conn.cursor() as cursor:
            await cursor.execute(_SETTINGS_SQL["select_detection_settings"])
            return book_of(await cursor.fetchall(), read_ms=0)

    async def messages(
        self,
        *,
        services: Sequence[str],
        since: datetime,
        until: datetime,
        sample: int,
        characters: int,
        limit: int,
    ) -> list[MessageCount]:
        """Return the most frequent errors. sample, characters: so many are looked at, of each."""
        values = {
            "services": list(services) or None,
            "since": since,
            "until": until,
            "sample": sample,
            "characters": characters,
            "limit": limit,
        }
        return await self._rows(MessageCount, "top_messages", values)

    async def services(self, *, after: str, limit: int) -> list[ServiceRow]:
        """Return so many services, by name, of those that come after one."""
        return await self._rows(ServiceRow, "select_services", {"after": after, "limit": limit})

    async def _rows(self, row: type[Row], statement: str, values: dict[str, Any]) -> list[Row]:
        async with self._bounded() as conn, conn.cursor(row_factory=class_row(row)) as cursor:
            await cursor.execute(_SQL[statement], values)
            return await cursor.fetchall()

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[AsyncConnection]:
        async with self._reader.connection() as conn:
            try:
                async with conn.transaction():
                    timeout = {"timeout_ms": str(max(1, round(self._timeout_s * 1000)))}
                    await conn.execute(_LOGS_SQL["bound_search"], timeout)
                    yield conn
            except psycopg.errors.QueryCanceled:
                raise TookTooLong(
                    f"the statistic took longer than {self._timeout_s:g} s: ask for a shorter "
                    "time, or for some services only"
                ) from None
