"""Which log records a search or a live tail is about."""

import itertools
import re
from decimal import Decimal

import msgspec
from msgspec import Raw, Struct

from api.parameters import SERVICES_PARAMETER, Parameter, Parameters
from api.problems import Refusal
from tocsin.records import Level

TEXT_CHARACTERS_MAX = 200
METADATA_TERMS_MAX = 5
_TERM_CHARACTERS_MAX = 300
_LEVELS = [level.value for level in Level]
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}

FILTER_NAMES = ("service_id", "level", "min_level", "text", "metadata")
FILTERS_GIVEN_OFTEN = ("service_id", "level", "metadata")
FILTER_PARAMETERS: tuple[Parameter, ...] = (
    SERVICES_PARAMETER,
    {
        "name": "level",
        "in": "query",
        "description": "Only of these levels, in any case; may be given several times",
        "schema": {"type": "array", "items": {"type": "string", "enum": _LEVELS}},
    },
    {
        "name": "min_level",
        "in": "query",
        "description": "Only of this level, in any case, or a worse one; not beside `level`",
        "schema": {"type": "string", "enum": _LEVELS},
    },
    {
        "name": "text",
        "in": "query",
        "description": "Only those whose message contains this, in any case",
        "schema": {"type": "string", "minLength": 1, "maxLength": TEXT_CHARACTERS_MAX},
    },
    {
        "name": "metadata",
        "in": "query",
        "description": (
            "Only those whose metadata has this key with this value, as `order=17`, which is the "
            'number or the text; `order="17"` is the text alone. May be given up to '
            f"{METADATA_TERMS_MAX} times: all must hold"
        ),
        "schema": {
            "type": "array",
            "maxItems": METADATA_TERMS_MAX,
            "items": {"type": "string", "pattern": "^[^=]+=", "maxLength": _TERM_CHARACTERS_MAX},
        },
    },
)


class Term(Struct, frozen=True):
    """A key of the metadata and the JSON values that it may have, each as it is written."""

    key: str
    values: tuple[str, ...]

    def holds(self, metadata: dict[str, Raw]) -> bool:
        """Whether the metadata has the key with one of the values."""
        found = metadata.get(self.key)
        return found is not None and any(_same(bytes(found), value) for value in self.values)


class LogFilter(Struct, frozen=True, kw_only=True):
    """Which records are wanted; what is empty is left open.

    text: what the message contains, in any case.
    """

    services: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    text: str | None = None
    metadata: tuple[Term, ...] = ()

    def documents(self) -> list[str]:
        """Return JSON objects of which the metadata must contain one."""
        if not self.metadata:
            return []
        ways = itertools.product(*(term.values for term in self.metadata))
        keys = [term.key for term in self.metadata]
        return [
            msgspec.json.encode(
                {key: Raw(value.encode()) for key, value in zip(keys, way, strict=True)}
            ).decode()
            for way in ways
        ]

    def admits(self, service_id: str, level: str, message: str, metadata: str | None) -> bool:
        """Whether a record is wanted. metadata: a JSON object, if there is any."""
        if self.services and service_id not in self.services:
            return False
        if self.levels and level not in self.levels:
            return False
        if self.text is not None and self.text.lower() not in message.lower():
            return False
        return not self.metadata or self._admits_metadata(metadata)

    def _admits_metadata(self, metadata: str | None) -> bool:
        known = msgspec.json.decode(metadata or "{}", type=dict[str, Raw])
        return all(term.holds(known) for term in self.metadata)


def read_filter(parameters: Parameters) -> LogFilter:
    """Return what a request narrows the records down to."""
    levels = parameters.choices("level", _LEVELS)
    least = parameters.choice("min_level", _LEVELS)
    if least is not None:
        if levels:
            raise Refusal(400, "min_level: give either `level` or `min_level`")
        levels = tuple(_LEVELS[_LEVELS.index(least) :])
    terms = parameters.texts("metadata", most=_TERM_CHARACTERS_MAX, times=METADATA_TERMS_MAX)
    found = [_term(term) for term in terms]
    if len({term.key for term in found}) < len(found):
        raise Refusal(400, "metadata: a key has one value, so give each key once")
    return LogFilter(
        services=parameters.services(),
        levels=levels,
        text=parameters.text("text", most=TEXT_CHARACTERS_MAX),
        metadata=tuple(found),
    )


def _term(text: str) -> Term:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise Refusal(400, "metadata: give key=value")
    literal = msgspec.json.encode(value).decode()
    if value in _WORDS or _NUMBER.fullmatch(value):
        return Term(key, (value, literal))
    if value.startswith('"'):
        try:
            quoted = msgspec.json.decode(value, type=str)
        except (msgspec.MsgspecError, UnicodeError):
            return Term(key, (literal,))
        if "\0" not in quoted:
            return Term(key, (msgspec.json.encode(quoted).decode(),))
        raise Refusal(400, "metadata: holds a NUL character, which no record can")
    return Term(key, (literal,))


def _same(found: bytes, value: str) -> bool:
    """Whether two JSON values are equal as the database has it: numbers by what they amount to."""
    if found[:1] == b'"' or value[:1] == '"':
        if found[:1] != value[:1].encode():
            return False
        return bool(msgspec.json.decode(found) == msgspec.json.decode(value))
    text = found.decode()
    if _NUMBER.fullmatch(text) and _NUMBER.fullmatch(value):
        return Decimal(text) == Decimal(value)
    return text == value
