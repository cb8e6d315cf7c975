"""OTLP's log records to ours: what each field becomes."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Raw

from api.intake import UNKNOWN_SERVICE, Batch, MappedRecord, instant_of_ns
from api.otlp_messages import Encoding
from tocsin.records import Level, Refused, level_of

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


def add_records(message: Any, encoding: Encoding, batch: Batch) -> int:
    """Add every record of a request to a batch and return how many there were."""
    count = 0
    for count, (record, service_id, context) in enumerate(_records(message, encoding), 1):
        try:
            mapped = _mapped(record, service_id, context, encoding, batch.received)
            batch.add_decoded(count - 1, mapped)
        except Refused as reason:
            batch.refuse(count - 1, reason)
    return count


def level(number: int, text: str) -> str:
    """Return the level of a severity: of its number, else of its text, else INFO."""
    if 0 < number < len(_LEVELS):
        return _LEVELS[number]
    try:
        return level_of(text)
    except Refused:
        return Level.INFO.value


def _records(message: Any, encoding: Encoding) -> Iterator[tuple[Any, str, dict[str, Raw]]]:
    """Yield every record with its service and what it shares, encoded once, with others."""
    for resource_logs in message.resource_logs or ():
        resource = _attributes(resource_logs.resource, encoding)
        service_id = str(resource.get(_SERVICE) or UNKNOWN_SERVICE)
        shared = {"resource": _encoded(resource)} if resource else {}
        for scope_logs in resource_logs.scope_logs or ():
            scope = _scope(scope_logs.scope, encoding)
            context = {**shared, "scope": _encoded(scope)} if scope else shared
            for record in scope_logs.log_records or ():
                yield record, service_id, context


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
