"""One log record: its wire form, its levels, and the reasons for which one is put aside."""

import json
import re
from datetime import datetime, timezone
from difflib import get_close_matches
from enum import Enum
from functools import lru_cache
from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct

from tocsin.mistakes import in_words

MESSAGE_BYTES_MAX = 32 * 1024
RECORD_BYTES_MAX = 256 * 1024
AHEAD_MS_MAX = 5 * 60_000
"""A record further ahead of its arrival than this would drag its service's clock along."""
AGE_DAYS_MAX = 366
"""A record older than this at its arrival would cost the database a chunk for its day alone."""

REFUSED_BY_DATABASE = "record: the database refuses it"
"""How the reason begins of a record that the parser took and the database did not."""

_AHEAD_US_MAX = AHEAD_MS_MAX * 1000
_AGE_US_MAX = AGE_DAYS_MAX * 86_400_000_000

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# A day inside Python's range on both sides, so that no offset can lead out of it.
_FIRST_INSTANT = datetime(1, 1, 2, tzinfo=timezone.utc)
_LAST_INSTANT = datetime(9999, 12, 30, tzinfo=timezone.utc)
_BRACE = ord("{")

# PostgreSQL's text and jsonb refuse NUL and numbers of very many digits.
_ESCAPE = b"\\u"
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
WIDE_NUMBER = re.compile(rb"[0-9][eE][+-]?[0-9]{4}")
NUMERIC_DIGITS_MAX = 10_000


class Level(str, Enum):
    """Severity of a record, in rising order."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"
    FATAL = "FATAL"


ERROR_LEVELS = frozenset({Level.ERROR.value, Level.FATAL.value})
"""The levels that the detection counts as errors."""

LEVEL_ALIASES: dict[str, str] = {
    "TRACE": "DEBUG",
    "VERBOSE": "DEBUG",
    "FINE": "DEBUG",
    "INFORMATION": "INFO",
    "INFORMATIONAL": "INFO",
    "NOTICE": "INFO",
    "LOG": "INFO",
    "WARNING": "WARN",
    "ERR": "ERROR",
    "SEVERE": "ERROR",
    "CRIT": "FATAL",
    "CRITICAL": "FATAL",
    "ALERT": "FATAL",
    "EMERG": "FATAL",
    "EMERGENCY": "FATAL",
    "PANIC": "FATAL",
}
"""Other names of the levels, as syslog, Java, Python and PostgreSQL spell them; any case."""

LEVELS = {level.value: level.value for level in Level} | LEVEL_ALIASES
"""The level that a spelling means, in the cases that are usual."""
LEVELS |= {
    spelled: level
    for name, level in LEVELS.items()
    for spelled in (name.lower(), name.capitalize())
}

ServiceId = Annotated[str, Meta(min_length=1, max_length=128)]
RecordId = Annotated[str, Meta(min_length=1, max_length=128)]


class LogRecord(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """One log line as a producer sent it.

    timestamp: aware; when it happened, not when it arrived.
    level: as the producer spelled it; `level_of` gives the level.
    metadata: a JSON object, or empty bytes where the producer sent none.
    id: the producer's own; the same id of one service within ten minutes is one record.
    """

    timestamp: Annotated[datetime, Meta(tz=True)]
    service_id: ServiceId
    level: str
    message: str
    metadata: Raw = Raw(b"")
    id: RecordId | None = None


class Refused(ValueError):
    """A record that breaks the contract; the message is the reason, for its producer.

    What the reason quotes of the record is made printable: it goes to logs and to the database.
    """

    def __init__(self, reason: str) -> None:
        super().__init__("".join(char if char.isprintable() else "\ufffd" for char in reason))


_decode = msgspec.json.Decoder(LogRecord).decode
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(\w+)`")


def level_of(name: str) -> str:
    """Return the level that a producer's spelling means, or raise Refused."""
    level = LEVELS.get(name) or LEVELS.get(name.upper())
    if level is None:
        raise Refused(f"level: unknown level {name[:40]!r}, use DEBUG, INFO, WARN, ERROR or FATAL")
    return level


