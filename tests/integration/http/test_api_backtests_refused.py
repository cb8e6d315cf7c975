"""Backtests over HTTP that cannot work: refused at once, or failed in one line."""

from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest

from tests.integration.conftest import Line
from tests.integration.http.backtests import ended, filled, own, post, started
from tests.integration.http.conftest import Api
from tests.integration.http.test_api_ingest import assert_problem
from tests.integration.test_backtest_command import moment

__all__ = ["filled", "own"]

pytestmark = pytest.mark.producers_time

DAY = timedelta(days=1)
NOW = "2026-03-02T08:00:00Z"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"from": moment(60), "to": moment(70)}, "has no records in that range: what it has"),
        ({"from": moment(60), "to": moment(70), "source": "logs"}, "there are no logs in that"),
    ],
)
def test_what_cannot_be_read_is_said_by_the_backtest(
    own: Api, asked: dict[str, object], told: str
) -> None:
    where = started(own, **asked)
    found = ended(own, where)
    assert found["state"] == "failed"
    assert told in found["error"]
    assert "\n" not in found["error"]
    for part in ("result", "page"):
        answer = own.client.get(f"{where}/{part}", headers=own.headers())
        assert assert_problem(answer, 409)["detail"] == (
            f"the backtest has failed, so it has no result: {found['error']}"
        )


def test_topic_that_is_not_there_is_named(make_api: Callable[..., Api], filled: Line) -> None:
    api = make_api(**{**filled.environ, "TOCSIN_TOPIC": "nowhere"})
    api.start()
    found = ended(api, started(api))
    assert found["state"] == "failed"
    assert "there is no topic nowhere" in found["error"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"from": None}, "from: give a time, as 2026-03-02T08:00:00Z, not nothing"),
        ({"from": "yesterday"}, "body: from: give a time, as 2026-03-02T08:00:00Z"),
        ({"from": "2026-03-02T08:00:00"}, "body: from: needs a time zone, as 2026-03-02"),
        ({"from": NOW, "to": NOW}, "from: must lie before `to`, and before now"),
        ({"from": "9000-01-01T00:00:00Z", "to": None}, "from: must lie before `to`, and before"),
        ({"from": "0001-01-01T00:00:00+12:00"}, "from, to: give times in the years 1 to 9999"),
        ({"from": "2026-01-01T00:00:00Z", "to": NOW}, "from: at most 31 days before `to`"),
        ({"source": "files"}, "source: 'files' is not one of topic, logs"),
        ({"topic": "another"}, "topic: no such field"),
        ({"grid": {"minimum_cuont": [3]}}, "did you mean minimum_count?"),
        ({"grid": {"sgma": [3]}}, "sgma: no such setting, did you mean sigma?"),
        ({"grid": {"sigma": 3}}, "grid: give a list, not a whole number"),
        ({"grid": {"sigma": ["much"]}}, "threshold_sigma is 'much': give a number, as 2.5"),
        ({"grid": {"sigma": [3], "threshold_sigma": [4]}}, "threshold_sigma: given twice"),
        ({"grid": {"sigma": []}}, "length >= 1 - at `$.grid[...]`"),
        ({"grid": {"sigma": [6]}}, "threshold_sigma is 6 and critical_sigma is 5"),
        ({"grid": {"idle_ms": [3]}}, "idle_ms: cannot be changed"),
        ({"grid": {"calm_windows": [*range(1, 30)], "minimum_count": [*range(1, 30)]}}, "841"),
        ({"grid": {"calm_windows": [*range(1, 502)]}}, "length <= 500"),
        ({"services": "batch-*"}, "services: goes with a grid"),
        ({"services": "a\0b", "grid": {"sigma": [2]}}, "1 to 128 printable characters"),
        ({"candidates": [{"name": "a\nb"}]}, "printable characters"),
        ({"candidates": [{"name": "live"}]}, "two candidates are named 'live'"),
        ({"candidates": [{"name": "a", "settings": {"preset": True}}]}, "preset is 'true'"),
        (
            {
                "candidates": [
                    {"name": f"{number}", "overrides": [{"services": "x" * 120, "settings": {}}]}
                    for number in range(499)
                ]
            },
            "more than 64 KiB",
        ),
    ],
)
def test_what_cannot_work_is_refused_at_once(api: Api, asked: dict[str, object], told: str) -> None:
    answer = post(api, **asked)
    problem = assert_problem(answer, 400)
    assert told in problem["detail"]
    assert "\n" not in problem["detail"]
    assert api.client.get("/backtests", headers=api.headers()).json()["meta"]["total"] == 0


def test_range_is_as_long_as_is_set(make_api: Callable[..., Api], filled: Line) -> None:
    api = make_api(**filled.environ, TOCSIN_BACKTEST_DAYS_MAX="2")
    api.start()
    now = datetime.now(timezone.utc)
    refused = post(api, **{"from": (now - 2.1 * DAY).isoformat(), "to": None})
    assert "at most 2 days before `to`" in assert_problem(refused, 400)["detail"]
    later = (now + DAY).isoformat()  # counts as now
    where = started(api, **{"from": (now - 1.9 * DAY).isoformat(), "to": later})
    assert "has no records in that range" in ended(api, where)["error"]


def test_backtest_that_is_not_there_is_a_404(api: Api) -> None:
    admin = api.headers("admin")
    for name in ("x", "0" * 8 + "-0000-0000-0000-" + "0" * 12):
        where = f"/backtests/{name}"
        for path in (where, f"{where}/result", f"{where}/page"):
            assert_problem(api.client.get(path, headers=admin), 404)
        assert_problem(api.client.post(f"{where}/cancel", headers=admin), 404)
        assert_problem(api.client.delete(where, headers=admin), 404)
