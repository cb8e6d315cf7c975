"""A time stamp is moved, and no other byte."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.shifting import shifted
from tocsin.records import EPOCH

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.just("timestamp"),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("timestamp"), inner),
    max_leaves=10,
)
MOMENTS = st.integers(0, 250 * 365 * 86_400 * 10**6).map(
    lambda us: EPOCH + timedelta(microseconds=us)
)
SHIFTS = st.integers(-(10**10), 10**10)


@given(st.dictionaries(st.text(), VALUES), MOMENTS, SHIFTS, st.booleans(), st.data())
def test_only_the_outermost_timestamp_moves(
    others: dict[str, Any], moment: datetime, shift_ms: int, ascii_only: bool, draw: st.DataObject
) -> None:
    others.pop("timestamp", None)
    names = draw.draw(st.permutations([*others, "timestamp"]))
    record = {**others, "timestamp": moment.isoformat()}
    value = json.dumps({name: record[name] for name in names}, ensure_ascii=ascii_only).encode()
    moved = json.loads(shifted(value, shift_ms))
    at = datetime.fromisoformat(moved.pop("timestamp"))
    assert at == moment + timedelta(milliseconds=shift_ms)
    assert moved == others
    assert list(json.loads(shifted(value, shift_ms))) == names


@pytest.mark.parametrize(
    ("value", "moved"),
    [
        (
            b'{ "n":1.50 ,"timestamp" :\n"2026-03-02T08:00:00Z","b":"\\u0041\xc3\xa4" }',
            b'{ "n":1.50 ,"timestamp" :\n"2026-03-02T08:00:01.500Z","b":"\\u0041\xc3\xa4" }',
        ),
        (
            b'{"timestamp":"2026-03-02T08:00:00.123456+02:00"}',
            b'{"timestamp":"2026-03-02T08:00:01.623456+02:00"}',
        ),
        (
            b'{"a":[{"timestamp":"2026-03-02T08:00:00Z"}],"timestamp":"2026-03-02T08:00:00Z"}',
            b'{"a":[{"timestamp":"2026-03-02T08:00:00Z"}],"timestamp":"2026-03-02T08:00:01.500Z"}',
        ),
        (
            b'{"message":"timestamp","level":"timestamp","timestamp":"2026-03-02T08:00:00Z"}',
            b'{"message":"timestamp","level":"timestamp","timestamp":"2026-03-02T08:00:01.500Z"}',
        ),
        (
            b'{"message":"\\"timestamp\\":{","timestamp":"2026-03-02T08:00:00Z"}',
            b'{"message":"\\"timestamp\\":{","timestamp":"2026-03-02T08:00:01.500Z"}',
        ),
        (
            b'{"time\\u0073tamp":"2026-03-02T08:00:00Z"}',
            b'{"time\\u0073tamp":"2026-03-02T08:00:01.500Z"}',
        ),
        (
            b'{"timestamp":"2020-01-01T00:00:00Z","timestamp":"2026-03-02T08:00:00Z"}',
            b'{"timestamp":"2020-01-01T00:00:00Z","timestamp":"2026-03-02T08:00:01.500Z"}',
        ),
    ],
)
def test_every_other_byte_stays(value: bytes, moved: bytes) -> None:
    assert shifted(value, 1_500) == moved


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"no JSON",
        b'{"timestamp":"2026-03-02T08:00:00Z"',
        b'["timestamp","2026-03-02T08:00:00Z"]',
        b'{"time":"2026-03-02T08:00:00Z"}',
        b'{"timestamp":"yesterday"}',
        b'{"timestamp":"2026-03-02T08:00:00"}',
        b'{"timestamp":1772409600}',
        b'{"timestamp":null}',
        b'{"metadata":{"timestamp":"2026-03-02T08:00:00Z"}}',
        b'{"timestamp":"9999-12-31T23:59:59Z"}',
        b'\xff{"timestamp":"2026-03-02T08:00:00Z"}',
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    ],
)
def test_what_has_no_timestamp_to_move_is_sent_as_it_is(value: bytes) -> None:
    assert shifted(value, 1_500) == value
