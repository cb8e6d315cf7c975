"""Formats that shippers send: the same records, the same acknowledgement, each in its own words."""

import gzip
import json
import zlib
from collections.abc import Callable

import httpx
import pytest
from backports import zstd
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

from stack.broker import Broker
from stack.waiting import wait_until
from tests.integration.http.conftest import WAIT_S, Api
from tests.integration.http.formats import (
    FORMATS,
    JSON,
    PROTOBUF,
    bulk,
    error_of,
    every_format,
    every_protocol,
    made,
    send,
    wire,
)
from tests.integration.http.test_api_ingest import record
from tests.integration.http.test_api_outages import database_away
from tocsin.records import MESSAGE_BYTES_MAX

LONG = "x" * (MESSAGE_BYTES_MAX + 1)


def bare_deflate(body: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(body) + compressor.flush()


@every_format
def test_acknowledged_records_are_on_the_topic_in_order(api: Api, service: str, name: str) -> None:
    answer = send(api, name, made(name, service, "one", "two", "three"))
    assert answer.status_code == FORMATS[name][3], answer.text
    found = [wire(message) for message in api.topic_records(service)]
    assert [one["message"] for one in found] == ["one", "two", "three"]
    assert {one["level"].upper() for one in found} == {"ERROR"}


@every_protocol
@pytest.mark.parametrize(
    ("coding", "compress"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", bare_deflate),
        ("zstd", zstd.compress),
        ("GZIP", lambda body: gzip.compress(body[:9]) + gzip.compress(body[9:])),
        ("identity", bytes),
    ],
)
def test_compressed_records_are_taken(
    api: Api, service: str, name: str, coding: str, compress: Callable[[bytes], bytes]
) -> None:
    answer = send(api, name, compress(made(name, service, "one")), content_encoding=coding)
    assert answer.status_code == FORMATS[name][3], answer.text
    assert len(api.topic_records(service)) == 1


@every_format
@pytest.mark.parametrize("bad", ["nul \0 inside", LONG])
def test_one_bad_record_does_not_sink_the_others(
    api: Api, service: str, name: str, bad: str
) -> None:
    answer = send(api, name, made(name, service, "one", bad, "three"))
    assert len(api.topic_records(service)) == 2
    told = told_of_refused(name, answer)
    assert ("NUL" if "\0" in bad else "message") in told


def told_of_refused(name: str, answer: httpx.Response) -> str:
    """Return the reason that an answer gives for its second record, the only bad one."""
    if name in {"lines", "jsonl"}:
        assert answer.status_code == 202
        (refused,) = answer.json()["refused"]
        assert refused["index"] == 1
        return str(refused["reason"])
    if name == "otlp":
        partial = ExportLogsServiceResponse.FromString(answer.content).partial_success
        assert (answer.status_code, partial.rejected_log_records) == (200, 1)
        return partial.error_message
    if name == "otlp-json":
        found = answer.json()["partialSuccess"]
        assert (answer.status_code, found["rejectedLogRecords"]) == (200, "1")
        return str(found["errorMessage"])
    if name.startswith("loki"):
        assert answer.status_code == 400
        assert "1 of 3 entries" in answer.text
        return answer.text
    assert answer.status_code == 200
    assert answer.json()["errors"] is True
    assert [item["index"]["status"] for item in answer.json()["items"]] == [201, 400, 201]
    return str(answer.json()["items"][1]["index"]["error"]["reason"])


@pytest.mark.parametrize("name", ["lines", "otlp", "otlp-json"])
def test_request_without_a_good_record_is_refused(api: Api, service: str, name: str) -> None:
    answer = send(api, name, made(name, service, LONG))
    assert answer.status_code == 400
    assert "no record can be taken" in error_of(name, answer)


def test_only_what_appends_is_taken_by_bulk(api: Api, service: str) -> None:
    body = (
        b'{"delete":{"_id":"1"}}\n{"update":{"_id":"2"}}\n{"doc":{"message":"x"}}\n'
        + bulk(service, "one")
        + b'{"create":{"_index":"mine","_id":7}}\n'
        + json.dumps({"service": service, "message": "two"}).encode()
        + b"\n"
    )
    answer = send(api, "bulk-index", body).json()
    told = [(action, item["status"]) for one in answer["items"] for action, item in one.items()]
    assert told == [("delete", 400), ("update", 400), ("index", 201), ("create", 201)]
    assert [next(iter(one.values()))["_index"] for one in answer["items"]][2:] == ["logs-x", "mine"]
    assert [wire(m).get("id") for m in api.topic_records(service)] == [None, "7"]


@pytest.mark.parametrize("kind", [JSON, PROTOBUF])
def test_empty_otlp_request_is_a_success(api: Api, kind: str) -> None:
    name = "otlp-json" if kind == JSON else "otlp"
    answer = send(api, name, b"{}" if kind == JSON else b"")
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)


@every_protocol
def test_nothing_is_acknowledged_while_the_broker_is_away(
    make_api: Callable[..., Api], own_broker: Broker, service: str, name: str
) -> None:
    api = make_api(KAFKA_BOOTSTRAP=own_broker.bootstrap, TOCSIN_PUBLISH_TIMEOUT_S="1")
    api.start_with_topic()
    wait_until(
        lambda: send(api, name, made(name, service, "one")).status_code == FORMATS[name][3],
        "the API takes records",
        deadline_s=WAIT_S,
    )
    own_broker.pause()
    answer = send(api, name, made(name, service, "two"))
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert "Kafka" in error_of(name, answer)
    own_broker.resume()
    wait_until(
        lambda: send(api, name, made(name, service, "three")).status_code == FORMATS[name][3],
        "the API takes records again",
        deadline_s=WAIT_S,
    )


def test_known_key_ingests_in_every_format_while_the_database_is_away(
    make_api: Callable[..., Api], database_url: str, service: str
) -> None:
    api = make_api()
    api.start_with_topic()
    assert api.ingest(record(service)).status_code == 202
    unseen = "Bearer tcs_0123456789abcdef_secret"
    with database_away(database_url):
        for name in FORMATS:
            answer = send(api, name, made(name, service, "one"))
            assert answer.status_code == FORMATS[name][3], (name, answer.text)
            refused = send(api, name, made(name, service, "one"), authorization=unseen)
            assert refused.status_code == 503
            assert error_of(name, refused)
    assert len(api.topic_records(service)) == 1 + len(FORMATS)
