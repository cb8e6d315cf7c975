"""A request's body, decompressed: never more of it than the limit, whatever was sent."""

import zlib
from collections.abc import Callable
from typing import Protocol

import cramjam
from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError
from sanic import Request

from api.problems import Refusal, too_long

MEMBERS_MAX = 100
"""So many compressed streams may follow each other in one body."""
_ACCEPTED = "gzip, deflate, zstd"
_GZIP, _ZLIB, _RAW = 31, 15, -15
_ZSTD: dict[int, int] = {DecompressionParameter.window_log_max: 23}
"""RFC 9659: nobody needs to take windows above 8 MiB."""


class _Decoder(Protocol):
    """What `zlib` and `zstd` have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, body: bytes, max_length: int, /) -> bytes: ...


def body_of(request: Request, limit: int) -> bytes:
    """Return the body without its Content-Encoding. Refuses (413) more bytes than the limit."""
    coding = request.headers.get("content-encoding")
    return request.body if coding is None else decompress(request.body, coding, limit)


def decompress(body: bytes, coding: str, limit: int) -> bytes:
    """Undo a Content-Encoding. Refuses what is unknown, damaged, cut off or over the limit."""
    name = coding.strip().lower()
    if name in {"", "identity"}:
        return body
    make = _decoder(name, body)
    if make is None:
        raise Refusal(
            415,
            f"Content-Encoding: send one of {_ACCEPTED}, or none",
            headers={"Accept-Encoding": _ACCEPTED},
        )
    try:
        return _decompress(body, make, limit)
    except (zlib.error, ZstdError):
        raise Refusal(400, f"body: not {name}, or damaged") from None


def unsnap(body: bytes, limit: int) -> bytes:
    """Return what a block of snappy holds. Refuses what is damaged or over the limit."""
    try:
        # The block says first how long it is, and is not read on if that turns out a lie.
        if cramjam.snappy.decompress_raw_len(body) > limit:
            raise too_large(limit)
        return bytes(cramjam.snappy.decompress_raw(body))
    except cramjam.DecompressionError:
        raise Refusal(400, "body: not a block of snappy, or damaged") from None


def too_large(limit: int) -> Refusal:
    """Return the refusal of a body that holds more than is taken."""
    return Refusal(413, f"{too_long(limit)}, when decompressed")


def _decoder(name: str, body: bytes) -> Callable[[], _Decoder] | None:
    if name in {"gzip", "x-gzip"}:
        return lambda: zlib.decompressobj(_GZIP)
    if name == "deflate":
        # It means zlib's form, but some send the bare one.
        has_header = body[:1] and body[0] & 15 == 8 and int.from_bytes(body[:2], "big") % 31 == 0
        return lambda: zlib.decompressobj(_ZLIB if has_header else _RAW)
    if name == "zstd":
        return lambda: ZstdDecompressor(options=_ZSTD)
    return None


def _decompress(body: bytes, make: Callable[[], _Decoder], limit: int) -> bytes:
    parts: list[bytes] = []
    room = limit + 1
    for _ in range(MEMBERS_MAX):
        decoder = make()
        part = decoder.decompress(body, room)
        room -= len(part)
        if room <= 0:
            raise too_large(limit)
        parts.append(part)
        if not decoder.eof:
            raise Refusal(400, "body: cut off, its compressed form does not end")
        body = decoder.unused_data
        if not body:
            return b"".join(parts) if len(parts) > 1 else part
    raise Refusal(400, f"body: more than {MEMBERS_MAX} compressed streams in one")
