"""Messages parsed as a stretch become what they become one by one."""

import json

from hypothesis import example, given, settings
from hypothesis import strategies as st

from flows.parse import parse_batch, parse_one_by_one
from tests.unit.wires import NOW, NOW_MS, WIRES
from tocsin.batches import RawBatch, RecordBatch
from tocsin.stretches import STRETCH

BASE = {"timestamp": NOW.isoformat(), "service_id": "a", "level": "err", "message": "m"}


def wire(**changes: object) -> bytes:
    return json.dumps({**BASE, **changes}).encode()


def with_metadata(text: str) -> bytes:
    return wire()[:-1] + b', "metadata": ' + text.encode() + b"}"


def poll(values: list[bytes | None], arrivals: list[int]) -> RawBatch:
    return RawBatch(
        incarnation=1,
        partition=2,
        next_offset=7 + len(values),
        key=[b"a"] * len(values),
        value=values,
        arrival_ms=arrivals,
        offset=list(range(7, 7 + len(values))),
        read_until_ms=None,
    )


def same(values: list[bytes | None], arrivals: list[int] | None = None) -> None:
    raw = poll(values, arrivals or [NOW_MS] * len(values))
    expected = RecordBatch.empty(raw.incarnation, raw.partition, raw.next_offset)
    expected.size_bytes = sum(len(value or b"") for value in values)
    parse_one_by_one(expected, raw)
    assert parse_batch(raw) == expected


ARRIVALS = st.sampled_from([NOW_MS, NOW_MS - 300_000, NOW_MS - 300_001, NOW_MS + 400 * 86_400_000])


@given(st.lists(st.tuples(WIRES, ARRIVALS), min_size=1, max_size=6))
@example([(wire(level="LOUD"), NOW_MS), (wire(), NOW_MS)])
@settings(max_examples=300)
def test_stretch_is_taken_and_refused_as_its_messages_are(
    messages: list[tuple[bytes, int]],
) -> None:
    same([value for value, _ in messages], [arrival_ms for _, arrival_ms in messages])


def test_bad_records_are_refused_among_good_ones() -> None:
    good = [wire(id=str(number), metadata={"k": number}) for number in range(2 * STRETCH + 200)]
    bad: list[bytes | None] = [
        None,
        b"",
        b"\xff{",
        wire(level="LOUD"),
        wire(metadata=[1]),
        wire(metadata="text"),
        wire(message="m" * 40_000),
        wire(message="é" * 20_000),
        wire(metadata={"k": "a\0b"}),
        wire(message="\\u0000"),
        wire(timestamp="0001-01-01T00:00:00Z"),
        wire(timestamp="9999-12-31T23:59:59Z"),
        wire(timestamp="2026-03-02T08:00:00"),
        with_metadata('{"n": 1e99999}'),
        with_metadata('{"n": 1E-99999}'),
        with_metadata('{"n": [-0.5e+99999]}'),
        with_metadata('{"n":' + "1" * 10_001 + "}"),
        with_metadata('{"x": "0e12345", "n": ' + "[" * 3000 + "]" * 3000 + "}"),
        with_metadata("null"),
        with_metadata('{"k": "?"}').replace(b"?", b"\xff"),
        with_metadata('{"deep": {"n": 10E+12345}}'),
        wire(level="Warning"),
        with_metadata('{"request": "3e12345f"}'),
        with_metadata('{"n": 1e0005}'),
        wire() + b" " * (256 * 1024),
    ]
    for number, value in enumerate(bad):
        same([*good[:number], value, *good[number:]])
    same([*bad, *good])


def test_halves_of_a_character_in_two_records_are_both_refused() -> None:
    first, second = "é".encode()
    same([wire()[:-2] + bytes([first]), bytes([second]) + wire()])
