"""What each field of an OTLP log record becomes, the same in both encodings."""

import json
from datetime import datetime
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from api.otlp_messages import Encoding, Json, Protobuf
from api.otlp_records import add_records, groups_of, level
from tests.unit.http.test_mappings import NOW, batch

NOW_NS = int(NOW.timestamp()) * 1_000_000_000


def otlp(encoding: Any, body: bytes) -> list[dict[str, Any]]:
    filled = batch()
    add_records(groups_of(encoding.read(body), 10_000), encoding, filled)
    assert filled.refused == []
    return [json.loads(value) for _, value in filled.taken]


@pytest.mark.parametrize(
    ("number", "text", "expected"),
    [
        *((n, "FATAL", "DEBUG") for n in (1, 4, 5, 8)),
        *((n, "", "INFO") for n in (9, 12)),
        *((n, "", "WARN") for n in (13, 16)),
        *((n, "", "ERROR") for n in (17, 20)),
        *((n, "", "FATAL") for n in (21, 24)),
        (0, "", "INFO"),
        (0, "warning", "WARN"),
        (0, "loud", "INFO"),
        (25, "err", "ERROR"),
        (-1, "", "INFO"),
    ],
)
def test_severity_is_that_of_its_number_then_of_its_text(
    number: int, text: str, expected: str
) -> None:
    assert level(number, text) == expected


def both_encodings() -> tuple[bytes, bytes]:
    """Return one request in protobuf and in JSON, as the specification writes each."""
    message = ExportLogsServiceRequest()
    resource_logs = message.resource_logs.add()
    resource_logs.resource.attributes.add(key="service.name").value.string_value = "shop"
    scope_logs = resource_logs.scope_logs.add()
    scope_logs.scope.name = "cart"
    record = scope_logs.log_records.add(
        time_unix_nano=NOW_NS,
        severity_number=18,
        severity_text="Error2",
        trace_id=bytes(range(16)),
        span_id=bytes(range(8)),
        flags=0x301,
        event_name="card.declined",
    )
    pairs = record.body.kvlist_value.values
    pairs.add(key="n").value.int_value = 2**62
    pairs.add(key="raw").value.bytes_value = b"\0\xff"
    pairs.add(key="none")
    record.attributes.add(key="ok").value.bool_value = False
    record.attributes.add(key="empty").value.string_value = ""
    array = record.attributes.add(key="list").value.array_value.values
    array.add().double_value = 0.5
    array.add().string_value = "x"
    written = {
        "resourceLogs": [
            {
                "resource": {
                    "attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]
                },
                "schemaUrl": "unknown to us",
                "scopeLogs": [
                    {
                        "scope": {"name": "cart", "version": None},
                        "logRecords": [
                            {
                                "timeUnixNano": str(NOW_NS),
                                "observedTimeUnixNano": None,
                                "severityNumber": 18,
                                "severityText": "Error2",
                                "traceId": bytes(range(16)).hex().upper(),
                                "spanId": bytes(range(8)).hex(),
                                "flags": 0x301,
                                "eventName": "card.declined",
                                "body": {
                                    "kvlistValue": {
                                        "values": [
                                            {"key": "n", "value": {"intValue": str(2**62)}},
                                            {"key": "raw", "value": {"bytesValue": "AP8="}},
                                            {"key": "none"},
                                        ]
                                    }
                                },
                                "attributes": [
                                    {"key": "ok", "value": {"boolValue": False}},
                                    {"key": "empty", "value": {"stringValue": ""}},
                                    {
                                        "key": "list",
                                        "value": {
                                            "arrayValue": {
                                                "values": [
                                                    {"doubleValue": 0.5},
                                                    {"stringValue": "x"},
                                                ]
                                            }
                                        },
                                    },
                                ],
                            }
                        ],
                    }
                ],
            }
        ]
    }
    return message.SerializeToString(), json.dumps(written).encode()


def test_both_encodings_of_otlp_give_the_same_record() -> None:
    protobuf, text = both_encodings()
    expected = {
        "timestamp": NOW.isoformat().replace("+00:00", "Z"),
        "service_id": "shop",
        "level": "ERROR",
        "message": '{"n":4611686018427387904,"raw":"AP8=","none":null}',
        "metadata": {
            "severity_text": "Error2",
            "trace_id": bytes(range(16)).hex(),
            "span_id": bytes(range(8)).hex(),
            "trace_flags": 1,
            "event_name": "card.declined",
            "attributes": {"ok": False, "empty": "", "list": [0.5, "x"]},
            "resource": {"service.name": "shop"},
            "scope": {"name": "cart"},
        },
    }
    assert otlp(Protobuf(), protobuf) == otlp(Json(), text) == [expected]


