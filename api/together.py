"""One answer for all who ask for the same at once."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Found = TypeVar("Found")

WAIT_S: Final = 0.25
"""No longer than this is waited for what others asked before: it may hang."""


class Together(Generic[Key, Found]):
    """Finds the same once for many: so that pages that are looked at by many cost as one.

    Who asks while it is being found is not given that, for it may be older than the question, but
    waits for the next time, together with all who ask until that begins.
    """

    def __init__(self, find: Callable[[Key], Awaitable[Found]]) -> None:
        self._find = find
        self._begun: dict[Key, asyncio.Task[Found]] = {}
        self._next: dict[Key, asyncio.Task[Found]] = {}

    async def get(self, key: Key) -> Found:
        """Return what is found for a key after it is asked for; raises what finding it raises."""
        task = self._next.get(key)
        if task is None:
            task = self._next[key] = asyncio.create_task(self._find_next(key))
        # Who goes away takes nothing from the others.
        return await asyncio.shield(task)

    async def _find_next(self, key: Key) -> Found:
        former = self._begun.get(key)
        if former is not None:
            await asyncio.wait([former], timeout=WAIT_S)
        own = self._begun[key] = self._next.pop(key)
        try:
            return await self._find(key)
        finally:
            if self._begun[key] is own:
                del self._begun[key]
