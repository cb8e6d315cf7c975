"""People: registration and login."""

from datetime import datetime
from typing import Annotated, Any

import structlog
from msgspec import Meta, Struct
from sanic import HTTPResponse, Request

from api.auth import AccessToken, Role, Tokens, unauthorized
from api.bodies import json_answer, read_body
from api.openapi import OPTIONAL_TOKEN, operation
from api.passwords import Passwords
from api.problems import request_id
from sql.reader import Reader
from tocsin.settings import Settings

_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# That of HTML's <input type=email>, with a dot in the domain and without the backtick: ASCII alone,
# since what looks like one address must be one user. Python's `$` would allow a final newline.
EMAIL = rf"^[A-Za-z0-9.!#$%&'*+/=?^_{{|}}~-]+@{_LABEL}(\.{_LABEL})+$(?!\n)"
EMAIL_CHARACTERS_MAX = 254
Email = Annotated[
    str,
    Meta(max_length=EMAIL_CHARACTERS_MAX, pattern=EMAIL, description="An e-mail address, in ASCII"),
]
Password = Annotated[
    str, Meta(min_length=8, max_length=72, description="8 characters to 72 bytes of UTF-8")
]

log = structlog.get_logger(__name__)


class NewUser(Struct, frozen=True, forbid_unknown_fields=True):
    """Who wants to be let in. role: only an admin may give one; `operator` where none is given."""

    email: Email
    password: Password
    role: Role | None = None

    def __repr__(self) -> str:
        """Leave the password out."""
        return f"NewUser(email={self.email!r}, …)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Leave the password out."""
        return [("email", self.email)]


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


class User(Struct, frozen=True, kw_only=True):
    """A person who may log in."""

    id: str
    email: str
    role: Role
    created_at: datetime


class Users:
    """Adds users and lets them in."""

    def __init__(
        self, settings: Settings, reader: Reader, tokens: Tokens, passwords: Passwords
    ) -> None:
        self._open = settings.registration == "open"
        self._reader = reader
        self._tokens = tokens
        self._passwords = passwords

    @operation(
        summary="Add a user",
        description=(
            "Where registration is open, anybody may add themselves, as operator. Where it is "
            "closed, and to give a role, it takes an admin's token."
        ),
        body=NewUser,
        answers={201: User},
        errors=(400, 401, 403, 409, 415, 503),
        security=OPTIONAL_TOKEN,
    )
    async def create(self, request: Request) -> HTTPResponse:
        """Add a user."""
        if not self._open:
            self._tokens.require(request, Role.ADMIN)
        new = read_body(request, NewUser)
        if self._open and new.role is not None:
            self._tokens.require(request, Role.ADMIN)
        role = new.role or Role.OPERATOR
        password_hash = await self._passwords.hash(new.password)
        row = await self._reader.insert_user(new.email, password_hash, role.value)
        log.info("user created", user=str(row.id), role=row.role, request_id=request_id(request))
        user = User(id=str(row.id), email=row.email, role=role, created_at=row.created_at)
        return json_answer(user, 201)

    @operation(
        summary="Log in",
        description="The answer to an unknown address is that to a wrong password.",
        body=Login,
        answers={200: AccessToken},
        errors=(400, 401, 415, 503),
    )
    async def login(self, request: Request) -> HTTPResponse:
        """Exchange an address and a password for an access token."""
        given = read_body(request, Login)
        # PostgreSQL's text holds no NUL, so no user has one in the address.
        known = None
        if "\0" not in given.email:
            known = await self._reader.select_credentials(given.email)
        matches = await self._passwords.matches(
            given.password, known.password_hash if known else None
        )
        if known is None or not matches:
            log.info("login refused", request_id=request_id(request))
            raise unauthorized("no user has this address and password")
        return json_answer(self._tokens.issue(str(known.id), Role(known.role)))
