"""A bound on what costs: so many at once, so many that wait, and a refusal of the rest."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from api.problems import unavailable


class Turnstile:
    """Lets so many requests pass at once, so that they leave connections for all others."""

    def __init__(self, what: str, *, at_once: int, waiting_max: int) -> None:
        self._what = what
        self._free = asyncio.Semaphore(at_once)
        self._waiting_max = waiting_max
        self._waiting = 0

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        """Wait for a turn and take it. Refuses (503) when too many wait already."""
        if self._waiting >= self._waiting_max:
            raise unavailable(f"too many {self._what} at once")
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._free.release()
