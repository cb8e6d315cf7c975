"""A made-up fleet on a Wednesday at 12:34:56, for the pages and dashboards that ask about it.

Every answer can be counted by hand. Since Tuesday 08:00 `checkout` logs 4 records a minute, and
every other minute an error more; `search` logs 3, and every tenth minute an error more; `auth` logs
5 a minute and never an error.

On Wednesday at 12:00 checkout breaks: 60, 45 and 50 errors in three minutes; search has 8 errors
more at 12:01. At 12:20 auth falls silent. At 10:00 a producer of search, web-2, sent 15 records
late, 5 of them errors. In the weeks before, `payments` had an outage each Wednesday.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone

import psycopg

from bench.replay import GUARDED, Tables, replay
from flows.rows import Run
from tests.integration.ledgers import BURST, store
from tocsin.detection import WINDOW_MS, incident_id
from tocsin.records import EPOCH

NOW = datetime(2026, 3, 4, 12, 34, 56, tzinfo=timezone.utc)
SINCE = datetime(2026, 3, 3, 8, tzinfo=timezone.utc)
OUTAGE = datetime(2026, 3, 4, 12, tzinfo=timezone.utc)
SILENT = datetime(2026, 3, 4, 12, 20, tzinfo=timezone.utc)
LATE = datetime(2026, 3, 4, 10, tzinfo=timezone.utc)
BEFORE = [datetime(2026, 2, day, 9, tzinfo=timezone.utc) for day in (18, 25)]
MINUTE = timedelta(minutes=1)

COPY = """
    copy logs (timestamp, service_id, level, message, metadata, arrival, incarnation, partition,
               "offset") from stdin
"""
LETTERS = """
    insert into dead_letters (incarnation, partition, "offset", topic, arrival, reason, key, raw)
    select 1, 0, number, 'logs', %s,
           'level: unknown level ''LOUD'', use DEBUG, INFO, WARN, ERROR or FATAL', 'search', ''
    from generate_series(1, 3) as number;
    insert into dead_letters (incarnation, partition, "offset", topic, arrival, reason, key, raw)
    select 1, 0, 4, 'logs', arrival, 'record: not UTF-8', '\\xff00', '\\xff'
    from dead_letters where "offset" = 3
"""


def errors_of(service: str, at: datetime) -> int:
    """Return how many errors on time a service has in a minute."""
    since_outage = (at - OUTAGE) // MINUTE
    if service == "checkout" and since_outage in {0, 1, 2}:
        return (60, 45, 50)[since_outage]
    if service == "search" and since_outage == 1:
        return 8
    every = {"checkout": 2, "search": 10}.get(service)
    return int(every is not None and at.minute % every == 0)


USUAL = {"checkout": 4, "search": 3, "auth": 5}
ERRORS = {
    "checkout": "payment # was declined by the bank after 3 tries",
    "search": "shard # did not answer",
}
DURING_OUTAGE = "connection to payments refused: port 5432"


def fill(database_url: str) -> None:
    """Write the fleet's logs, windows and incidents."""
    for service in USUAL:
        store(database_url, detected(service))
    for start in BEFORE:
        store(database_url, outage_of_payments(start))
    with psycopg.connect(database_url) as conn:
        with conn.cursor() as cursor, cursor.copy(COPY) as copy:
            for offset, row in enumerate(sorted(records(), key=lambda row: row[5])):
                copy.write_row((*row, 1, 0, offset))
        people(conn)
        psycopg.ClientCursor(conn).execute(LETTERS, [LATE])
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("vacuum analyze")


def minutes() -> Iterator[datetime]:
    """Yield the minutes that there are logs of."""
    at = SINCE
    while at <= NOW:
        yield at
        at += MINUTE


