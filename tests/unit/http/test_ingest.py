"""Splitting and checking a request's records, without a server."""

import json
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.ingest import SentRecord, check_records, split_records
from api.problems import Refusal
from tocsin.records import AHEAD_MS_MAX, LogRecord, parse_record

NOW = datetime(2026, 3, 2, 8, 0, 0, 250_000, tzinfo=timezone.utc)
NOW_MS = round(NOW.timestamp() * 1000)
AHEAD = timedelta(milliseconds=AHEAD_MS_MAX)

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
untimed = st.fixed_dictionaries(
    {"service_id": text.filter(bool), "level": st.sampled_from(["INFO", "err"]), "message": text},
    optional={"metadata": st.dictionaries(text | st.just("timestamp"), values, max_size=3)},
)


def check(body: bytes) -> tuple[list[tuple[bytes, bytes]], list[Any]]:
    return check_records(split_records(body), received_ms=NOW_MS)


@given(st.lists(untimed, min_size=1, max_size=5), st.booleans(), st.sampled_from([None, 2]))
def test_untimed_records_get_the_time_of_receipt_and_keep_the_rest(
    records: list[dict[str, Any]], ascii_only: bool, indent: int | None
) -> None:
    body = json.dumps(records, ensure_ascii=ascii_only, indent=indent).encode()
    taken, refused = check(body)
    assert not refused
    for record, (key, value) in zip(records, taken, strict=True):
        assert json.loads(value) == {"timestamp": "2026-03-02T08:00:00.250Z", **record}
        assert parse_record(value).timestamp == NOW
        assert key == record["service_id"].encode()


@given(st.lists(untimed, min_size=1, max_size=5))
def test_timed_records_go_on_to_the_byte(records: list[dict[str, Any]]) -> None:
    raws = [json.dumps({**record, "timestamp": NOW.isoformat()}).encode() for record in records]
    taken, refused = check(b"[" + b" , ".join(raws) + b"]")
    assert not refused
    assert [value for _, value in taken] == raws


@given(st.lists(values, min_size=1, max_size=8))
def test_every_record_is_taken_or_refused_once(records: list[Any]) -> None:
    taken, refused = check(json.dumps(records).encode())
    assert len(taken) + len(refused) == len(records)
    assert all(parse_record(value) for _, value in taken)


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_taken_or_refused(body: bytes) -> None:
    with suppress(Refusal):
        raws = split_records(body)
        taken, refused = check_records(raws, received_ms=NOW_MS)
        assert len(taken) + len(refused) == len(raws)


@pytest.mark.parametrize(
    ("ahead", "taken"),
    [
        (AHEAD, 1),
        (AHEAD + timedelta(microseconds=1), 0),
        (-timedelta(days=366), 1),
        (-timedelta(days=366, microseconds=1), 0),
    ],
)
def test_record_may_be_five_minutes_ahead_and_a_year_behind(ahead: timedelta, taken: int) -> None:
    moment = (NOW + ahead).isoformat()
    body = {"timestamp": moment, "service_id": "a", "level": "INFO", "message": ""}
    assert len(check(json.dumps(body).encode())[0]) == taken


def test_timestamp_spelled_with_an_escape_is_the_clients_own() -> None:
    body = (
        rb'{"\u0074imestamp":"2026-01-01T00:00:00Z","service_id":"a","level":"INFO","message":""}'
    )
    ((_, value),) = check(body)[0]
    assert parse_record(value).timestamp.month == 1


def test_refusals_of_an_object_without_fields_name_a_field() -> None:
    (refused,) = check(b" { } ")[1]
    assert refused.reason == "service_id: missing"


def test_described_record_has_the_fields_of_the_real_one() -> None:
    assert SentRecord.__struct_fields__ == LogRecord.__struct_fields__
    described = {f.name: f.required for f in msgspec.structs.fields(SentRecord)}
    real = {f.name: f.required for f in msgspec.structs.fields(LogRecord)}
    assert {**described, "timestamp": True} == real
