"""Pages of a list: `?page=&limit=` in, `meta` out."""

from collections.abc import Collection

from msgspec import Struct, field
from sanic import Request

from api.problems import Refusal

LIMIT_DEFAULT = 20
LIMIT_MAX = 100
PAGE_MAX = 1_000_000

PAGE_PARAMETERS = (
    {
        "name": "page",
        "in": "query",
        "description": "Which page, from 1",
        "schema": {"type": "integer", "minimum": 1, "maximum": PAGE_MAX, "default": 1},
    },
    {
        "name": "limit",
        "in": "query",
        "description": "How many on a page",
        "schema": {
            "type": "integer",
            "minimum": 1,
            "maximum": LIMIT_MAX,
            "default": LIMIT_DEFAULT,
        },
    },
)


class Meta(Struct, frozen=True):
    """Which page this is, of how many."""

    total: int
    page: int
    limit: int
    total_pages: int = field(name="totalPages")


class Page(Struct, frozen=True):
    """Which page is asked for; the first is 1."""

    number: int
    limit: int

    @property
    def offset(self) -> int:
        """How many rows come before it."""
        return (self.number - 1) * self.limit

    def meta(self, total: int) -> Meta:
        """Return what the client is told about a list of `total` rows."""
        return Meta(total, self.number, self.limit, -(-total // self.limit))


def read_page(request: Request, *, beside: Collection[str] = ()) -> Page:
    """Read `page` and `limit`, refusing what is no whole number within bounds.

    beside: further parameters of the route; all else is refused, and what is given twice.
    """
    # Blank values count: `?page=` is a mistake to be told of.
    given = request.get_args(keep_blank_values=True)
    for name in given:
        if name not in {"page", "limit", *beside}:
            known = ", ".join(["page", "limit", *beside])
            raise Refusal(400, f"{name[:40]}: no such parameter, there are {known}")
        times = len(given.getlist(name))
        if times > 1:
            raise Refusal(400, f"{name}: may be given once, not {times} times")
    return Page(
        _whole(given.get("page"), "page", 1, PAGE_MAX),
        _whole(given.get("limit"), "limit", LIMIT_DEFAULT, LIMIT_MAX),
    )


def _whole(text: str | None, name: str, default: int, most: int) -> int:
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise Refusal(400, f"{name}: give a whole number from 1 to {most}")
    number = int(text)
    if not 1 <= number <= most:
        raise Refusal(400, f"{name}: {number} is outside 1 to {most}")
    return number
