"""JSON documents of other formats to records, by the names that a setting gives their fields."""

import math
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

import msgspec
from msgspec import Raw

from api.intake import UNKNOWN_SERVICE, MappedRecord, instant_of_ns
from api.lines import level_of_line
from tocsin.field_names import FieldNames
from tocsin.records import Refused

_object = msgspec.json.Decoder(dict[str, Raw]).decode
_value = msgspec.json.Decoder().decode
_BEGIN_OF_SCALARS = frozenset(b'"-0123456789')
_BRACE = ord("{")
# Numbers this large can only be milliseconds, microseconds, nanoseconds: as seconds, the first
# lies in the year 5138, as each finer unit, before 1974.
_MILLIS, _MICROS, _NANOS = 10**11, 10**14, 10**17


class Documents:
    """Makes records of documents."""

    def __init__(self, names: FieldNames) -> None:
        self._names = names

    def read(self, raw: bytes, received: datetime) -> MappedRecord:
        """Return the record that a document is; what is no field of it becomes its metadata.

        Raises Refused: not an object, without a message, or with a time that is none.
        """
        document = _decode(raw)
        names = self._names
        message = _take(document, names.message)
        if message is None:
            raise Refused(f"message: missing, none of {', '.join(names.message)} holds a text")
        timestamp = _take(document, names.timestamp)
        service_id = _take(document, names.service_id)
        level = _take(document, names.level)
        return MappedRecord(
            timestamp=received if timestamp is None else instant(timestamp),
            service_id=UNKNOWN_SERVICE if service_id in {None, ""} else service_id,
            level=level_of_line(str(message)) if level in {None, ""} else level,
            message=message,
            metadata=_flat(document) or None,
        )


def instant(value: str | float) -> datetime:
    """Return the time that a document means, or raise Refused.

    A text is RFC 3339, in UTC where it names no offset; a number counts from the epoch, in the
    unit that its size tells.
    """
    if isinstance(value, str):
        try:
            found = msgspec.convert(value, datetime)
        except msgspec.ValidationError:
            return instant(_number(value))
        return found if found.tzinfo else found.replace(tzinfo=timezone.utc)
    size = abs(value)
    if not math.isfinite(size):
        raise Refused("timestamp: not a time")
    unit = next((n for least, n in ((_NANOS, 1), (_MICROS, 1000)) if size >= least), None)
    unit = unit or (1_000_000 if size >= _MILLIS else 1_000_000_000)
    return instant_of_ns(int(value * unit) if isinstance(value, int) else round(value * unit))


def _number(text: str) -> int | float:
    try:
        return int(text) if len(text) < 20 and text.isdecimal() else float(text[:40])
    except ValueError:
        raise Refused(f"timestamp: {text[:40]!r} is not a time in RFC 3339") from None


def _decode(raw: bytes) -> dict[str, Raw]:
    try:
        return _object(raw)
    except msgspec.ValidationError:
        raise Refused("record: give an object") from None
    except msgspec.DecodeError as error:
        raise Refused(f"record: not valid JSON ({error})") from None
    except UnicodeDecodeError:
        raise Refused("record: not UTF-8") from None
    except RecursionError:
        raise Refused("record: nested too deeply") from None


def _take(document: dict[str, Raw], names: Sequence[str]) -> Any:
    """Take the first text or number that one of the names leads to out of a document."""
    for name in names:
        found = _take_one(document, name)
        if found is not None:
            return found
    return None


def _take_one(document: dict[str, Raw], name: str) -> Any:
    raw = document.get(name)
    if raw is not None and memoryview(raw)[0] in _BEGIN_OF_SCALARS:
        del document[name]
        return _scalar(raw, name)
    head, dot, rest = name.partition(".")
    outer = document.get(head) if dot else None
    if outer is None or memoryview(outer)[0] != _BRACE:
        return None
    inner = _decode(bytes(outer))
    found = _take_one(inner, rest)
    if found is not None:
        if inner:
            document[head] = Raw(msgspec.json.encode(inner))
        else:
            del document[head]
    return found


def _scalar(raw: Raw, name: str) -> Any:
    try:
        return _value(raw)
    except UnicodeDecodeError:
        raise Refused(f"{name}: not UTF-8") from None
    except msgspec.DecodeError as error:
        raise Refused(f"{name}: not valid JSON ({error})") from None


def _flat(document: dict[str, Raw]) -> dict[str, Raw]:
    """Return what is left of a document; its own `metadata`, if it is an object, is no level."""
    own = document.get("metadata")
    if own is None or memoryview(own)[0] != _BRACE:
        return document
    del document["metadata"]
    return {**_decode(bytes(own)), **document}
