"""What people do to incidents: open by hand, acknowledge, resolve, assign, comment, delete."""

import re
import secrets
from datetime import datetime, timedelta, timezone
from typing import Annotated, TypeVar

import structlog
from msgspec import UNSET, Meta, Struct, UnsetType
from sanic import HTTPResponse, Request

from api.auth import Identity, Role
from api.bodies import json_answer, read_body
from api.incidents import Incident, Status, incident_answer, known_id
from api.openapi import TOKEN, operation
from api.problems import Refusal, request_id
from api.sessions import Sessions
from sql.incident_changes import Change, IncidentChanges, NewIncident
from sql.incidents import IncidentTable
from sql.timeline import TimelineEntry
from tocsin.detection import Severity

STARTED_DAYS_MAX = 31
COMMENT_CHARACTERS_MAX = 10_000
# What PostgreSQL's text can hold, and more than blanks.
_TEXT = r"^[^\x00]*[^\x00\s][^\x00]*$"
_LINE = r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$(?!\n)"
_SERVICE = r"^[^\x00]*$"
_REVISION = re.compile(r'(?:W/)?"([0-9]{1,18})"')

IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "description": (
        "The `ETag` (or several) that the incident must still have, else 412. Without it the last "
        "one to write wins, field by field, and the timeline says what it was before."
    ),
    "schema": {
        "type": "string",
        "pattern": r'^(\*|(W/)?"[0-9]{1,18}"( *, *(W/)?"[0-9]{1,18}"){0,19})$',
    },
}

Text = Annotated[str, Meta(min_length=1, max_length=COMMENT_CHARACTERS_MAX, pattern=_TEXT)]
Body = TypeVar("Body")

log = structlog.get_logger(__name__)