def test_bare_otlp_record_is_of_an_unknown_service_and_of_now() -> None:
    message = ExportLogsServiceRequest()
    records = message.resource_logs.add().scope_logs.add().log_records
    records.add()
    records.add(observed_time_unix_nano=NOW_NS)
    first, second = otlp(Protobuf(), message.SerializeToString())
    told = (first["service_id"], first["level"], first["message"])
    assert told == ("unknown_service", "INFO", "")
    assert datetime.fromisoformat(first["timestamp"].replace("Z", "+00:00")) >= NOW
    assert second["timestamp"] == NOW.isoformat().replace("+00:00", "Z")


def grouped(groups: list[tuple[str, str, list[str]]]) -> tuple[bytes, bytes]:
    """Return a request of (service, scope, messages), in protobuf and in JSON."""
    message = ExportLogsServiceRequest()
    resources = []
    for service, scope, texts in groups:
        resource_logs = message.resource_logs.add()
        resource_logs.resource.attributes.add(key="service.name").value.string_value = service
        scope_logs = resource_logs.scope_logs.add()
        scope_logs.scope.name = scope
        for text in texts:
            record = scope_logs.log_records.add(time_unix_nano=NOW_NS)
            record.body.string_value = text
        records = [{"timeUnixNano": NOW_NS, "body": {"stringValue": text}} for text in texts]
        named = {"key": "service.name", "value": {"stringValue": service}}
        resources.append(
            {
                "resource": {"attributes": [named]},
                "scopeLogs": [{"scope": {"name": scope}, "logRecords": records}],
            }
        )
    return message.SerializeToString(), json.dumps({"resourceLogs": resources}).encode()


def test_groups_share_no_more_than_their_own_resource_and_scope() -> None:
    groups = [("a", "x", ["1"]), ("b", "x", ["2", "3"]), ("a", "y", ["4"]), ("a", "x", ["5"])]
    for encoding, body in zip((Protobuf(), Json()), grouped(groups), strict=True):
        found = [
            (row["service_id"], row["metadata"]["scope"]["name"], row["message"])
            for row in otlp(encoding, body)
        ]
        assert found == [(name, scope, text) for name, scope, all_ in groups for text in all_]
        assert [row["metadata"]["resource"]["service.name"] for row in otlp(encoding, body)] == [
            name for name, _, _ in found
        ]


def test_refused_record_is_named_by_its_place_in_the_whole_request() -> None:
    groups = [("a", "x", ["1", "2"]), ("b", "x", []), ("c" * 200, "x", ["3"]), ("a", "x", ["4"])]
    encodings: tuple[Encoding, ...] = (Protobuf(), Json())
    for encoding, body in zip(encodings, grouped(groups), strict=True):
        filled = batch()
        add_records(groups_of(encoding.read(body), 1000), encoding, filled)
        assert [row.index for row in filled.refused] == [2]
        assert len(filled.taken) == 3


def test_resource_is_read_once_for_all_of_its_scopes() -> None:
    # Else its attributes would be more values than one request may hold, and copied for each scope.
    message = ExportLogsServiceRequest()
    resource_logs = message.resource_logs.add()
    for number in range(110):
        resource_logs.resource.attributes.add(key=f"a{number}").value.string_value = "x"
    for number in range(9_900):
        scope_logs = resource_logs.scope_logs.add()
        scope_logs.scope.name = f"s{number}"
    scope_logs.log_records.add(time_unix_nano=NOW_NS)
    (found,) = otlp(Protobuf(), message.SerializeToString())
    assert found["metadata"]["scope"] == {"name": "s9899"}
    assert len(found["metadata"]["resource"]) == 110


def test_resources_that_json_cannot_tell_apart_stay_apart() -> None:
    names = [{"doubleValue": "NaN"}, {"doubleValue": "Infinity"}, {"stringValue": None}]
    resources = [
        {
            "resource": {"attributes": [{"key": "service.name", "value": name}]},
            "scopeLogs": [{"logRecords": [{"timeUnixNano": NOW_NS}]}],
        }
        for name in names
    ]
    found = otlp(Json(), json.dumps({"resourceLogs": resources}).encode())
    assert [row["service_id"] for row in found] == ["nan", "inf", "unknown_service"]
