"""What is wrong with a value that msgspec does not take, in words a person would use."""

import re
from typing import Final

_PLACE = r"(?: - at `(?:key in )?\$\.?(?P<place>[^`]*)`)?"
_WRONG_TYPE = re.compile(r"Expected `(?P<right>[^`]+)`, got `(?P<wrong>[^`]+)`" + _PLACE)
_WRONG_LENGTH = re.compile(r"Expected `str` of length (?P<bound>[<>]=) (?P<length>\d+)" + _PLACE)
_NO_TIME = re.compile(r"Invalid RFC3339 encoded datetime" + _PLACE)
_NO_ZONE = re.compile(r"Expected `datetime` with a timezone component" + _PLACE)
_BOUNDS: Final = {">=": "at least", "<=": "at most"}
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
    """Return what msgspec says of a wrong type, length or time in plain words.

    Anything else is returned as it is.

    >>> in_words("Expected `array`, got `int` - at `$.grid[...]`")
    'grid: give a list, not a whole number'
    """
    if wrong := _WRONG_TYPE.fullmatch(text):
        told = f"give {_named(wrong['right'])}, not {_named(wrong['wrong'])}"
    elif wrong := _WRONG_LENGTH.fullmatch(text):
        characters = "character" if wrong["length"] == "1" else "characters"
        told = f"give {_BOUNDS[wrong['bound']]} {wrong['length']} {characters}"
    elif wrong := _NO_TIME.fullmatch(text):
        told = f"give {_WORDS['datetime']}"
    elif wrong := _NO_ZONE.fullmatch(text):
        told = "needs a time zone, as 2026-03-02T08:00:00Z"
    else:
        return text
    place = (wrong["place"] or "").replace("[...]", "").strip(".")
    return f"{place}: {told}" if place else told


def _named(types: str) -> str:
    """Name types, of which several may be right."""
    words = [_WORDS.get(one, one) for one in types.split(" | ")]
    return " or ".join(words)
