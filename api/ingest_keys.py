"""Ingest keys as admins see them: made, listed, revoked."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
import structlog
from msgspec import Struct
from sanic import HTTPResponse, Request

from api.auth import Role
from api.bodies import json_answer, read_body
from api.keys import KeyRing, new_key
from api.openapi import TOKEN, operation
from api.paging import PAGE_PARAMETERS, Meta, read_page
from api.problems import Refusal, request_id
from api.scopes import SERVICES_MAX, check_services
from api.sessions import Sessions
from sql.keys import KeyRow, KeyTable
from tocsin.errors import NotFound, SettingsError

NAME_CHARACTERS_MAX = 128
_Pattern = Annotated[
    str, msgspec.Meta(extra_json_schema={"minLength": 1, "maxLength": NAME_CHARACTERS_MAX})
]
_Patterns = Annotated[
    list[_Pattern], msgspec.Meta(extra_json_schema={"minItems": 1, "maxItems": SERVICES_MAX})
]
_ID_CHARACTERS = frozenset("0123456789abcdef")

log = structlog.get_logger(__name__)


class NewIngestKey(Struct, frozen=True, forbid_unknown_fields=True):
    """A key to be made.

    services: whose records it may send, as ids or patterns (`batch-*`); left out: everybody's.
    """

    name: Annotated[
        str,
        msgspec.Meta(
            min_length=1,
            max_length=NAME_CHARACTERS_MAX,
            description="Who will send logs with it; printable characters",
        ),
    ]
    services: _Patterns | None = None


class IngestKey(Struct, frozen=True, kw_only=True):
    """A key without its secret. last_used_at: to the minute."""

    id: str
    name: str
    services: list[str] | None
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


class MadeIngestKey(Struct, frozen=True, kw_only=True):
    """A key that was just made. key: shown this once, for only its hash is kept."""

    id: str
    name: str
    services: list[str] | None
    key: str

    def __repr__(self) -> str:
        """Leave the key out."""
        return f"MadeIngestKey(id={self.id!r}, …)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Leave the key out."""
        return [("id", self.id)]


class IngestKeyPage(Struct, frozen=True):
    """A page of keys, oldest first."""

    data: list[IngestKey]
    meta: Meta


class IngestKeys:
    """Lets admins make, list and revoke keys."""

    def __init__(self, table: KeyTable, ring: KeyRing, sessions: Sessions) -> None:
        self._table = table
        self._ring = ring
        self._sessions = sessions

    @operation(
        summary="Make an ingest key",
        description="Needs the role admin. The answer holds the key, this once.",
        body=NewIngestKey,
        answers={201: MadeIngestKey},
        errors=(400, 401, 403, 409, 415, 503),
        security=TOKEN,
    )
    async def create(self, request: Request) -> HTTPResponse:
        """Make a key."""
        identity = await self._sessions.require(request, Role.ADMIN)
        wanted = read_body(request, NewIngestKey)
        if fault := name_fault(wanted.name):
            raise Refusal(400, f"name: {fault}")
        try:
            services = None if wanted.services is None else check_services(wanted.services)
        except SettingsError as error:
            raise Refusal(400, str(error)) from None
        key = new_key()
        row = await self._table.insert(
            key.id, wanted.name, key.hash, services, by=self._sessions.actor(request, identity)
        )
        log.info("key created", key=row.id, request_id=request_id(request))
        made = MadeIngestKey(id=row.id, name=row.name, services=row.services, key=key.text)
        return json_answer(made, 201)

    @operation(
        summary="List ingest keys, oldest first",
        description="Needs the role admin. Revoked ones are among them.",
        parameters=PAGE_PARAMETERS,
        answers={200: IngestKeyPage},
        errors=(400, 401, 403, 503),
        security=TOKEN,
    )
    async def list(self, request: Request) -> HTTPResponse:
        """Answer a page of keys."""
        await self._sessions.require(request, Role.ADMIN)
        page = read_page(request)
        total = await self._table.count()
        rows = await self._table.page(limit=page.limit, offset=page.offset)
        return json_answer(IngestKeyPage([_shown(row) for row in rows], page.meta(total)))

    @operation(
        summary="Revoke an ingest key",
        description=(
            "Needs the role admin. It is refused at once on the worker that answers, within 5 "
            "seconds on the others. The answer is the key as it is now."
        ),
        answers={200: IngestKey},
        errors=(401, 403, 404, 503),
        security=TOKEN,
    )
    async def revoke(self, request: Request, key_id: str) -> HTTPResponse:
        """Revoke a key."""
        identity = await self._sessions.require(request, Role.ADMIN)
        if not _ID_CHARACTERS.issuperset(key_id):
            raise NotFound("no ingest key goes by that id")
        row = await self._table.revoke(key_id, by=self._sessions.actor(request, identity))
        self._ring.forget(key_id)
        log.info("key revoked", key=row.id, request_id=request_id(request))
        return json_answer(_shown(row))


def name_fault(name: str) -> str | None:
    """Return what is wrong with the name of a key, or None."""
    if not 1 <= len(name) <= NAME_CHARACTERS_MAX or not name.isprintable():
        return f"give 1 to {NAME_CHARACTERS_MAX} printable characters"
    return None


def _shown(row: KeyRow) -> IngestKey:
    return IngestKey(**msgspec.structs.asdict(row))
