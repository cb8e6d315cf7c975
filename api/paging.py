"""Pages of a list: `?page=&limit=` in, `meta` out."""

from msgspec import Struct, field
from sanic import Request

from api.parameters import Parameters

LIMIT_DEFAULT = 20
LIMIT_MAX = 100
PAGE_MAX = 1_000_000
PAGE_NAMES = ("page", "limit")

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

    def total_if_last(self, rows: int) -> int | None:
        """Return how many rows there are in all if this page, which has so many, shows it."""
        return self.offset + rows if 0 < rows < self.limit or not self.offset + rows else None

    def meta(self, total: int) -> Meta:
        """Return what the client is told about a list of `total` rows."""
        return Meta(total, self.number, self.limit, -(-total // self.limit))


def read_page(request: Request) -> Page:
    """Read `page` and `limit` of a route that has no other parameters."""
    return page_of(Parameters(request, PAGE_NAMES))


def page_of(parameters: Parameters) -> Page:
    """Return the page that is asked for."""
    return Page(
        parameters.whole("page", 1, PAGE_MAX), parameters.whole("limit", LIMIT_DEFAULT, LIMIT_MAX)
    )
