"""What people say of incidents: which were any, and which were missed."""

import re
from datetime import datetime
from typing import Any, TypeVar

import psycopg
from msgspec import Struct
from psycopg import AsyncConnection
from psycopg.rows import class_row, scalar_row

from sql.audit import Actor, entry
from sql.reader import Reader
from sql.statements import statements
from tocsin.errors import AlreadyExists, NotFound

_SQL = statements("labels")
_PREFIX = re.compile(r"[0-9a-f]{1,32}")

Row = TypeVar("Row")


class LabelRow(Struct, frozen=True, kw_only=True):
    """What somebody has said of an incident. is_true: there was one; else a false alarm."""

    incident_id: str
    is_true: bool
    note: str | None
    labelled_at: datetime
    labelled_by: str


class MissedRow(Struct, frozen=True, kw_only=True):
    """A time in which a service had an incident and none was opened."""

    id: int
    service_id: str
    started_at: datetime
    ended_at: datetime
    note: str | None
    labelled_at: datetime
    labelled_by: str


class AnyLabelRow(Struct, frozen=True, kw_only=True):
    """A label of either kind: of an incident, or of a missed one, of which is_true is None."""

    incident_id: str | None
    missed_id: int | None
    service_id: str
    kind: str
    is_true: bool | None
    started_at: datetime
    ended_at: datetime
    note: str | None
    labelled_at: datetime
    labelled_by: str


class LabelTable:
    """Every method raises StorageError when the database is away.

    Each change is in the audit log.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def find_incident(self, prefix: str) -> str:
        """Return the id that begins like this. Raises NotFound where none does, or several."""
        if not prefix.strip():
            raise NotFound("give an incident's id, or how only that one begins")
        values = {"prefix": prefix}
        ids: list[str] = []
        if _PREFIX.fullmatch(prefix):
            async with self._reader.connection() as conn:
                cursor = conn.cursor(row_factory=scalar_row)
                await cursor.execute(_SQL["find_incidents"], values)
                ids = await cursor.fetchall()
        if len(ids) != 1:
            found = f"more than one incident has an id that begins with {prefix}"
            raise NotFound(found if ids else f"no incident has an id that begins with {prefix}")
        return ids[0]

    async def label(
        self, incident_id: str, *, is_true: bool, note: str | None, by: Actor
    ) -> LabelRow:
        """Say of an incident whether it was one, in place of what was said. Raises NotFound."""
        values = {
            "incident_id": incident_id,
            "is_true": is_true,
            "note": note,
            "labelled_by": by.name,
        }
        async with self._reader.connection() as conn, conn.transaction():
            locked = await conn.execute(_SQL["lock_incident"], {"id": incident_id})
            row = None
            if await locked.fetchone() is not None:
                row = await _one(conn, LabelRow, "upsert_label", values)
            if row is None:
                raise NotFound("there is no incident of this id")
            await conn.execute(
                *entry(by, "incident.labelled", incident_id, is_true=is_true, note=note)
            )
        return row

    async def get(self, incident_id: str) -> LabelRow:
        """Return what was said of an incident. Raises NotFound."""
        rows = await self._reader.rows(LabelRow, _SQL["select_label"], {"incident_id": incident_id})
        if not rows:
            raise NotFound("the incident has no label, or there is none of this id")
        return rows[0]

    async def remove(self, incident_id: str, *, by: Actor) -> LabelRow:
        """Take back what was said of an incident, and return it. Raises NotFound."""
        async with self._reader.connection() as conn, conn.transaction():
            row = await _one(conn, LabelRow, "delete_label", {"incident_id": incident_id})
            if row is None:
                raise NotFound("the incident has no label, or there is none of this id")
            await conn.execute(
                *entry(by, "incident.unlabelled", incident_id, is_true=row.is_true, note=row.note)
            )
        return row

    async def add_missed(
        self,
        service_id: str,
        started_at: datetime,
        ended_at: datetime,
        *,
        note: str | None,
        by: Actor,
    ) -> MissedRow:
        """Say that a service had an incident that was not opened.

        Raises NotFound for a service that has never logged, AlreadyExists.
        """
        values = {
            "service_id": service_id,
            "started_at": started_at,
            "ended_at": ended_at,
            "note": note,
            "labelled_by": by.name,
        }
        try:
            async with self._reader.connection() as conn, conn.transaction():
                if not await _is_known(conn, service_id):
                    raise NotFound(f"{service_id!r} has never logged anything: is it misspelt?")
                row = await _one(conn, MissedRow, "insert_missed", values)
                if row is None:
                    raise NotFound("the new label is not there")
                await conn.execute(*_missed_entry(by, "missed_incident.labelled", row))
        except psycopg.errors.UniqueViolation:
            raise AlreadyExists("that is labelled already, to the second") from None
        return row

    async def remove_missed(self, missed_id: int, *, by: Actor) -> MissedRow:
        """Take back that an incident was missed, and return it. Raises NotFound."""
        async with self._reader.connection() as conn, conn.transaction():
            row = await _one(conn, MissedRow, "delete_missed", {"id": missed_id})
            if row is None:
                raise NotFound(f"no missed incident has the number {missed_id}")
            await conn.execute(*_missed_entry(by, "missed_incident.unlabelled", row))
        return row

    async def all(self) -> list[AnyLabelRow]:
        """Return all labels of both kinds, by when it began, newest first."""
        return await self._reader.rows(AnyLabelRow, _SQL["select_labels"], {})


async def _one(
    conn: AsyncConnection, row: type[Row], statement: str, values: dict[str, Any]
) -> Row | None:
    async with conn.cursor(row_factory=class_row(row)) as cursor:
        await cursor.execute(_SQL[statement], values)
        return await cursor.fetchone()


async def _is_known(conn: AsyncConnection, service_id: str) -> bool:
    async with conn.cursor(row_factory=scalar_row) as cursor:
        await cursor.execute(_SQL["select_known_service"], {"service_id": service_id})
        return bool(await cursor.fetchone())


def _missed_entry(by: Actor, action: str, row: MissedRow) -> tuple[bytes, dict[str, Any]]:
    return entry(
        by,
        action,
        row.id,
        service_id=row.service_id,
        started_at=row.started_at,
        ended_at=row.ended_at,
        note=row.note,
    )
