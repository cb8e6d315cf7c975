"""How often something happened within a window, counted in Redis or Valkey for all together."""

import re
import time
from collections.abc import Callable
from typing import Any

import structlog
from limits.aio.storage import RedisStorage
from limits.aio.storage.redis.redispy import RedispyBridge
from limits.errors import ConfigurationError, StorageError
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from api.counts import Windows
from tocsin.errors import SettingsError

_REDIS_TIMEOUT_S = 0.25
_REDIS_AWAY_S = 5.0

log = structlog.get_logger(__name__)


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

    async def close(self) -> None:
        """Close the connections."""
        bridge = self._redis.bridge
        if isinstance(bridge, RedispyBridge):  # the one that was asked for
            await bridge.storage.aclose()

    def _note_away(self, error: StorageError) -> None:
        self._away_until = self._clock() + _REDIS_AWAY_S
        cause = type(error.storage_error).__name__
        log.warning("limits", error=f"{cause}: each worker counts for itself meanwhile")
