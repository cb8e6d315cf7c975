"""Bytes to records: one RawBatch gives one RecordBatch, with what had to be put aside.

A stretch of messages is decoded and tested as a whole, which costs a third. Only where something
stands out is it parsed message by message, to find out which of them is to be refused, and why.
"""

import re
from operator import sub
from typing import Final

import msgspec
from msgspec.structs import astuple

from tocsin.batches import DeadLetter, RawBatch, RecordBatch
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
    event_us_of,
    level_of,
    metadata_of,
    parse_record,
    refuse_untimely,
    refuse_wide_numbers,
)

STRETCH: Final = 500
_decode = msgspec.json.Decoder(LogRecord).decode

# Each finds all that `parse_record`'s own test finds, and may find more.
_NUL: Final = b"\\u0000"
_DIGITS: Final = b"0123456789."
_SHAPES: Final = bytes.maketrans(b"123456789E-", b"000000000e+")
_BEFORE_A_NUMBER: Final = (b":", b"[", b",", b"-", b" ", b"\t", b"\n", b"\r", b"")
_SHORT: Final = 400
_NO_OBJECT: Final = re.compile(rb"\0(?!\{|\0|null\0)")


class _StandsOut(Exception):
    """A record of the stretch may have to be refused."""


def parse_batch(raw: RawBatch) -> RecordBatch:
    """Decode every message; one that breaks the contract harms only itself."""
    batch = RecordBatch.empty(raw.incarnation, raw.partition, raw.next_offset)
    batch.read_until_ms, batch.weight = raw.read_until_ms, raw.weight
    batch.size_bytes = sum(len(value) for value in raw.value if value)
    for first in range(0, len(raw.offset), STRETCH):
        stretch = raw.rows(first, first + STRETCH)
        try:
            _take(batch, stretch)
        except (
            _StandsOut,
            Refused,
            msgspec.MsgspecError,
            UnicodeDecodeError,
            RecursionError,
            TypeError,
        ):
            parse_one_by_one(batch, stretch)
    return batch


def parse_one_by_one(batch: RecordBatch, raw: RawBatch) -> None:
    """Append every message to a batch, as a record or as a dead letter."""
    for value, arrival_ms, offset, key in zip(
        raw.value, raw.arrival_ms, raw.offset, raw.key, strict=True
    ):
        try:
            record = _record_of(value)
            level = level_of(record.level)
            event_us = event_us_of(record.timestamp)
            refuse_untimely(event_us, arrival_ms)
        except Refused as refused:
            batch.dead_letters.append(
                DeadLetter(raw.partition, offset, arrival_ms, str(refused), key, value or b"")
            )
        else:
            _append(batch, record, level, event_us, arrival_ms, offset)


def _take(batch: RecordBatch, raw: RawBatch) -> None:
    """Append all messages of a stretch. Raises what stands out, before anything is appended.

    That all is UTF-8 is seen where texts are decoded: by msgspec, and here the metadata's.
    """
    values = raw.value
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
    joined = b"\n".join(values)  # type: ignore[arg-type]
    if (
        max(map(len, values)) > RECORD_BYTES_MAX  # type: ignore[arg-type]
        or max(map(len, messages)) * 4 > MESSAGE_BYTES_MAX
        or (b"\\" in joined and _NUL in joined)
        or None in levels
    ):
        raise _StandsOut
    _refuse_untimely(event_us, raw.arrival_ms)
    texts = _metadata_texts(metadata)
    batch.event_us += event_us
    batch.service_id += service_ids
    batch.level += levels  # type: ignore[arg-type]  # None is not among them
    batch.message += messages
    batch.metadata += texts
    batch.id += ids
    batch.arrival_ms += raw.arrival_ms
    batch.offset += raw.offset


def _refuse_untimely(event_us: list[int], arrival_ms: list[int]) -> None:
    ahead_us = list(map(sub, event_us, [arrival * 1000 for arrival in arrival_ms]))
    if max(ahead_us) > AHEAD_MS_MAX * 1000 or -min(ahead_us) > AGE_DAYS_MAX * 86_400_000_000:
        raise _StandsOut


def _metadata_texts(metadata: tuple[msgspec.Raw, ...]) -> list[str | None]:
    """Return the metadata of a stretch as JSON texts, None where there is none."""
    # No JSON has a NUL in it.
    joined = b"\0".join([b"", *metadata, b""])
    if _NO_OBJECT.search(joined, 0, len(joined) - 1):
        raise _StandsOut
    _refuse_wide_numbers(joined)
    texts = joined[1:-1].decode().split("\0")
    return [text if text and text != "null" else None for text in texts]


def _refuse_wide_numbers(metadata: bytes) -> None:
    """Do as the parser does, which looks closely at any text that may hold a wide number.

    It also refuses there what is nested too deeply for such a look; nothing short is.
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
    texts = metadata.split(b"\0")
    if max(map(len, texts)) > _SHORT:
        for text in texts:
            if len(text) > _SHORT and (len(text) > NUMERIC_DIGITS_MAX or WIDE_NUMBER.search(text)):
                refuse_wide_numbers(text)


def _record_of(value: bytes | None) -> LogRecord:
    if value is None:
        raise Refused("record: no value, a tombstone")
    return parse_record(value)


def _append(
    batch: RecordBatch, record: LogRecord, level: str, event_us: int, arrival_ms: int, offset: int
) -> None:
    batch.event_us.append(event_us)
    batch.service_id.append(record.service_id)
    batch.level.append(level)
    batch.message.append(record.message)
    batch.metadata.append(metadata_of(record))
    batch.id.append(record.id)
    batch.arrival_ms.append(arrival_ms)
    batch.offset.append(offset)
