"""How often something happened within a window: in this process, or in Redis for all together."""

import re
import time
from collections.abc import Callable
from typing import Any, Protocol

import structlog
from limits.aio.storage import RedisStorage
from limits.errors import ConfigurationError, StorageError
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tocsin.errors import SettingsError

_KEYS_MAX = 100_000
_REDIS_TIMEOUT_S = 0.25
_REDIS_AWAY_S = 5.0

log = structlog.get_logger(__name__)


class Counts(Protocol):
    """What the storages of `limits` offer, too."""

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Add to the count of a key and return it; it ends so many seconds after its beginning."""

    async def get_expiry(self, key: str) -> float:
        """Return when the count of a key ends, in seconds since the epoch."""


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

    def _forget(self, now: float) -> None:
        """Make room: what has ended goes, and then what began first."""
        live = {key: entry for key, entry in self._counts.items() if entry[0] > now}
        surplus = max(0, len(live) - self._keys_max // 2)
        for key in list(live)[:surplus]:
            del live[key]
        self._counts = live


class SharedCounts:
    """Counts in Redis or Valkey; while it is away each process counts for itself.

    Raises SettingsError for what is no URL.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time) -> None:
        # Valkey answers to Redis' protocol, and its scheme would need a second client library.
        options: dict[str, Any] = {
            "socket_timeout": _REDIS_TIMEOUT_S,
            "socket_connect_timeout": _REDIS_TIMEOUT_S,
            # By default the client tries for seconds, and the request with it.
            "retry": Retry(NoBackoff(), 0),
        }
        try:
            self._redis = RedisStorage(
                "async+" + re.sub("^valkey", "redis", url),
                wrap_exceptions=True,
                implementation="redispy",
                **options,
            )
        except (ConfigurationError, ValueError):
            raise SettingsError(
                "TOCSIN_LIMIT_STORAGE: no such URL, give one as redis://user:password@host:6379/0"
            ) from None
        self._own = Windows(clock=clock)
        self._clock = clock
        self._away_until = 0.0

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Add to the count of a key."""
        if self._clock() >= self._away_until:
            try:
                return await self._redis.incr(key, expiry, amount)
            except StorageError as error:
                self._note_away(error)
        return await self._own.incr(key, expiry, amount)

    async def get_expiry(self, key: str) -> float:
        """Return when the count of a key ends."""
        if self._clock() >= self._away_until:
            try:
                return await self._redis.get_expiry(key)
            except StorageError as error:
                self._note_away(error)
        return await self._own.get_expiry(key)

    def _note_away(self, error: StorageError) -> None:
        self._away_until = self._clock() + _REDIS_AWAY_S
        cause = type(error.storage_error).__name__
        log.warning("limits", error=f"{cause}: each worker counts for itself meanwhile")


def counts_of(storage: str) -> Counts:
    """Return the counts that TOCSIN_LIMIT_STORAGE names."""
    return Windows() if storage == "memory" else SharedCounts(storage)
