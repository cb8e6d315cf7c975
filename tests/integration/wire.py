"""Records in their wire form, and when they say that they happened."""

import json
from datetime import timedelta

import msgspec

from tocsin.records import EPOCH, LogRecord


def wire(at_ms: int, level: str = "INFO", service_id: str = "checkout") -> bytes:
    """Return a record of a moment, to the millisecond."""
    moment = EPOCH + timedelta(milliseconds=at_ms)
    record = {
        "timestamp": moment.isoformat(timespec="milliseconds"),
        "service_id": service_id,
        "level": level,
        "message": "m",
    }
    return json.dumps(record).encode()


def event_ms(value: bytes | None) -> int:
    """Return when a record happened."""
    record = msgspec.json.decode(value or b"", type=LogRecord)
    return (record.timestamp - EPOCH) // timedelta(milliseconds=1)
