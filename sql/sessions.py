"""Sessions: who is logged in, and which refresh token is the one that is good."""

import hmac
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct
from psycopg import AsyncConnection
from psycopg.rows import class_row

from sql.audit import Actor, entry
from sql.reader import Reader, Row
from sql.statements import statements
from sql.users import CredentialsRow

_SQL = statements("sessions")
_SESSIONS_MAX = 100
"""So many logins of one person stay good; the oldest gives way."""


class SessionRow(Struct, frozen=True, kw_only=True):
    """A login that still holds, and whose it is, as they are now."""

    id: UUID
    user_id: UUID
    email: str
    role: str


class SessionSpan(Struct, frozen=True, kw_only=True):
    """A session that was begun or refreshed, and when it ends."""

    id: UUID
    user_id: UUID
    expires_at: datetime


class _Locked(Struct, frozen=True, kw_only=True):
    id: UUID
    user_id: UUID
    email: str
    refresh_hash: bytes
    expires_at: datetime

    def __repr__(self) -> str:
        return f"_Locked(user_id={self.user_id!r}, …)"


class SessionTable:
    """Every method raises StorageError when the database is away."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def begin(
        self, checked: CredentialsRow, refresh_hash: bytes, ttl_s: int, *, by: Actor
    ) -> SessionSpan | None:
        """Begin a session of a user whose password was just checked.

        Returns None when the password was changed, or the user deleted, in the meantime.
        """
        values = {
            "user_id": checked.id,
            "password_hash": checked.password_hash,
            "refresh_hash": refresh_hash,
            "ttl_s": ttl_s,
        }
        async with self._reader.connection() as conn, conn.transaction():
            await conn.execute(_SQL["delete_expired"])
            span = await _one(conn, SessionSpan, "insert_session", values)
            if span is None:
                return None
            surplus = {"user_id": checked.id, "most": _SESSIONS_MAX}
            await conn.execute(_SQL["delete_surplus"], surplus)
            await conn.execute(*entry(by, "login.accepted", checked.id, email=checked.email))
            return span

    async def find(self, session_id: UUID) -> SessionRow | None:
        """Return a session that has not ended, or None."""
        rows = await self._reader.rows(SessionRow, _SQL["select_session"], {"id": session_id})
        return rows[0] if rows else None

    async def rotate(
        self, session_id: UUID, given_hash: bytes, new_hash: bytes, *, by: Actor
    ) -> SessionSpan | None:
        """Put a new refresh token in the place of the one that is given.

        Returns None where there is no such session. Whoever gives another token than the newest
        has one that was used before: somebody has a copy, so the session ends, and None comes.
        """
        async with self._reader.connection() as conn, conn.transaction():
            found = await _one(conn, _Locked, "lock_session", {"id": session_id})
            if found is None:
                return None
            if not hmac.compare_digest(found.refresh_hash, given_hash):
                await conn.execute(_SQL["delete_session"], {"id": session_id})
                await conn.execute(
                    *entry(by, "session.revoked", found.user_id, email=found.email, why="reuse")
                )
                return None
            values = {"id": session_id, "refresh_hash": new_hash}
            await conn.execute(_SQL["update_session"], values)
            return SessionSpan(id=found.id, user_id=found.user_id, expires_at=found.expires_at)

    async def end(self, session_id: UUID, *, by: Actor) -> None:
        """End a session, if it has not ended yet."""
        async with self._reader.connection() as conn, conn.transaction():
            cursor = await conn.execute(_SQL["delete_session"], {"id": session_id})
            if await cursor.fetchone() is not None:
                await conn.execute(*entry(by, "session.ended", by.user_id))


async def _one(
    conn: AsyncConnection, kind: type[Row], statement: str, values: dict[str, Any]
) -> Row | None:
    async with conn.cursor(row_factory=class_row(kind)) as cursor:
        await cursor.execute(_SQL[statement], values)
        return await cursor.fetchone()
