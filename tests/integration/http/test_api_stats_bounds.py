"""What a statistic may not be, and which index each reads."""

from datetime import datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest

from sql.statements import statements
from tests.integration.http.conftest import Api
from tests.integration.http.test_api_incidents import FIRST
from tests.integration.http.test_api_ingest import assert_problem
from tests.integration.http.test_api_stats import HOUR, MANY, span
from tests.integration.ledgers import replayed, store


@pytest.mark.parametrize("service", ["%ff", "%00", "a%00b", "x" * 129])
def test_service_in_a_path_that_cannot_be_is_refused(api: Api, service: str) -> None:
    answer = api.client.get(f"/stats/services/{service}/baseline", headers=api.headers())
    assert_problem(answer, 400)


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("/stats/services", {"step": "second"}),
        ("/stats/services", {"step": "minute'; --"}),
        ("/stats/services", {"step": "minute", **span(FIRST - 25 * HOUR, FIRST)}),
        ("/stats/services", {"step": "hour", **span(FIRST - timedelta(days=32), FIRST)}),
        ("/stats/services", span(FIRST - timedelta(days=367), FIRST)),
        ("/stats/services", span(FIRST, FIRST)),
        ("/stats/services", {"service_id": "a\0b"}),
        ("/stats/services", {"limit": "101"}),
        ("/stats/services", {"bucket": "hour"}),
        ("/stats/services/a/baseline", span(FIRST - 49 * HOUR, FIRST)),
        ("/stats/services/a/baseline", span(FIRST, FIRST - HOUR)),
        ("/stats/services/a/baseline", {"service_id": "b"}),
        ("/stats/services/a/baseline", {"from": "0001-01-01T00:00:00Z"}),
        ("/stats/messages", span(FIRST - timedelta(days=8), FIRST)),
        ("/stats/messages", {"from": "1; DROP TABLE logs"}),
        ("/stats/messages", {"level": "ERROR"}),
        ("/stats/messages", {"limit": "0"}),
        ("/services", {"after": ""}),
        ("/services", {"after": "a\0b"}),
        ("/services", {"after": "x" * 129}),
        ("/services", {"page": "1"}),
    ],
)
def test_statistic_that_cannot_be_is_refused(
    api: Api, path: str, parameters: dict[str, str]
) -> None:
    assert_problem(api.client.get(path, params=parameters, headers=api.headers()), 400)


@pytest.mark.parametrize(
    "path", ["/services", "/stats/services", "/stats/messages", "/stats/services/a/baseline"]
)
def test_statistics_need_a_token_and_take_utf_8_alone(api: Api, path: str) -> None:
    assert_problem(api.client.get(path), 401)
    assert_problem(api.client.get(f"{path}?from=%ff", headers=api.headers()), 400)


def test_statistics_read_their_time_alone_and_by_an_index(database_url: str) -> None:
    since = datetime(2026, 3, 3, 11, tzinfo=timezone.utc)
    hour: dict[str, Any] = {"since": since, "until": since + HOUR, "limit": 20, "services": None}
    sampled = {**hour, "sample": 1000, "characters": 300}
    some = {"services": ["service-1", "service-2"]}
    windows = {**hour, "service_id": "service-1"}
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(MANY)
        conn.execute("vacuum analyze logs")
    for number in range(20):
        store(database_url, replayed(f"service-{number}"))
    with psycopg.connect(database_url, cursor_factory=psycopg.ClientCursor) as conn:
        for name, values, index in (
            ("count_per_minute", hour, "logs_arrival"),
            ("count_per_minute", {**hour, **some}, "logs_service_time"),
            ("top_messages", sampled, "logs_arrival"),
            ("top_messages", {**sampled, **some}, "logs_service_time"),
            ("select_baseline_windows", windows, "error_windows_pkey"),
            ("select_services", {"after": "", "limit": 5}, "error_windows_pkey"),
        ):
            rows = conn.execute(b"explain " + statements("statistics")[name], values).fetchall()
            plan = "\n".join(line for (line,) in rows)
            assert index in plan, (name, plan)
            assert "Seq Scan on _hyper" not in plan, (name, plan)
            if "logs" in index:
                assert "_hyper_1_1_chunk" not in plan, (name, plan)
