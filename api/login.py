"""Logging in, staying logged in, logging out."""

from typing import Any, Literal

import structlog
from msgspec import Struct
from sanic import HTTPResponse, Request

from api.auth import unauthorized
from api.bodies import json_answer, read_body
from api.limits import Limits
from api.openapi import TOKEN, operation
from api.passwords import Passwords
from api.problems import request_id
from api.sessions import Grant, Sessions
from sql.audit import AuditTable
from sql.users import UserTable

log = structlog.get_logger(__name__)


class Login(Struct, frozen=True, forbid_unknown_fields=True):
    """Who wants a token."""

    email: str
    password: str

    def __repr__(self) -> str:
        """Leave the password out."""
        return f"Login(email={self.email!r}, …)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Leave the password out."""
        return [("email", self.email)]


class Refresh(Struct, frozen=True, forbid_unknown_fields=True):
    """The newest refresh token of a session."""

    refresh_token: str

    def __repr__(self) -> str:
        """Leave the token out."""
        return "Refresh(…)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Leave the token out."""
        return []


class LoggedOut(Struct, frozen=True):
    """The session has ended."""

    status: Literal["logged out"] = "logged out"


class Logins:
    """Lets users in and out."""

    def __init__(
        self,
        users: UserTable,
        audit: AuditTable,
        sessions: Sessions,
        passwords: Passwords,
        limits: Limits,
    ) -> None:
        self._users = users
        self._audit = audit
        self._sessions = sessions
        self._passwords = passwords
        self._limits = limits

    @operation(
        summary="Log in",
        description=(
            "The answer to an unknown address is that to a wrong password. The access token is "
            "sent with each request; the refresh token gets new ones from `POST /auth/refresh`."
        ),
        body=Login,
        answers={200: Grant},
        errors=(400, 401, 415, 429, 503),
    )
    async def login(self, request: Request) -> HTTPResponse:
        """Exchange an address and a password for tokens."""
        given = read_body(request, Login)
        await self._limits.login(request)
        await self._limits.account(given.email)
        # PostgreSQL's text holds no NUL, so no user has one in the address.
        known = None
        if "\0" not in given.email:
            known = await self._users.credentials(given.email)
        matches = await self._passwords.matches(
            given.password, known.password_hash if known else None
        )
        grant = None
        if known is not None and matches:
            grant = await self._sessions.begin(request, known)
        if grant is None:
            # An address that is no user's is not kept: it may be a password in the wrong field.
            await self._audit.add(
                self._sessions.actor(request), "login.refused", known.id if known else None
            )
            log.info("login refused", request_id=request_id(request))
            raise unauthorized("no user has this address and password")
        return json_answer(grant)

    @operation(
        summary="Exchange a refresh token for new tokens",
        description=(
            "A refresh token is good once. One that was used before ends its session, since "
            "somebody else may have it: then log in again."
        ),
        body=Refresh,
        answers={200: Grant},
        errors=(400, 401, 415, 429, 503),
    )
    async def refresh(self, request: Request) -> HTTPResponse:
        """Exchange a refresh token for new tokens."""
        given = read_body(request, Refresh)
        await self._limits.login(request)
        return json_answer(await self._sessions.refresh(request, given.refresh_token))

    @operation(
        summary="Log out",
        description=(
            "Ends the session of the access token: neither it nor its refresh token is good any "
            "more, on other workers within 5 seconds."
        ),
        answers={200: LoggedOut},
        errors=(401, 503),
        security=TOKEN,
    )
    async def logout(self, request: Request) -> HTTPResponse:
        """End the session that the request is of."""
        identity = await self._sessions.require(request)
        await self._sessions.end(request, identity)
        return json_answer(LoggedOut())
