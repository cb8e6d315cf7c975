"""What people say of an incident: whether it was one; backtests are scored against it."""

from datetime import datetime
from typing import Annotated

import structlog
from msgspec import Meta, Struct, structs
from sanic import HTTPResponse, Request

from api.auth import Role
from api.bodies import json_answer, read_body
from api.incident_changes import Text
from api.incidents import known_id
from api.openapi import TOKEN, operation
from api.problems import request_id
from api.sessions import Sessions
from sql.labels import LabelRow, LabelTable

log = structlog.get_logger(__name__)


class NewLabel(Struct, frozen=True, forbid_unknown_fields=True):
    """What a person says of an incident.

    is_true: there was one; false: a false alarm.
    """

    is_true: bool
    note: Text | None = None


class IncidentLabel(Struct, frozen=True, kw_only=True):
    """What was said of an incident last, by whom and when.

    is_true: there was one; false: a false alarm. labelled_by: an address, or whose command line.
    """

    incident_id: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    is_true: bool
    note: str | None
    labelled_at: datetime
    labelled_by: str


class Labels:
    """Lets operators say which incidents were any."""

    def __init__(self, labels: LabelTable, sessions: Sessions) -> None:
        self._labels = labels
        self._sessions = sessions

    @operation(
        summary="Get what was said of an incident",
        description="404 also where nobody has said anything.",
        answers={200: IncidentLabel},
        errors=(401, 404, 503),
        security=TOKEN,
    )
    async def get(self, request: Request, incident_id: str) -> HTTPResponse:
        """Answer an incident's label."""
        await self._sessions.require(request)
        return _answer(await self._labels.get(known_id(incident_id)))

    @operation(
        summary="Say of an incident whether it was one",
        description=(
            "Needs the role operator. It takes the place of what was said before. The detection "
            "is not told: backtests are scored against it."
        ),
        body=NewLabel,
        answers={200: IncidentLabel},
        errors=(400, 401, 403, 404, 415, 503),
        security=TOKEN,
    )
    async def put(self, request: Request, incident_id: str) -> HTTPResponse:
        """Label an incident."""
        identity = await self._sessions.require(request, Role.OPERATOR)
        body = read_body(request, NewLabel)
        row = await self._labels.label(
            known_id(incident_id),
            is_true=body.is_true,
            note=body.note,
            by=self._sessions.actor(request, identity),
        )
        _log("incident labelled", request, incident_id, identity.user_id)
        return _answer(row)

    @operation(
        summary="Take back what was said of an incident",
        description="Needs the role operator.",
        answers={204: {}},
        errors=(401, 403, 404, 503),
        security=TOKEN,
    )
    async def delete(self, request: Request, incident_id: str) -> HTTPResponse:
        """Remove an incident's label."""
        identity = await self._sessions.require(request, Role.OPERATOR)
        by = self._sessions.actor(request, identity)
        await self._labels.remove(known_id(incident_id), by=by)
        _log("incident unlabelled", request, incident_id, identity.user_id)
        return HTTPResponse(status=204)


def _answer(row: LabelRow) -> HTTPResponse:
    return json_answer(IncidentLabel(**structs.asdict(row)))


def _log(what: str, request: Request, incident_id: str, user_id: str) -> None:
    log.info(what, incident=incident_id, user=user_id, request_id=request_id(request))
