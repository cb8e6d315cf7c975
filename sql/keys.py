"""Ingest keys: one function for each statement."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import psycopg
from msgspec import Struct
from psycopg import AsyncConnection
from psycopg.rows import class_row

from sql.audit import Actor, entry
from sql.reader import Reader
from sql.statements import statements
from tocsin.errors import AlreadyExists, NotFound

_SQL = statements("keys")


class GoodKeyRow(Struct, frozen=True, kw_only=True):
    """A key that is not revoked. hash: SHA-256 of its secret part. services: None for all."""

    id: str
    name: str
    hash: bytes
    services: list[str] | None

    def __repr__(self) -> str:
        """Leave the hash out."""
        return f"GoodKeyRow(id={self.id!r}, …)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Leave the hash out."""
        return [("id", self.id)]


class KeyRow(Struct, frozen=True, kw_only=True):
    """What may be shown of a key."""

    id: str
    name: str
    services: list[str] | None
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


class KeyTable:
    """Every method raises StorageError when the database is away."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def insert(
        self,
        key_id: str,
        name: str,
        secret_hash: bytes,
        services: Sequence[str] | None,
        *,
        by: Actor,
    ) -> KeyRow:
        """Add a key. Raises AlreadyExists when a good one has that name."""
        scope = None if services is None else list(services)
        values = {"id": key_id, "name": name, "hash": secret_hash, "services": scope}
        try:
            async with self._reader.connection() as conn, conn.transaction():
                row = await _one(conn, "insert_key", values)
                await conn.execute(*entry(by, "key.created", key_id, name=name, services=scope))
        except psycopg.errors.UniqueViolation:
            raise AlreadyExists(f"there is an ingest key named {name} already") from None
        if row is None:
            raise NotFound("the new key is not there")
        return row

    async def find_good(self, key_id: str) -> GoodKeyRow | None:
        """Return the key of this id, or None when there is none or it is revoked."""
        rows = await self._reader.rows(GoodKeyRow, _SQL["select_good_key"], {"id": key_id})
        return rows[0] if rows else None

    async def count(self) -> int:
        """Return how many keys there are, revoked ones among them."""
        return await self._reader.number(_SQL["count_keys"], {})

    async def page(self, *, limit: int, offset: int) -> list[KeyRow]:
        """Return a page of the keys, oldest first."""
        values = {"limit": limit, "offset": offset}
        return await self._reader.rows(KeyRow, _SQL["select_keys"], values)

    async def find(self, text: str) -> KeyRow:
        """Return the key of this id or name: the good one, else the one revoked last.

        Raises NotFound.
        """
        rows = await self._reader.rows(KeyRow, _SQL["find_key"], {"text": text})
        if not rows:
            raise NotFound(f"no ingest key goes by {text!r}: `tocsin keys list` shows them")
        return rows[0]

    async def revoke(self, key_id: str, *, by: Actor) -> KeyRow:
        """Revoke a key, if it is not revoked yet, and return it. Raises NotFound."""
        async with self._reader.connection() as conn, conn.transaction():
            row = await _one(conn, "revoke_key", {"id": key_id})
            if row is not None:
                await conn.execute(*entry(by, "key.revoked", key_id, name=row.name))
                return row
            row = await _one(conn, "select_key", {"id": key_id})
        if row is None:
            raise NotFound("no ingest key goes by that id")
        return row

    async def note_use(self, used: Mapping[str, datetime]) -> None:
        """Note when keys were used last; one that was noted within the last minute is left."""
        values = {"ids": list(used), "times": list(used.values())}
        async with self._reader.connection() as conn:
            await conn.execute(_SQL["update_last_used"], values)


async def _one(conn: AsyncConnection, statement: str, values: dict[str, Any]) -> KeyRow | None:
    async with conn.cursor(row_factory=class_row(KeyRow)) as cursor:
        await cursor.execute(_SQL[statement], values)
        return await cursor.fetchone()
