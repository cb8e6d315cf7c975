"""What a small request could be made to cost: it is refused before it costs that."""

import gzip
import json
import time
from collections.abc import Callable
from typing import Any

import cramjam
import httpx
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from api.loki_messages import PushRequest
from api.otlp_messages import VALUES_MAX
from tests.integration.http.conftest import Api
from tests.integration.http.formats import JSON, error_of, send
from tests.integration.http.test_api_formats_refused import peak_kib

SHARED = "x" * 100_000
RECORDS = 9000
"""So many records that share so much would take 900 MB."""
MORE = 10_001
"""One more than is taken at once."""


def otlp_of_one_resource() -> bytes:
    message = ExportLogsServiceRequest()
    resource_logs = message.resource_logs.add()
    resource_logs.resource.attributes.add(key="k").value.string_value = SHARED
    scope_logs = resource_logs.scope_logs.add()
    for _ in range(RECORDS):
        scope_logs.log_records.add().body.string_value = "one"
    return message.SerializeToString()


def otlp_of_one_scope() -> bytes:
    message = ExportLogsServiceRequest()
    scope_logs = message.resource_logs.add().scope_logs.add()
    scope_logs.scope.name = SHARED
    for _ in range(RECORDS):
        scope_logs.log_records.add().body.string_value = "one"
    return message.SerializeToString()


def otlp_of_one_scope_too_large_for_any_record() -> bytes:
    message = ExportLogsServiceRequest()
    scope_logs = message.resource_logs.add().scope_logs.add()
    scope_logs.scope.name = SHARED * 90
    for _ in range(RECORDS):
        scope_logs.log_records.add().body.string_value = "one"
    return message.SerializeToString()


def push_of_one_stream() -> bytes:
    message = PushRequest()
    stream = message.streams.add(labels=f'{{app="a", k="{SHARED}"}}')
    for _ in range(RECORDS):
        stream.entries.add(line=b"one").timestamp.GetCurrentTime()
    return bytes(cramjam.snappy.compress_raw(message.SerializeToString()))


def push_json_of_one_stream() -> bytes:
    values = [[str(time.time_ns()), "one"]] * RECORDS
    streams = [{"stream": {"app": "a", "k": SHARED}, "values": values}]
    return json.dumps({"streams": streams}).encode()


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("otlp", otlp_of_one_resource),
        ("otlp", otlp_of_one_scope),
        ("otlp", otlp_of_one_scope_too_large_for_any_record),
        ("loki", push_of_one_stream),
        ("loki-json", push_json_of_one_stream),
    ],
)
def test_what_records_share_does_not_multiply_without_bound(
    api: Api, name: str, make: Callable[[], bytes]
) -> None:
    assert api.process is not None
    before = peak_kib(api.process.pid)
    answer = send(api, name, make())
    assert answer.status_code == 413, answer.text
    assert "once each holds what several share" in error_of(name, answer)
    assert peak_kib(api.process.pid) - before < 200_000


def many(name: str, one: str) -> bytes:
    return f'{{"{name}": [{",".join([one] * MORE)}]}}'.encode()


SCOPES = '{"resourceLogs": [{"scopeLogs": [' + ",".join(["{}"] * MORE) + "]}]}"


@pytest.mark.parametrize(
    ("name", "body", "what"),
    [
        ("otlp", b"\x0a\x00" * MORE, "resources"),
        ("otlp", b"\x0a\x04\x12\x00\x12\x00" * MORE, "resources"),
        ("otlp", b"\x0a\x06\x12\x00\x12\x00\x12\x00" * (MORE // 2), "scopes"),
        ("otlp-json", many("resourceLogs", "{}"), "resources"),
        ("otlp-json", SCOPES.encode(), "scopes"),
        ("loki", bytes(cramjam.snappy.compress_raw(b"\x0a\x04\x0a\x02{}" * MORE)), "streams"),
        ("loki-json", many("streams", '{"stream": {}, "values": []}'), "streams"),
        ("bulk", b'{"delete":{}}\n' * MORE, "records"),
    ],
    ids=["otlp", "otlp-scopes", "scopes", "json", "json-scopes", "loki", "loki-json", "bulk"],
)
def test_more_than_is_taken_is_refused_also_where_it_holds_no_record(
    api: Api, name: str, body: bytes, what: str
) -> None:
    answer = send(api, name, body)
    assert answer.status_code == 413, answer.text
    assert f"{what}, at most 10000" in error_of(name, answer)


EMPTY = '{"arrayValue": {"values": [' + ",".join(["{}"] * (VALUES_MAX + 1)) + "]}}"


def attributes_of_a_resource(count: int) -> bytes:
    message = ExportLogsServiceRequest()
    resource_logs = message.resource_logs.add()
    for _ in range(count):
        resource_logs.resource.attributes.add()
    resource_logs.scope_logs.add().log_records.add()
    return message.SerializeToString()


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("otlp", attributes_of_a_resource(VALUES_MAX + 1)),
        (
            "otlp-json",
            f'{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{EMPTY}}}]}}]}}]}}'.encode(),
        ),
    ],
    ids=["attributes", "list"],
)
def test_more_values_than_can_be_looked_at_soon_are_refused(
    api: Api, name: str, body: bytes
) -> None:
    answer = send(api, name, gzip.compress(body), content_encoding="gzip")
    assert answer.status_code == 413, answer.text
    assert "attributes and values" in error_of(name, answer)


def test_name_of_an_index_is_not_repeated_without_bound(api: Api) -> None:
    def sent(index: str) -> httpx.Response:
        headers: dict[str, Any] = {"authorization": f"Bearer {api.key}", "content-type": JSON}
        body = b'{"delete":{}}\n' * 3
        return api.client.post(f"/{index}/_bulk", content=body, headers=headers)

    assert sent("x" * 255).status_code == 200
    answer = sent("x" * 256)
    assert answer.status_code == 400
    assert "255 characters" in error_of("bulk", answer)
