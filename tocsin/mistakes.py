"""What is wrong with a value that msgspec finds of another type, in words a person would use."""

import re
from typing import Final

_WRONG_TYPE = re.compile(r"Expected `([^`]+)`, got `([^`]+)`(?: - at `(?:key in )?\$\.?([^`]*)`)?")
_WORDS: Final = {
    "array": "a list",
    "object": "an object",
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "datetime": "a time, as 2026-03-02T08:00:00Z",
    "null": "nothing",
}


def in_words(text: str) -> str:
    """Return what msgspec says of a wrong type in plain words; anything else as it is.

    >>> in_words("Expected `array`, got `int` - at `$.grid[...]`")
    'grid: give a list, not a whole number'
    """
    wrong = _WRONG_TYPE.fullmatch(text)
    if wrong is None:
        return text
    place = (wrong[3] or "").replace("[...]", "").strip(".")
    told = f"give {_named(wrong[1])}, not {_named(wrong[2])}"
    return f"{place}: {told}" if place else told


def _named(types: str) -> str:
    """Name types, of which several may be right."""
    words = [_WORDS.get(one, one) for one in types.split(" | ")]
    return " or ".join(words)
