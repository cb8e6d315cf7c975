"""The contract of a log record: what is taken, what is refused, and in which words."""

import json
from contextlib import suppress
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.records import (
    EPOCH,
    LEVEL_ALIASES,
    MESSAGE_BYTES_MAX,
    RECORD_BYTES_MAX,
    Level,
    Refused,
    event_us_of,
    level_of,
    metadata_of,
    parse_record,
)

BASE = {
    "timestamp": "2026-03-02T08:00:00.25+01:00",
    "service_id": "checkout",
    "level": "ERROR",
    "message": "card declined",
}


def wire(**changes: object) -> bytes:
    return json.dumps({**BASE, **changes}).encode()


def reason(raw: bytes) -> str:
    with pytest.raises(Refused) as refused:
        parse_record(raw)
    return str(refused.value)


def test_record_keeps_every_field() -> None:
    record = parse_record(wire(metadata={"a": [1, None]}, id="r-1"))
    assert event_us_of(record.timestamp) == 1_772_434_800_250_000
    assert (record.service_id, record.level, record.message, record.id) == (
        "checkout",
        "ERROR",
        "card declined",
        "r-1",
    )
    assert metadata_of(record) == '{"a": [1, null]}'


@pytest.mark.parametrize("raw", [wire(), wire(metadata=None)])
def test_absent_and_null_metadata_are_none(raw: bytes) -> None:
    assert metadata_of(parse_record(raw)) is None


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", "record: not valid JSON"),
        (b"\xff{", "record: not UTF-8"),
        (b"[]", "record: give an object, not a list"),
        (b"{}", "timestamp: missing"),
        (wire(color="red"), "color: unknown field, put it into 'metadata'"),
        (wire(servcie_id="a"), "servcie_id: unknown field, is 'service_id' meant?"),
        (wire(service_id=""), "service_id: give at least 1 character"),
        (wire(service_id="s" * 129), "service_id: give at most 128 characters"),
        (wire(service_id=7), "service_id: give text, not a whole number"),
        (wire(timestamp="yesterday"), "timestamp: give a time, as 2026-03-02T"),
        (wire(timestamp="2026-03-02T08:00:00"), "timestamp: needs a time zone, as 2026-03-02T"),
        (wire(timestamp="0001-01-01T00:00:00+12:00"), "timestamp: outside the years 1 to 9999"),
        (wire(metadata=[1]), "metadata: give an object"),
        (wire(id=""), "id: give at least 1 character"),
        (wire(message="x" * (MESSAGE_BYTES_MAX + 1)), "message: 32769 bytes, at most 32768"),
        (wire(message="\0"), "record: holds a NUL character"),
        (wire(metadata={"\0": 1}), "record: holds a NUL character"),
        (wire(message="\ud800"), "record: not valid JSON"),
        (wire(metadata={"x": "\udc00"}), "record: not valid JSON"),
        (
            wire(metadata="?").replace(b'"?"', b'{"n":1e10001}'),
            "metadata: a number is beyond range",
        ),
        (
            wire(metadata="?").replace(b'"?"', b'{"n":-1E-99999}'),
            "metadata: a number is beyond range",
        ),
        (wire(metadata={"x": "y" * RECORD_BYTES_MAX}), "record: 262"),
        (wire().replace(b"}", b',"metadata":{"x":' + b"[" * 5000 + b"]" * 5000 + b"}}"), "nested"),
    ],
)
def test_bad_record_is_refused_with_its_reason(raw: bytes, expected: str) -> None:
    assert expected in reason(raw)


@pytest.mark.parametrize("exponent", ["1000000000000000000", "-" + "9" * 20, "0" * 20_000 + "1"])
def test_exponent_of_any_size_is_refused(exponent: str) -> None:
    raw = wire(metadata="?").replace(b'"?"', b'{"n":1e' + exponent.encode() + b"}")
    assert reason(raw) == "metadata: a number is beyond range"


@pytest.mark.parametrize("depth", [*range(400, 1100, 7), *range(940, 1010)])
def test_no_depth_makes_the_parser_fail(depth: int) -> None:
    deep = b'{"pad":"' + b"x" * 11_000 + b'","a":' + b"[" * depth + b"]" * depth + b"}"
    with suppress(Refused):
        parse_record(wire(metadata="?").replace(b'"?"', deep))


def test_reason_quotes_only_what_can_be_printed() -> None:
    raw = wire().replace(b"}", b',"\\u0000\\n\\u202e":1}')
    assert reason(raw) == "\ufffd\ufffd\ufffd: unknown field, put it into 'metadata'"


def test_number_of_very_many_digits_is_refused() -> None:
    raw = wire(metadata="?").replace(b'"?"', b'{"n":' + b"1" * 10_001 + b"}")
    assert reason(raw) == "metadata: a number is beyond range"


@pytest.mark.parametrize(
    "text", ["\\u0000 as text", "1e99999 as text", "back\\slash", "", "snow \u2603 \U0001f600"]
)
def test_what_only_looks_dangerous_is_kept(text: str) -> None:
    record = parse_record(wire(message=text, metadata={"k": text}))
    assert record.message == text
    assert json.loads(metadata_of(record) or "") == {"k": text}


def test_message_limit_is_in_bytes() -> None:
    assert parse_record(wire(message="\u00e9" * (MESSAGE_BYTES_MAX // 2)))
    assert "message: 32770 bytes" in reason(wire(message="\u00e9" * (MESSAGE_BYTES_MAX // 2 + 1)))


@pytest.mark.parametrize("level", list(Level))
def test_levels_are_taken_in_any_case(level: Level) -> None:
    assert {level_of(level.value), level_of(level.lower()), level_of(level.title())} == {level}


def test_every_alias_means_a_level() -> None:
    assert {level_of(alias.title()) for alias in LEVEL_ALIASES} == {level.value for level in Level}


def test_unknown_level_is_refused() -> None:
    with pytest.raises(Refused, match="level: unknown level 'LOUD'"):
        level_of("LOUD")


@given(
    st.datetimes(timezones=st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone))
)
def test_event_time_is_exact_to_the_microsecond(timestamp: datetime) -> None:
    assert EPOCH + timedelta(microseconds=event_us_of(timestamp)) == timestamp


@given(st.binary(max_size=200))
def test_no_bytes_make_the_parser_fail(raw: bytes) -> None:
    with suppress(Refused):
        parse_record(raw)
