"""Bodies in each format that shippers send, and how each format says what went wrong."""

import json
import time
from collections.abc import Callable
from typing import Any

import cramjam
import httpx
import pytest
from confluent_kafka import Message
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from api.loki_messages import PushRequest
from tests.integration.http.conftest import Api
from tests.integration.http.test_api_ingest import assert_problem, record

JSON = "application/json"
PROTOBUF = "application/x-protobuf"
NDJSON = "application/x-ndjson"


def otlp(service: str, *bodies: str) -> bytes:
    message = ExportLogsServiceRequest()
    resource_logs = message.resource_logs.add()
    pair = resource_logs.resource.attributes.add(key="service.name")
    pair.value.string_value = service
    scope_logs = resource_logs.scope_logs.add()
    for body in bodies:
        added = scope_logs.log_records.add(time_unix_nano=time.time_ns(), severity_number=17)
        added.body.string_value = body
    return message.SerializeToString()


def otlp_json(service: str, *bodies: str) -> bytes:
    name = {"key": "service.name", "value": {"stringValue": service}}
    records = [
        {
            "timeUnixNano": str(time.time_ns()),
            "severityNumber": 17,
            "body": {"stringValue": body},
        }
        for body in bodies
    ]
    scope_logs = [{"logRecords": records}]
    resource_logs = [{"resource": {"attributes": [name]}, "scopeLogs": scope_logs}]
    return json.dumps({"resourceLogs": resource_logs}).encode()


def push_json(service: str, *lines: str) -> bytes:
    values = [[str(time.time_ns()), line] for line in lines]
    labels = {"app": service, "level": "error"}
    return json.dumps({"streams": [{"stream": labels, "values": values}]}).encode()


def push(service: str, *lines: str) -> bytes:
    message = PushRequest()
    stream = message.streams.add(labels=f'{{app="{service}", level="error"}}')
    for line in lines:
        stream.entries.add(line=line.encode()).timestamp.GetCurrentTime()
    return bytes(cramjam.snappy.compress_raw(message.SerializeToString()))


def bulk(service: str, *messages: str) -> bytes:
    return b"".join(
        b'{"index":{}}\n'
        + json.dumps({"service": service, "level": "error", "msg": one}).encode()
        + b"\n"
        for one in messages
    )


def lines(service: str, *messages: str) -> bytes:
    return b"\n".join(json.dumps(record(service, message=one)).encode() for one in messages)


FORMATS: dict[str, tuple[str, str, Callable[..., bytes], int]] = {
    "lines": ("/ingest", NDJSON, lines, 202),
    "jsonl": ("/ingest", "application/jsonl", lines, 202),
    "otlp": ("/v1/logs", PROTOBUF, otlp, 200),
    "otlp-json": ("/v1/logs", JSON, otlp_json, 200),
    "loki": ("/loki/api/v1/push", PROTOBUF, push, 204),
    "loki-json": ("/loki/api/v1/push", JSON, push_json, 204),
    "bulk": ("/_bulk", NDJSON, bulk, 200),
    "bulk-index": ("/logs-x/_bulk", JSON, bulk, 200),
}
every_format = pytest.mark.parametrize("name", FORMATS)
every_protocol = pytest.mark.parametrize("name", ["lines", "otlp", "loki-json", "bulk"])


def send(api: Api, name: str, body: bytes, **headers: str) -> httpx.Response:
    path, kind, _, _ = FORMATS[name]
    sent = {"authorization": f"Bearer {api.key}", "content-type": kind}
    sent |= {header.replace("_", "-"): value for header, value in headers.items()}
    return api.client.post(path, content=body, headers=sent)


def made(name: str, *parts: str) -> bytes:
    return FORMATS[name][2](*parts)


def error_of(name: str, answer: httpx.Response) -> str:
    """Return what an error says, having the shape that clients of the format read."""
    kind = answer.headers["content-type"]
    if name.startswith("otlp"):
        assert kind == FORMATS[name][1]
        if kind == PROTOBUF:
            status = Status.FromString(answer.content)
            assert status.code
            return str(status.message)
        status = answer.json()
        assert isinstance(status["code"], int)
        return str(status["message"])
    if name.startswith("loki"):
        assert kind == "text/plain; charset=utf-8"
        return answer.text
    if name.startswith("bulk"):
        assert answer.headers["x-elastic-product"] == "Elasticsearch"
        document = answer.json()
        assert document["status"] == answer.status_code
        assert document["error"]["type"].endswith("exception")
        assert document["error"]["root_cause"]
        return str(document["error"]["reason"])
    return str(assert_problem(answer, answer.status_code)["detail"])


def wire(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(message.value() or b"")
    return found
