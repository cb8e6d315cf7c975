"""Lists that are read on from where they were left: `?before=&limit=` in, `meta` out."""

from msgspec import Struct

from api.paging import LIMIT_DEFAULT, LIMIT_MAX
from api.parameters import Parameters

SEQ_MAX = 2**63 - 1
KEYSET_NAMES = ("before", "limit")

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

    before: int
    limit: int


def keyset_of(parameters: Parameters) -> Keyset:
    """Return what is asked for; without `before` the beginning, which is the newest."""
    return Keyset(
        parameters.whole("before", SEQ_MAX, SEQ_MAX),
        parameters.whole("limit", LIMIT_DEFAULT, LIMIT_MAX),
    )
