"""What a request asks for in its query: each parameter known, given as often as it may be, checked.

Whatever is wrong is refused with 400 and a hint of what would be right.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta, timezone
from difflib import get_close_matches
from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Struct
from sanic import Request

from api.problems import Refusal

Parameter = dict[str, Any]
Aware = Annotated[datetime, msgspec.Meta(tz=True)]

SERVICE_CHARACTERS_MAX = 128
SERVICES_MAX = 20
# A day inside Python's range, so that no offset and no step can lead out of it.
_FIRST = datetime(1, 1, 3, tzinfo=timezone.utc)
_LAST = datetime(9999, 12, 29, tzinfo=timezone.utc)

SERVICES_PARAMETER: Parameter = {
    "name": "service_id",
    "in": "query",
    "description": f"Only of these services; may be given up to {SERVICES_MAX} times",
    "schema": {
        "type": "array",
        "maxItems": SERVICES_MAX,
        "items": {"type": "string", "minLength": 1, "maxLength": SERVICE_CHARACTERS_MAX},
    },
}


class TimeRange(Struct, frozen=True):
    """From when (inclusive) until when (exclusive); aware UTC."""

    since: datetime
    until: datetime

    @property
    def length(self) -> timedelta:
        """How long it is."""
        return self.until - self.since


class Parameters:
    """The parameters of one request.

    known: those that the route has; all else is refused. several: those of them that may be given
    more than once.
    """

    def __init__(
        self, request: Request, known: Collection[str], *, several: Collection[str] = ()
    ) -> None:
        try:
            unquote_to_bytes(request.query_string).decode()
        except UnicodeDecodeError:
            raise Refusal(400, "the query is not UTF-8, percent-encoded") from None
        # Blank values count: `?page=` is a mistake to be told of.
        self._given = request.get_args(keep_blank_values=True)
        for name in self._given:
            if name not in known:
                raise Refusal(400, _unknown(name, known))
            times = len(self._given.getlist(name))
            if times > 1 and name not in several:
                raise Refusal(400, f"{name}: may be given once, not {times} times")

    def pairs(self, *, without: Collection[str]) -> list[tuple[str, str]]:
        """Return what was given, name by name, but for some."""
        return [
            (name, value)
            for name in self._given
            if name not in without
            for value in self._given.getlist(name)
        ]

    def text(self, name: str, *, most: int) -> str | None:
        """Return what a parameter says: 1 to `most` characters, without NUL; None if not given."""
        value = self._given.get(name)
        return None if value is None else checked_text(name, value, most)

    def texts(self, name: str, *, most: int, times: int) -> tuple[str, ...]:
        """Return the same of a parameter that may be given so many times, each value once."""
        values = self._given.getlist(name, [])
        if len(values) > times:
            raise Refusal(400, f"{name}: may be given {times} times, not {len(values)}")
        return tuple(dict.fromkeys(checked_text(name, value, most) for value in values))

    def services(self) -> tuple[str, ...]:
        """Return the services that are asked for; none: all."""
        return self.texts("service_id", most=SERVICE_CHARACTERS_MAX, times=SERVICES_MAX)

    def choice(self, name: str, allowed: Sequence[str]) -> str | None:
        """Return one of the values allowed, given in any case, or None if not given."""
        value = self._given.get(name)
        return None if value is None else _choice(name, value, allowed)

    def choices(self, name: str, allowed: Sequence[str]) -> tuple[str, ...]:
        """Return those of the values allowed that are given, in any case, each once."""
        values = self._given.getlist(name, [])
        return tuple(dict.fromkeys(_choice(name, value, allowed) for value in values))

    def whole(self, name: str, default: int, most: int) -> int:
        """Return a whole number from 1 to `most`."""
        text = self._given.get(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdecimal() and len(text) <= max(9, len(str(most)))):
            raise Refusal(400, f"{name}: give a whole number from 1 to {most}")
        number = int(text)
        if not 1 <= number <= most:
            raise Refusal(400, f"{name}: {number} is outside 1 to {most}")
        return number

    def moment(self, name: str) -> datetime | None:
        """Return a time, or None if not given."""
        text = self._given.get(name)
        if text is None:
            return None
        try:
            # Of what is not encoded a query makes the plus of an offset a space.
            given = msgspec.convert(text[:40].replace(" ", "+"), Aware)
            moment = given.astimezone(timezone.utc)
        except (ValueError, OverflowError):
            raise Refusal(400, f"{name}: give a time as 2026-03-02T08:00:00Z") from None
        if not _FIRST <= moment <= _LAST:
            raise Refusal(400, f"{name}: give a time in the years 1 to 9999")
        return moment

    def time_range(self, *, default: timedelta, most: timedelta, now: datetime) -> TimeRange:
        """Return what `from` and `to` say: until now, and from `default` before, if not given."""
        until = self.moment("to") or now
        since = self.moment("from") or until - default
        if since >= until:
            raise Refusal(400, "from: must lie before `to`, which is now where it is not given")
        if until - since > most:
            hours = most // timedelta(hours=1)
            largest = f"{hours // 24} days" if hours >= 48 else f"{hours} hours"
            raise Refusal(400, f"from: at most {largest} before `to`")
        return TimeRange(since, until)


def range_parameters(*, default: str, most: str) -> tuple[Parameter, Parameter]:
    """Describe `from` and `to`."""
    kind = {"type": "string", "format": "date-time"}
    return (
        {
            "name": "from",
            "in": "query",
            "description": f"From then on; {default} before `to` where not given, at most {most}",
            "schema": kind,
        },
        {
            "name": "to",
            "in": "query",
            "description": "Before then; now if not given",
            "schema": kind,
        },
    )


def _unknown(name: str, known: Collection[str]) -> str:
    close = get_close_matches(name[:40], known, 1)
    hint = f", did you mean {close[0]}?" if close else ""
    there_are = f"there are {', '.join(known)}" if known else "there is none"
    return f"{name[:40]}: no such parameter{hint or ','} {there_are}"


def checked_text(name: str, value: str, most: int) -> str:
    """Return a text of 1 to `most` characters without NUL, or refuse it."""
    if not 1 <= len(value) <= most or "\0" in value:
        raise Refusal(400, f"{name}: give 1 to {most} characters")
    return value


def _choice(name: str, value: str, allowed: Sequence[str]) -> str:
    found = {one.lower(): one for one in allowed}.get(value.lower())
    if found is None:
        raise Refusal(400, f"{name}: give one of {', '.join(allowed)}")
    return found
