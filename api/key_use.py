"""When each ingest key was used last: noted in memory, written now and then."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime, timezone

from sql.keys import KeyTable
from tocsin.errors import StorageError

LOOK_S = 5.0
"""How often it is looked whether there is something to write."""
WRITE_S = 60.0
"""How often the use of one key is written at most."""


def _now() -> datetime:
    return datetime.now(timezone.utc)


class KeyUse:
    """Writes beside the requests, so that none waits for it; what can't be written is kept."""

    def __init__(self, table: KeyTable, *, clock: Callable[[], datetime] = _now) -> None:
        self._table = table
        self._clock = clock
        self._used: set[str] = set()
        self._unwritten: dict[str, datetime] = {}
        self._written: dict[str, datetime] = {}
        self._writing: asyncio.Task[None] | None = None

    def note(self, key_id: str) -> None:
        """Note that a key is used now."""
        self._used.add(key_id)

    def start(self) -> None:
        """Begin to write now and then, in the running loop."""
        self._writing = asyncio.create_task(self._write_for_ever())

    async def stop(self) -> None:
        """Write what is not written yet, if the database answers, and end."""
        if self._writing is None:
            return
        self._writing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._writing
        with contextlib.suppress(StorageError):
            await self.write(even_recent=True)

    async def write(self, *, even_recent: bool = False) -> None:
        """Write the use of the keys that were not written within WRITE_S. Raises StorageError."""
        now = self._clock()
        self._unwritten |= dict.fromkeys(self._used, now)
        self._used.clear()
        due = {
            key_id: at
            for key_id, at in self._unwritten.items()
            if even_recent or self._age_s(key_id, now) >= WRITE_S
        }
        if not due:
            return
        await self._table.note_use(due)
        for key_id, at in due.items():
            self._written[key_id] = now
            if self._unwritten.get(key_id) == at:
                del self._unwritten[key_id]

    def _age_s(self, key_id: str, now: datetime) -> float:
        written = self._written.get(key_id)
        return WRITE_S if written is None else (now - written).total_seconds()

    async def _write_for_ever(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            with contextlib.suppress(StorageError):
                await self.write()
