"""What each field of a document, a label or a line becomes."""

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.documents import Documents, instant
from api.encodings import unsnap
from api.idempotency import RetryIds
from api.intake import Batch, MappedRecord
from api.keys import SentKey
from api.lines import level_of_line
from api.loki_messages import PushRequest, entry_of_protobuf, read_protobuf
from api.problems import Refusal
from api.scopes import Scope
from tocsin.field_names import FieldNames
from tocsin.records import AGE_DAYS_MAX, AHEAD_MS_MAX, MESSAGE_BYTES_MAX, Refused

NOW = datetime.now(timezone.utc).replace(microsecond=0)


def batch(scope: Scope | None = None) -> Batch:
    request: Any = SimpleNamespace(headers={})
    sender = SentKey(id="1", name="key", scope=scope)
    return Batch(request, sender, b"", bytes_max=1_000_000)


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
    (found,) = read_protobuf(unsnap(compressed, 1000), 1)
    assert found.labels == {"app": 'a"b\\', "zone": "x y", "k8s_pod": "π"}
    assert entry_of_protobuf(found.entries[0]) == (5_000_000_007, "hi", {"level": "warn"})


@pytest.mark.parametrize("labels", ["", "app", "{app=}", '{app="a" x="b"}', '{="a"}', '{app="a}'])
def test_labels_that_are_none_are_refused(labels: str) -> None:
    push = PushRequest()
    push.streams.add(labels=labels)
    with pytest.raises(Refusal, match="labels"):
        read_protobuf(push.SerializeToString(), 1)


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
    before = datetime.now(timezone.utc)
    filled = batch()
    for index in range(8):
        filled.refuse(index, Refused("no"))
    assert filled.reasons().endswith("record 4: no; and 3 more")
    assert before <= filled.received <= datetime.now(timezone.utc)


_FIRST, _LAST = timedelta(days=-AGE_DAYS_MAX), timedelta(milliseconds=AHEAD_MS_MAX)
_STEP = timedelta(microseconds=1)
_TIMES = st.sampled_from(
    [timedelta(), _FIRST - _STEP, _FIRST, _FIRST + _STEP, _LAST - _STEP, _LAST, _LAST + _STEP]
)
_TEXTS = st.text(max_size=20) | st.sampled_from(
    [
        "x" * 128,
        "x" * 129,
        "\0",
        "\\u0000",
        "\\\0",
        "\ud800",
        "1e9999",
        "\U0001f514" * (MESSAGE_BYTES_MAX // 4),
        "\U0001f514" * (MESSAGE_BYTES_MAX // 4 + 1),
        "x" * MESSAGE_BYTES_MAX,
        "x" * (MESSAGE_BYTES_MAX + 1),
    ]
)
_VALUES = st.recursive(
    _TEXTS | st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=5,
)


def _outcome(
    add: Callable[[int, MappedRecord], None], filled: Batch, record: MappedRecord
) -> tuple[object, object]:
    """Return what a batch took of a record, and why not."""
    filled.taken.clear()
    try:
        add(0, record)
    except Refused as reason:
        return tuple(filled.taken), str(reason)
    return tuple(filled.taken), None


def _deep(levels: int) -> Any:
    found: Any = "end"
    for _ in range(levels):
        found = [found]
    return found


@given(
    ahead=_TIMES,
    service_id=_TEXTS,
    level=st.sampled_from(["INFO", "error", "wArN", "loud", "", "\0"]),
    message=_TEXTS,
    metadata=st.none() | st.dictionaries(_TEXTS, _VALUES, max_size=3),
    services=st.none() | st.just(["x*"]),
)
def test_decoded_record_is_taken_or_refused_as_one_that_is_decoded_again(
    ahead: timedelta,
    service_id: str,
    level: str,
    message: str,
    metadata: dict[str, Any] | None,
    services: list[str] | None,
) -> None:
    filled = batch(None if services is None else Scope(services))
    arrival = filled.received.replace(microsecond=filled.received.microsecond // 1000 * 1000)
    record = MappedRecord(arrival + ahead, service_id, level, message, metadata)
    assert _outcome(filled.add_decoded, filled, record) == _outcome(filled.add, filled, record)


def test_decoded_record_may_be_nested_as_deeply_as_any() -> None:
    filled = batch()
    for levels in (1, 150, *range(800, 1_000)):  # where the interpreter's limit lies, too
        record = MappedRecord(NOW, "shop", "INFO", "x", {"deep": _deep(levels)})
        assert _outcome(filled.add_decoded, filled, record) == _outcome(filled.add, filled, record)
