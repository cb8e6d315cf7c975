"""Incidents: read with their evidence, acknowledge, resolve."""

import re
from datetime import datetime
from enum import Enum

import structlog
from msgspec import UNSET, Raw, Struct, UnsetType, field, structs
from sanic import HTTPResponse, Request

from api.auth import Role, Tokens
from api.bodies import json_answer, read_body
from api.openapi import TOKEN, operation
from api.paging import PAGE_PARAMETERS, Meta, read_page
from api.problems import Refusal, request_id
from sql.reader import IncidentRow, LogRow, Reader
from tocsin.detection import IncidentKind, Severity
from tocsin.errors import NotFound

_ID = re.compile(r"[0-9a-f]{32}")

log = structlog.get_logger(__name__)


class Status(str, Enum):
    """Where people and the detection are with an incident."""

    OPEN = "OPEN"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    RESOLVED = "RESOLVED"


class Incident(Struct, frozen=True, kw_only=True):
    """A time when a service was abnormal, with the evidence that it was opened on.

    observed: errors of the opening window. mean, sigma: of the errors in the `baseline_windows`
    windows before it. z: how many sigma observed lies above the mean; guarded_z: above the
    baseline that leaves incidents out, where that one judged; peak_z: the most since.
    first_window: where its errors begin. opened_at: arrival of the record that opened it.
    detected_at: when it was first stored.
    """

    id: str
    kind: IncidentKind
    title: str
    service_id: str
    severity: Severity
    status: Status
    observed: int
    mean: float | None
    sigma: float | None
    z: float | None
    guarded_z: float | None
    peak_z: float
    baseline_windows: int
    window_start: datetime
    first_window: datetime
    confirmed_window: datetime | None
    resolved_window: datetime | None
    resolve_reason: str | None
    opened_at: datetime
    confirmed: bool
    confirmed_at: datetime | None = field(name="confirmedAt")
    resolved_at: datetime | None
    detected_at: datetime
    detected_late: bool
    updated_at: datetime
    settings_version: int


class IncidentChange(Struct, frozen=True, forbid_unknown_fields=True):
    """What a person changes on an incident; at least one of the two."""

    status: Status | UnsetType = UNSET
    severity: Severity | UnsetType = UNSET


class StoredLog(Struct, frozen=True, kw_only=True):
    """A log record as it was stored. arrival: when the broker appended it."""

    timestamp: datetime
    service_id: str
    level: str
    message: str
    metadata: Raw | None
    id: str | None
    arrival: datetime


class IncidentPage(Struct, frozen=True):
    """A page of incidents, newest first."""

    data: list[Incident]
    meta: Meta


class LogPage(Struct, frozen=True):
    """A page of log records, oldest first."""

    data: list[StoredLog]
    meta: Meta


class Incidents:
    """Shows incidents to everyone who may log in, and lets operators change them."""

    def __init__(self, reader: Reader, tokens: Tokens) -> None:
        self._reader = reader
        self._tokens = tokens

    @operation(
        summary="List incidents, newest first",
        parameters=PAGE_PARAMETERS,
        answers={200: IncidentPage},
        errors=(400, 401, 503),
        security=TOKEN,
    )
    async def list(self, request: Request) -> HTTPResponse:
        """Answer a page of incidents."""
        self._tokens.require(request)
        page = read_page(request)
        total = await self._reader.count_incidents()
        rows = await self._reader.select_incidents(limit=page.limit, offset=page.offset)
        return json_answer(IncidentPage([_incident(row) for row in rows], page.meta(total)))

    @operation(
        summary="Get an incident",
        answers={200: Incident},
        errors=(401, 404, 503),
        security=TOKEN,
    )
    async def get(self, request: Request, incident_id: str) -> HTTPResponse:
        """Answer one incident."""
        self._tokens.require(request)
        return json_answer(_incident(await self._row(incident_id)))

    @operation(
        summary="List the log records of an incident, oldest first",
        description=(
            "The ERROR and FATAL records of its service from its first window to the end of its "
            "resolved window, or until now while it is open."
        ),
        parameters=PAGE_PARAMETERS,
        answers={200: LogPage},
        errors=(400, 401, 404, 503),
        security=TOKEN,
    )
    async def logs(self, request: Request, incident_id: str) -> HTTPResponse:
        """Answer a page of an incident's log records."""
        self._tokens.require(request)
        page = read_page(request)
        row = await self._row(incident_id)
        total = await self._reader.count_incident_logs(row)
        rows = await self._reader.select_incident_logs(row, limit=page.limit, offset=page.offset)
        return json_answer(LogPage([_log(found) for found in rows], page.meta(total)))

    @operation(
        summary="Acknowledge, resolve or reclassify an incident",
        description="Needs the role operator. Send `status`, `severity` or both.",
        body=IncidentChange,
        body_schema={"minProperties": 1},
        answers={200: Incident},
        errors=(400, 401, 403, 404, 415, 503),
        security=TOKEN,
    )
    async def change(self, request: Request, incident_id: str) -> HTTPResponse:
        """Change an incident's status or severity."""
        identity = self._tokens.require(request, Role.OPERATOR)
        change = read_body(request, IncidentChange)
        if not change.status and not change.severity:
            raise Refusal(400, "body: nothing to change, send `status`, `severity` or both")
        row = await self._reader.update_incident(
            _known_id(incident_id),
            status=change.status.value if change.status else None,
            severity=change.severity.value if change.severity else None,
        )
        log.info(
            "incident changed",
            incident=row.id,
            status=row.status,
            severity=row.severity,
            user=identity.user_id,
            request_id=request_id(request),
        )
        return json_answer(_incident(row))

    async def _row(self, incident_id: str) -> IncidentRow:
        return await self._reader.select_incident(_known_id(incident_id))


def _known_id(incident_id: str) -> str:
    """Return the id if there can be such an incident, so that the database isn't asked in vain."""
    if not _ID.fullmatch(incident_id):
        raise NotFound("there is no incident of this id")
    return incident_id


def _incident(row: IncidentRow) -> Incident:
    values = structs.asdict(row)
    values["status"] = Status(row.status)
    values["kind"] = IncidentKind(row.kind)
    values["severity"] = Severity(row.severity)
    return Incident(**values, confirmed=row.confirmed_at is not None)


def _log(row: LogRow) -> StoredLog:
    return StoredLog(**structs.asdict(row))
