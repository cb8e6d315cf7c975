"""Ingest: what is acknowledged is on the topic; what is bad is named and sinks nothing else."""

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import httpx
import pytest

from tests.integration.http.conftest import Api
from tocsin.records import MESSAGE_BYTES_MAX, parse_record


def record(service: str, **changes: object) -> dict[str, object]:
    return {
        "timestamp": datetime.now(timezone.utc).isoformat(),
        "service_id": service,
        "level": "ERROR",
        "message": "card declined",
        **changes,
    }


def assert_problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    return problem


def test_acknowledged_record_is_on_the_topic(api: Api, service: str) -> None:
    sent = record(service, metadata={"amount": 10.50, "π": None}, id="a-1")
    answer = api.ingest(sent)
    assert answer.status_code == 202
    assert answer.json() == {"accepted": 1, "refused": []}
    (message,) = api.topic_records(service)
    assert json.loads(message.value() or b"") == sent


def test_every_record_of_an_acknowledged_batch_is_on_the_topic_in_order(
    api: Api, service: str
) -> None:
    answer = api.ingest([record(service, message=str(i)) for i in range(1000)])
    assert answer.json()["accepted"] == 1000
    found = api.topic_records(service)
    assert [parse_record(m.value() or b"").message for m in found] == [str(i) for i in range(1000)]


def test_service_keeps_to_the_partition_that_java_would_choose(api: Api) -> None:
    # Java's murmur2 of "checkout", positive, modulo 4 partitions, is fixed for all times.
    api.ingest([record("checkout"), record("checkout")])
    assert {message.partition() for message in api.topic_records("checkout")} == {
        java_partition(b"checkout", api.settings.partitions)
    }


