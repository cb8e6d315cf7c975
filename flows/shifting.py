"""Moves the `timestamp` of a record in its wire form, and leaves every other byte as it is."""

import re
from datetime import datetime, timedelta
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)
_VALUE: Final = re.compile(rb"\s*:\s*")
_ESCAPE: Final = b"\\"
_NAME: Final = "timestamp"
_NAME_BYTES: Final = b'"timestamp"'


class _Stamped(Struct):
    timestamp: Annotated[datetime, Meta(tz=True)]


_decode = msgspec.json.Decoder(_Stamped).decode


def shifted(value: bytes, shift_ms: int) -> bytes:
    """Return a record whose `timestamp` is so much later; one without any, or no JSON, as it is.

    The time keeps its offset, and gets milliseconds, or microseconds where it has some.

    >>> shifted(b'{"timestamp": "2026-03-02T08:00:00Z", "n": 1}', 1_500)
    b'{"timestamp": "2026-03-02T08:00:01.500Z", "n": 1}'
    """
    try:
        moment = _decode(value).timestamp + timedelta(milliseconds=shift_ms)
    except (msgspec.MsgspecError, OverflowError, UnicodeDecodeError, RecursionError):
        return value
    place = _place_of_timestamp(value)
    if place is None:
        return value
    first, end = place
    return b"".join((value[:first], _written(moment, value[first:end]), value[end:]))


def _place_of_timestamp(value: bytes) -> tuple[int, int] | None:
    """Return where the text of the outermost `timestamp` lies: of several the last, as it counts.

    Of valid JSON only.
    """
    place, depth, is_value = None, 0, False
    for token in _TOKEN.finditer(value):
        text = token[0]
        if text in (b"{", b"["):
            depth += 1
            is_value = False
        elif text in (b"}", b"]"):
            depth -= 1
        elif is_value:
            place, is_value = token.span(), False
        elif depth == 1 and _is_name(text):
            is_value = _VALUE.match(value, token.end()) is not None
    return place


def _is_name(text: bytes) -> bool:
    return text == _NAME_BYTES or (_ESCAPE in text and msgspec.json.decode(text) == _NAME)


def _written(moment: datetime, former: bytes) -> bytes:
    precision = "microseconds" if moment.microsecond % 1000 else "milliseconds"
    text = moment.isoformat(timespec=precision)
    if former[-2:-1] in (b"Z", b"z"):
        text = text.removesuffix("+00:00") + "Z"
    return f'"{text}"'.encode()
