"""Bytes to records: one RawBatch gives one RecordBatch, with what had to be put aside."""

from tocsin.batches import DeadLetter, RawBatch, RecordBatch
from tocsin.records import (
    LogRecord,
    Refused,
    event_us_of,
    level_of,
    metadata_of,
    parse_record,
    refuse_untimely,
)
from tocsin.stretches import STRETCH, StandsOut, parse_stretch


def parse_batch(raw: RawBatch) -> RecordBatch:
    """Decode every message; one that breaks the contract harms only itself."""
    batch = RecordBatch.empty(raw.incarnation, raw.partition, raw.next_offset)
    batch.read_until_ms, batch.weight = raw.read_until_ms, raw.weight
    batch.size_bytes = sum(map(len, filter(None, raw.value)))
    for first in range(0, len(raw.offset), STRETCH):
        part = raw.rows(first, first + STRETCH)
        try:
            _take(batch, part)
        except StandsOut:
            parse_one_by_one(batch, part)
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
    """Append all messages of a stretch. Raises StandsOut before anything is appended."""
    stretch = parse_stretch(raw.value, raw.arrival_ms)
    batch.event_us += stretch.event_us
    batch.service_id += stretch.service_id
    batch.level += stretch.level
    batch.message += stretch.message
    batch.metadata += stretch.metadata
    batch.id += stretch.id
    batch.arrival_ms += raw.arrival_ms
    batch.offset += raw.offset


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