def java_partition(key: bytes, partitions: int) -> int:
    """Kafka's `Utils.toPositive(Utils.murmur2(key)) % partitions`."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = (0x9747B28C ^ len(key)) & mask
    body = len(key) // 4 * 4
    for i in range(0, body, 4):
        k = int.from_bytes(key[i : i + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    rest = key[body:]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return ((h ^ h >> 15) & 0x7FFFFFFF) % partitions


def test_one_bad_record_does_not_sink_the_batch(api: Api, service: str) -> None:
    answer = api.ingest([record(service), record(service, level="loud"), record(service)])
    assert answer.status_code == 202
    assert answer.json()["accepted"] == 2
    (refused,) = answer.json()["refused"]
    assert refused["index"] == 1
    assert "level" in refused["reason"]
    assert len(api.topic_records(service)) == 2


@pytest.mark.parametrize(
    "metadata",
    [
        b'{"a":1e1000000000000000000}',
        b'{"a":-1E+1000000000000000000}',
        b'{"a":1e' + b"9" * 6000 + b"}",
        b'{"a":' + b"9" * 20_000 + b"}",
    ],
)
def test_number_beyond_all_bounds_sinks_no_other_record(
    api: Api, service: str, metadata: bytes
) -> None:
    good = json.dumps(record(service)).encode()
    bad = good[:-1] + b', "metadata": ' + metadata + b"}"
    answer = api.ingest(b"[" + b",".join([good, bad, good]) + b"]")
    assert answer.status_code == 202
    assert [row["index"] for row in answer.json()["refused"]] == [1]
    assert len(api.topic_records(service)) == 2


def test_record_of_any_depth_sinks_no_other_record(api: Api, service: str) -> None:
    # Somewhere here the parser, the checks and the splitting of the request give up, in turn.
    good = json.dumps(record(service)).encode()
    outcomes = []
    for depth in [*range(900, 1011), 5000]:
        for opening, closing in ((b'{"a":', b"}"), (b"[", b"]")):
            nested = opening * depth + b"1" + closing * depth
            metadata = b'{"long": "' + b"x" * 11_000 + b'", "deep": ' + nested + b"}"
            bad = good[:-1] + b', "metadata": ' + metadata + b"}"
            answer = api.ingest(b"[" + b" , ".join([good, bad, good]) + b"]")
            assert answer.status_code == 202, (depth, answer.text)
            outcomes.append([row["index"] for row in answer.json()["refused"]])
            assert answer.json()["accepted"] + len(outcomes[-1]) == 3
    assert outcomes[0] == []
    assert outcomes[-1] == [1]
    assert all(refused in ([], [1]) for refused in outcomes)


def test_batch_without_a_good_record_is_refused_with_every_reason(api: Api, service: str) -> None:
    problem = assert_problem(api.ingest([{}, record(service, extra=1)]), 400)
    assert [row["index"] for row in problem["refused"]] == [0, 1]
    assert api.topic_records(service) == []


def test_record_without_timestamp_gets_the_time_of_receipt(api: Api, service: str) -> None:
    before = datetime.now(timezone.utc) - timedelta(milliseconds=1)
    untimed = {name: value for name, value in record(service).items() if name != "timestamp"}
    mentioned = {**untimed, "metadata": {"timestamp": "yesterday"}}
    assert api.ingest([untimed, mentioned]).json()["accepted"] == 2
    for message in api.topic_records(service):
        stamped = parse_record(message.value() or b"")
        assert before <= stamped.timestamp <= datetime.now(timezone.utc)


def test_single_untimed_record_is_taken_with_blanks_around_it(api: Api, service: str) -> None:
    body = b' \n { "service_id":"%s", "level":"warn", "message":"x" } \r\n' % service.encode()
    assert api.ingest(body).status_code == 202


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"timestamp": "yesterday"}, "timestamp"),
        ({"timestamp": "2026-03-02T08:00:00"}, "timestamp"),
        ({"timestamp": None}, "timestamp"),
        ({"timestamp": "9999-01-01T00:00:00Z"}, "ahead"),
        ({"service_id": ""}, "service_id"),
        ({"service_id": "x" * 129}, "service_id"),
        ({"service_id": 7}, "service_id"),
        ({"level": 40}, "level"),
        ({"level": "LOUD"}, "level"),
        ({"message": None}, "message"),
        ({"message": "x" * (MESSAGE_BYTES_MAX + 1)}, "message"),
        ({"message": "nul \0 inside"}, "NUL"),
        ({"metadata": [1]}, "metadata"),
        ({"metadata": {"deep": "\0"}}, "NUL"),
        ({"id": ""}, "id"),
        ({"severity": "ERROR"}, "severity"),
    ],
)
def test_record_that_breaks_the_contract_is_refused_by_name(
    api: Api, service: str, change: dict[str, object], reason: str
) -> None:
    problem = assert_problem(api.ingest(record(service, **change)), 400)
    (refused,) = problem["refused"]
    assert reason in refused["reason"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  ",
        b"[]",
        b"{",
        b"[{]",
        b"[1,",
        b"not json",
        b'{"a":1}{"b":2}',
        b"\xff\xfe",
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'"text"',
        b"7",
        b"null",
        b"[null]",
        b'[{"service_id":"\xff","level":"INFO","message":"x"}]',
        b'{"service_id":"a","level":"INFO","message":"\\ud800"}',
        b'{"service_id":"a","level":"INFO","message":"x","metadata":'
        + b'{"a":' * 5000
        + b"}" * 5001,
        b'{"service_id":"a","level":"INFO","message":"x","metadata":{"n":1e99999}}',
    ],
)
def test_body_that_holds_no_record_is_refused(api: Api, body: bytes) -> None:
    assert_problem(api.ingest(body), 400)


@pytest.mark.parametrize("body", [b"{", b"not json", b"[1,", b'{"a":1}{"b":2}', b"[" * 100_000])
def test_body_that_is_no_json_is_told_as_that(api: Api, body: bytes) -> None:
    problem = assert_problem(api.ingest(body), 400)
    assert problem["detail"].startswith(("body: not valid JSON (", "body: nested too deeply"))


def test_record_that_is_nested_too_deeply_hides_no_other_reason(api: Api, service: str) -> None:
    deep = json.dumps(record(service))[:-1].encode() + b',"metadata":{"a":' + b"[" * 2000
    problem = assert_problem(api.ingest(b"[" + deep + b"]" * 2000 + b'}},{"x":1}]'), 400)
    assert [row["reason"] for row in problem["refused"]] == [
        "record: nested too deeply",
        "x: unknown field, put it into 'metadata'",
    ]
