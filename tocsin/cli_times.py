"""Times that people give on the command line."""

from datetime import datetime

import msgspec

from tocsin.errors import SettingsError


def read_time(option: str, text: str) -> datetime:
    """Read a time as RFC 3339 with its offset. Raises SettingsError, naming the option."""
    try:
        time = msgspec.convert(text, datetime)
    except (msgspec.ValidationError, UnicodeEncodeError):
        raise SettingsError(
            f"{option}: {text[:40]!r} is no time, give one as 2026-03-02T08:00:00Z"
        ) from None
    if time.tzinfo is None:
        raise SettingsError(
            f"{option}: {text[:40]!r} lacks its time zone, add Z for UTC, or an offset as +01:00"
        )
    return time
