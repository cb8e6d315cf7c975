"""Whatever bytes come, the parser takes them or refuses them with a reason; nothing else."""

from hypothesis import example, given, settings

from flows.parse import parse_batch
from tests.unit.wires import NOW_MS, WIRES
from tocsin.batches import RawBatch
from tocsin.records import MESSAGE_BYTES_MAX, Level


@given(WIRES)
@example(b'{"a":' * 5000)
@settings(max_examples=1000)
def test_any_bytes_become_a_record_or_a_dead_letter(raw: bytes) -> None:
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
