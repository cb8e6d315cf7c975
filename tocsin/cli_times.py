"""Times that people give on the command line."""

from datetime import datetime
from typing import Annotated

import msgspec

from tocsin.errors import SettingsError

_AwareTime = Annotated[datetime, msgspec.Meta(tz=True)]


def read_time(option: str, text: str) -> datetime:
    """Read a time as RFC 3339 with its offset. Raises SettingsError, naming the option."""
    try:
        return msgspec.convert(text, _AwareTime)
    except (msgspec.ValidationError, UnicodeEncodeError):
        raise SettingsError(
            f"{option}: {text[:40]!r} is no time, give one as 2026-03-02T08:00:00Z"
        ) from None
