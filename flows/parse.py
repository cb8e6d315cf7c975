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


def parse_batch(raw: RawBatch) -> RecordBatch:
    """Decode every message; one that breaks the contract harms only itself."""
    batch = RecordBatch.empty(raw.incarnation, raw.partition, raw.next_offset)
    batch.read_until_ms, batch.weight = raw.read_until_ms, raw.weight
    batch.size_bytes = sum(len(value) for value in raw.value if value)
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
    return batch


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
