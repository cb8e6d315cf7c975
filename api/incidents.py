"""Incidents: read with their evidence, acknowledge, resolve."""

import re
from datetime import datetime
from enum import Enum

import structlog
from msgspec import UNSET, Struct, UnsetType, field, structs
from sanic import HTTPResponse, Request

from api.auth import Role
from api.bodies import json_answer, read_body
from api.openapi import TOKEN, operation
from api.paging import PAGE_PARAMETERS, Meta, read_page
from api.problems import Refusal, request_id
from api.sessions import Sessions
from sql.incidents import IncidentFilter, IncidentRow, IncidentTable
from tocsin.detection import IncidentKind, Severity
from tocsin.errors import NotFound

_ID = re.compile(r"[0-9a-f]{32}")
_SERVICE_SCHEMA = {"minLength": 1, "maxLength": 128}

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


class IncidentPage(Struct, frozen=True):
    """A page of incidents, newest first."""

    data: list[Incident]
    meta: Meta


_FILTERS: dict[str, list[str] | None] = {
    "service_id": None,
    "status": [status.value for status in Status],
    "severity": [severity.value for severity in Severity],
    "kind": [kind.value for kind in IncidentKind],
    "confirmed": ["true", "false"],
}
"""By what a list is narrowed down, and what each may be; None: any text."""

_FILTER_PARAMETERS = (
    *PAGE_PARAMETERS,
    *(
        {
            "name": name,
            "in": "query",
            "description": f"Only those with this {name}",
            "schema": {"type": "string", **({"enum": allowed} if allowed else _SERVICE_SCHEMA)},
        }
        for name, allowed in _FILTERS.items()
    ),
)


class Incidents:
    """Shows incidents to everyone who may log in, and lets operators change them."""

    def __init__(self, incidents: IncidentTable, sessions: Sessions) -> None:
        self._incidents = incidents
        self._sessions = sessions

    @operation(
        summary="List incidents, newest first",
        description="All of them, or those that every given filter lets through.",
        parameters=_FILTER_PARAMETERS,
        answers={200: IncidentPage},
        errors=(400, 401, 503),
        security=TOKEN,
    )
    async def list(self, request: Request) -> HTTPResponse:
        """Answer a page of incidents."""
        await self._sessions.require(request)
        page = read_page(request, beside=_FILTERS)
        wanted = _filter(request)
        total = await self._incidents.count(wanted)
        rows = await self._incidents.page(wanted, limit=page.limit, offset=page.offset)
        return json_answer(IncidentPage([_incident(row) for row in rows], page.meta(total)))

    @operation(
        summary="Get an incident",
        answers={200: Incident},
        errors=(401, 404, 503),
        security=TOKEN,
    )
    async def get(self, request: Request, incident_id: str) -> HTTPResponse:
        """Answer one incident."""
        await self._sessions.require(request)
        return json_answer(_incident(await self._incidents.get(known_id(incident_id))))

    @operation(
        summary="Acknowledge, resolve or reclassify an incident",
        description=(
            "Needs the role operator. Send `status`, `severity` or both. Each thing that changes "
            "is an entry in the timeline, with who changed it."
        ),
        body=IncidentChange,
        body_schema={"minProperties": 1},
        answers={200: Incident},
        errors=(400, 401, 403, 404, 415, 503),
        security=TOKEN,
    )
    async def change(self, request: Request, incident_id: str) -> HTTPResponse:
        """Change an incident's status or severity."""
        identity = await self._sessions.require(request, Role.OPERATOR)
        change = read_body(request, IncidentChange)
        if not change.status and not change.severity:
            raise Refusal(400, "body: nothing to change, send `status`, `severity` or both")
        row = await self._incidents.change(
            known_id(incident_id),
            user_id=identity.user_id,
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


def known_id(incident_id: str) -> str:
    """Return the id if there can be such an incident, so that the database isn't asked in vain."""
    if not _ID.fullmatch(incident_id):
        raise NotFound("there is no incident of this id")
    return incident_id


def _filter(request: Request) -> IncidentFilter:
    """Read the filters, of which none is given twice; refuse what no incident can have."""
    given = request.get_args(keep_blank_values=True)
    chosen: dict[str, str] = {}
    for name, allowed in _FILTERS.items():
        value = given.get(name)
        if value is None:
            continue
        if allowed is not None and value not in allowed:
            raise Refusal(400, f"{name}: give one of {', '.join(allowed)}")
        chosen[name] = value
    service_id = chosen.pop("service_id", None)
    if service_id is not None and (not 1 <= len(service_id) <= 128 or "\0" in service_id):
        raise Refusal(400, "service_id: give 1 to 128 characters")
    confirmed = chosen.pop("confirmed", None)
    return IncidentFilter(
        **chosen,
        service_id=service_id,
        confirmed=None if confirmed is None else confirmed == "true",
    )


def _incident(row: IncidentRow) -> Incident:
    values = structs.asdict(row)
    values["status"] = Status(row.status)
    values["kind"] = IncidentKind(row.kind)
    values["severity"] = Severity(row.severity)
    return Incident(**values, confirmed=row.confirmed_at is not None)
