"""Statistics over HTTP: true to the stored rows, bounded, by the indexes."""

from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from api.stats import MESSAGES_LOOKED_AT_MAX
from tests.integration.http.conftest import Api
from tests.integration.http.test_api_incidents import FIRST, MINUTE, add_incident, database, get
from tests.integration.http.test_api_logs import add
from tests.integration.ledgers import BURST, replayed, store

__all__ = ["database"]

HOUR = timedelta(hours=1)
MANY = """
    insert into logs (timestamp, service_id, level, message, arrival, incarnation, partition,
                      "offset")
    select at, 'service-' || number % 100, 'ERROR', repeat('m', 200), at, 1, 0, number
    from (select number, timestamptz '2026-03-03T12:00:00Z' - number * interval '0.5 s' as at
          from generate_series(200000, 1, -1) as number) as numbered
"""


def text_of(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def span(since: datetime, until: datetime) -> dict[str, str]:
    return {"from": text_of(since), "to": text_of(until)}


def logged(database: psycopg.Connection, moment: datetime, service: str, level: str) -> None:
    add(database, {"timestamp": moment, "service_id": service, "level": level})


def test_counts_are_those_of_the_records_step_by_step(
    api: Api, database: psycopg.Connection
) -> None:
    for minute, service, level in (
        *((0, "a", "ERROR"), (0, "a", "FATAL"), (0, "a", "INFO"), (2, "a", "WARN")),
        *((1, "b", "INFO"), (3, "a", "ERROR")),
    ):
        logged(database, FIRST + minute * MINUTE, service, level)
    found = get(api, "/stats/services", **span(FIRST + timedelta(seconds=59), FIRST + 2.5 * MINUTE))
    assert found == {
        "data": [
            {
                "service_id": "a",
                "records": 4,
                "errors": 2,
                "error_rate": 0.5,
                "records_by_step": [3, 0, 1],
                "errors_by_step": [2, 0, 0],
                "error_rate_by_step": [2 / 3, None, 0.0],
            },
            {
                "service_id": "b",
                "records": 1,
                "errors": 0,
                "error_rate": 0.0,
                "records_by_step": [0, 1, 0],
                "errors_by_step": [0, 0, 0],
                "error_rate_by_step": [None, 0.0, None],
            },
        ],
        "meta": {
            "from": text_of(FIRST),
            "to": text_of(FIRST + 3 * MINUTE),
            "step": "minute",
            "starts": [text_of(FIRST + number * MINUTE) for number in range(3)],
        },
    }


@pytest.mark.parametrize(
    ("length", "asked", "step", "steps"),
    [
        (HOUR, None, "minute", 60),
        (6 * HOUR, None, "minute", 360),
        (7 * HOUR, None, "hour", 7),
        (timedelta(days=8), None, "day", 9),
        (timedelta(days=1), "minute", "minute", 1440),
        (timedelta(days=31), "hour", "hour", 744),
        (HOUR, "day", "day", 1),
    ],
)
def test_step_suits_the_range_unless_one_is_asked_for(
    api: Api,
    database: psycopg.Connection,
    length: timedelta,
    asked: str | None,
    step: str,
    steps: int,
) -> None:
    logged(database, FIRST - length, "a", "INFO")
    logged(database, FIRST - timedelta(seconds=1), "a", "ERROR")
    chosen = {"step": asked} if asked else {}
    found = get(api, "/stats/services", **span(FIRST - length, FIRST), **chosen)
    assert (found["meta"]["step"], len(found["meta"]["starts"])) == (step, steps)
    [counted] = found["data"]
    assert (counted["records"], counted["errors"]) == (2, 1)
    assert counted["errors_by_step"][-1] == 1


def test_services_with_the_most_errors_are_kept(api: Api, database: psycopg.Connection) -> None:
    for number in range(5):
        for _ in range(number):
            logged(database, FIRST, f"s-{number}", "ERROR")
    around = span(FIRST, FIRST + MINUTE)
    found = get(api, "/stats/services", limit=2, **around)["data"]
    assert [row["service_id"] for row in found] == ["s-4", "s-3"]
    found = get(api, "/stats/services", service_id=["s-1", "s-2"], **around)["data"]
    assert [row["service_id"] for row in found] == ["s-2", "s-1"]


def test_baseline_is_a_band_around_the_mean_that_the_verdict_agrees_with(
    api: Api, database: psycopg.Connection, service: str
) -> None:
    store(api.settings.database_url, replayed(service))
    path = f"/stats/services/{service}/baseline"
    found = get(api, path, **span(FIRST - 8 * HOUR, FIRST - 7 * HOUR))
    windows = found["data"]
    assert [row["errors"] for row in windows][: len(BURST)] == BURST
    assert [row["window_start"] for row in windows] == sorted(
        row["window_start"] for row in windows
    )
    assert windows[0]["plain"] is None
    for row in windows:
        for band in filter(None, (row["plain"], row["guarded"])):
            assert band["upper"] == pytest.approx(band["mean"] + 3 * band["sigma"])
            assert band["lower"] == pytest.approx(band["mean"] - 3 * band["sigma"])
        if row["verdict"] == "normal" and row["guarded"]:
            assert row["errors"] <= max(row["guarded"]["upper"], row["plain"]["upper"])
        if row["verdict"] == "fire":
            assert row["errors"] > row["guarded"]["upper"]
    assert {row["verdict"] for row in windows} >= {"warming_up", "normal", "fire"}
    assert get(api, path, **span(FIRST, FIRST + HOUR))["data"] == []


@pytest.mark.parametrize("service", ["a/b", "ü 100%", "'; DROP TABLE logs; --", "?", "a" * 128])
def test_service_in_a_path_may_be_any_name(
    api: Api, database: psycopg.Connection, service: str
) -> None:
    store(api.settings.database_url, replayed(service, [1] * 5))
    found = get(
        api,
        f"/stats/services/{quote(service, safe='')}/baseline",
        **span(FIRST - 8 * HOUR, FIRST - 7 * HOUR),
    )
    assert found["meta"]["service_id"] == service
    assert len(found["data"]) >= 5


def test_messages_are_grouped_but_for_numbers_and_ids(
    api: Api, database: psycopg.Connection
) -> None:
    alike = [
        "order 17 of 4f0e8a5c-94a1-4b70-8f27-6a1c5bbd2d4e failed after 1.5 s",
        "order 18000 of 00000000-94A1-4b70-8f27-6a1c5bbd2d4e failed after 30 s",
    ]
    for number, (level, message) in enumerate(
        [
            *(("ERROR", message) for message in alike),
            ("FATAL", "commit deadbeef42 by user7"),
            ("INFO", alike[0]),
            ("ERROR", "decade facade accede"),
        ]
    ):
        add(
            database,
            {
                "timestamp": FIRST + number * MINUTE,
                "service_id": f"s-{number}",
                "level": level,
                "message": message,
            },
        )
    found = get(api, "/stats/messages", **span(FIRST, FIRST + HOUR))
    assert [(row["shape"], row["count"]) for row in found["data"]] == [
        ("order <n> of <id> failed after <n> s", 2),
        ("decade facade accede", 1),
        ("commit <id> by user<n>", 1),
    ]
    assert found["data"][0] == {
        "shape": "order <n> of <id> failed after <n> s",
        "count": 2,
        "services": 2,
        "first_seen": text_of(FIRST),
        "last_seen": text_of(FIRST + MINUTE),
        "example": alike[1],
        "example_service": "s-1",
    }
    assert found["meta"] == {**span(FIRST, FIRST + HOUR), "errors": 4, "complete": True}
    [row] = get(api, "/stats/messages", service_id="s-2", **span(FIRST, FIRST + HOUR))["data"]
    assert row["shape"].startswith("commit")


def test_no_more_messages_are_looked_at_than_the_newest(
    api: Api, database: psycopg.Connection
) -> None:
    database.execute(MANY)
    noon = datetime(2026, 3, 3, 12, tzinfo=timezone.utc)
    found = get(api, "/stats/messages", **span(noon - 6 * HOUR, noon))
    assert found["meta"]["complete"] is False
    [row] = found["data"]
    assert row["count"] == found["meta"]["errors"] == MESSAGES_LOOKED_AT_MAX + 1
    assert row["last_seen"] > text_of(noon - MINUTE)


def test_services_are_listed_by_name_in_pages_with_what_is_open(
    api: Api, database: psycopg.Connection
) -> None:
    database.execute("truncate error_windows")
    names = sorted(f"listed-{number}" for number in range(5))
    for name in names:
        store(api.settings.database_url, replayed(name, [1] * 3))
    for _ in range(2):
        add_incident(database, names[1])
    database.execute(
        "update incidents set severity = 'CRITICAL' where id = (select max(id) from incidents)"
    )
    closed = add_incident(database, names[2])
    database.execute("update incidents set status = 'RESOLVED' where id = %s", [closed])
    pages: list[dict[str, Any]] = [get(api, "/services", limit=2)]
    while (following := pages[-1]["meta"]["next"]) is not None:
        pages.append(get(api, "/services", limit=2, after=following))
    found = [row for page in pages for row in page["data"]]
    assert [row["service_id"] for row in found] == names
    assert [(row["open_incidents"], row["severity"]) for row in found] == [
        (0, None),
        (2, "CRITICAL"),
        *[(0, None)] * 3,
    ]
    assert {row["last_seen"] for row in found} == {"2026-03-02T00:02:00Z"}
