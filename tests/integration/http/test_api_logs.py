"""Searching the logs: every record once, newest first, within bounds, by an index."""

import json
import random
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest

from sql.logs import BYTES_MAX
from tests.integration.http.conftest import Api
from tests.integration.http.test_api_incidents import database

__all__ = ["database"]

SECOND = timedelta(seconds=1)

INSERT = """
    insert into logs (timestamp, service_id, level, message, metadata, id, arrival, incarnation,
                      partition, "offset")
    values (%(timestamp)s, %(service_id)s, %(level)s, %(message)s, %(metadata)s, null,
            %(timestamp)s, 1, %(partition)s, %(offset)s)
"""


def this_second() -> datetime:
    """Return when it is, which a module does not know: it is collected long before it runs."""
    return datetime.now(timezone.utc).replace(microsecond=0)


def add(database: psycopg.Connection, *records: dict[str, Any]) -> None:
    with database.cursor() as cursor:
        cursor.executemany(
            INSERT,
            [
                {
                    "timestamp": this_second() - SECOND,
                    "service_id": "checkout",
                    "level": "INFO",
                    "message": str(number),
                    "partition": number % 3,
                    "offset": number,
                    **record,
                    "metadata": json.dumps(record["metadata"]) if "metadata" in record else None,
                }
                for number, record in enumerate(records)
            ],
        )


def search(api: Api, **parameters: object) -> dict[str, Any]:
    answer = api.client.get("/logs", params=parameters, headers=api.headers())  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def messages(api: Api, **parameters: object) -> list[str]:
    found = search(api, **parameters)
    assert found["meta"]["next_cursor"] is None
    return [row["message"] for row in found["data"]]


def pages(api: Api, **parameters: object) -> Iterator[list[dict[str, Any]]]:
    cursor: dict[str, str] = {}
    while True:
        found = search(api, **parameters, **cursor)
        yield found["data"]
        if found["meta"]["next_cursor"] is None:
            return
        cursor = {"cursor": found["meta"]["next_cursor"]}


@pytest.mark.parametrize("services", [[], ["checkout"], ["checkout", "other", "silent"]])
def test_pages_together_hold_every_record_once_newest_first(
    api: Api, database: psycopg.Connection, services: list[str]
) -> None:
    now = this_second()
    dice = random.Random(7)
    add(
        database,
        *(
            {
                # Many share their moment; some are in minutes of their own.
                "timestamp": now - SECOND * dice.choice([1, 1, 1, 30, 61, 400, 2000, 3500]),
                "service_id": dice.choice(["checkout", "other"]),
            }
            for _ in range(200)
        ),
    )
    found = [row for page in pages(api, limit=7, service_id=services) for row in page]
    assert [row["timestamp"] for row in found] == sorted(
        (row["timestamp"] for row in found), reverse=True
    )
    query = "select message from logs where %s or service_id = 'checkout'"
    expected = database.execute(query, [len(services) != 1]).fetchall()
    assert sorted(row["message"] for row in found) == sorted(message for (message,) in expected)


def test_what_arrives_between_two_pages_moves_neither(
    api: Api, database: psycopg.Connection
) -> None:
    now = this_second()
    add(database, *({"timestamp": now - number * SECOND} for number in range(1, 7)))
    reading = pages(api, limit=2)
    found = [*next(reading)]
    add(database, {"message": "new", "offset": 77, "partition": 9})
    found += [row for page in reading for row in page]
    assert [row["message"] for row in found] == ["0", "1", "2", "3", "4", "5"]


def test_record_is_told_as_it_is_stored(api: Api, database: psycopg.Connection) -> None:
    now = this_second()
    odd = {"metadata": {"big": 10**30, "t": [1.50]}, "message": 'quote " \n ü'}
    add(database, {**odd, "timestamp": now - SECOND})
    [row] = search(api)["data"]
    at = (now - SECOND).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert row == {
        "timestamp": at,
        "service_id": "checkout",
        "level": "INFO",
        "message": 'quote " \n ü',
        "metadata": {"big": 10**30, "t": [1.5]},
        "id": None,
        "arrival": at,
    }


