"""Incidents as everyone who may log in reads them: lists, and one with its revision."""

import re
from datetime import datetime
from enum import Enum
from typing import Any, Literal

from msgspec import UNSET, Raw, Struct, UnsetType, convert, field, structs
from msgspec.json import encode
from sanic import HTTPResponse, Request

from api.auth import Identity
from api.bodies import json_answer
from api.openapi import TOKEN, operation
from api.paging import PAGE_NAMES, PAGE_PARAMETERS, Meta, Page, page_of
from api.parameters import SERVICE_CHARACTERS_MAX, Parameters
from api.problems import Refusal
from api.sessions import Sessions
from api.together import Together
from api.totals import TOTAL_MAX, Totals
from api.users import EMAIL_CHARACTERS_MAX
from sql.incidents import IncidentFilter, IncidentRow, IncidentTable
from tocsin.detection import IncidentKind, Preset, Severity
from tocsin.errors import NotFound

_ID = re.compile(r"[0-9a-f]{32}")
_BEGINNING = re.compile(r"[0-9a-f]{1,31}")


class Status(str, Enum):
    """Where people and the detection are with an incident."""

    OPEN = "OPEN"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    RESOLVED = "RESOLVED"


class Kind(str, Enum):
    """What an incident is about: errors, silence, or whatever a person opened it for."""

    ERRORS = IncidentKind.ERRORS.value
    SILENCE = IncidentKind.SILENCE.value
    MANUAL = "manual"


class Incident(Struct, frozen=True, kw_only=True):
    """A time when a service was abnormal, with the evidence that it was opened on.

    Of kind `manual`, which a person opened, what only the detection knows is null.
    observed: errors of the opening window. decided_by: the baseline on which that is abnormal, the
    one with the higher score if on both; its score is the title's. mean, sigma: of the errors in
    the `baseline_windows` windows of the plain one, the last before the opening window; z: how many
    sigma observed lies above the mean. guarded_mean, guarded_sigma, guarded_windows, guarded_z: the
    same of the guarded one, which leaves incidents and silences out; null by the plain preset.
    peak_z: the highest score since.
    first_window: where its errors begin. opened_at: arrival of the record that opened it.
    detected_at: when it was first stored. assignee: the address of who looks after it.
    revision: rises with each entry of its timeline, so with whatever people and the detection
    decide; not with the numbers of an incident that goes on. It is the answer's `ETag`, too.
    """

    id: str
    kind: Kind
    title: str
    service_id: str
    severity: Severity
    status: Status
    observed: int | None
    decided_by: Preset | None
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
    confirmed: bool
    confirmed_at: datetime | None = field(name="confirmedAt")
    resolved_at: datetime | None
    detected_at: datetime
    detected_late: bool | None
    updated_at: datetime
    settings_version: int | None
    assignee: str | None
    revision: int


class IncidentMeta(Meta, frozen=True, kw_only=True):
    """Which page this is, of how many.

    total_relation: `gte` where there are more than `total`, which is 10,000 then; pages go on.
    """

    total_relation: Literal["gte"] | UnsetType = field(name="totalRelation", default=UNSET)


class IncidentPage(Struct, frozen=True):
    """A page of incidents, newest first."""

    data: list[Incident]
    meta: IncidentMeta


_CHOICES: dict[str, list[str]] = {
    "status": [status.value for status in Status],
    "severity": [severity.value for severity in Severity],
    "kind": [kind.value for kind in Kind],
    "confirmed": ["true", "false"],
}
"""By what a list is narrowed down where there are few values."""

_NAMES = (*PAGE_NAMES, *_CHOICES, "service_id", "assignee", "from", "to")
_TIME = {"type": "string", "format": "date-time"}
_TEXTS: dict[str, tuple[str, dict[str, Any]]] = {
    "service_id": (
        "Only those of this service",
        {"type": "string", "minLength": 1, "maxLength": SERVICE_CHARACTERS_MAX},
    ),
    "assignee": (
        "Only those that this person looks after, by address; `me`; or `none`: nobody does",
        {"type": "string", "minLength": 1, "maxLength": EMAIL_CHARACTERS_MAX},
    ),
    "from": ("Only those opened from then on", _TIME),
    "to": ("Only those opened before then", _TIME),
}

