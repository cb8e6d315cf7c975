"""Logs over HTTP: searched newest first, always within bounds."""

from collections.abc import Callable
from datetime import datetime, timedelta, timezone

from msgspec import Struct, field
from sanic import HTTPResponse, Request

from api.bodies import json_answer
from api.cursors import CURSOR_CHARACTERS, Cursors, LogCursor
from api.evidence import StoredLog
from api.log_filters import FILTER_NAMES, FILTER_PARAMETERS, FILTERS_GIVEN_OFTEN, read_filter
from api.openapi import TOKEN, operation
from api.parameters import Parameters, TimeRange, range_parameters
from api.sessions import Sessions
from api.turnstile import Turnstile
from sql.logs import FoundLog, LogSearch, LogTable
from tocsin.settings import Settings

LIMIT_DEFAULT = 100
LIMIT_MAX = 1000
RANGE_DEFAULT = timedelta(hours=1)
SEARCHES_AT_ONCE = 3
SEARCHES_WAITING_MAX = 20
_PAGING_NAMES = ("limit", "cursor")


class LogSearchMeta(Struct, frozen=True, kw_only=True):
    """Which time was searched, and how to go on.

    next_cursor: send it as `cursor`, with the same parameters, for the next page; null: all were
    shown.
    """

    limit: int
    since: datetime = field(name="from")
    until: datetime = field(name="to")
    next_cursor: str | None


class FoundLogs(Struct, frozen=True):
    """Log records, newest first; a page may also end for its size, with at least one."""

    data: list[StoredLog]
    meta: LogSearchMeta


class Logs:
    """Lets everyone who may log in search the logs."""

    def __init__(
        self,
        settings: Settings,
        logs: LogTable,
        sessions: Sessions,
        turnstile: Turnstile,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self._logs = logs
        self._sessions = sessions
        self._turnstile = turnstile
        self._cursors = Cursors(settings)
        self._range_max = timedelta(days=settings.logs_days_max)
        self._now = now

    @operation(
        summary="Search the logs, newest first",
        description=(
            "Over the last hour, or `from` and `to`; how long that may be is a setting "
            "(`TOCSIN_LOGS_DAYS_MAX`). To go on, send `meta.next_cursor` as `cursor` with the same "
            "parameters: the time stays that of the first page, and what arrives meanwhile neither "
            "repeats a record nor hides one. A search that takes too long is given up: 504."
        ),
        parameters=(
            *FILTER_PARAMETERS,
            *range_parameters(default="one hour", most="`TOCSIN_LOGS_DAYS_MAX` days"),
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
            {
                "name": "cursor",
                "in": "query",
                "description": "The `meta.next_cursor` of the page before",
                "schema": {"type": "string", "maxLength": CURSOR_CHARACTERS},
            },
        ),
        answers={200: FoundLogs},
        errors=(400, 401, 503, 504),
        security=TOKEN,
    )
    async def search(self, request: Request) -> HTTPResponse:
        """Answer a page of log records."""
        await self._sessions.require(request)
        names = (*FILTER_NAMES, "from", "to", *_PAGING_NAMES)
        parameters = Parameters(request, names, several=FILTERS_GIVEN_OFTEN)
        wanted = read_filter(parameters)
        limit = parameters.whole("limit", LIMIT_DEFAULT, LIMIT_MAX)
        asked = parameters.pairs(without=_PAGING_NAMES)
        if (text := parameters.text("cursor", most=CURSOR_CHARACTERS)) is not None:
            cursor = self._cursors.read(text, asked)
            span, last = cursor.span, cursor.last
        else:
            span, last = self._span(parameters), None
        search = LogSearch(
            since=span.since,
            until=span.until,
            services=wanted.services,
            levels=wanted.levels,
            text=wanted.text,
            metadata=wanted.documents(),
            last=last,
        )
        async with self._turnstile.passing():
            rows, has_more = await self._logs.search(search, limit=limit)
        following = None
        if has_more:
            following = self._cursors.write(LogCursor(span, rows[-1].position), asked)
        meta = LogSearchMeta(limit=limit, since=span.since, until=span.until, next_cursor=following)
        return json_answer(FoundLogs([_stored(row) for row in rows], meta))

    def _span(self, parameters: Parameters) -> TimeRange:
        return parameters.time_range(default=RANGE_DEFAULT, most=self._range_max, now=self._now())


def _stored(row: FoundLog) -> StoredLog:
    return StoredLog(
        timestamp=row.timestamp,
        service_id=row.service_id,
        level=row.level,
        message=row.message,
        metadata=row.metadata,
        id=row.id,
        arrival=row.arrival,
    )
