"""What a search of the logs may not be, how long it may take, and which index it reads."""

import base64
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import psycopg
import pytest

from sql.logs import LogPosition, LogSearch, search_values
from sql.statements import statements
from tests.integration.http.conftest import Api
from tests.integration.http.test_api_incidents import database
from tests.integration.http.test_api_ingest import assert_problem
from tests.integration.http.test_api_logs import add, search, this_second

__all__ = ["database"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"from": "2026-03-02"},
        {"from": "2026-03-02T08:00:00"},
        {"from": "now"},
        {"from": ""},
        {"to": "2026-13-02T08:00:00Z"},
        {"to": "0001-01-01T00:00:00+14:00"},
        {"from": "0001-01-01T00:00:00Z"},
        {"from": "9999-12-31T23:59:59Z"},
        {"from": "1970-01-01T00:00:00Z"},
        {"from": "2026-03-02T08:00:01Z", "to": "2026-03-02T08:00:00Z"},
        {"from": "2026-03-02T08:00:00Z", "to": "2026-03-02T08:00:00Z"},
        {"limit": "0"},
        {"limit": "1001"},
        {"limit": "1 OR 1=1"},
        {"level": "errors"},
        {"level": "LOUD"},
        {"level": "ERROR'; DROP TABLE logs; --"},
        {"min_level": "WORST"},
        {"min_level": ["WARN", "ERROR"]},
        {"level": "ERROR", "min_level": "WARN"},
        {"text": ""},
        {"text": "x" * 201},
        {"text": "a\0b"},
        {"text": ["a", "b"]},
        {"service_id": ""},
        {"service_id": "x" * 129},
        {"service_id": "a\0b"},
        {"service_id": [f"s-{number}" for number in range(21)]},
        {"metadata": "order"},
        {"metadata": "=17"},
        {"metadata": ""},
        {"metadata": "a\0=1"},
        {"metadata": 'a="\\u0000"'},
        {"metadata": ["a=1", "a=2"]},
        {"metadata": [f"{number}=1" for number in range(6)]},
        {"metadata": "x" * 299 + "=1"},
        {"page": "2"},
        {"offset": "2"},
        {"cursor": ""},
        {"cursor": "x"},
        {"cursor": "x" * 72},
        {"cursor": "ü"},
        {"cursor": "' OR 1=1 --"},
    ],
)
def test_search_that_cannot_be_is_refused(api: Api, parameters: dict[str, Any]) -> None:
    assert_problem(api.client.get("/logs", params=parameters, headers=api.headers()), 400)


def test_search_of_more_than_seven_days_is_refused(api: Api) -> None:
    for minutes, status in ((-1, 200), (1, 400)):
        since = this_second() - timedelta(days=7, minutes=minutes)
        answer = api.client.get("/logs", params={"from": since.isoformat()}, headers=api.headers())
        assert answer.status_code == status, answer.text


@pytest.mark.parametrize("query", ["text=%ff", "service_id=%c0%80", "%ed%a0%80=1"])
def test_search_that_is_not_utf_8_is_refused(api: Api, query: str) -> None:
    assert_problem(api.client.get(f"/logs?{query}", headers=api.headers()), 400)


def first_cursor(api: Api, database: psycopg.Connection, **parameters: object) -> str:
    add(database, *({} for _ in range(5)))
    return str(search(api, limit=2, **parameters)["meta"]["next_cursor"])


def test_cursor_that_was_changed_anywhere_is_refused(
    api: Api, database: psycopg.Connection
) -> None:
    cursor = first_cursor(api, database)
    content = base64.urlsafe_b64decode(cursor)
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1
        sent = base64.urlsafe_b64encode(changed).decode()
        answer = api.client.get("/logs", params={"cursor": sent}, headers=api.headers())
        assert_problem(answer, 400)
    for sent in (cursor[:-4], cursor + "AAAA", cursor.swapcase()):
        answer = api.client.get("/logs", params={"cursor": sent}, headers=api.headers())
        assert_problem(answer, 400)


