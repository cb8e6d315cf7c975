"""What a line of text tells of its own level, where nothing else does."""

import re

from tocsin.records import LEVEL_ALIASES, Level

_LOOKED_AT = 400
_KNOWN = {level.value: level.value for level in Level} | LEVEL_ALIASES
# Too common as words of their own to mean a level.
_WORDS = "|".join(name for name in _KNOWN if name not in {"LOG", "FINE", "ALERT", "INFORMATION"})
_FIELD = re.compile(
    r"""(?:^|[\s,{"'])(?:log\.?)?(?:level|lvl|severity)["']?\s*[=:]\s*["']?([A-Za-z]+)""",
    re.IGNORECASE,
)
_SHOUTED = re.compile(rf"(?<![\w/.=-])({_WORDS})(?![\w/=-])")
_MARKED = re.compile(rf"^\W{{0,2}}({_WORDS})\b\s*[\]>):|]|[\[<(]({_WORDS})[\]>)]", re.IGNORECASE)


def level_of_line(line: str) -> str:
    """Return the level that a line names, INFO where it names none.

    A field (`level=error`, `"severity": "warn"`) first; then a name that is marked as one
    (`[error]`, `error: …` at the beginning) or stands in capitals. A word amid a sentence is none.
    """
    start = line[:_LOOKED_AT]
    field = _FIELD.search(start)
    if field and (level := _KNOWN.get(field[1].upper())):
        return level
    found = _MARKED.search(start) or _SHOUTED.search(start)
    if found is None:
        return Level.INFO.value
    return _KNOWN[next(filter(None, found.groups())).upper()]
