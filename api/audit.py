"""The audit log as admins read it."""

from datetime import datetime
from uuid import UUID

import msgspec
from msgspec import Raw, Struct
from sanic import HTTPResponse, Request

from api.auth import Role
from api.bodies import json_answer
from api.keyset import KEYSET_NAMES, KEYSET_PARAMETERS, KeysetMeta, keyset_of
from api.openapi import TOKEN, operation
from api.parameters import Parameters
from api.sessions import Sessions
from sql.audit import AuditTable

_ACTION_CHARACTERS_MAX = 64


class AuditEntry(Struct, frozen=True, kw_only=True):
    """Who did what.

    actor: e-mail address, or whose command line it was; null where nobody has proved who they are.
    subject: id of what it was done to. address: where the request came from.
    """

    seq: int
    at: datetime
    actor: str | None
    actor_id: UUID | None
    action: str
    subject: str | None
    address: str | None
    request_id: str | None
    details: Raw


class AuditPage(Struct, frozen=True):
    """Entries of the audit log, newest first."""

    data: list[AuditEntry]
    meta: KeysetMeta


class Audit:
    """Shows the audit log to admins."""

    def __init__(self, table: AuditTable, sessions: Sessions) -> None:
        self._table = table
        self._sessions = sessions

    @operation(
        summary="List who did what, newest first",
        description=(
            "Needs the role admin. Entries are never changed or deleted. To go on, send "
            "`meta.next` as `before`: what is added meanwhile moves no page."
        ),
        parameters=(
            *KEYSET_PARAMETERS,
            {
                "name": "action",
                "in": "query",
                "description": "Only this action, as `login.refused`",
                "schema": {"type": "string", "maxLength": _ACTION_CHARACTERS_MAX},
            },
        ),
        answers={200: AuditPage},
        errors=(400, 401, 403, 503),
        security=TOKEN,
    )
    async def list(self, request: Request) -> HTTPResponse:
        """Answer entries of the audit log."""
        await self._sessions.require(request, Role.ADMIN)
        parameters = Parameters(request, (*KEYSET_NAMES, "action"))
        keyset = keyset_of(parameters)
        action = parameters.text("action", most=_ACTION_CHARACTERS_MAX)
        rows = await self._table.page(before=keyset.before, action=action, limit=keyset.limit + 1)
        shown = [AuditEntry(**msgspec.structs.asdict(row)) for row in rows[: keyset.limit]]
        following = shown[-1].seq if len(rows) > keyset.limit else None
        return json_answer(AuditPage(shown, KeysetMeta(keyset.limit, following)))