class OpenedIncident(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An incident that a person opens.

    started_at: when it began, at most 31 days ago; now where it is not given. Its log records are
    those from then on.
    """

    service_id: Annotated[str, Meta(min_length=1, max_length=128, pattern=_SERVICE)]
    title: Annotated[str, Meta(min_length=1, max_length=200, pattern=_LINE)]
    severity: Severity
    note: Text | None = None
    started_at: Annotated[datetime, Meta(tz=True)] | None = None


class IncidentChange(Struct, frozen=True, forbid_unknown_fields=True):
    """What a person changes on an incident; at least one of the three.

    assignee: the address of an operator or admin, `me`, or null for nobody.
    """

    status: Status | UnsetType = UNSET
    severity: Severity | UnsetType = UNSET
    assignee: Annotated[str, Meta(min_length=1, max_length=254)] | UnsetType | None = UNSET


class Note(Struct, frozen=True, forbid_unknown_fields=True):
    """What there is to say beside it, if anything: it becomes a comment."""

    note: Text | None = None


class Comment(Struct, frozen=True, forbid_unknown_fields=True):
    """What a person has to say about an incident."""

    text: Text


class IncidentDesk:
    """Lets operators work on incidents; each deed is in the timeline, with who did it."""

    def __init__(
        self, incidents: IncidentTable, changes: IncidentChanges, sessions: Sessions
    ) -> None:
        self._incidents = incidents
        self._changes = changes
        self._sessions = sessions

    @operation(
        summary="Open an incident by hand",
        description=(
            "Needs the role operator. Its kind is `manual`: the detection neither sees nor changes "
            "it, and people resolve it. It is confirmed at once."
        ),
        body=OpenedIncident,
        answers={201: Incident},
        errors=(400, 401, 403, 415, 503),
        security=TOKEN,
    )
    async def open(self, request: Request) -> HTTPResponse:
        """Open an incident."""
        identity = await self._sessions.require(request, Role.OPERATOR)
        body = read_body(request, OpenedIncident)
        new = NewIncident(
            id=secrets.token_hex(16),
            service_id=body.service_id,
            title=body.title,
            severity=body.severity.value,
            started_at=_started_at(body.started_at),
            comment=body.note,
        )
        await self._changes.open(new, by=self._sessions.actor(request, identity))
        _log("incident opened", request, new.id, identity.user_id)
        row = await self._incidents.get(new.id)
        return incident_answer(row, 201, Location=f"/incidents/{new.id}")

    @operation(
        summary="Change an incident's status, severity or assignee",
        description=(
            "Needs the role operator. Send `status`, `severity`, `assignee`, or several. Each "
            "thing that changes is an entry in the timeline, with who changed it; what is so "
            "already is none. What the detection has resolved stays so: 409; it opens the next "
            "incident itself."
        ),
        parameters=(IF_MATCH,),
        body=IncidentChange,
        body_schema={"minProperties": 1},
        answers={200: Incident},
        errors=(400, 401, 403, 404, 409, 412, 415, 503),
        security=TOKEN,
    )
    async def change(self, request: Request, incident_id: str) -> HTTPResponse:
        """Change an incident's status, severity or assignee."""
        identity = await self._sessions.require(request, Role.OPERATOR)
        body = read_body(request, IncidentChange)
        if body == IncidentChange():
            raise Refusal(400, "body: nothing to change, send `status`, `severity` or `assignee`")
        change = Change(
            status=body.status.value if body.status else None,
            severity=body.severity.value if body.severity else None,
            assignee=await self._assignee(body.assignee, identity),
            revisions=_revisions(request),
        )
        return await self._do(request, incident_id, change, identity)

    @operation(
        summary="Acknowledge an incident",
        description="Needs the role operator. One that is resolved stays so: 409.",
        parameters=(IF_MATCH,),
        body=Note,
        body_optional=True,
        answers={200: Incident},
        errors=(400, 401, 403, 404, 409, 412, 415, 503),
        security=TOKEN,
    )
    async def acknowledge(self, request: Request, incident_id: str) -> HTTPResponse:
        """Acknowledge an incident that is not resolved."""
        identity = await self._sessions.require(request, Role.OPERATOR)
        change = Change(
            status=Status.ACKNOWLEDGED.value,
            comment=_optional(request, Note, Note()).note,
            revisions=_revisions(request),
            unless_resolved=True,
        )
        return await self._do(request, incident_id, change, identity)

    @operation(
        summary="Resolve an incident",
        description=(
            "Needs the role operator. A minute that begins later and is abnormal reopens it, "
            "unless it is of kind `manual`."
        ),
        parameters=(IF_MATCH,),
        body=Note,
        body_optional=True,
        answers={200: Incident},
        errors=(400, 401, 403, 404, 412, 415, 503),
        security=TOKEN,
    )
    async def resolve(self, request: Request, incident_id: str) -> HTTPResponse:
        """Resolve an incident."""
        identity = await self._sessions.require(request, Role.OPERATOR)
        change = Change(
            status=Status.RESOLVED.value,
            comment=_optional(request, Note, Note()).note,
            revisions=_revisions(request),
        )
        return await self._do(request, incident_id, change, identity)

    @operation(
        summary="Comment on an incident",
        description="Needs the role operator. The comment is an entry of the timeline.",
        body=Comment,
        answers={201: TimelineEntry},
        errors=(400, 401, 403, 404, 415, 503),
        security=TOKEN,
    )
    async def comment(self, request: Request, incident_id: str) -> HTTPResponse:
        """Append a comment to the timeline."""
        identity = await self._sessions.require(request, Role.OPERATOR)
        text = read_body(request, Comment).text
        actor = self._sessions.actor(request, identity)
        entry = await self._changes.comment(known_id(incident_id), text, by=actor)
        _log("incident commented", request, incident_id, identity.user_id)
        return json_answer(entry, 201)

    @operation(
        summary="Delete an incident",
        description=(
            "Needs the role admin. It is resolved, told on the topic as `deleted`, and shown to "
            "nobody any more. Its row and its timeline stay in the database, for the detection "
            "counts on them; a minute that begins later and is abnormal brings it back."
        ),
        parameters=(IF_MATCH,),
        answers={204: {}},
        errors=(400, 401, 403, 404, 412, 503),
        security=TOKEN,
    )
    async def delete(self, request: Request, incident_id: str) -> HTTPResponse:
        """Resolve an incident and hide it."""
        identity = await self._sessions.require(request, Role.ADMIN)
        actor = self._sessions.actor(request, identity)
        revisions = _revisions(request)
        await self._changes.delete(known_id(incident_id), by=actor, revisions=revisions)
        _log("incident deleted", request, incident_id, identity.user_id)
        return HTTPResponse(status=204)

    async def _assignee(
        self, wanted: str | UnsetType | None, identity: Identity
    ) -> str | UnsetType | None:
        """Return the address as it is stored of whom an incident is to be assigned to."""
        if wanted is None or wanted is UNSET:
            return wanted
        if wanted == "me":
            return identity.email
        # PostgreSQL's text holds no NUL, so no user has one in the address.
        known = None if "\0" in wanted else await self._changes.assignee(wanted)
        if known is None:
            raise Refusal(400, "assignee: no operator and no admin has this address")
        return known

    async def _do(
        self, request: Request, incident_id: str, change: Change, identity: Identity
    ) -> HTTPResponse:
        actor = self._sessions.actor(request, identity)
        await self._changes.change(known_id(incident_id), change, by=actor)
        _log("incident changed", request, incident_id, identity.user_id)
        return incident_answer(await self._incidents.get(incident_id))


def _optional(request: Request, kind: type[Body], absent: Body) -> Body:
    """Read a body that may as well be missing."""
    return read_body(request, kind) if request.body else absent


def _started_at(given: datetime | None) -> datetime | None:
    if given is None:
        return None
    age = datetime.now(timezone.utc) - given
    if age < timedelta(0):
        raise Refusal(400, "started_at: lies in the future")
    if age > timedelta(days=STARTED_DAYS_MAX):
        raise Refusal(400, f"started_at: at most {STARTED_DAYS_MAX} days ago")
    return given


def _revisions(request: Request) -> frozenset[int] | None:
    """Return which revisions a change is meant for, or None for any.

    A proxy that compresses makes a tag weak: it names the revision all the same.
    """
    given = request.headers.get("if-match", "*").strip()
    if given == "*":
        return None
    tags = [_REVISION.fullmatch(tag.strip()) for tag in given.split(",")]
    found = frozenset(int(tag[1]) for tag in tags if tag)
    if len(tags) > 20 or not all(tags):
        raise Refusal(400, 'If-Match: give the ETag of the incident, as "42", or *')
    return found


def _log(what: str, request: Request, incident_id: str, user_id: str) -> None:
    log.info(what, incident=incident_id, user=user_id, request_id=request_id(request))
