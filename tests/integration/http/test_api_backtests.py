"""Backtests over HTTP: what the command says, one at a time, and everything else is refused."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from stack.waiting import wait_until
from tests.integration.conftest import Line
from tests.integration.http.backtests import ended, filled, held, own, shown, started, wait_running
from tests.integration.http.conftest import WAIT_S, Api
from tests.integration.http.test_api_audit import entries_of
from tests.integration.http.test_api_ingest import assert_problem
from tests.integration.http.test_api_process import ready
from tests.integration.test_backtest_command import (
    START,
    command,
    moment,
    wire,
)

__all__ = ["filled", "own"]

pytestmark = pytest.mark.producers_time

GRID = {"min-count": [39, 40], "sigma": [2.5]}
CANDIDATE = {
    "name": "calm checkout",
    "settings": {"calm_windows": 10},
    "overrides": [{"services": "check*", "settings": {"minimum_count": 7}}],
}
TOML = """
[grid]
min-count = [39, 40]
sigma = [2.5]

[[candidate]]
name = "calm checkout"
settings = { calm_windows = 10 }
overrides = [{ services = "check*", settings = { minimum_count = 7 } }]
"""
MISSED = f"""
    insert into missed_incidents (service_id, started_at, ended_at, labelled_by)
    values ('checkout', '{moment(30)}', '{moment(31)}', 'ada@example.org'),
           ('search', '{moment(30)}', '{moment(31)}', 'ada@example.org')
