"""What an incident rests on: its log records, its timeline, and its decision recomputed."""

import asyncio
from datetime import datetime
from enum import Enum

from msgspec import Raw, Struct, structs
from sanic import HTTPResponse, Request

from api.bodies import json_answer
from api.incidents import Kind, known_id
from api.openapi import TOKEN, operation
from api.paging import PAGE_PARAMETERS, Meta, read_page
from api.sessions import Sessions
from flows.explain import Explanation, explain_stored
from sql.incidents import BY_HAND, IncidentTable
from sql.ledger import Ledger
from sql.timeline import TimelineEntry
from tocsin.errors import WrongState

_WINDOWS_MAX = 14 * 24 * 60
"""How far back a request may have a decision recomputed: two weeks take under a second."""


class LogSource(str, Enum):
    """Where log records come from: all that are stored, or those kept with the incident."""

    LOGS = "logs"
    EVIDENCE = "evidence"


class StoredLog(Struct, frozen=True, kw_only=True):
    """A log record as it was stored. arrival: when the broker appended it."""

    timestamp: datetime
    service_id: str
    level: str
    message: str
    metadata: Raw | None
    id: str | None
    arrival: datetime


class LogMeta(Meta, frozen=True, kw_only=True):
    """Which page this is, of how many, and of what.

    source: `evidence` where retention has removed log records of the incident: then these are the
    first and the last 20 of them, which were kept with it.
    """

    source: LogSource


class LogPage(Struct, frozen=True):
    """A page of log records, oldest first."""

    data: list[StoredLog]
    meta: LogMeta


class TimelinePage(Struct, frozen=True):
    """A page of an incident's timeline, oldest first; entries are as on the topic of incidents."""

    data: list[TimelineEntry]
    meta: Meta


class Evidence:
    """Shows everyone who may log in why there is an incident and what became of it."""

    def __init__(self, incidents: IncidentTable, sessions: Sessions) -> None:
        self._incidents = incidents
        self._sessions = sessions
        # A recomputation takes the processor: one at a time leaves some for other requests.
        self._explaining = asyncio.Semaphore(1)

    @operation(
        summary="List the log records of an incident, oldest first",
        description=(
            "The ERROR and FATAL records of its service from its first window to the end of its "
            "resolved window, or to when a person resolved it, or until now while it is open. "
            "Where retention has removed some of them, the first and the last 20, which were kept "
            "with the incident: `meta.source`."
        ),
        parameters=PAGE_PARAMETERS,
        answers={200: LogPage},
        errors=(400, 401, 404, 503),
        security=TOKEN,
    )
    async def logs(self, request: Request, incident_id: str) -> HTTPResponse:
        """Answer a page of an incident's log records."""
        await self._sessions.require(request)
        page = read_page(request)
        incidents = self._incidents
        row = await incidents.get(known_id(incident_id))
        if await incidents.has_lost_logs(row.id):
            source = LogSource.EVIDENCE
            total = await incidents.count_evidence(row.id)
            rows = await incidents.evidence(row.id, limit=page.limit, offset=page.offset)
        else:
            source = LogSource.LOGS
            total = await incidents.count_logs(row)
            rows = await incidents.logs(row, limit=page.limit, offset=page.offset)
        meta = LogMeta(**structs.asdict(page.meta(total)), source=source)
        return json_answer(LogPage([StoredLog(**structs.asdict(found)) for found in rows], meta))

    @operation(
        summary="List the timeline of an incident, oldest first",
        description=(
            "What the detection decided and what people did, in order. Each entry is as it is on "
            "the topic of incidents; `actor` is null for the detection."
        ),
        parameters=PAGE_PARAMETERS,
        answers={200: TimelinePage},
        errors=(400, 401, 404, 503),
        security=TOKEN,
    )
    async def timeline(self, request: Request, incident_id: str) -> HTTPResponse:
        """Answer a page of an incident's timeline."""
        await self._sessions.require(request)
        page = read_page(request)
        row = await self._incidents.get(known_id(incident_id))
        total = await self._incidents.count_timeline(row.id)
        rows = await self._incidents.timeline(row.id, limit=page.limit, offset=page.offset)
        return json_answer(TimelinePage(rows, page.meta(total)))

    @operation(
        summary="Explain an incident",
        description=(
            "Recomputes the decision from the stored minutes of its service, by the detector "
            "itself, and compares it with what is stored, to the last bit. Of a service that is "
            "known for more than two weeks the guarded baseline is taken as its sums are stored; "
            "`tocsin explain` recomputes that too. One that a person opened is refused: 409."
        ),
        answers={200: Explanation},
        errors=(401, 404, 409, 503),
        security=TOKEN,
    )
    async def explain(self, request: Request, incident_id: str) -> HTTPResponse:
        """Answer why there is an incident, with the arithmetic."""
        await self._sessions.require(request)
        row = await self._incidents.get(known_id(incident_id))
        if row.kind == Kind.MANUAL.value:
            raise WrongState(BY_HAND)
        async with self._explaining:
            found = await self._incidents.ledger(row.id, windows_max=_WINDOWS_MAX)
            return json_answer(await asyncio.to_thread(_explained, found))


def _explained(found: Ledger) -> Explanation:
    return explain_stored(found.incident, found.windows, found.timeline)
