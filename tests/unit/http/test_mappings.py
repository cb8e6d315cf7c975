"""What each field of a foreign log line becomes."""

import json
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from api.documents import Documents, instant
from api.encodings import unsnap
from api.idempotency import RetryIds
from api.intake import Batch
from api.keys import SentKey
from api.lines import level_of_line
from api.loki_messages import PushRequest, entry_of_protobuf, read_protobuf
from api.otlp_messages import Json, Protobuf
from api.otlp_records import add_records, level
from api.problems import Refusal
from tocsin.field_names import FieldNames
from tocsin.records import Refused

NOW = datetime.now(timezone.utc).replace(microsecond=0)
NOW_NS = int(NOW.timestamp()) * 1_000_000_000


def batch() -> Batch:
    request: Any = SimpleNamespace(headers={})
    sender = SentKey(id="1", name="key", scope=None)
    return Batch(request, sender, b"")


def otlp(encoding: Any, body: bytes) -> list[dict[str, Any]]:
    filled = batch()
    add_records(encoding.read(body), encoding, filled)
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


def read(document: object, names: str = "") -> Any:
    return Documents(FieldNames(names)).read(json.dumps(document).encode(), NOW)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"message": "x"}, ("unknown_service", "INFO", "x")),
        ({"msg": "x", "service": "a", "severity": "err"}, ("a", "err", "x")),
        ({"log": "x", "service": {"name": "a"}}, ("a", "INFO", "x")),
        ({"body": "x", "log": {"level": "warn"}, "app": "a"}, ("a", "warn", "x")),
        ({"log.level": "warn", "service.name": "a", "message": "x"}, ("a", "warn", "x")),
        ({"message": "x", "service": {"version": 1}, "job": "j"}, ("j", "INFO", "x")),
        (
            {"message": "[error] x", "level": "", "service": ""},
            ("unknown_service", "ERROR", "[error] x"),
        ),
        ({"kubernetes": {"container": {"name": "k"}}, "message": "x"}, ("k", "INFO", "x")),
    ],
)
def test_fields_are_found_under_the_names_that_shippers_use(
    document: object, expected: tuple[str, str, str]
) -> None:
    found = read(document)
    assert (found.service_id, found.level, found.message) == expected


def test_what_is_no_field_of_a_document_is_its_metadata() -> None:
    document = {
        "@timestamp": "2026-03-02T08:00:00",
        "service": {"name": "a", "version": 2},
        "log": {"level": "info"},
        "message": "x",
        "metadata": {"order": 17},
        "host": "h",
    }
    filled = batch()
    found = read(document)
    assert found.timestamp == datetime(2026, 3, 2, 8, tzinfo=timezone.utc)
    found.timestamp = NOW
    filled.add(0, found)
    stored = json.loads(filled.taken[0][1])
    assert stored["metadata"] == {"order": 17, "host": "h", "service": {"version": 2}}


def test_setting_names_the_fields_of_documents() -> None:
    found = read({"lvl": "err", "who": {"am": "a"}, "message": "x"}, "level=lvl;service_id=who.am")
    assert (found.level, found.service_id, found.metadata) == ("err", "a", None)


@pytest.mark.parametrize(
    "value",
    [
        1_770_000_000,
        1_770_000_000.0,
        "1770000000",
        1_770_000_000_000,
        "1770000000000",
        1_770_000_000_000_000,
        1_770_000_000_000_000_000,
        "2026-02-02T02:40:00Z",
        "2026-02-02T02:40:00",
        "2026-02-02 03:40:00+01:00",
    ],
)
def test_time_is_known_by_any_unit_and_spelling(value: Any) -> None:
    assert instant(value) == datetime(2026, 2, 2, 2, 40, tzinfo=timezone.utc)


@given(st.integers() | st.floats() | st.text(max_size=30))
def test_any_time_is_taken_or_refused(value: Any) -> None:
    with suppress(Refused):
        assert instant(value).tzinfo


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("level=error msg=x", "ERROR"),
        ('{"msg": "x", "severity": "warning"}', "WARN"),
        ("lvl=loud [fatal] x", "FATAL"),
        ("[warn] x", "WARN"),
        ("<err> x", "ERROR"),
        ("error: x", "ERROR"),
        ("panic: runtime error", "FATAL"),
        ("2026-01-01 12:00:00,123 ERROR main - x", "ERROR"),
        ("GET /error 200", "INFO"),
        ("an error was fixed", "INFO"),
        ("ERROR_COUNT=0", "INFO"),
        ("no errors", "INFO"),
        ("", "INFO"),
        ("x" * 1000 + " ERROR", "INFO"),
    ],
)
def test_level_of_a_line_is_a_name_that_is_meant_as_one(line: str, expected: str) -> None:
    assert level_of_line(line) == expected


def test_labels_of_a_stream_are_read_as_go_writes_them() -> None:
    push = PushRequest()
    stream = push.streams.add(labels='{app="a\\"b\\\\", zone=`x y`, k8s_pod="π",}')
    entry = stream.entries.add(line=b"hi")
    entry.timestamp.seconds, entry.timestamp.nanos = 5, 7
    entry.structuredMetadata.add(name="level", value="warn")
    compressed = bytes(cramjam.snappy.compress_raw(push.SerializeToString()))
    (found,) = read_protobuf(unsnap(compressed, 1000))
    assert found.labels == {"app": 'a"b\\', "zone": "x y", "k8s_pod": "π"}
    assert entry_of_protobuf(found.entries[0]) == (5_000_000_007, "hi", {"level": "warn"})


@pytest.mark.parametrize("labels", ["", "app", "{app=}", '{app="a" x="b"}', '{="a"}', '{app="a}'])
def test_labels_that_are_none_are_refused(labels: str) -> None:
    push = PushRequest()
    push.streams.add(labels=labels)
    with pytest.raises(Refusal, match="labels"):
        read_protobuf(push.SerializeToString())


@given(st.text(max_size=20), st.integers(0, 10_000))
def test_id_of_a_retry_is_the_same_and_nobody_elses(body: str, index: int) -> None:
    ids = RetryIds("key", "retry-1", body.encode())
    assert ids.of(index) == RetryIds("key", "retry-1", body.encode()).of(index)
    others = {
        ids.of(index + 1),
        RetryIds("other", "retry-1", body.encode()).of(index),
        RetryIds("key", "retry-2", body.encode()).of(index),
        RetryIds("key", "retry-1", body.encode() + b"x").of(index),
    }
    assert ids.of(index) not in others
    assert len(others) == 4
    assert 0 < len(ids.of(index)) <= 128


def test_reasons_of_a_long_list_are_told_in_a_line() -> None:
    filled = batch()
    for index in range(8):
        filled.refuse(index, Refused("no"))
    assert filled.reasons().endswith("record 4: no; and 3 more")
    assert filled.received - NOW < timedelta(minutes=5)