def detected(service: str) -> Tables:
    """Return what the detector says of a service."""
    runs: list[Run] = []
    for at in minutes():
        if service == "auth" and at >= SILENT:
            continue
        window, errors = (at - EPOCH) // MINUTE, errors_of(service, at)
        end_ms = min((at + MINUTE - EPOCH) // timedelta(milliseconds=1), ms(NOW))
        runs.append(Run(window, USUAL[service] + errors, errors, end_ms, end_ms, len(runs)))
        if service == "search" and at == LATE + 12 * MINUTE:
            late = (LATE - EPOCH) // MINUTE
            runs.append(Run(late, 15, 5, end_ms, end_ms, len(runs)))
    return replay(runs, ms(NOW) // WINDOW_MS, GUARDED, service_id=service, drain_every=100)


def outage_of_payments(start: datetime) -> Tables:
    """Return what the detector says of an outage half an hour after a start, like that of BURST."""
    first = (start - EPOCH) // MINUTE
    runs = [
        Run(
            first + n,
            errors + 10,
            errors,
            (first + n + 1) * WINDOW_MS,
            (first + n + 1) * WINDOW_MS,
            n,
        )
        for n, errors in enumerate(BURST)
    ]
    return replay(runs, first + len(BURST) + 1, GUARDED, service_id="payments")


Record = tuple[datetime, str, str, str, str, datetime]


def records() -> Iterator[Record]:
    """Yield the records of all services, as columns up to the arrival."""
    for at in minutes():
        during_outage = OUTAGE <= at < OUTAGE + 3 * MINUTE
        for service, usual in USUAL.items():
            if service == "auth" and at >= SILENT:
                continue
            yield from some(service, "INFO", "request # served", usual, at)
            message = DURING_OUTAGE if during_outage else ERRORS.get(service, "")
            yield from some(service, "ERROR", message, errors_of(service, at), at)
    for level, message, count in (
        ("INFO", "index # refreshed", 10),
        ("ERROR", ERRORS["search"], 5),
    ):
        yield from some("search", level, message, count, LATE, host="web-2", delay=12 * MINUTE)


def some(
    service: str,
    level: str,
    message: str,
    count: int,
    at: datetime,
    *,
    host: str = "web-1",
    delay: timedelta = timedelta(seconds=1),
) -> Iterator[Record]:
    """Yield so many records of a minute, in its first half; # is a number of each."""
    for number in range(1, count + 1):
        time = at + number * timedelta(seconds=0.5)
        metadata = f'{{"host": "{host}", "order": {1000 + number}}}'
        yield time, service, level, message.replace("#", str(1000 + number)), metadata, time + delay


def people(conn: psycopg.Connection) -> None:
    """Let Ada acknowledge the confirmed incidents, oldest first, after 2, 4, 6 and 8 minutes."""
    acknowledge = """
        with known as (
            update incidents set assignee = 'ada@example.org',
                status = case status when 'OPEN' then 'ACKNOWLEDGED' else status end
            where id = %(id)s
            returning id, opened_at, severity, status, assignee
        )
        insert into incident_events (incident_id, moment, at, actor, severity, status, assignee)
        select id, 'acknowledged', opened_at + %(after)s, assignee, severity, 'ACKNOWLEDGED',
               assignee
        from known
    """
    for after, (service, id_) in zip((2, 4, 6, 8), outages(conn), strict=True):
        conn.execute(acknowledge.encode(), {"id": id_, "after": after * MINUTE, "service": service})


def outages(conn: psycopg.Connection) -> Iterable[tuple[str, str]]:
    """Return the confirmed incidents of errors, oldest first."""
    select = (
        "select service_id, id from incidents where confirmed_at is not null and kind = 'errors'"
    )
    return conn.execute(f"{select} order by opened_at".encode()).fetchall()


def ms(at: datetime) -> int:
    return (at - EPOCH) // timedelta(milliseconds=1)


CHECKOUT_ID = incident_id("checkout", ms(OUTAGE))

FREEZE = """
    create schema frozen;
    create function frozen.now() returns timestamptz language plpgsql stable as
        $$ begin return '2026-03-04 12:34:56+00'::timestamptz; end $$;
"""


def freeze(conn: psycopg.Connection) -> None:
    """Have `now()` be NOW in what this connection asks."""
    if conn.execute("select to_regnamespace('frozen')").fetchone() == (None,):
        conn.execute(FREEZE)
        conn.execute("grant usage on schema frozen to analyst, scoped_analyst")
    conn.execute("set search_path = frozen, pg_catalog, public")
