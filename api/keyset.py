"""Lists that are read on from where they were left: `?before=&limit=` in, `meta` out."""

from collections.abc import Collection

from msgspec import Struct
from sanic import Request

from api.paging import LIMIT_DEFAULT, LIMIT_MAX
from api.problems import Refusal

SEQ_MAX = 2**63 - 1

KEYSET_PARAMETERS = (
    {
        "name": "before",
        "in": "query",
        "description": "Only entries with a lower number",
        "schema": {"type": "integer", "minimum": 1, "maximum": SEQ_MAX},
    },
    {
        "name": "limit",
        "in": "query",
        "description": "How many on a page",
        "schema": {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
    },
)


class KeysetMeta(Struct, frozen=True):
    """Where the next page begins: send it as `before`. None: this was the last."""

    limit: int
    next: int | None


class Keyset(Struct, frozen=True):
    """From where on a list is asked for, and how much of it."""

    before: int | None
    limit: int


def read_keyset(request: Request, *, beside: Collection[str] = ()) -> Keyset:
    """Read `before` and `limit`, refusing what is no whole number within bounds.

    beside: further parameters of the route; all else is refused, and what is given twice.
    """
    given = request.get_args(keep_blank_values=True)
    names = ("before", "limit", *beside)
    for name in given:
        if name not in names:
            raise Refusal(400, f"{name[:40]}: no such parameter, there are {', '.join(names)}")
        if len(given.getlist(name)) > 1:
            raise Refusal(400, f"{name}: may be given once")
    before, limit = given.get("before"), given.get("limit")
    return Keyset(
        None if before is None else _whole(before, "before", SEQ_MAX),
        LIMIT_DEFAULT if limit is None else _whole(limit, "limit", LIMIT_MAX),
    )


def _whole(text: str, name: str, most: int) -> int:
    fits = text.isascii() and text.isdecimal() and len(text) <= len(str(most))
    if not fits or not 1 <= int(text) <= most:
        raise Refusal(400, f"{name}: give a whole number from 1 to {most}")
    return int(text)
