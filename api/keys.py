"""Ingest keys: `tcs_<id>_<secret>`, of which only the secret's SHA-256 is kept."""

import asyncio
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import structlog
from msgspec import Struct
from sanic import Request

from api.auth import unauthorized
from api.key_use import KeyUse
from api.scopes import Scope
from api.sent_keys import sent_key
from sql.keys import GoodKeyRow, KeyTable
from tocsin.errors import StorageError

FRESH_S = 5.0
"""How long a key is believed before it is looked up again: a revoked one works no longer."""
_KNOWN_MAX = 10_000
_PREFIX = "tcs"
# As `new_key` makes them: nothing else reaches the database.
_KEY = re.compile(_PREFIX + r"_([0-9a-f]{16})_([A-Za-z0-9_-]{1,100})")
_UNKNOWN = "the ingest key is unknown or revoked: `tocsin keys create --name NAME` makes one"

log = structlog.get_logger(__name__)


class NewKey(Struct, frozen=True):
    """A key that was just made. text: what the client sends, shown once and never kept."""

    id: str
    text: str
    hash: bytes

    def __repr__(self) -> str:
        """Leave the secret out."""
        return f"NewKey(id={self.id!r}, …)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Leave the secret out."""
        return [("id", self.id)]


class SentKey(Struct, frozen=True, kw_only=True):
    """The good key that a request carries. scope: whose records it may send; None: everybody's."""

    id: str
    name: str
    scope: Scope | None


class _Good(Struct, frozen=True):
    key: SentKey
    hash: bytes

    def __repr__(self) -> str:
        return f"_Good(key={self.key!r}, …)"


class _Known(Struct):
    """What the database said about a key id last. found: None where it has no such key."""

    found: _Good | None
    fresh_until: float


def new_key() -> NewKey:
    """Return a new key, not yet stored."""
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    return NewKey(key_id, f"{_PREFIX}_{key_id}_{secret}", _hash(secret))


class KeyRing:
    """Knows which ingest keys are good, and keeps knowing while the database is away.

    Every key is looked up again when it is no longer fresh, by one request at a time. While the
    database is away the last answer holds, so that ingest goes on.
    """

    def __init__(
        self, table: KeyTable, use: KeyUse, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._table = table
        self._use = use
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._lookups: dict[str, asyncio.Task[_Known]] = {}

    async def require(self, request: Request) -> SentKey:
        """Return the key that a request carries.

        Refuses (401) a key that is missing, unknown or revoked. Raises StorageError when the
        database is away and the key was never seen.
        """
        text = sent_key(request)
        if text is None:
            raise unauthorized("send an ingest key as `Authorization: Bearer <key>` or `X-API-Key`")
        parts = _parts(text)
        if parts is None:
            raise unauthorized("this takes an ingest key, tcs_<id>_<secret>, and no other token")
        key_id, hash_ = parts
        known = self._known.get(key_id)
        # While one request asks again, the others go on with what is known.
        if known is None or (known.fresh_until < self._clock() and key_id not in self._lookups):
            known = await self._look_up(key_id)
        if known.found is None or not hmac.compare_digest(known.found.hash, hash_):
            raise unauthorized(_UNKNOWN)
        self._use.note(key_id)
        return known.found.key

    def forget(self, key_id: str) -> None:
        """Look a key up before it is believed again; what is being looked up may be as old."""
        self._known.pop(key_id, None)
        self._lookups.pop(key_id, None)

    async def _look_up(self, key_id: str) -> _Known:
        task = self._lookups.get(key_id)
        if task is None:
            task = asyncio.create_task(self._ask(key_id))
            self._lookups[key_id] = task
        # A client that leaves must not end the lookup of the others.
        return await asyncio.shield(task)

    async def _ask(self, key_id: str) -> _Known:
        """Look a key up, and keep the answer unless the key is to be forgotten meanwhile."""
        try:
            known = await self._found(key_id)
        finally:
            is_wanted = self._lookups.get(key_id) is asyncio.current_task()
            if is_wanted:
                del self._lookups[key_id]
        if is_wanted:
            if len(self._known) >= _KNOWN_MAX:
                self._forget()
            self._known[key_id] = known
        return known

    async def _found(self, key_id: str) -> _Known:
        # Fresh from when it was asked: the answer may be as old.
        fresh_until = self._clock() + FRESH_S
        try:
            row = await self._table.find_good(key_id)
        except StorageError:
            known = self._known.get(key_id)
            if known is None:
                raise
            log.warning("keys", error="the database is away, a known key is still taken")
            return _Known(known.found, self._clock() + FRESH_S)
        return _Known(None if row is None else _good(row), fresh_until)

    def _forget(self) -> None:
        """Make room: guessed ids go, good keys stay."""
        self._known = {key_id: known for key_id, known in self._known.items() if known.found}


def _good(row: GoodKeyRow) -> _Good:
    scope = None if row.services is None else Scope(row.services)
    return _Good(SentKey(id=row.id, name=row.name, scope=scope), row.hash)


@lru_cache(maxsize=1024)
def _parts(text: str) -> tuple[str, bytes] | None:
    """Return the id of what is sent as a key, and its secret's hash; None where it is no key."""
    parts = _KEY.fullmatch(text)
    return parts and (parts[1], _hash(parts[2]))


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