"""


@pytest.mark.parametrize("source", ["topic", "logs"])
def test_result_is_that_of_the_command(own: Api, filled: Line, tmp_path: Path, source: str) -> None:
    flow = filled.start_flow()
    filled.wait_for_logs(160, flow)
    assert flow.stop() == 0
    filled.execute(MISSED)
    where = started(own, source=source, grid=GRID, candidates=[CANDIDATE], unlabelled="false")
    told = ended(own, where)
    assert (told["state"], told["share"], told["error"]) == ("done", 1, None)
    assert told["rate"] > 0
    answer = own.client.get(f"{where}/result", headers=own.headers())
    assert answer.headers["content-type"] == "application/json"

    tried, written = tmp_path / "tried.toml", tmp_path / "out.json"
    tried.write_text(TOML)
    words = ["--from", moment(5), "--to", moment(31), "--candidates", str(tried)]
    words += ["--logs"] if source == "logs" else []
    done = command(filled, *words, "--unlabelled", "false", "--json", str(written))
    assert done.returncode == 0, done.stderr
    assert answer.content == written.read_bytes()
    assert len(answer.json()["candidates"]) == 4
    assert answer.json()["records"] == 25 * 4 + 40
    assert [row["found"] for row in answer.json()["labels"]][:2] == [True, True]


def test_page_opens_without_network_and_keeps_to_itself(own: Api) -> None:
    where = started(own, grid=GRID)
    assert ended(own, where)["state"] == "done"
    answer = own.client.get(f"{where}/page", headers=own.headers())
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-encoding"] == "gzip"
    assert "Backtest of 2026-03-02 08:05 to 2026-03-02 08:31 UTC" in answer.text
    policy = answer.headers["content-security-policy"]
    for part in ("default-src 'none'", "frame-ancestors 'none'", "sandbox allow-scripts"):
        assert part in policy
    assert "allow-same-origin" not in policy
    bare = {**own.headers(), "accept-encoding": "identity"}
    plain = own.client.get(f"{where}/page", headers=bare)
    assert "content-encoding" not in plain.headers
    assert plain.content == answer.content
    head = own.client.head(f"{where}/page", headers=bare)
    assert (head.status_code, head.content) == (200, b"")


def test_progress_never_goes_back(own: Api, filled: Line) -> None:
    for number in range(150_000):
        at = START + timedelta(minutes=40, milliseconds=20 * number)
        filled.send_raw(wire(at, "INFO"), partition=0, arrival_ms=int(at.timestamp() * 1000))
    filled.flush()
    where = started(own, to=moment(100), grid={"calm_windows": list(range(2, 40))})
    seen: list[dict[str, Any]] = []

    def is_over() -> bool:
        seen.append(shown(own, where))
        return seen[-1]["ended_at"] is not None

    wait_until(is_over, "its end", deadline_s=3 * WAIT_S)
    shares = [one["share"] for one in seen]
    records = [one["records"] for one in seen]
    assert (seen[-1]["state"], shares[-1]) == ("done", 1)
    assert records[-1] == 150_000 + 160
    assert shares == sorted(shares)
    assert records == sorted(records)
    for one in seen:
        reads = one["state"] == "running" and one["share"] > 0
        assert (one["seconds_left"] is not None) == reads


def test_admins_start_and_end_what_everybody_may_read(own: Api) -> None:
    where = started(own)
    assert ended(own, where)["state"] == "done"
    body = {"from": moment(5), "to": moment(31)}
    for role in ("viewer", "operator"):
        headers = own.headers(role)
        assert_problem(own.client.post("/backtests", json=body, headers=headers), 403)
        assert_problem(own.client.post(f"{where}/cancel", headers=headers), 403)
        assert_problem(own.client.delete(where, headers=headers), 403)
        for path in ("/backtests", where, f"{where}/result", f"{where}/page"):
            assert own.client.get(path, headers=headers).status_code == 200
    for path in ("/backtests", where, f"{where}/result", f"{where}/page"):
        assert_problem(own.client.get(path), 401)
    [listed] = own.client.get("/backtests", headers=own.headers()).json()["data"]
    assert listed == shown(own, where)
    assert listed["asked"]["from"] == "2026-03-02T08:05:00Z"


def test_of_ten_that_are_asked_for_at_once_one_runs(
    make_api: Callable[..., Api], filled: Line
) -> None:
    api = make_api(**filled.environ, TOCSIN_API_WORKERS="2")
    api.start()
    wait_until(lambda: ready(api) == 2, "both workers", deadline_s=WAIT_S)
    headers = api.headers("admin")
    body = {"from": moment(5), "to": moment(31)}

    def ask(_: int) -> httpx.Response:
        with httpx.Client(base_url=api.url, trust_env=False, timeout=WAIT_S) as client:
            return client.post("/backtests", json=body, headers=headers)

    with held(api), ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(ask, range(10)))
        [taken] = [answer for answer in answers if answer.status_code == 202]
        for answer in answers:
            if answer is not taken:
                problem = assert_problem(answer, 409)
                assert problem["backtest_id"] == taken.json()["id"]
        wait_running(api, taken.headers["location"])
        assert_problem(ask(0), 409)
    assert ended(api, taken.headers["location"])["state"] == "done"
    where = started(api)
    assert ended(api, where)["state"] == "done"


def test_what_is_done_is_in_the_audit_log(own: Api) -> None:
    admin = own.person("admin")
    asked = {"from": moment(5), "to": moment(31), "grid": {"sigma": [2.5]}}
    with held(own):
        answer = own.client.post("/backtests", json=asked, headers=admin.headers)
        where = answer.headers["location"]
        assert answer.json()["created_by"] == admin.email
        own.client.post(f"{where}/cancel", headers=admin.headers).raise_for_status()
    own.client.delete(where, headers=admin.headers).raise_for_status()
    entries = entries_of(own, answer.json()["id"])
    assert [entry["action"] for entry in entries] == [
        *("backtest.started", "backtest.cancelled", "backtest.deleted")
    ]
    assert {entry["actor"] for entry in entries} == {admin.email}
    assert entries[0]["details"]["asked"]["grid"] == {"sigma": [2.5]}


def test_only_the_newest_are_kept(own: Api, filled: Line) -> None:
    filled.execute(
        """
        insert into backtests (asked, created_by, state, created_at, ended_at)
        select '{"from": "2026-03-02T08:00:00Z"}', 'ada@example.org', 'cancelled',
               now() - number * interval '1 hour', now()
        from generate_series(1, 25) as number
        """
    )
    where = started(own)
    listed = own.client.get("/backtests?limit=3", headers=own.headers()).json()
    assert listed["meta"] == {"total": 20, "page": 1, "limit": 3, "totalPages": 7}
    assert f"/backtests/{listed['data'][0]['id']}" == where
    assert ended(own, where)["state"] == "done"


def test_body_is_json_and_no_number_is_lost(own: Api) -> None:
    where = started(own, grid={"sigma": [2.25, 3]})
    asked = json.loads(own.client.get(where, headers=own.headers()).text)["asked"]
    assert asked["grid"]["sigma"] == [2.25, 3]
    assert ended(own, where)["state"] == "done"
