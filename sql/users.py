"""People: one function for each thing that is done to them."""

from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from msgspec import Struct
from psycopg import AsyncConnection
from psycopg.rows import class_row

from sql.audit import Actor, entry
from sql.reader import Reader
from sql.statements import statements
from tocsin.errors import AlreadyExists, LastAdmin, NotFound

_SQL = statements("users")
_SESSIONS = statements("sessions")
_ADMIN = "admin"
_NO_SUCH = "no user goes by that id"


class UserRow(Struct, frozen=True, kw_only=True):
    """A person who may log in."""

    id: UUID
    email: str
    role: str
    created_at: datetime
    updated_at: datetime


class CredentialsRow(Struct, frozen=True, kw_only=True):
    """What a login is checked against; the hash never leaves the process."""

    id: UUID
    email: str
    role: str
    password_hash: str

    def __repr__(self) -> str:
        """Leave the hash out."""
        return f"CredentialsRow(id={self.id!r}, …)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Leave the hash out."""
        return [("id", self.id)]


class UserChange(Struct, frozen=True, kw_only=True):
    """What is changed of a user; None leaves it."""

    email: str | None = None
    role: str | None = None
    password_hash: str | None = None

    def __repr__(self) -> str:
        """Leave the hash out."""
        return f"UserChange(email={self.email!r}, role={self.role!r}, …)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Leave the hash out."""
        return [("email", self.email), ("role", self.role)]


class UserTable:
    """Every method raises StorageError when the database is away."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def insert(self, email: str, password_hash: str, role: str, *, by: Actor) -> UserRow:
        """Add a user. Raises AlreadyExists when the address is taken, in whatever case."""
        values = {"email": email, "password_hash": password_hash, "role": role}
        try:
            async with self._reader.connection() as conn, conn.transaction():
                row = await _one(conn, "insert_user", values)
                done = entry(by, "user.created", row.id, email=row.email, role=row.role)
                await conn.execute(*done)
                return row
        except psycopg.errors.UniqueViolation:
            raise _taken(email) from None

    async def count(self) -> int:
        """Return how many users there are."""
        return await self._reader.number(_SQL["count_users"], {})

    async def page(self, *, limit: int, offset: int) -> list[UserRow]:
        """Return a page of the users, oldest first."""
        values = {"limit": limit, "offset": offset}
        return await self._reader.rows(UserRow, _SQL["select_users"], values)

    async def get(self, user_id: UUID) -> UserRow:
        """Return a user. Raises NotFound."""
        rows = await self._reader.rows(UserRow, _SQL["select_user"], {"id": user_id})
        if not rows:
            raise NotFound(_NO_SUCH)
        return rows[0]

    async def credentials(self, email: str) -> CredentialsRow | None:
        """Return what a login with this address is checked against, or None."""
        rows = await self._reader.rows(CredentialsRow, _SQL["select_credentials"], {"email": email})
        return rows[0] if rows else None

    async def credentials_of(self, user_id: UUID) -> CredentialsRow:
        """Return what a user's password is checked against. Raises NotFound."""
        rows = await self._reader.rows(
            CredentialsRow, _SQL["select_credentials_of"], {"id": user_id}
        )
        if not rows:
            raise NotFound(_NO_SUCH)
        return rows[0]

    async def change(self, user_id: UUID, change: UserChange, *, by: Actor) -> UserRow:
        """Change a user; a new password ends all their sessions.

        Raises NotFound, AlreadyExists for an address that is taken, and LastAdmin when nobody
        would be left to administer.
        """
        try:
            async with self._reader.connection() as conn, conn.transaction():
                if change.role not in {None, _ADMIN}:
                    await _require_another_admin(conn, user_id)
                before = await _one(conn, "lock_user", {"id": user_id})
                values = {"id": user_id, **_values(change)}
                after = await _one(conn, "update_user", values)
                if change.password_hash is not None:
                    await conn.execute(_SESSIONS["delete_sessions_of"], {"user_id": user_id})
                await conn.execute(*_changed(before, after, change, by))
                return after
        except psycopg.errors.UniqueViolation:
            raise _taken(change.email or "") from None

    async def delete(self, user_id: UUID, *, by: Actor) -> UserRow:
        """Delete a user with all their sessions and return who it was.

        Raises NotFound, and LastAdmin when nobody would be left to administer.
        """
        async with self._reader.connection() as conn, conn.transaction():
            await _require_another_admin(conn, user_id)
            row = await _one(conn, "lock_user", {"id": user_id})
            await conn.execute(_SQL["delete_user"], {"id": user_id})
            done = entry(by, "user.deleted", row.id, email=row.email, role=row.role)
            await conn.execute(*done)
            return row


async def _require_another_admin(conn: AsyncConnection, user_id: UUID) -> None:
    cursor = await conn.execute(_SQL["lock_admins"])
    admins = {found for (found,) in await cursor.fetchall()}
    if admins == {user_id}:
        raise LastAdmin("this is the last admin: make another one first")


async def _one(conn: AsyncConnection, statement: str, values: dict[str, Any]) -> UserRow:
    async with conn.cursor(row_factory=class_row(UserRow)) as cursor:
        await cursor.execute(_SQL[statement], values)
        row = await cursor.fetchone()
    if row is None:
        raise NotFound(_NO_SUCH)
    return row


def _values(change: UserChange) -> dict[str, str | None]:
    return {name: getattr(change, name) for name in change.__struct_fields__}


def _changed(
    before: UserRow, after: UserRow, change: UserChange, by: Actor
) -> tuple[bytes, dict[str, Any]]:
    """Return the entry of a change: what is other than before, and that the password is."""
    details: dict[str, object] = {"email": after.email}
    if before.email != after.email:
        details["email_was"] = before.email
    if before.role != after.role:
        details |= {"role": after.role, "role_was": before.role}
    if change.password_hash is not None:
        details["has_new_password"] = True
    return entry(by, "user.changed", after.id, **details)


def _taken(email: str) -> AlreadyExists:
    return AlreadyExists(f"there is a user with the address {email} already")
