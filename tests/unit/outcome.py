"""What must become of any bytes on the topic."""

from datetime import datetime, timezone

from flows.parse import parse_batch
from tocsin.batches import RawBatch
from tocsin.records import MESSAGE_BYTES_MAX, Level

NOW_MS = int(datetime(2026, 3, 2, 8, tzinfo=timezone.utc).timestamp() * 1000)


def require_one_outcome(raw: bytes) -> None:
    """Fail unless the bytes become a record within its bounds, or a dead letter with a reason."""
    batch = parse_batch(
        RawBatch(
            incarnation=1,
            partition=0,
            next_offset=8,
            key=[None],
            value=[raw],
            arrival_ms=[NOW_MS],
            offset=[7],
            read_until_ms=NOW_MS,
        )
    )
    assert len(batch) + len(batch.dead_letters) == 1
    for letter in batch.dead_letters:
        assert (letter.offset, letter.raw) == (7, raw)
        assert letter.reason
        assert letter.reason.isprintable()
    for service_id, level, message in zip(
        batch.service_id, batch.level, batch.message, strict=True
    ):
        assert 1 <= len(service_id) <= 128
        assert level in set(Level)
        assert len(message.encode()) <= MESSAGE_BYTES_MAX
