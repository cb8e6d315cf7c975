"""One poll becomes records and dead letters; a bad record harms only itself."""

import json
from datetime import datetime, timezone

from flows.parse import parse_batch
from tocsin.batches import RawBatch

NOW = datetime(2026, 3, 2, 8, tzinfo=timezone.utc)
NOW_MS = int(NOW.timestamp() * 1000)


def wire(**changes: object) -> bytes:
    base = {"timestamp": NOW.isoformat(), "service_id": "a", "level": "err", "message": "m"}
    return json.dumps({**base, **changes}).encode()


def poll(*values: bytes | None, arrival_ms: int = NOW_MS) -> RawBatch:
    count = len(values)
    return RawBatch(
        incarnation=3,
        partition=2,
        next_offset=100 + count,
        key=[b"a"] * count,
        value=list(values),
        arrival_ms=[arrival_ms] * count,
        offset=list(range(100, 100 + count)),
        read_until_ms=arrival_ms,
    )


def test_every_field_lands_in_its_column() -> None:
    batch = parse_batch(poll(wire(metadata={"k": 1}, id="r-1"), wire()))
    assert (batch.incarnation, batch.partition, batch.next_offset) == (3, 2, 102)
    assert batch.event_us == [NOW_MS * 1000] * 2
    assert batch.service_id == ["a", "a"]
    assert batch.level == ["ERROR", "ERROR"]
    assert batch.message == ["m", "m"]
    assert batch.metadata == ['{"k": 1}', None]
    assert batch.id == ["r-1", None]
    assert batch.arrival_ms == [NOW_MS] * 2
    assert batch.offset == [100, 101]


def test_bad_record_is_put_aside_as_it_came_and_the_others_stay() -> None:
    batch = parse_batch(poll(wire(), b"\xff{", wire(), None, wire(level="LOUD")))
    assert batch.offset == [100, 102]
    assert [(letter.offset, letter.raw, letter.key) for letter in batch.dead_letters] == [
        (101, b"\xff{", b"a"),
        (103, b"", b"a"),
        (104, wire(level="LOUD"), b"a"),
    ]
    assert batch.next_offset == 105


def test_record_more_than_five_minutes_ahead_of_its_arrival_is_put_aside() -> None:
    at_the_border = poll(wire(), arrival_ms=NOW_MS - 300_000)
    beyond = poll(wire(), arrival_ms=NOW_MS - 300_001)
    assert len(parse_batch(at_the_border)) == 1
    [letter] = parse_batch(beyond).dead_letters
    assert letter.reason == "timestamp: more than 5 minutes ahead of its arrival"


def test_record_more_than_a_year_and_a_day_before_its_arrival_is_put_aside() -> None:
    year_ms = 366 * 86_400_000
    assert len(parse_batch(poll(wire(), arrival_ms=NOW_MS + year_ms))) == 1
    [letter] = parse_batch(poll(wire(), arrival_ms=NOW_MS + year_ms + 1)).dead_letters
    assert letter.reason == "timestamp: more than 366 days before its arrival"
