"""Backtests over HTTP: admins start, cancel and delete them, everybody reads what they come to."""

import asyncio
from datetime import datetime, timedelta, timezone
from uuid import UUID

import msgspec
import structlog
from sanic import HTTPResponse, Request

from api.auth import Role
from api.backtest_answers import Backtest, BacktestPage, backtest_of
from api.backtest_runs import BacktestRuns
from api.bodies import JSON, json_answer, read_body
from api.openapi import TOKEN, operation
from api.packed import answer_packed
from api.paging import PAGE_PARAMETERS, read_page
from api.problems import Refusal, request_id, unavailable
from api.sessions import Sessions
from flows.candidates import candidates_of, live_candidate, read_document
from sql.backtests import KEPT_MAX, BacktestTable
from sql.detection_settings import read_book_async
from sql.reader import Reader
from tocsin.backtests import NewBacktest
from tocsin.errors import AlreadyRuns, NotFound, SettingsError
from tocsin.settings import Settings
from tocsin.settings_versions import SettingsBook

ASKED_BYTES_MAX = 64 * 1024
HTML = "text/html"
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; frame-ancestors 'none'; sandbox allow-scripts allow-downloads"
)

log = structlog.get_logger(__name__)


class Backtests:
    """Starts backtests, one at a time, and shows them."""

    def __init__(
        self,
        settings: Settings,
        reader: Reader,
        table: BacktestTable,
        runs: BacktestRuns,
        sessions: Sessions,
    ) -> None:
        self._longest = timedelta(days=settings.backtest_days_max)
        self._reader = reader
        self._table = table
        self._runs = runs
        self._sessions = sessions

    @operation(
        summary="Start a backtest",
        description=(
            "Needs the role admin. It judges a range of arrivals again, by the live settings and "
            "by others, and is scored against what people said of incidents. The range is at most "
            "`TOCSIN_BACKTEST_DAYS_MAX` days long. One runs at a time: 409 names, as "
            f"`backtest_id`, the one that does. The newest {KEPT_MAX} are kept. What is only seen "
            "as it runs, as that the range has no records, is its `error`."
        ),
        body=NewBacktest,
        answers={202: Backtest},
        errors=(400, 401, 403, 409, 415, 503),
        security=TOKEN,
    )
    async def start(self, request: Request) -> HTTPResponse:
        """Start a backtest."""
        identity = await self._sessions.require(request, Role.ADMIN)
        asked = await self._checked(read_body(request, NewBacktest))
        try:
            row = await self._table.insert(asked, by=self._sessions.actor(request, identity))
        except AlreadyRuns as error:
            members = {"backtest_id": error.backtest_id}
            raise Refusal(409, str(error), members=members) from None
        try:
            # A client that leaves must not leave a queued one behind.
            await asyncio.shield(self._runs.start(row.id))
        except OSError as error:
            told = f"its process could not be started: {error.strerror}"
            await self._table.fail(row.id, told)
            raise unavailable(told) from None
        log.info("backtest started", backtest=str(row.id), request_id=request_id(request))
        answer = json_answer(backtest_of(row), 202)
        answer.headers["Location"] = f"/backtests/{row.id}"
        return answer

    @operation(
        summary="List backtests, newest first",
        description=f"The newest {KEPT_MAX}, with how far the one that runs has come.",
        parameters=PAGE_PARAMETERS,
        answers={200: BacktestPage},
        errors=(400, 401, 503),
        security=TOKEN,
    )
    async def list(self, request: Request) -> HTTPResponse:
        """Answer a page of backtests."""
        await self._sessions.require(request)
        page = read_page(request)
        total = await self._table.count()
        rows = await self._table.page(limit=page.limit, offset=page.offset)
        return json_answer(BacktestPage([backtest_of(row) for row in rows], page.meta(total)))

    @operation(
        summary="Get a backtest",
        description="How it stands and how far it has come. Ask once a second at most.",
        answers={200: Backtest},
        errors=(401, 404, 503),
        security=TOKEN,
    )
    async def get(self, request: Request, backtest_id: str) -> HTTPResponse:
        """Answer one backtest."""
        await self._sessions.require(request)
        return json_answer(backtest_of(await self._table.get(_known_id(backtest_id))))

    @operation(
        summary="Get the result of a backtest",
        description=(
            "What `tocsin backtest --json` writes: the range, the candidates, and the rows of the "
            "tables `scores`, `incidents` and `labels`. 409 unless it is done."
        ),
        answers={200: {JSON: {"type": "object"}}},
        errors=(401, 404, 409, 503),
        security=TOKEN,
    )
    async def result(self, request: Request, backtest_id: str) -> HTTPResponse | None:
        """Answer the scores."""
        await self._sessions.require(request)
        packed = await self._table.result(_known_id(backtest_id))
        return await answer_packed(request, packed, JSON, {})

    @operation(
        summary="Get the page of a backtest",
        description=(
            "What `tocsin backtest --html` writes: one page with pictures, 5 MB and up, which "
            "loads nothing from anywhere. 409 unless it is done."
        ),
        answers={200: {HTML: {"type": "string"}}},
        errors=(401, 404, 409, 503),
        security=TOKEN,
    )
    async def page(self, request: Request, backtest_id: str) -> HTTPResponse | None:
        """Answer the page."""
        await self._sessions.require(request)
        packed = await self._table.report(_known_id(backtest_id))
        headers = {"Content-Security-Policy": _POLICY}
        return await answer_packed(request, packed, f"{HTML}; charset=utf-8", headers)

    @operation(
        summary="Cancel a backtest",
        description=(
            "Needs the role admin. Its process ends within a second or two, and what it has so far "
            "is dropped. 409 where it has ended already, so that a cancel that comes too late "
            "drops no result."
        ),
        answers={200: Backtest},
        errors=(401, 403, 404, 409, 503),
        security=TOKEN,
    )
    async def cancel(self, request: Request, backtest_id: str) -> HTTPResponse:
        """Cancel a backtest."""
        identity = await self._sessions.require(request, Role.ADMIN)
        by = self._sessions.actor(request, identity)
        row = await self._table.cancel(_known_id(backtest_id), by=by)
        log.info("backtest cancelled", backtest=str(row.id), request_id=request_id(request))
        return json_answer(backtest_of(row))

    @operation(
        summary="Delete a backtest",
        description="Needs the role admin. 409 while it runs: cancel it first.",
        answers={204: {}},
        errors=(401, 403, 404, 409, 503),
        security=TOKEN,
    )
    async def delete(self, request: Request, backtest_id: str) -> HTTPResponse:
        """Delete a backtest with its result."""
        identity = await self._sessions.require(request, Role.ADMIN)
        by = self._sessions.actor(request, identity)
        await self._table.delete(_known_id(backtest_id), by=by)
        log.info("backtest deleted", backtest=backtest_id, request_id=request_id(request))
        return HTTPResponse(status=204)

    async def _checked(self, given: NewBacktest) -> NewBacktest:
        """Return what is asked for in UTC, or refuse what cannot work whatever there is to read."""
        try:
            asked = given.in_utc()
            self._check(asked)
            book = await read_book_async(self._reader)
            # Many candidates take a while.
            await asyncio.to_thread(_check_candidates, asked, book)
        except SettingsError as error:
            raise Refusal(400, f"body: {error}") from None
        return asked

    def _check(self, asked: NewBacktest) -> None:
        now = datetime.now(timezone.utc)
        until = now if asked.until is None else min(asked.until, now)
        if asked.since >= until:
            raise SettingsError("from: must lie before `to`, and before now")
        if until - asked.since > self._longest:
            raise SettingsError(
                f"from: at most {self._longest.days} days before `to`, which is now where it is "
                "not given (TOCSIN_BACKTEST_DAYS_MAX)"
            )
        if asked.services is not None and not asked.grid:
            raise SettingsError("services: goes with a grid, whose values are for them")
        if len(msgspec.json.encode(asked)) > ASKED_BYTES_MAX:
            raise SettingsError(f"more than {ASKED_BYTES_MAX >> 10} KiB: try less at once")


def _check_candidates(asked: NewBacktest, book: SettingsBook) -> None:
    """Raise SettingsError for what the newest version cannot be changed to."""
    live = live_candidate(SettingsBook(book.versions[-1:], book.read_ms))
    candidates_of(live, read_document(asked.document, asked.services))


def _known_id(backtest_id: str) -> UUID:
    try:
        return UUID(backtest_id)
    except ValueError:
        raise NotFound("there is no backtest of this id") from None
