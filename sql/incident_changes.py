"""What people do to incidents: each deed in one transaction with its entries in the timeline."""

from datetime import datetime
from typing import Any

from msgspec import UNSET, Struct, UnsetType
from psycopg import AsyncConnection
from psycopg.rows import class_row, scalar_row

from sql.audit import Actor
from sql.reader import Reader
from sql.statements import statements
from sql.timeline import TimelineEntry
from tocsin.errors import NotFound, StaleRevision, WrongState

_SQL = statements("incident_changes")
_TIMELINE_SQL = statements("timeline")

_MOMENTS = {"OPEN": "reopened", "ACKNOWLEDGED": "acknowledged", "RESOLVED": "resolved"}
"""What a person's change of the status is called in the timeline."""

PERSON_MOMENTS = frozenset(
    {*_MOMENTS.values(), "opened", "confirmed", "reclassified", "assigned", "commented", "deleted"}
)
"""What people's entries in the timeline are called."""


class NewIncident(Struct, frozen=True, kw_only=True):
    """An incident that a person opens. started_at: when it began; None for now."""

    id: str
    service_id: str
    title: str
    severity: str
    started_at: datetime | None
    comment: str | None


class Change(Struct, frozen=True, kw_only=True):
    """What a person wants of an incident; what is None, or the assignee UNSET, stays.

    assignee: an address, or None for nobody. revisions: it must be at one of these; None for any.
    unless_resolved: refuse where it is resolved.
    """

    status: str | None = None
    severity: str | None = None
    assignee: str | UnsetType | None = UNSET
    comment: str | None = None
    revisions: frozenset[int] | None = None
    unless_resolved: bool = False


class _Standing(Struct, frozen=True):
    """What of an incident people change. machine_status: None of one that they opened."""

    kind: str
    status: str
    severity: str
    assignee: str | None
    machine_status: str | None

    @property
    def is_over(self) -> bool:
        """Whether the detection has ended it: it is resolved for good."""
        return self.status == self.machine_status == "RESOLVED"


class IncidentChanges:
    """Every method raises StorageError when the database is away.

    Those that change an incident hold its row until they are done, so two people's changes come
    one after the other, and the second is told of, or compared with, what the first has left.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def assignee(self, email: str) -> str | None:
        """Return the address, as it is stored, of a person who may act on incidents, or None."""
        async with self._reader.connection() as conn, conn.cursor(row_factory=scalar_row) as cursor:
            await cursor.execute(_SQL["select_assignee"], {"email": email})
            return await cursor.fetchone()

    async def open(self, new: NewIncident, *, by: Actor) -> None:
        """Open an incident by hand."""
        values = {name: getattr(new, name) for name in new.__struct_fields__}
        async with self._reader.connection() as conn, conn.transaction():
            await conn.execute(_SQL["insert_manual_incident"], values)
            deed = _Deed(conn, new.id, by)
            await deed.enter("opened")
            await deed.enter("confirmed")
            if new.comment is not None:
                await deed.enter("commented", new.comment)

    async def change(self, incident_id: str, wanted: Change, *, by: Actor) -> None:
        """Do what is wanted, with an entry in the timeline for each thing that it changes.

        Raises NotFound, StaleRevision, WrongState; then nothing has changed.
        """
        async with self._reader.connection() as conn, conn.transaction():
            deed = _Deed(conn, incident_id, by)
            before = await deed.lock(wanted.revisions)
            if wanted.unless_resolved and before.status == "RESOLVED":
                raise WrongState("the incident is resolved: PATCH its status to take it back")
            if wanted.status in {"OPEN", "ACKNOWLEDGED"} and before.is_over:
                raise WrongState(
                    "the detection has resolved the incident, and a service has one open of a kind "
                    "at most: what goes on opens the next one, or open one by hand"
                )
            if wanted.status not in {None, before.status}:
                await deed.set_status(str(wanted.status), before)
            if wanted.severity not in {None, before.severity}:
                await deed.do("update_severity", severity=wanted.severity)
                await deed.enter("reclassified", f"was {before.severity}")
            if wanted.assignee is not UNSET and wanted.assignee != before.assignee:
                await deed.do("update_assignee", assignee=wanted.assignee)
                await deed.enter("assigned", f"was {before.assignee or 'nobody'}")
            if wanted.comment is not None:
                await deed.enter("commented", wanted.comment)

    async def comment(self, incident_id: str, text: str, *, by: Actor) -> TimelineEntry:
        """Append what a person has to say, and return the entry. Raises NotFound."""
        async with self._reader.connection() as conn, conn.transaction():
            deed = _Deed(conn, incident_id, by)
            await deed.lock(None)
            return await deed.entry(await deed.enter("commented", text))

    async def delete(
        self, incident_id: str, *, by: Actor, revisions: frozenset[int] | None
    ) -> None:
        """Resolve an incident and hide it from everybody but the detection.

        Raises NotFound, StaleRevision.
        """
        async with self._reader.connection() as conn, conn.transaction():
            deed = _Deed(conn, incident_id, by)
            before = await deed.lock(revisions)
            if before.status != "RESOLVED":
                await deed.set_status("RESOLVED", before)
            await deed.do("update_deleted")
            await deed.enter("deleted")


class _Deed:
    """What one person does to one incident, in the caller's transaction."""

    def __init__(self, conn: AsyncConnection, incident_id: str, by: Actor) -> None:
        self._conn = conn
        self._key = {"id": incident_id}
        self._by = by

    async def lock(self, revisions: frozenset[int] | None) -> _Standing:
        """Let nobody else change the incident before the transaction ends."""
        async with self._conn.cursor(row_factory=class_row(_Standing)) as cursor:
            await cursor.execute(_SQL["lock_incident"], self._key)
            standing = await cursor.fetchone()
        if standing is None:
            raise NotFound("there is no incident of this id")
        if revisions is not None:
            found = await self._scalar("select_revision", self._key)
            if found not in revisions:
                raise StaleRevision(
                    f"somebody has changed the incident, it is at revision {found}: "
                    "get it again, then decide"
                )
        return standing

    async def set_status(self, status: str, before: _Standing) -> None:
        await self.do("update_status", status=status)
        await self.enter(_MOMENTS[status], f"was {before.status}")
        if before.status == "RESOLVED":
            await self._conn.execute(
                _TIMELINE_SQL["tell_confirmation"], {"incident_id": self._key["id"]}
            )

    async def do(self, statement: str, **values: Any) -> None:
        await self._conn.execute(_SQL[statement], {**self._key, **values})

    async def enter(self, moment: str, note: str | None = None) -> int:
        """Append an entry to the timeline and return its number."""
        entry = {
            **self._key,
            "moment": moment,
            "note": note,
            "user_id": str(self._by.user_id),
            "address": self._by.address,
            "request_id": self._by.request_id,
        }
        return await self._scalar("insert_person_event", entry)

    async def entry(self, seq: int) -> TimelineEntry:
        async with self._conn.cursor(row_factory=class_row(TimelineEntry)) as cursor:
            await cursor.execute(_SQL["select_entry"], {**self._key, "seq": seq})
            found = await cursor.fetchone()
        if found is None:
            raise NotFound("there is no such entry")
        return found

    async def _scalar(self, statement: str, values: dict[str, Any]) -> int:
        async with self._conn.cursor(row_factory=scalar_row) as cursor:
            await cursor.execute(_SQL[statement], values)
            number = await cursor.fetchone()
        if not isinstance(number, int):
            raise TypeError(f"{statement} returned {number!r}")
        return number