def event_us_of(timestamp: datetime) -> int:
    """Return an aware time as microseconds since the epoch (UTC)."""
    delta = timestamp - EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def parse_record(raw: bytes) -> LogRecord:
    """Decode and check one record in its wire form (JSON, UTF-8).

    Raises Refused with the reason: too large, not JSON, a missing, wrong or unknown field, or
    something that the database could not keep (NUL, a number beyond range).
    """
    if len(raw) > RECORD_BYTES_MAX:
        raise Refused(f"record: {len(raw)} bytes, at most {RECORD_BYTES_MAX} are taken")
    try:
        raw.decode()  # msgspec leaves what is no text in UTF-8 to whoever takes it apart
        record = _decode(raw)
    except (ValueError, RecursionError) as error:
        raise Refused(_undecodable(error)) from None
    if len(record.message) * 4 > MESSAGE_BYTES_MAX:
        _refuse_long(record.message)
    if not _FIRST_INSTANT <= record.timestamp <= _LAST_INSTANT:
        raise Refused("timestamp: outside the years 1 to 9999")
    metadata = bytes(record.metadata)
    if metadata and metadata[0] != _BRACE and metadata != b"null":
        raise Refused("metadata: give an object")
    if _ESCAPE in raw and _NUL.search(raw):
        raise Refused("record: holds a NUL character, which the database cannot store")
    if WIDE_NUMBER.search(metadata) or len(metadata) > NUMERIC_DIGITS_MAX:
        refuse_wide_numbers(metadata)
    return record


def _undecodable(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "record: not UTF-8"
    if isinstance(error, RecursionError):
        return "record: nested too deeply"
    if isinstance(error, msgspec.ValidationError):
        return _reason(error)
    return f"record: not valid JSON ({error})"


def _refuse_long(message: str) -> None:
    size = len(message.encode())
    if size > MESSAGE_BYTES_MAX:
        raise Refused(f"message: {size} bytes, at most {MESSAGE_BYTES_MAX} are taken")


def refuse_untimely(event_us: int, arrival_ms: int) -> None:
    """Raise Refused if a record happened too long before or after it arrived."""
    ahead_us = event_us - arrival_ms * 1000
    if ahead_us > _AHEAD_US_MAX:
        raise Refused("timestamp: more than 5 minutes ahead of its arrival")
    if -ahead_us > _AGE_US_MAX:
        raise Refused(f"timestamp: more than {AGE_DAYS_MAX} days before its arrival")


def metadata_of(record: LogRecord) -> str | None:
    """Return the record's metadata as JSON text, or None where it has none."""
    metadata = bytes(record.metadata)
    return metadata.decode() if metadata and metadata != b"null" else None


def refuse_wide_numbers(metadata: bytes) -> None:
    """Raise Refused if a JSON text has a number of more digits than the database keeps."""

    def check(digits: str) -> None:
        mantissa, _, exponent = digits.lower().partition("e")
        # The exponent's own length first: an int of a million digits is not for free.
        if len(exponent) > NUMERIC_DIGITS_MAX or (
            len(mantissa) + abs(int(exponent or "0")) > NUMERIC_DIGITS_MAX
        ):
            raise Refused("metadata: a number is beyond range")

    try:
        json.loads(metadata, parse_float=check, parse_int=check)
    except (RecursionError, ValueError) as error:
        if isinstance(error, Refused):
            raise
        raise Refused("record: nested too deeply") from None


def _reason(error: msgspec.ValidationError) -> str:
    """Turn msgspec's wording into `field: what is wrong`."""
    text = str(error)
    if missing := _MISSING.fullmatch(text):
        return f"{missing[1]}: missing"
    if unknown := _UNKNOWN.fullmatch(text):
        return _unknown_field(unknown[1][:60])
    what, found, where = text.partition(" - at `$.")
    place = where.rstrip("`") if found else "record"
    told = in_words(what)
    return f"{place}: {told[0].lower()}{told[1:]}"


@lru_cache(maxsize=1024)  # a producer that is wrong is wrong in each of its records
def _unknown_field(name: str) -> str:
    close = get_close_matches(name, LogRecord.__struct_fields__, 1)
    advice = f"is '{close[0]}' meant?" if close else "put it into 'metadata'"
    return f"{name}: unknown field, {advice}"
