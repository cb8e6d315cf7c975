"""What is wrong with a request's body, in words that say what would be right."""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

import msgspec
from msgspec import inspect

from tocsin.mistakes import in_words

_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_NO_CHOICE = re.compile(r"Invalid enum value (.*) - at `\$\.(\w+)`", re.DOTALL)
_SHOWN_MAX = 60


def complaint(error: msgspec.ValidationError, kind: Any) -> str:
    """Return in one line what is wrong with what should be a `kind`."""
    text = str(error)
    if unknown := _UNKNOWN.fullmatch(text):
        name = unknown[1][:_SHOWN_MAX]
        close = get_close_matches(name, [field.encode_name for field in _fields(kind)], 1)
        return f"{name}: no such field{f', did you mean {close[0]}?' if close else ''}"
    if wrong := _NO_CHOICE.fullmatch(text):
        choices = [
            str(choice)
            for field in _fields(kind)
            if field.encode_name == wrong[2]
            for choice in _choices(field.type)
        ]
        if choices:
            return f"{wrong[2]}: {wrong[1][:_SHOWN_MAX]} is not one of {', '.join(choices)}"
    return in_words(text)


def _fields(kind: Any) -> tuple[inspect.Field, ...]:
    told = inspect.type_info(kind)
    return told.fields if isinstance(told, inspect.StructType) else ()


def _choices(told: inspect.Type) -> Iterator[object]:
    if isinstance(told, inspect.UnionType):
        for one in told.types:
            yield from _choices(one)
    elif isinstance(told, inspect.EnumType):
        yield from (one.value for one in told.cls)
    elif isinstance(told, inspect.LiteralType):
        yield from told.values
