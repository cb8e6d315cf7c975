"""Who is logged in: sessions, their tokens, and how soon their end is noticed."""

import hashlib
import re
import secrets
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any
from uuid import UUID

from msgspec import Struct
from sanic import Request

from api.addresses import Addresses
from api.auth import Identity, Role, Tokens, bearer, unauthorized
from api.problems import Refusal, request_id
from sql.audit import Actor
from sql.sessions import SessionRow, SessionSpan, SessionTable
from sql.users import CredentialsRow
from tocsin.settings import Settings

FRESH_S = 5.0
"""How long a worker believes what the database said of a session: so long may an end go unseen."""
_KNOWN_MAX = 10_000
_REFRESH = re.compile(r"tcr_([0-9a-f]{32})_([A-Za-z0-9_-]{1,100})")
_SCHEME = "Bearer"


class Grant(Struct, frozen=True, kw_only=True):
    """What a login or a refresh answers: two tokens and the seconds that each is good for.

    refresh_token: good once; each refresh answers another.
    """

    access_token: str
    token_type: str
    expires_in: int
    refresh_token: str
    refresh_expires_in: int

    def __repr__(self) -> str:
        """Leave the tokens out."""
        return f"Grant(expires_in={self.expires_in!r}, …)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Leave the tokens out."""
        return [("expires_in", self.expires_in)]


class _Known(Struct):
    """What the database said of a session. found: None where it has ended."""

    found: SessionRow | None
    fresh_until: float


class Sessions:
    """Begins, refreshes and ends sessions, and says who asks.

    A session is looked up again when it was looked up more than FRESH_S ago, and always for what
    takes more than a viewer's role, so that nothing is changed by whom it was just taken from.
    While the database is away nobody is known for longer: all that people ask for lies in it.
    """

    def __init__(
        self,
        settings: Settings,
        table: SessionTable,
        tokens: Tokens,
        addresses: Addresses,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ttl_s = settings.session_ttl_s
        self._table = table
        self._tokens = tokens
        self._addresses = addresses
        self._clock = clock
        self._known: dict[UUID, _Known] = {}

    async def begin(self, request: Request, checked: CredentialsRow) -> Grant | None:
        """Begin a session of a user whose password was just checked; None if it just changed."""
        secret, secret_hash = _new_secret()
        actor = Actor(
            name=checked.email,
            user_id=checked.id,
            address=self._addresses.of(request),
            request_id=request_id(request),
        )
        span = await self._table.begin(checked, secret_hash, self._ttl_s, by=actor)
        return None if span is None else self._grant(checked.id, span, secret)

    async def refresh(self, request: Request, refresh_token: str) -> Grant:
        """Exchange a refresh token for new tokens. Refuses (401) one that is not the newest."""
        parts = _REFRESH.fullmatch(refresh_token)
        if parts is None:
            raise _ended()
        session_id = UUID(parts[1])
        secret, secret_hash = _new_secret()
        span = await self._table.rotate(
            session_id, _hash(parts[2]), secret_hash, by=self.actor(request)
        )
        if span is None:
            self._known.pop(session_id, None)
            raise _ended()
        return self._grant(span.user_id, span, secret)

    async def end(self, request: Request, identity: Identity) -> None:
        """End the session that a request is of."""
        await self._table.end(identity.session_id, by=self.actor(request, identity))
        self._known.pop(identity.session_id, None)

    async def require(self, request: Request, needed: Role = Role.VIEWER) -> Identity:
        """Return who asks; refuse without a good token (401) or with too low a role (403).

        Raises StorageError when the database is away and the session is not fresh.
        """
        if needed is not Role.VIEWER:
            return await self.require_now(request, needed)
        session_id = self._session_of(request)
        known = self._known.get(session_id)
        if known is not None and known.fresh_until > self._clock():
            return _identity(known.found)
        return _identity(await self._look_up(session_id))

    async def require_now(self, request: Request, needed: Role = Role.VIEWER) -> Identity:
        """Return who asks as the database knows them now. Refuses likewise."""
        identity = _identity(await self._look_up(self._session_of(request)))
        identity.require(needed)
        return identity

    def actor(self, request: Request, identity: Identity | None = None) -> Actor:
        """Return whom the audit log names for a request."""
        return Actor(
            name=None if identity is None else identity.email,
            user_id=None if identity is None else UUID(identity.user_id),
            address=self._addresses.of(request),
            request_id=request_id(request),
        )

    def _session_of(self, request: Request) -> UUID:
        token = bearer(request)
        if token is None:
            raise unauthorized("send an access token as `Authorization: Bearer <token>`")
        return self._tokens.session_of(token)

    async def _look_up(self, session_id: UUID) -> SessionRow | None:
        # Fresh from when it was asked: the answer may be as old.
        fresh_until = self._clock() + FRESH_S
        found = await self._table.find(session_id)
        if len(self._known) >= _KNOWN_MAX:
            self._known.clear()
        self._known[session_id] = _Known(found, fresh_until)
        return found

    def _grant(self, user_id: UUID, span: SessionSpan, secret: str) -> Grant:
        token, ttl_s = self._tokens.issue(user_id, span.id, span.expires_at)
        left_s = (span.expires_at - datetime.now(timezone.utc)).total_seconds()
        return Grant(
            access_token=token,
            token_type=_SCHEME,
            expires_in=ttl_s,
            refresh_token=f"tcr_{span.id.hex}_{secret}",
            refresh_expires_in=max(0, round(left_s)),
        )


def _identity(row: SessionRow | None) -> Identity:
    if row is None:
        raise _ended()
    user_id = str(row.user_id)
    return Identity(user_id=user_id, email=row.email, role=Role(row.role), session_id=row.id)


def _ended() -> Refusal:
    return unauthorized("the session has ended: log in again")


def _new_secret() -> tuple[str, bytes]:
    secret = secrets.token_urlsafe(32)
    return secret, _hash(secret)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
