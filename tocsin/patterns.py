"""Patterns of service ids, as `batch-*`: which of two leaves nothing to the other."""

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache
from typing import Final

_TOKEN = re.compile(
    r"[*?]+|\[(?:!(?:\][^\]]*|[^\]]+)|(?!!)(?:\][^\]]*|[^\]]+))\]|.", flags=re.DOTALL
)

_NAMED_MAX: Final = 3


def unmatched(patterns: Iterable[str], services: Iterable[str]) -> Iterator[str]:
    """Say of each pattern that matches none of the services that it does not, and which there are.

    services: those that have records in some range.
    """
    known = sorted(services)
    for pattern in patterns:
        if not known or any(fnmatchcase(service, pattern) for service in known):
            continue
        near = get_close_matches(pattern, known, n=_NAMED_MAX)
        named = ", ".join(map(repr, near or known[:_NAMED_MAX]))
        more = 0 if near else len(known) - _NAMED_MAX
        hint = f"did you mean {named}?" if near else f"there are {named}"
        yield (
            f"no service of the range matches {pattern!r}, {hint}"
            f"{f' and {more} more' if more > 0 else ''}"
        )


def covers(broad: str, narrow: str) -> bool:
    """Tell whether every id that matches one pattern matches another one, too.

    What is said to be covered is; of two that differ in a class of characters it may not be seen.

    >>> covers("batch-*", "batch-eu-?"), covers("*-eu", "batch-*")
    (True, False)
    """
    over, under = _tokens(broad), _tokens(narrow)

    @cache
    def follows(i: int, j: int) -> bool:
        if i == len(over):
            return j == len(under)
        if over[i] == "*":
            return follows(i + 1, j) or (j < len(under) and follows(i, j + 1))
        return j < len(under) and _holds(over[i], under[j]) and follows(i + 1, j + 1)

    return follows(0, 0)


def _tokens(pattern: str) -> list[str]:
    """Split a pattern; of `*` and `?` in a row, which mean the same in any order, `?` is first."""
    tokens: list[str] = []
    for token in _TOKEN.findall(pattern):
        if token[0] in "*?":
            tokens += ["?"] * token.count("?") + ["*"] * ("*" in token)
        else:
            tokens.append(token)
    return tokens


def _holds(over: str, under: str) -> bool:
    """Tell whether every character of one token is one of another's."""
    if under == "*" or over in {"?", under}:
        return under != "*"
    return len(under) == 1 and under != "?" and fnmatchcase(under, over)
