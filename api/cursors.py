"""Cursors: where a search is to go on, sealed so that none can be made up or used for another."""

import base64
import binascii
import hashlib
import hmac
import struct
from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from api.parameters import TimeRange
from api.problems import Refusal
from sql.logs import LogPosition
from tocsin.records import EPOCH, event_us_of
from tocsin.settings import Settings, require_jwt_secrets

_LAYOUT = struct.Struct(">qqqhiq")
_SEAL_BYTES = 16
CURSOR_CHARACTERS = 72
_US = timedelta(microseconds=1)


class LogCursor(Struct, frozen=True):
    """After which record a search goes on, and over which time it is."""

    span: TimeRange
    last: LogPosition


class Cursors:
    """Writes and reads cursors."""

    def __init__(self, settings: Settings) -> None:
        self._keys = [
            hashlib.sha256(b"tocsin log cursor\0" + secret.encode()).digest()
            for secret in require_jwt_secrets(settings)
        ]

    def write(self, cursor: LogCursor, search: Sequence[tuple[str, str]]) -> str:
        """Return a cursor as text. search: the parameters that it belongs to."""
        last = cursor.last
        content = _LAYOUT.pack(
            event_us_of(cursor.span.since),
            event_us_of(cursor.span.until),
            event_us_of(last.timestamp),
            last.incarnation,
            last.partition,
            last.offset,
        )
        return base64.urlsafe_b64encode(content + _seal(self._keys[0], content, search)).decode()

    def read(self, text: str, search: Sequence[tuple[str, str]]) -> LogCursor:
        """Return what a cursor says. Refuses (400) one that is not ours, or of another search."""
        try:
            sealed = base64.b64decode(text.encode(), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise _refused() from None
        content, seal = sealed[:-_SEAL_BYTES], sealed[-_SEAL_BYTES:]
        known = (_seal(key, content, search) for key in self._keys)
        if len(content) != _LAYOUT.size or not any(hmac.compare_digest(seal, k) for k in known):
            raise _refused()
        since, until, timestamp, *place = _LAYOUT.unpack(content)
        span = TimeRange(_time(since), _time(until))
        return LogCursor(span, LogPosition(_time(timestamp), *place))


def _seal(key: bytes, content: bytes, search: Sequence[tuple[str, str]]) -> bytes:
    parts = [part.encode() for pair in sorted(search) for part in pair]
    framed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return hmac.digest(key, content + framed, "sha256")[:_SEAL_BYTES]


def _time(us: int) -> datetime:
    return EPOCH + us * _US


def _refused() -> Refusal:
    return Refusal(400, "cursor: send what `meta.next_cursor` said, with the same parameters")
