"""The audit log: who did what. An entry is written in the transaction of what it tells of."""

import getpass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Raw, Struct

from sql.reader import Reader
from sql.statements import statements

_SQL = statements("audit")


class Actor(Struct, frozen=True, kw_only=True):
    """Who does something, and from where.

    name: None where nobody has proved who they are.
    """

    name: str | None
    user_id: UUID | None = None
    address: str | None = None
    request_id: str | None = None


class AuditRow(Struct, frozen=True, kw_only=True):
    """One thing that was done. details: a JSON object."""

    seq: int
    at: datetime
    actor: str | None
    actor_id: UUID | None
    action: str
    subject: str | None
    address: str | None
    request_id: str | None
    details: Raw


def command_line() -> Actor:
    """Return who runs a command, by the system's name for them."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a process of nobody that the system knows
        name = "tocsin"
    # The environment's bytes need not be UTF-8.
    name = name.encode(errors="replace").decode()
    return Actor(name=f"command line ({name})")


def entry(
    actor: Actor, action: str, subject: object = None, **details: object
) -> tuple[bytes, dict[str, Any]]:
    """Return the statement that adds an entry, with its values, for any kind of connection.

    details: what `msgspec` encodes; never a secret.
    """
    values = {
        "actor": actor.name,
        "actor_id": actor.user_id,
        "action": action,
        "subject": None if subject is None else str(subject),
        "address": actor.address,
        "request_id": actor.request_id,
        "details": msgspec.json.encode(details).decode(),
    }
    return _SQL["insert_entry"], values


class AuditTable:
    """Every method raises StorageError when the database is away."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def add(
        self, actor: Actor, action: str, subject: object = None, **details: object
    ) -> None:
        """Add an entry of what changes nothing in the database, as a login that is refused."""
        async with self._reader.connection() as conn:
            await conn.execute(*entry(actor, action, subject, **details))

    async def page(self, *, before: int, action: str | None, limit: int) -> list[AuditRow]:
        """Return the newest entries of those before a number, of an action where one is given."""
        values = {"before": before, "action": action, "limit": limit}
        return await self._reader.rows(AuditRow, _SQL["select_entries"], values)
