"""OTLP's messages in both encodings, read with the same attributes: protobuf's own, and JSON's."""

import base64
from collections.abc import Hashable, Sequence
from typing import Any, Protocol, TypeVar

import msgspec
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status
from msgspec import Struct
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

from api.bodies import JSON, decode
from api.problems import Refusal

PROTOBUF = "application/x-protobuf"

VALUES_MAX = 1_000_000
"""So many attributes and values of lists one request may hold, as many as take a second."""

T = TypeVar("T")
Many = list[T] | None


class _Value(Struct, rename="camel"):
    """JSON's AnyValue. Any member may be null, which stands for its default."""

    string_value: str | None = None
    bool_value: bool | None = None
    int_value: int | None = None
    double_value: float | None = None
    array_value: "_Values | None" = None
    kvlist_value: "_Pairs | None" = None
    bytes_value: str | None = None


class _Pair(Struct):
    key: str = ""
    value: _Value | None = None


class _Values(Struct):
    values: Many[_Value] = None


class _Pairs(Struct):
    values: Many[_Pair] = None


class _Record(Struct, rename="camel"):
    time_unix_nano: int | None = None
    observed_time_unix_nano: int | None = None
    severity_number: int | None = None
    severity_text: str | None = None
    body: _Value | None = None
    attributes: Many[_Pair] = None
    flags: int | None = None
    trace_id: str | None = None
    span_id: str | None = None
    event_name: str | None = None


class _Scope(Struct):
    name: str | None = None
    version: str | None = None
    attributes: Many[_Pair] = None


class _Resource(Struct):
    attributes: Many[_Pair] = None


class _ScopeLogs(Struct, rename="camel"):
    scope: _Scope | None = None
    log_records: Many[_Record] = None


class _ResourceLogs(Struct, rename="camel"):
    resource: _Resource | None = None
    scope_logs: Many[_ScopeLogs] = None


class _Request(Struct, rename="camel"):
    resource_logs: Many[_ResourceLogs] = None


class Encoding(Protocol):
    """One of the two encodings, as one request names it and its answer is written."""

    media_type: str

    def read(self, body: bytes) -> Any:
        """Return the request that a body is, or refuse it whole."""

    def key(self, resource: Any) -> Hashable:
        """Return what is the same for no other resource of the request but, at best, equal ones."""

    def plain(self, value: Any) -> Any:
        """Return what a value holds as text, number, boolean, list, dict or None."""

    def mapping(self, pairs: Any) -> dict[str, Any]:
        """Return what attributes hold, by their names."""

    def hex(self, id_: Any) -> str:
        """Return a trace's or span's id as digits."""

    def success(self, rejected: int, message: str) -> bytes:
        """Return the answer to what was taken, but for some."""

    def status(self, code: int, message: str) -> bytes:
        """Return a google.rpc.Status."""


class _Budget:
    """How many more values of a request are looked at."""

    def __init__(self) -> None:
        self._left = VALUES_MAX

    def spend(self, count: int) -> None:
        """Refuse (413) the request when there are too many."""
        self._left -= count
        if self._left < 0:
            raise Refusal(413, f"more than {VALUES_MAX} attributes and values: send fewer at once")


class Protobuf:
    """The official messages."""

    media_type = PROTOBUF

    def __init__(self) -> None:
        self._budget = _Budget()

    def read(self, body: bytes) -> Any:
        """Return the message."""
        try:
            return ExportLogsServiceRequest.FromString(body)
        except DecodeError:
            raise Refusal(400, "body: not an ExportLogsServiceRequest in protobuf") from None

    def key(self, resource: Any) -> Hashable:
        """Return the resource as it is sent."""
        return bytes(resource.SerializeToString())

    def plain(self, value: Any) -> Any:
        """Return what a value holds."""
        if text := value.string_value:  # first, for most are texts
            return text
        kind = value.WhichOneof("value")
        if kind is None:
            return None
        found = getattr(value, kind)
        if kind == "kvlist_value":
            return self.mapping(found.values)
        if kind == "array_value":
            self._budget.spend(len(found.values))
            return [self.plain(one) for one in found.values]
        return base64.b64encode(found).decode() if kind == "bytes_value" else found

    def mapping(self, pairs: Any) -> dict[str, Any]:
        """Return what attributes hold."""
        self._budget.spend(len(pairs))
        plain = self.plain
        return {  # most are texts: those cost no call
            pair.key: (value := pair.value).string_value or plain(value) for pair in pairs
        }

    hex = staticmethod(bytes.hex)

    def success(self, rejected: int, message: str) -> bytes:
        """Return an ExportLogsServiceResponse."""
        answer = ExportLogsServiceResponse()
        if rejected:
            answer.partial_success.rejected_log_records = rejected
            answer.partial_success.error_message = message
        return bytes(answer.SerializeToString())

    def status(self, code: int, message: str) -> bytes:
        """Return a Status."""
        return bytes(Status(code=code, message=message).SerializeToString())


class Json:
    """The same in JSON, where ids are hexadecimal and long numbers may be texts."""

    media_type = JSON
    _decoder = msgspec.json.Decoder(_Request, strict=False)

    def __init__(self) -> None:
        self._budget = _Budget()

    def read(self, body: bytes) -> Any:
        """Return the message; what OTLP does not know in it is passed over."""
        return decode(body, self._decoder)

    def key(self, resource: _Resource | None) -> Hashable:
        """Return which object it is: to compare what it holds would cost as much as to read it."""
        return id(resource)

    def plain(self, value: _Value | None) -> Any:
        """Return what a value holds: the member that is there."""
        if value is None:
            return None
        if value.array_value is not None:
            values = value.array_value.values or ()
            self._budget.spend(len(values))
            return [self.plain(one) for one in values]
        if value.kvlist_value is not None:
            return self.mapping(value.kvlist_value.values or ())
        simple = (
            value.string_value,
            value.bool_value,
            value.int_value,
            value.double_value,
            value.bytes_value,
        )
        return next((found for found in simple if found is not None), None)

    def mapping(self, pairs: Sequence[_Pair]) -> dict[str, Any]:
        """Return what attributes hold."""
        self._budget.spend(len(pairs))
        plain = self.plain
        return {pair.key: plain(pair.value) for pair in pairs}

    def hex(self, id_: str | None) -> str:
        """Return the digits, in small letters."""
        return (id_ or "").lower()

    def success(self, rejected: int, message: str) -> bytes:
        """Return an ExportLogsServiceResponse; 64-bit numbers are texts."""
        partial = {"rejectedLogRecords": str(rejected), "errorMessage": message}
        return msgspec.json.encode({"partialSuccess": partial} if rejected else {})

    def status(self, code: int, message: str) -> bytes:
        """Return a Status."""
        return msgspec.json.encode({"code": code, "message": message})
