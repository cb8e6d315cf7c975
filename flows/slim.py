"""Bytes to what the detection reads of records: faster than `parse_batch`, refusing the same.

A stretch of messages is decoded and tested as a whole. Only where something stands out is it
parsed message by message, as the live flow does it, to find out which of them is to be refused.
"""

import re
from collections.abc import Iterator
from operator import sub
from typing import Final

import msgspec

from flows.parse import parse_batch
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
    refuse_wide_numbers,
)

_STRETCH: Final = 500
_decode = msgspec.json.Decoder(LogRecord).decode

# Each finds all that the parser's own test finds, and may find more.
_NUL: Final = b"\\u0000"
_DIGITS: Final = b"0123456789."
_SHAPES: Final = bytes.maketrans(b"123456789E-", b"000000000e+")
_BEFORE_A_NUMBER: Final = (b":", b"[", b",", b"-", b" ", b"\t", b"\n", b"\r", b"")
_SHORT: Final = 400
_NO_OBJECT: Final = re.compile(rb"\0(?!\{|\0|null\0)")


class _StandsOut(Exception):
    """A record of the stretch may have to be refused."""


def slim_batch(raw: RawBatch) -> RecordBatch:
    """Decode every message, leaving message and metadata blank; what is put aside has no text."""
    batch = RecordBatch.empty(raw.incarnation, raw.partition, raw.next_offset)
    batch.read_until_ms = raw.read_until_ms
    for stretch in _stretches(raw):
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
            _take_one_by_one(batch, stretch)
    blank = len(batch.offset)
    batch.message, batch.metadata = [""] * blank, [None] * blank
    return batch


def _stretches(raw: RawBatch) -> Iterator[RawBatch]:
    for first in range(0, len(raw.offset), _STRETCH):
        end = first + _STRETCH
        yield RawBatch(
            raw.incarnation,
            raw.partition,
            raw.next_offset,
            raw.key[first:end],
            raw.value[first:end],
            raw.arrival_ms[first:end],
            raw.offset[first:end],
            None,
        )


def _take(batch: RecordBatch, raw: RawBatch) -> None:
    """Append all records of a stretch. Raises what stands out, before anything is appended."""
    values = raw.value
    records = list(map(_decode, values))  # type: ignore[arg-type]  # None raises TypeError
    joined = b"\n".join(values)  # type: ignore[arg-type]
    joined.decode()
    messages = [len(record.message) for record in records]
    metadata = b"\0".join([b"", *[record.metadata for record in records], b""])
    if (
        max(map(len, values)) > RECORD_BYTES_MAX  # type: ignore[arg-type]
        or max(messages) * 4 > MESSAGE_BYTES_MAX
        or (b"\\" in joined and _NUL in joined)
        or _NO_OBJECT.search(metadata, 0, len(metadata) - 1)
    ):
        raise _StandsOut
    _refuse_wide_numbers(metadata)
    event_us = [
        ((since := record.timestamp - EPOCH).days * 86_400 + since.seconds) * 1_000_000
        + since.microseconds
        for record in records
    ]
    ahead_us = list(map(sub, event_us, [arrival_ms * 1000 for arrival_ms in raw.arrival_ms]))
    if max(ahead_us) > AHEAD_MS_MAX * 1000 or -min(ahead_us) > AGE_DAYS_MAX * 86_400_000_000:
        raise _StandsOut
    levels = [LEVELS.get(record.level) for record in records]
    if None in levels:
        raise _StandsOut
    batch.event_us += event_us
    batch.service_id += [record.service_id for record in records]
    batch.level += levels  # type: ignore[arg-type]  # None is not among them
    batch.id += [record.id for record in records]
    batch.arrival_ms += raw.arrival_ms
    batch.offset += raw.offset


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


def _take_one_by_one(batch: RecordBatch, raw: RawBatch) -> None:
    parsed = parse_batch(raw)
    batch.event_us += parsed.event_us
    batch.service_id += parsed.service_id
    batch.level += parsed.level
    batch.id += parsed.id
    batch.arrival_ms += parsed.arrival_ms
    batch.offset += parsed.offset
    # Of the reason one line is enough: what came with it would grow with the range.
    batch.dead_letters += [
        DeadLetter(one.partition, one.offset, one.arrival_ms, one.reason, None, b"")
        for one in parsed.dead_letters
    ]
