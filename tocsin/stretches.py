"""Many records decoded and checked as a whole: a third of the cost of one by one.

A stretch is taken whole or not at all. Where something stands out, the caller checks its records
one by one with `tocsin.records`, to find out which of them is to be refused, and why.
"""

import re
from collections.abc import Sequence
from operator import sub
from typing import Final

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import astuple

from tocsin.records import (
    AGE_DAYS_MAX,
    AHEAD_MS_MAX,
    EPOCH,
    LEVELS,
    MESSAGE_BYTES_MAX,
    NUMERIC_DIGITS_MAX,
    RECORD_BYTES_MAX,
    WIDE_NUMBER,
    LogRecord,
    Refused,
    refuse_wide_numbers,
)

STRETCH: Final = 500
"""Records that are checked at once: more gain nothing, and one that stands out costs them all."""
_decode = msgspec.json.Decoder(LogRecord).decode

# Each finds all that `parse_record`'s own test finds, and may find more.
_NUL: Final = b"\\u0000"
_DIGITS: Final = b"0123456789."
_SHAPES: Final = bytes.maketrans(b"123456789E-", b"000000000e+")
_BEFORE_A_NUMBER: Final = (b":", b"[", b",", b"-", b" ", b"\t", b"\n", b"\r", b"")
_SHORT: Final = 400
_NO_OBJECT: Final = re.compile(rb"\0(?!\{|\0|null\0)")


class StandsOut(Exception):
    """A record of the stretch may have to be refused."""


class Stretch(Struct, frozen=True, gc=False):
    """The records of a stretch, one sequence a field, as in `tocsin.batches.RecordBatch`."""

    event_us: list[int]
    service_id: Sequence[str]
    level: list[str]
    message: Sequence[str]
    metadata: Sequence[str | None]
    id: Sequence[str | None]


def parse_stretch(values: Sequence[bytes | None], arrival_ms: Sequence[int]) -> Stretch:
    """Decode records in their wire form, at least one, that arrived at these times.

    Raises StandsOut unless `tocsin.records` refuses none of them.
    """
    try:
        return _parse(values, arrival_ms)
    except (Refused, msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError):
        raise StandsOut from None


def _parse(values: Sequence[bytes | None], arrival_ms: Sequence[int]) -> Stretch:
    # That all is UTF-8 is seen where texts are decoded: by msgspec, and below the metadata's.
    timestamps, service_ids, spellings, messages, metadata, ids = zip(
        *map(astuple, map(_decode, values)),  # type: ignore[arg-type]  # None raises TypeError
        strict=True,
    )
    levels = list(map(LEVELS.get, spellings))
    event_us = [
        ((since := timestamp - EPOCH).days * 86_400 + since.seconds) * 1_000_000
        + since.microseconds
        for timestamp in timestamps
    ]
    joined = b"\n".join(values)  # type: ignore[arg-type]  # none is None, by now
    if (
        max(map(len, values)) > RECORD_BYTES_MAX  # type: ignore[arg-type]  # likewise
        or max(map(len, messages)) * 4 > MESSAGE_BYTES_MAX
        or (b"\\" in joined and _NUL in joined)
        or None in levels
    ):
        raise StandsOut
    _refuse_untimely(event_us, arrival_ms)
    texts = _metadata_texts(metadata)
    return Stretch(event_us, service_ids, levels, messages, texts, ids)  # type: ignore[arg-type]  # None is not among the levels


def _refuse_untimely(event_us: Sequence[int], arrival_ms: Sequence[int]) -> None:
    ahead_us = list(map(sub, event_us, [arrival * 1000 for arrival in arrival_ms]))
    if max(ahead_us) > AHEAD_MS_MAX * 1000 or -min(ahead_us) > AGE_DAYS_MAX * 86_400_000_000:
        raise StandsOut


def _metadata_texts(metadata: Sequence[Raw]) -> list[str] | list[str | None]:
    """Return the metadata of a stretch as JSON texts, None where there is none."""
    # No JSON has a NUL in it.
    joined = b"\0".join([b"", *metadata, b""])
    are_objects = joined.count(b"\0{") == len(metadata)
    if not are_objects and _NO_OBJECT.search(joined, 0, len(joined) - 1):
        raise StandsOut
    texts = joined[1:-1].decode().split("\0")
    _refuse_wide_numbers(joined, texts)
    if are_objects:
        return texts
    return [text if text and text != "null" else None for text in texts]


def _refuse_wide_numbers(metadata: bytes, texts: list[str]) -> None:
    """Do as `parse_record`, which looks closely at any text that may hold a wide number.

    It also refuses there what is nested too deeply for such a look; nothing short is.
    metadata: all texts, a NUL between each two.
    """
    shapes = metadata.translate(_SHAPES)
    for shape in (b"0e0000", b"0e+0000"):
        found = shapes.find(shape)
        while found >= 0:
            before = metadata[max(found - _SHORT, 0) : found + 1]
            if before.rstrip(_DIGITS)[-1:] in _BEFORE_A_NUMBER:
                first = metadata.rindex(b"\0", 0, found) + 1
                refuse_wide_numbers(metadata[first : metadata.index(b"\0", first)])
            found = shapes.find(shape, found + 1)
    if max(map(len, texts)) > _SHORT:
        for text in texts:
            if len(text) > _SHORT:
                raw = text.encode()
                if len(raw) > NUMERIC_DIGITS_MAX or WIDE_NUMBER.search(raw):
                    refuse_wide_numbers(raw)