def test_search_without_a_time_is_of_the_last_hour(api: Api, database: psycopg.Connection) -> None:
    now = this_second()
    add(
        database,
        {"timestamp": now - timedelta(minutes=61), "message": "before"},
        {"timestamp": now - timedelta(minutes=59), "message": "within"},
        {"timestamp": now + timedelta(minutes=3), "message": "ahead"},
    )
    assert messages(api) == ["within"]
    answer = search(api, **{"from": (now - timedelta(hours=2)).isoformat()})
    assert [row["message"] for row in answer["data"]] == ["within", "before"]
    assert answer["meta"]["from"] == (now - timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_from_is_within_and_to_is_not(api: Api, database: psycopg.Connection) -> None:
    now = this_second()
    add(database, *({"timestamp": now - number * SECOND} for number in range(4)))
    span = {"from": (now - 2 * SECOND).isoformat(), "to": now.isoformat()}
    assert messages(api, **span) == ["1", "2"]


SAMPLES: list[dict[str, Any]] = [
    {"level": "DEBUG", "message": "Card declined", "metadata": {"order": 17}},
    {"level": "INFO", "message": "card accepted", "metadata": {"order": "17", "ok": True}},
    {"level": "WARN", "message": "100% \\ of_it", "metadata": {"order": 17.0, "ok": "true"}},
    {"level": "ERROR", "message": "ÄRGER mit Straße", "metadata": {"order": [17], "ok": None}},
    {"level": "FATAL", "message": "", "metadata": {"order": {"17": 17}, "a.b": "c=d"}},
    {"service_id": "other", "level": "ERROR", "message": "card lost"},
]

FILTERS: list[tuple[dict[str, Any], list[int]]] = [
    ({"service_id": "other"}, [5]),
    ({"service_id": ["other", "checkout"], "level": "ERROR"}, [3, 5]),
    ({"level": ["DEBUG", "FATAL"]}, [0, 4]),
    ({"level": ["debug", "Fatal", "FATAL"]}, [0, 4]),
    ({"min_level": "WARN"}, [2, 3, 4, 5]),
    ({"min_level": "warn"}, [2, 3, 4, 5]),
    ({"text": "CARD"}, [0, 1, 5]),
    ({"text": "ärger"}, [3]),
    ({"text": "%"}, [2]),
    ({"text": "_"}, [2]),
    ({"text": "\\"}, [2]),
    ({"text": "' OR 1=1 --"}, []),
    ({"metadata": "order=17"}, [0, 1, 2]),
    ({"metadata": 'order="17"'}, [1]),
    ({"metadata": "order=1.7e1"}, [0, 2]),
    ({"metadata": "ok=true"}, [1, 2]),
    ({"metadata": "ok=null"}, [3]),
    ({"metadata": "a.b=c=d"}, [4]),
    ({"metadata": ["order=17", "ok=true"]}, [1, 2]),
    ({"metadata": "order="}, []),
    ({"metadata": 'order="17'}, []),
    ({"metadata": "'; DROP TABLE logs; --=1"}, []),
    ({"service_id": "'; DROP TABLE logs; --"}, []),
]


@pytest.mark.parametrize(("given", "expected"), FILTERS)
def test_each_filter_leaves_those_that_it_means(
    api: Api, database: psycopg.Connection, given: dict[str, Any], expected: list[int]
) -> None:
    now = this_second()
    add(
        database,
        *(
            {"timestamp": now - (number + 1) * SECOND, **sample}
            for number, sample in enumerate(SAMPLES)
        ),
    )
    found = messages(api, **given)
    assert found == [SAMPLES[number]["message"] for number in expected]
    assert found == messages(api, **{**given, "service_id": given.get("service_id", SERVICES)})


SERVICES = ["other", "checkout"]


def test_page_ends_for_its_size_and_loses_nothing(api: Api, database: psycopg.Connection) -> None:
    now = this_second()
    large = "x" * 32_000
    count = BYTES_MAX // len(large) + 20
    add(
        database,
        *(
            {"message": f"{number:05d}{large}", "timestamp": now - (number % 90 + 1) * SECOND}
            for number in range(count)
        ),
    )
    for services in ([], ["checkout"]):
        sizes, found = [], []
        for page in pages(api, limit=1000, service_id=services):
            sizes.append(sum(len(row["message"]) for row in page))
            found += [row["message"][:5] for row in page]
        assert len(sizes) > 1
        assert max(sizes) <= BYTES_MAX + len(large)
        assert sorted(found) == [f"{number:05d}" for number in range(count)]


def test_offset_whose_plus_is_not_encoded_is_understood(
    api: Api, database: psycopg.Connection
) -> None:
    now = this_second()
    add(database, {})
    since = (now - timedelta(minutes=5)).astimezone(timezone(timedelta(hours=1))).isoformat()
    answer = api.client.get(f"/logs?from={since}", headers=api.headers())
    assert len(answer.json()["data"]) == 1
