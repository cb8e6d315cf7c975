"""What is pushed to Loki, in both encodings: streams of entries.

The protobuf is a part of Loki's `push.proto`, for no package that is kept up has it.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from google.protobuf.message import DecodeError
from msgspec import Raw, Struct

from api.bodies import decode
from api.intake import require_few
from api.problems import Refusal
from tocsin.records import Refused

_LABEL = re.compile(r'\s*([A-Za-z_][\w.:]*)\s*=\s*("(?:[^"\\]|\\.)*"|`[^`]*`)\s*(,|$)', re.ASCII)

_NO_ENTRY = 'entry: expected ["nanoseconds", "line"], and perhaps an object'


class Entry(NamedTuple):
    """A line of a stream. nanoseconds: since the epoch. extra: its structured metadata."""

    nanoseconds: int
    line: str
    extra: dict[str, str]


class Stream(NamedTuple):
    """Lines that share labels. entries: as they came, `entry_of_*` reads each."""

    labels: dict[str, str]
    entries: list[Any]


class _JsonStream(Struct):
    stream: dict[str, str]
    values: list[Raw]


class _JsonPush(Struct):
    streams: list[_JsonStream]


_json_push = msgspec.json.Decoder(_JsonPush)
_json_value = msgspec.json.Decoder(list[str | dict[str, str]])


def _push_request() -> Any:
    """Return the class of logproto.PushRequest.

    A line is read as bytes, which look the same: one that is no UTF-8 harms no other.
    """
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="logproto.proto", package="logproto")
    file.syntax = "proto3"
    file.dependency.append(timestamp_pb2.DESCRIPTOR.name)
    for name, fields in {
        "LabelPairAdapter": [("name", 1, "string"), ("value", 2, "string")],
        "EntryAdapter": [
            ("timestamp", 1, ".google.protobuf.Timestamp"),
            ("line", 2, "bytes"),
            ("structuredMetadata", 3, "*.logproto.LabelPairAdapter"),
        ],
        "StreamAdapter": [("labels", 1, "string"), ("entries", 2, "*.logproto.EntryAdapter")],
        "PushRequest": [("streams", 1, "*.logproto.StreamAdapter")],
    }.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            added = message.field.add(name=field, number=number)
            added.label = kinds.LABEL_REPEATED if kind[0] == "*" else kinds.LABEL_OPTIONAL
            if "." in kind:
                added.type, added.type_name = kinds.TYPE_MESSAGE, kind.lstrip("*")
            else:
                added.type = kinds.TYPE_STRING if kind == "string" else kinds.TYPE_BYTES
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("logproto.PushRequest"))


PushRequest = _push_request()


def read_json(body: bytes, most: int) -> list[Stream]:
    """Return the streams of a push in JSON, at most so many, or refuse it whole."""
    found = decode(body, _json_push).streams
    require_few(len(found), most, "streams")
    return [Stream(one.stream, one.values) for one in found]


def read_protobuf(body: bytes, most: int) -> list[Stream]:
    """Return the streams of a push in protobuf, no longer compressed, or refuse it whole."""
    try:
        push = PushRequest.FromString(body)
    except DecodeError:
        raise Refusal(400, "body: not a logproto.PushRequest in protobuf") from None
    require_few(len(push.streams), most, "streams")
    return [Stream(_labels(one.labels), one.entries) for one in push.streams]


def entry_of_json(raw: Raw) -> Entry:
    """Return an entry, `["nanoseconds", "line"]` and perhaps an object, or raise Refused."""
    try:
        stamp, line, *rest = _json_value.decode(raw)
    except (msgspec.DecodeError, ValueError):
        raise Refused(_NO_ENTRY) from None
    extra = rest[0] if rest else {}
    if not (isinstance(stamp, str) and isinstance(line, str) and isinstance(extra, dict)):
        raise Refused(_NO_ENTRY)
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) < 20):
        raise Refused(f"timestamp: {stamp[:40]!r} is no number of nanoseconds")
    return Entry(int(stamp), line, extra)


def entry_of_protobuf(entry: Any) -> Entry:
    """Return an entry, or raise Refused."""
    try:
        line = entry.line.decode()
    except UnicodeDecodeError:
        raise Refused("line: not UTF-8") from None
    extra = {pair.name: pair.value for pair in entry.structuredMetadata}
    stamp = entry.timestamp
    return Entry(stamp.seconds * 1_000_000_000 + stamp.nanos, line, extra)


def _labels(text: str) -> dict[str, str]:
    """Return labels that are written as `{name="value", …}`, or refuse the push."""
    return dict(_pairs(text))


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    inner = text.strip()
    if not (inner.startswith("{") and inner.endswith("}")):
        raise _no_labels(text)
    inner = inner[1:-1].strip()
    at = 0
    while at < len(inner):
        found = _LABEL.match(inner, at)
        if found is None:
            raise _no_labels(text)
        yield found[1], _unquoted(found[2], text)
        at = found.end()


def _unquoted(quoted: str, text: str) -> str:
    if quoted[0] == "`":
        return quoted[1:-1]
    try:
        return msgspec.json.decode(quoted, type=str)
    except msgspec.DecodeError:  # Go's \\x and octal escapes, which no label needs
        raise _no_labels(text) from None


def _no_labels(text: str) -> Refusal:
    return Refusal(400, f'labels: cannot read {text[:80]!r}, they look like {{app="checkout"}}')