@pytest.mark.parametrize(
    "other",
    [{"service_id": "b"}, {}, {"service_id": ["a", "b"]}, {"service_id": "a", "text": "x"}],
)
def test_cursor_goes_with_its_own_search_alone(
    api: Api, database: psycopg.Connection, other: dict[str, Any]
) -> None:
    add(database, *({"service_id": "a"} for _ in range(5)))
    cursor = search(api, limit=2, service_id="a")["meta"]["next_cursor"]
    sent = {"cursor": cursor, **other}
    assert_problem(api.client.get("/logs", params=sent, headers=api.headers()), 400)
    assert search(api, cursor=cursor, service_id="a", limit=50)["data"]


def test_cursor_of_another_secret_is_refused(
    api: Api, database: psycopg.Connection, make_api: Callable[..., Api]
) -> None:
    cursor = first_cursor(api, database)
    own = make_api()
    own.start()
    answer = own.client.get("/logs", params={"cursor": cursor}, headers=own.headers())
    assert_problem(answer, 400)


def test_search_that_takes_too_long_is_given_up_and_says_what_to_do(
    make_api: Callable[..., Api],
) -> None:
    own = make_api(TOCSIN_SEARCH_TIMEOUT_S="0.3", TOCSIN_LOGS_DAYS_MAX="2")
    own.start()
    with psycopg.connect(own.settings.database_url, autocommit=True) as holder:
        holder.execute("begin; lock table logs in access exclusive mode")
        for query in ("", "?service_id=checkout"):
            answer = own.client.get(f"/logs{query}", headers=own.headers())
            problem = assert_problem(answer, 504)
            assert "longer than 0.3 s" in problem["detail"]
            assert "shorter time" in problem["detail"]
        assert own.client.get("/incidents", headers=own.headers()).is_success
    three_days = (this_second() - timedelta(days=3)).isoformat()
    answer = own.client.get("/logs", params={"from": three_days}, headers=own.headers())
    assert "at most 2 days" in assert_problem(answer, 400)["detail"]


def test_logs_need_a_token(api: Api) -> None:
    assert_problem(api.client.get("/logs"), 401)


def test_each_search_reads_its_time_alone_and_by_an_index(database_url: str) -> None:
    fill = """
        insert into logs (timestamp, service_id, level, message, arrival, incarnation, partition,
                          "offset")
        select at, 'service-' || number %% 100, 'INFO', repeat('m', 200), at, 1, 0, number
        from (select number, %s - number * interval '0.5 seconds' as at
              from generate_series(200000, 1, -1) as number) as numbered
    """
    noon = this_second().replace(hour=12, minute=0, second=0)
    hour = LogSearch(since=noon - timedelta(hours=1), until=noon)
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(fill, [noon])
        conn.execute("vacuum analyze logs")
    statement = statements("logs")
    last = LogPosition(noon - timedelta(minutes=30), 1, 0, 500)
    filters: dict[str, Any] = {"levels": ["ERROR"], "text": "x", "metadata": ['{"a":1}']}
    with psycopg.connect(database_url, cursor_factory=psycopg.ClientCursor) as conn:
        for wanted in (hour, msgspec.structs.replace(hour, last=last, **filters)):
            for name, services, index in (
                ("search_logs", [], "logs_arrival"),
                ("search_logs_of_services", ["service-1", "service-2"], "logs_service_time"),
            ):
                values = search_values(msgspec.structs.replace(wanted, services=services), 100)
                rows = conn.execute(b"explain " + statement[name], values).fetchall()
                plan = "\n".join(line for (line,) in rows)
                assert index in plan, plan
                assert "Seq Scan" not in plan
                assert len(set(re.findall(r"_hyper_\d+_\d+_chunk\b", plan))) == 1, plan
