"""Heads of requests that came before: a client sends mostly the same, to the byte.

To parse a head takes a fifth of the time of a single record. What is known of one is what Sanic
made of it when it came for the second time: one that never comes again is not kept.
"""

from typing import Final

from msgspec import Struct
from sanic.compat import Header
from sanic.http import Http

_KNOWN_MAX: Final = 1024
_SEEN_MAX: Final = 4096
_BYTES_MAX: Final = 1024
_HEADERS_MAX: Final = 32
"""What is longer or has more headers is parsed each time: so all that is kept is some MiB."""
_SPECIAL: Final = ("expect", "transfer-encoding", "upgrade")
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
    """Remembers heads that come again; when it has too many, it begins anew."""

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}
        self._seen: set[int] = set()

    def get(self, raw: bytes) -> Head | None:
        """Return what a head says, if it is known."""
        return self._known.get(raw)

    def remember(self, raw: bytes, stream: Http) -> None:
        """Keep what Sanic has just made of a head that came before.

        Not kept is one that is large, or of which more than its bytes went into what it says.
        """
        if hash(raw) not in self._seen:
            if len(self._seen) >= _SEEN_MAX:
                self._seen.clear()
            self._seen.add(hash(raw))
            return
        request, headers = stream.request, stream.request.headers
        is_large = len(raw) > _BYTES_MAX or len(headers) > _HEADERS_MAX
        if is_large or any(name in headers for name in _SPECIAL):
            return
        if len(self._known) >= _KNOWN_MAX:
            self._known.clear()
        self._known[raw] = Head(
            url=str(stream.url),
            raw_url=request.raw_url,
            method=request.method,
            version=request.version,
            headers=Header(headers),
            is_kept_alive=stream.keep_alive,
            is_head_only=bool(stream.head_only),
            size=stream.request_bytes if stream.request_body else None,
        )
