"""How often something happened within a window, counted in this process."""

import time
from collections.abc import Callable
from typing import Protocol

_KEYS_MAX = 100_000


class Counts(Protocol):
    """What is counted by, wherever the counts are."""

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Add to the count of a key and return it; it ends so many seconds after its beginning."""

    async def get_expiry(self, key: str) -> float:
        """Return when the count of a key ends, in seconds since the epoch."""

    async def close(self) -> None:
        """Close what is open."""


class Windows:
    """Counts of this process.

    The in-memory storage of `limits` starts a thread every 10 ms under load, and each walks over
    every key; this one looks a key up and forgets the old ones when there are many.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.time, keys_max: int = _KEYS_MAX
    ) -> None:
        self._clock = clock
        self._keys_max = keys_max
        self._counts: dict[str, tuple[float, int]] = {}

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Add to the count of a key."""
        now = self._clock()
        end, count = self._counts.get(key, (0.0, 0))
        if end <= now:
            if len(self._counts) >= self._keys_max:
                self._forget(now)
            end, count = now + expiry, 0
        count += amount
        self._counts[key] = end, count
        return count

    async def get_expiry(self, key: str) -> float:
        """Return when the count of a key ends."""
        return self._counts.get(key, (self._clock(), 0))[0]

    async def close(self) -> None:
        """Nothing is open."""

    def _forget(self, now: float) -> None:
        """Make room: what has ended goes, and then what began first."""
        live = {key: entry for key, entry in self._counts.items() if entry[0] > now}
        surplus = max(0, len(live) - self._keys_max // 2)
        for key in list(live)[:surplus]:
            del live[key]
        self._counts = live


def counts_of(storage: str) -> Counts:
    """Return the counts that TOCSIN_LIMIT_STORAGE names. Raises SettingsError."""
    if storage == "memory":
        return Windows()
    # The client of Redis costs a quarter of a second to import, which few need.
    from api.shared_counts import SharedCounts  # noqa: PLC0415

    return SharedCounts(storage)
