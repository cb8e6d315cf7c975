"""People: who may log in, and as what."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
import structlog
from msgspec import UNSET, Struct, UnsetType
from sanic import HTTPResponse, Request

from api.auth import Identity, Role
from api.bodies import json_answer, read_body
from api.limits import Limits
from api.openapi import OPTIONAL_TOKEN, TOKEN, operation
from api.paging import PAGE_PARAMETERS, Meta, read_page
from api.passwords import Passwords
from api.problems import Refusal, request_id
from api.sessions import Sessions
from sql.users import UserChange, UserRow, UserTable
from tocsin.errors import NotFound
from tocsin.settings import Settings

_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# That of HTML's <input type=email>, with a dot in the domain and without the backtick: ASCII alone,
# since what looks like one address must be one user. Python's `$` would allow a final newline.
EMAIL = rf"^[A-Za-z0-9.!#$%&'*+/=?^_{{|}}~-]+@{_LABEL}(\.{_LABEL})+$(?!\n)"
EMAIL_CHARACTERS_MAX = 254
Email = Annotated[
    str,
    msgspec.Meta(
        max_length=EMAIL_CHARACTERS_MAX, pattern=EMAIL, description="An e-mail address, in ASCII"
    ),
]
Password = Annotated[
    str,
    msgspec.Meta(
        min_length=8,
        max_length=72,
        pattern=r"^[^\x00]*$",
        description="8 characters to 72 bytes of UTF-8, without NUL",
    ),
]
_ME = "me"

log = structlog.get_logger(__name__)


class NewUser(Struct, frozen=True, forbid_unknown_fields=True):
    """Who wants to be let in. role: only an admin may give one; `viewer` where none is given."""

    email: Email
    password: Password
    role: Role | None = None

    def __repr__(self) -> str:
        """Leave the password out."""
        return f"NewUser(email={self.email!r}, …)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Leave the password out."""
        return [("email", self.email)]


class UserUpdate(Struct, frozen=True, forbid_unknown_fields=True):
    """What is changed of a user; at least one thing.

    old_password: needed by whoever changes their own password.
    """

    email: Email | UnsetType = UNSET
    role: Role | UnsetType = UNSET
    password: Password | UnsetType = UNSET
    old_password: str | UnsetType = UNSET

    def __repr__(self) -> str:
        """Leave the passwords out."""
        return f"UserUpdate(email={self.email!r}, role={self.role!r}, …)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Leave the passwords out."""
        return [("email", self.email), ("role", self.role)]


class User(Struct, frozen=True, kw_only=True):
    """A person who may log in."""

    id: UUID
    email: str
    role: Role
    created_at: datetime
    updated_at: datetime


class UserPage(Struct, frozen=True):
    """A page of users, oldest first."""

    data: list[User]
    meta: Meta


