"""Patterns of service ids, as `batch-*`: which of two leaves nothing to the other."""

import re
from fnmatch import fnmatchcase
from functools import cache

_TOKEN = re.compile(
    r"[*?]+|\[(?:!(?:\][^\]]*|[^\]]+)|(?!!)(?:\][^\]]*|[^\]]+))\]|.", flags=re.DOTALL
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
