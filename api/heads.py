"""Heads of requests that came before: a client sends mostly the same, to the byte.

To parse a head takes a fifth of the time of a single record. What is known of one is what Sanic
made of it, when it came first.
"""

from typing import Final

from msgspec import Struct
from sanic.compat import Header
from sanic.http import Http

_KNOWN_MAX: Final = 1024
_BYTES_MAX: Final = 1024
"""A longer one is parsed each time: what is kept is a few MiB, whatever is sent."""

_SPECIAL: Final = frozenset({"expect", "transfer-encoding", "upgrade"})
"""What has to do with more than the head."""


class Head(Struct, frozen=True):
    """What a head says. size: of the body; None where there is none."""

    url: str
    raw_url: bytes
    method: str
    version: str
    headers: Header
    is_kept_alive: bool
    is_head_only: bool
    size: int | None


class KnownHeads:
    """Remembers heads; when it has too many, it begins anew."""

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}

    def get(self, raw: bytes) -> Head | None:
        """Return what a head says, if it is known."""
        return self._known.get(raw)

    def remember(self, raw: bytes, stream: Http) -> None:
        """Keep what Sanic has just made of a head, unless more than its bytes went into that."""
        request = stream.request
        if len(raw) > _BYTES_MAX or not _SPECIAL.isdisjoint(request.headers):
            return
        if len(self._known) >= _KNOWN_MAX:
            self._known.clear()
        self._known[raw] = Head(
            url=str(stream.url),
            raw_url=request.raw_url,
            method=request.method,
            version=request.version,
            headers=Header(request.headers),
            is_kept_alive=stream.keep_alive,
            is_head_only=bool(stream.head_only),
            size=stream.request_bytes if stream.request_body else None,
        )