class Users:
    """Shows and changes users: admins all of them, everybody themselves."""

    def __init__(
        self,
        settings: Settings,
        users: UserTable,
        sessions: Sessions,
        passwords: Passwords,
        limits: Limits,
    ) -> None:
        self._open = settings.registration == "open"
        self._users = users
        self._sessions = sessions
        self._passwords = passwords
        self._limits = limits

    @operation(
        summary="Add a user",
        description=(
            "Where registration is open, anybody may add themselves, as viewer. Where it is "
            "closed, and to give a role, it takes an admin's token."
        ),
        body=NewUser,
        answers={201: User},
        errors=(400, 401, 403, 409, 415, 429, 503),
        security=OPTIONAL_TOKEN,
    )
    async def create(self, request: Request) -> HTTPResponse:
        """Add a user."""
        identity = None
        if not self._open:
            identity = await self._sessions.require(request, Role.ADMIN)
        new = read_body(request, NewUser)
        if self._open and new.role is not None:
            identity = await self._sessions.require(request, Role.ADMIN)
        if identity is None:
            await self._limits.login(request)
        role = new.role or Role.VIEWER
        password_hash = await self._passwords.hash(new.password)
        row = await self._users.insert(
            new.email, password_hash, role.value, by=self._sessions.actor(request, identity)
        )
        log.info("user created", user=str(row.id), role=row.role, request_id=request_id(request))
        return json_answer(_user(row), 201)

    @operation(
        summary="List users, oldest first",
        description="Needs the role admin.",
        parameters=PAGE_PARAMETERS,
        answers={200: UserPage},
        errors=(400, 401, 403, 503),
        security=TOKEN,
    )
    async def list(self, request: Request) -> HTTPResponse:
        """Answer a page of users."""
        await self._sessions.require(request, Role.ADMIN)
        page = read_page(request)
        total = await self._users.count()
        rows = await self._users.page(limit=page.limit, offset=page.offset)
        return json_answer(UserPage([_user(row) for row in rows], page.meta(total)))

    @operation(
        summary="Get a user",
        description="Everybody may get themselves, as `me` or by id; others need the role admin.",
        answers={200: User},
        errors=(401, 403, 404, 503),
        security=TOKEN,
    )
    async def get(self, request: Request, user_id: str) -> HTTPResponse:
        """Answer one user."""
        _, wanted = await self._whose(request, user_id)
        return json_answer(_user(await self._users.get(wanted)))

    @operation(
        summary="Change a user",
        description=(
            "Admins change everybody's address, role and password; everybody changes their own "
            "password, with the old one. A new password ends all sessions of the user."
        ),
        body=UserUpdate,
        body_schema={"anyOf": [{"required": [name]} for name in ("email", "role", "password")]},
        answers={200: User},
        errors=(400, 401, 403, 404, 409, 415, 429, 503),
        security=TOKEN,
    )
    async def change(self, request: Request, user_id: str) -> HTTPResponse:
        """Change a user."""
        identity, wanted = await self._whose(request, user_id)
        update = read_body(request, UserUpdate)
        if update.email is UNSET and update.role is UNSET and update.password is UNSET:
            raise Refusal(400, "body: nothing to change, send `email`, `role` or `password`")
        if not identity.role.covers(Role.ADMIN) and (update.email or update.role):
            raise Refusal(403, "changing `email` or `role` needs the role admin")
        password_hash = None
        if update.password is not UNSET:
            if str(wanted) == identity.user_id:
                await self._require_old_password(identity, update.old_password)
            password_hash = await self._passwords.hash(update.password)
        change = UserChange(
            email=update.email or None,
            role=update.role.value if update.role else None,
            password_hash=password_hash,
        )
        row = await self._users.change(wanted, change, by=self._sessions.actor(request, identity))
        log.info("user changed", user=str(row.id), role=row.role, request_id=request_id(request))
        return json_answer(_user(row))

    @operation(
        summary="Delete a user",
        description=(
            "Needs the role admin. All their sessions end; what they did keeps their address. The "
            "last admin can't be deleted. The answer is the user as it was."
        ),
        answers={200: User},
        errors=(401, 403, 404, 409, 503),
        security=TOKEN,
    )
    async def delete(self, request: Request, user_id: str) -> HTTPResponse:
        """Delete a user."""
        identity = await self._sessions.require(request, Role.ADMIN)
        wanted = _known_id(user_id, identity)
        row = await self._users.delete(wanted, by=self._sessions.actor(request, identity))
        log.info("user deleted", user=str(row.id), request_id=request_id(request))
        return json_answer(_user(row))

    async def _whose(self, request: Request, user_id: str) -> tuple[Identity, UUID]:
        """Return who asks and about whom; nobody but admins asks about others."""
        identity = await self._sessions.require_now(request)
        if user_id not in {_ME, identity.user_id}:
            identity.require(Role.ADMIN)
        return identity, _known_id(user_id, identity)

    async def _require_old_password(self, identity: Identity, given: str | UnsetType) -> None:
        if given is UNSET:
            raise Refusal(400, "body: send your `old_password`, too")
        await self._limits.account(identity.email)
        known = await self._users.credentials_of(UUID(identity.user_id))
        if not await self._passwords.matches(given, known.password_hash):
            raise Refusal(403, "`old_password` is not your password")


def _known_id(user_id: str, identity: Identity) -> UUID:
    """Return the id if there can be such a user."""
    try:
        return UUID(identity.user_id if user_id == _ME else user_id)
    except ValueError:
        raise NotFound("no user goes by that id") from None


def _user(row: UserRow) -> User:
    return User(
        id=row.id,
        email=row.email,
        role=Role(row.role),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
