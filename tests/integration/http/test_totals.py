"""How many incidents a page says there are: exact up to 10,000, and known for seconds beyond."""

import asyncio
from collections.abc import Awaitable, Callable

import psycopg

from api.paging import Page
from api.totals import FRESH_S, TOTAL_MAX, Totals
from sql.incidents import IncidentFilter, IncidentTable
from sql.reader import Reader
from tests.integration.http.test_api_incidents import FIRST, MANY_BY_HAND
from tests.integration.http.test_api_keys import Clock

ALL = IncidentFilter()
PAGE = Page(1, 20)


def with_totals(
    database_url: str, work: Callable[[Totals, psycopg.Connection, Clock], Awaitable[None]]
) -> None:
    """Do something with 10,001 incidents."""

    async def run() -> None:
        reader, clock = Reader(database_url), Clock()
        await reader.open()
        try:
            with psycopg.connect(database_url, autocommit=True) as conn:
                conn.execute(MANY_BY_HAND, [FIRST])
                await work(Totals(IncidentTable(reader), clock=clock), conn, clock)
        finally:
            await reader.close()

    asyncio.run(run())


def keep(conn: psycopg.Connection, count: int) -> None:
    conn.execute(
        "update incidents set deleted_at = now() where id in "
        "(select id from incidents where deleted_at is null order by id offset %s)",
        [count],
    )


def test_that_there_are_more_is_believed_for_seconds(database_url: str) -> None:
    async def work(totals: Totals, conn: psycopg.Connection, clock: Clock) -> None:
        assert (await totals.page(ALL, PAGE))[1] == TOTAL_MAX + 1
        keep(conn, 50)
        clock.now = FRESH_S - 0.001
        assert (await totals.page(ALL, PAGE))[1] == TOTAL_MAX + 1
        clock.now = FRESH_S
        assert (await totals.page(ALL, PAGE))[1] == 50
        keep(conn, 40)
        assert (await totals.page(ALL, PAGE))[1] == 40

    with_totals(database_url, work)


def test_page_that_shows_the_end_tells_the_total_itself(database_url: str) -> None:
    async def work(totals: Totals, conn: psycopg.Connection, clock: Clock) -> None:
        assert (await totals.page(ALL, PAGE))[1] == TOTAL_MAX + 1
        keep(conn, 7)
        rows, total = await totals.page(ALL, PAGE)
        assert (len(rows), total) == (7, 7)
        keep(conn, 0)
        assert await totals.page(ALL, PAGE) == ([], 0)

    with_totals(database_url, work)


def test_each_filter_has_its_own_total(database_url: str) -> None:
    async def work(totals: Totals, conn: psycopg.Connection, clock: Clock) -> None:
        assert (await totals.page(ALL, PAGE))[1] == TOTAL_MAX + 1
        conn.execute(
            "update incidents set service_id = 'other' where id in "
            "(select id from incidents order by id limit 30)"
        )
        wanted = IncidentFilter(service_id="other")
        rows, total = await totals.page(wanted, PAGE)
        assert (len(rows), total) == (20, 30)
        assert (await totals.page(wanted, Page(2, 20)))[1] == 30
        assert await totals.page(wanted, Page(3, 20)) == ([], 30)

    with_totals(database_url, work)