_FILTER_PARAMETERS = (
    *PAGE_PARAMETERS,
    *(
        {
            "name": name,
            "in": "query",
            "description": f"Only those with this {name}, in any case",
            "schema": {"type": "string", "enum": allowed},
        }
        for name, allowed in _CHOICES.items()
    ),
    *(
        {"name": name, "in": "query", "description": description, "schema": schema}
        for name, (description, schema) in _TEXTS.items()
    ),
)


class Incidents:
    """Shows incidents to everyone who may log in."""

    def __init__(self, incidents: IncidentTable, sessions: Sessions) -> None:
        self._incidents = incidents
        self._sessions = sessions
        self._totals = Totals(incidents)
        self._pages = Together(self._page)

    @operation(
        summary="List incidents, newest first",
        description=(
            "All of them, or those that every given filter lets through. They are counted up to "
            "10,000; where there are more, `totalRelation` is `gte`."
        ),
        parameters=_FILTER_PARAMETERS,
        answers={200: IncidentPage},
        errors=(400, 401, 503),
        security=TOKEN,
    )
    async def list(self, request: Request) -> HTTPResponse:
        """Answer a page of incidents."""
        identity = await self._sessions.require(request)
        parameters = Parameters(request, _NAMES)
        page = page_of(parameters)
        return json_answer(await self._pages.get((_filter(parameters, identity), page)))

    async def _page(self, asked: tuple[IncidentFilter, Page]) -> Raw:
        """Return a page as it is answered, whoever asks."""
        wanted, page = asked
        rows, total = await self._totals.page(wanted, page)
        meta = IncidentMeta(
            **structs.asdict(page.meta(min(total, TOTAL_MAX))),
            total_relation=UNSET if total <= TOTAL_MAX else "gte",
        )
        return Raw(encode(IncidentPage([incident_of(row) for row in rows], meta)))

    @operation(
        summary="Get an incident",
        description="The answer's `ETag` is its revision, for `If-Match` when it is changed.",
        answers={200: Incident},
        errors=(401, 404, 503),
        security=TOKEN,
    )
    async def get(self, request: Request, incident_id: str) -> HTTPResponse:
        """Answer one incident."""
        await self._sessions.require(request)
        return incident_answer(await self._incidents.get(known_id(incident_id)))


def known_id(incident_id: str) -> str:
    """Return the id if there can be such an incident, so that the database isn't asked in vain."""
    if _ID.fullmatch(incident_id):
        return incident_id
    if _BEGINNING.fullmatch(incident_id):
        raise NotFound(
            f"an incident's id has 32 digits, this has {len(incident_id)}: "
            "`tocsin incidents list --json` and `GET /incidents` show them whole"
        )
    raise NotFound("there is no incident of this id")


def incident_answer(row: IncidentRow, status: int = 200, **headers: str) -> HTTPResponse:
    """Answer an incident with its revision as `ETag`."""
    answer = json_answer(incident_of(row), status)
    # A cache that takes the tag for that of every byte would keep numbers that go on changing.
    answer.headers.update({"ETag": f'"{row.revision}"', "Cache-Control": "no-store", **headers})
    return answer


def incident_of(row: IncidentRow) -> Incident:
    """Return an incident as it is answered."""
    return convert(row, Incident, from_attributes=True)


def _filter(parameters: Parameters, identity: Identity) -> IncidentFilter:
    """Return what the list is narrowed down by."""
    chosen = {name: parameters.choice(name, allowed) for name, allowed in _CHOICES.items()}
    confirmed = chosen.pop("confirmed")
    since, until = parameters.moment("from"), parameters.moment("to")
    if since and until and since >= until:
        raise Refusal(400, "from: must lie before `to`")
    assignee = parameters.text("assignee", most=EMAIL_CHARACTERS_MAX)
    is_assigned = False if assignee == "none" else None
    return IncidentFilter(
        **chosen,
        service_id=parameters.text("service_id", most=SERVICE_CHARACTERS_MAX),
        confirmed=None if confirmed is None else confirmed == "true",
        assignee={"none": None, "me": identity.email}.get(assignee or "none", assignee),
        is_assigned=is_assigned,
        since=since,
        until=until,
    )
