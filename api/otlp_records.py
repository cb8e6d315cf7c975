"""OTLP's log records to ours: what each field becomes."""

from collections.abc import Hashable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Raw

from api.intake import UNKNOWN_SERVICE, Batch, MappedRecord, instant_of_ns, require_few
from api.otlp_messages import Encoding
from tocsin.records import Level, Refused, level_of

Group = tuple[Any, list[tuple[Any, Sequence[Any]]]]
"""A resource and its scopes, each with its records."""

_SERVICE = "service.name"
_TRACE_FLAGS = 0xFF
_LEVELS = (
    "",
    *["DEBUG"] * 8,  # TRACE and DEBUG
    *["INFO"] * 4,
    *["WARN"] * 4,
    *["ERROR"] * 4,
    *["FATAL"] * 4,
)
"""The level of each SeverityNumber, 0 being unset."""


def groups_of(message: Any, most: int) -> list[Group]:
    """Return what a request holds; refuse too many of what holds no record, first."""
    resources = message.resource_logs or ()
    require_few(len(resources), most, "resources")
    groups: list[Group] = []
    scopes = 0
    for resource_logs in resources:
        own = resource_logs.scope_logs or ()
        scopes += len(own)
        require_few(scopes, most, "scopes")
        groups.append((resource_logs.resource, [(one.scope, one.log_records or ()) for one in own]))
    return groups


def count_records(groups: list[Group]) -> int:
    """Return how many records a request holds."""
    return sum([len(records) for _, scopes in groups for _, records in scopes])


def add_records(groups: list[Group], encoding: Encoding, batch: Batch) -> None:
    """Add every record of a request to a batch; what equal resources hold is read once."""
    first = 0
    known: dict[Hashable, tuple[str, dict[str, Raw]]] = {}
    for resource, scopes in groups:
        key = encoding.key(resource)
        if key not in known:
            known[key] = _resource(resource, encoding)
        service_id, shared = known[key]
        for scope, records in scopes:
            about = _scope(scope, encoding)
            context = {**shared, "scope": _encoded(about)} if about else shared
            for index, record in enumerate(records, first):
                try:
                    mapped = _mapped(record, service_id, context, encoding, batch.received)
                    batch.add_decoded(index, mapped)
                except Refused as reason:
                    batch.refuse(index, reason)
            first += len(records)


def level(number: int, text: str) -> str:
    """Return the level of a severity: of its number, else of its text, else INFO."""
    if 0 < number < len(_LEVELS):
        return _LEVELS[number]
    try:
        return level_of(text)
    except Refused:
        return Level.INFO.value


def _resource(resource: Any, encoding: Encoding) -> tuple[str, dict[str, Raw]]:
    """Return the service that a resource is, and what its records have of it, encoded."""
    attributes = _attributes(resource, encoding)
    service_id = str(attributes.get(_SERVICE) or UNKNOWN_SERVICE)
    return service_id, {"resource": _encoded(attributes)} if attributes else {}


def _mapped(
    record: Any, service_id: str, context: dict[str, Raw], encoding: Encoding, received: datetime
) -> MappedRecord:
    metadata: dict[str, Any] = {}
    text = record.severity_text
    mapped_level = level(record.severity_number or 0, text or "")
    if text and text != mapped_level:
        metadata["severity_text"] = text
    if id_ := record.trace_id:
        metadata["trace_id"] = encoding.hex(id_)
    if id_ := record.span_id:
        metadata["span_id"] = encoding.hex(id_)
    if flags := record.flags:
        metadata["trace_flags"] = flags & _TRACE_FLAGS
    if event_name := record.event_name:
        metadata["event_name"] = event_name
    if attributes := record.attributes:
        metadata["attributes"] = encoding.mapping(attributes)
    if context:
        metadata.update(context)
    nanoseconds = record.time_unix_nano or record.observed_time_unix_nano
    body = encoding.plain(record.body)
    return MappedRecord(
        timestamp=instant_of_ns(nanoseconds) if nanoseconds else received,
        service_id=service_id,
        level=mapped_level,
        message=body if type(body) is str else _text(body) or event_name or "",
        metadata=metadata or None,
    )


def _text(body: Any) -> str:
    """Return a body that is no text as JSON, nothing where there is none."""
    return "" if body is None else msgspec.json.encode(body).decode()


def _attributes(holder: Any, encoding: Encoding) -> dict[str, Any]:
    pairs = holder.attributes if holder else None
    return encoding.mapping(pairs) if pairs else {}


def _scope(scope: Any, encoding: Encoding) -> dict[str, Any]:
    if not scope:
        return {}
    found: dict[str, Any] = {}
    if name := scope.name:
        found["name"] = name
    if version := scope.version:
        found["version"] = version
    if attributes := _attributes(scope, encoding):
        found["attributes"] = attributes
    return found


def _encoded(value: Any) -> Any:
    return Raw(msgspec.json.encode(value))
