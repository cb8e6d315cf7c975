"""The process of a backtest: cancelled, killed, or left by its API, it never stands in the way."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from stack.ports import free_port
from stack.processes import is_running
from stack.waiting import wait_until
from tests.integration.conftest import Line
from tests.integration.http.backtests import (
    ended,
    filled,
    held,
    own,
    post,
    shown,
    started,
    wait_running,
)
from tests.integration.http.conftest import WAIT_S, Api
from tests.integration.http.test_api_ingest import assert_problem
from tests.integration.http.test_api_metrics import Metered
from tests.integration.http.test_api_process import workers_of

__all__ = ["filled", "own"]

pytestmark = pytest.mark.producers_time

NICE = 18
"""The field of /proc/PID/stat, in what follows the name of the program, from 1 on."""

REFUSED = """
    select from pg_stat_activity
    where application_name = 'tocsin-backtest-run' and datname = current_database()
      and query like 'SELECT EXISTS (SELECT FROM backtests WHERE id = % AND state = ''queued'')%'
"""
"""Who has been refused the lock looks whether it is still wanted."""


def gone(pid: int) -> None:
    wait_until(lambda: not is_running(pid), "the end of its process", deadline_s=WAIT_S)


def test_cancelled_backtest_ends_and_makes_room(own: Api) -> None:
    admin = own.headers("admin")
    with held(own):
        where = started(own)
        pid = wait_running(own, where)
        assert_problem(own.client.delete(where, headers=admin), 409)
        early = own.client.get(f"{where}/result", headers=admin)
        assert "has not ended, so it has no result yet" in assert_problem(early, 409)["detail"]
        answer = own.client.post(f"{where}/cancel", headers=admin)
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
        # The next one waits for the process of this one.
        following = started(own)
        gone(pid)
    assert shown(own, where)["ended_at"] == answer.json()["ended_at"]
    assert_problem(own.client.post(f"{where}/cancel", headers=admin), 409)
    none = own.client.get(f"{where}/result", headers=admin)
    assert "was cancelled, so it has no result" in assert_problem(none, 409)["detail"]
    assert own.client.delete(where, headers=admin).status_code == 204
    assert_problem(own.client.get(where, headers=admin), 404)
    assert ended(own, following)["state"] == "done"


def test_cancel_that_comes_too_late_drops_no_result(own: Api) -> None:
    where = started(own)
    assert ended(own, where)["state"] == "done"
    admin = own.headers("admin")
    assert (
        "is done"
        in assert_problem(own.client.post(f"{where}/cancel", headers=admin), 409)["detail"]
    )
    assert own.client.get(f"{where}/result", headers=admin).status_code == 200


def test_next_one_waits_while_the_process_of_a_cancelled_one_hangs(own: Api, filled: Line) -> None:
    with held(own):
        where = started(own)
        pid = wait_running(own, where)
        os.kill(pid, signal.SIGSTOP)
        own.client.post(f"{where}/cancel", headers=own.headers("admin")).raise_for_status()
        following = started(own)
        wait_until(lambda: filled.query(REFUSED), "it asks for the lock", deadline_s=2 * WAIT_S)
        assert shown(own, following)["state"] == "queued"
        os.kill(pid, signal.SIGCONT)
        gone(pid)
        wait_running(own, following)
    assert ended(own, following)["state"] == "done"


def test_killed_backtest_has_failed_and_makes_room(own: Api) -> None:
    with held(own):
        where = started(own)
        os.kill(wait_running(own, where), signal.SIGKILL)
        found = ended(own, where)
    assert found["state"] == "failed"
    assert "ended unexpectedly" in found["error"]
    assert ended(own, started(own))["state"] == "done"


def test_backtest_whose_host_is_gone_has_failed(own: Api, filled: Line) -> None:
    filled.execute(
        """
        insert into backtests (asked, created_by, state)
        values ('{"from": "2026-03-02T08:00:00Z"}', 'ada@example.org', 'running')
        """
    )
    [found] = own.client.get("/backtests", headers=own.headers()).json()["data"]
    assert found["state"] == "failed"
    assert "ended unexpectedly" in found["error"]


def test_backtest_that_never_began_makes_room(own: Api, filled: Line) -> None:
    queued = """
        insert into backtests (asked, created_by, created_at)
        values ('{{"from": "2026-03-02T08:00:00Z"}}', 'ada@example.org', now() - interval '{}')
    """
    filled.execute(queued.format("5 seconds"))
    assert_problem(post(own), 409)
    filled.execute("delete from backtests")
    filled.execute(queued.format("61 seconds"))
    assert ended(own, started(own))["state"] == "done"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_killed_api_leaves_no_backtest_behind(
    make_api: Callable[..., Api], filled: Line, workers: str
) -> None:
    api = make_api(**filled.environ, TOCSIN_API_WORKERS=workers)
    api.start()
    other = make_api(**filled.environ)
    other.environ["TOCSIN_JWT_SECRET"] = api.environ["TOCSIN_JWT_SECRET"]
    other.start()
    with held(api):
        where = started(api)
        pid = wait_running(api, where)
        assert api.process is not None
        for worker in [*workers_of(api), api.process.pid]:
            os.kill(worker, signal.SIGKILL)
        gone(pid)
        found = ended(other, where)
    assert found["state"] == "failed"
    assert "the API's process that ran it has ended: start it again" in found["error"]
    assert ended(other, started(other))["state"] == "done"


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_api_that_ends_ends_its_backtest(
    make_api: Callable[..., Api], own: Api, filled: Line, stop: signal.Signals
) -> None:
    with held(own):
        where = started(own)
        pid = wait_running(own, where)
        assert own.process is not None
        own.process.popen.send_signal(stop)
        assert own.process.popen.wait(WAIT_S) == 0
        gone(pid)
    said = own.log.read_text()
    assert "Traceback" not in said
    assert "ended unexpectedly" not in said
    other = make_api(**filled.environ)
    other.start()
    assert "has ended: start it again" in shown(other, where)["error"]


def test_api_waits_for_no_backtest_that_hangs_and_says_why_it_failed(
    make_api: Callable[..., Api], own: Api, filled: Line
) -> None:
    with held(own):
        where = started(own)
        pid = wait_running(own, where)
        os.kill(pid, signal.SIGSTOP)
        assert own.process is not None
        own.process.popen.send_signal(signal.SIGTERM)
        assert own.process.popen.wait(WAIT_S) == 0
        gone(pid)
    assert "Traceback" not in own.log.read_text()
    other = make_api(**filled.environ)
    other.start()
    assert "has ended: start it again" in shown(other, where)["error"]


def test_api_ends_in_time_though_it_cannot_say_why_a_backtest_failed(own: Api) -> None:
    assert own.process is not None
    with held(own), psycopg.connect(own.settings.database_url) as conn:
        os.kill(wait_running(own, started(own)), signal.SIGSTOP)
        conn.execute("LOCK TABLE backtests IN ACCESS EXCLUSIVE MODE")
        own.process.popen.send_signal(signal.SIGTERM)
        # As docs/operations.md tells whoever sends SIGKILL.
        assert own.process.popen.wait(own.settings.publish_timeout_s + 5) == 0
    assert "Traceback" not in own.log.read_text()


def test_backtest_that_loses_the_database_has_failed(own: Api) -> None:
    with held(own):
        where = started(own)
        pid = wait_running(own, where)
        with psycopg.connect(own.settings.database_url, autocommit=True) as conn:
            conn.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name = 'tocsin-backtest-run' and datname = current_database()"
            )
        gone(pid)
        found = ended(own, where)
    assert found["state"] == "failed"
    assert "ended unexpectedly" in found["error"]
    assert "Traceback" not in own.log.read_text()


def test_process_gives_way_and_is_told_no_secret(own: Api) -> None:
    with held(own):
        pid = wait_running(own, started(own))
        environ = Path(f"/proc/{pid}/environ").read_bytes()
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        assert own.environ["TOCSIN_JWT_SECRET"].encode() not in environ
        assert b"DATABASE_URL=" in environ
        assert int(fields[NICE - 2]) >= 10
        assert own.process is not None
        own.process.popen.terminate()
        gone(pid)


def test_backtests_are_counted(make_api: Callable[..., Api], filled: Line) -> None:
    port = free_port()
    api = make_api(**filled.environ, TOCSIN_API_WORKERS="2", TOCSIN_API_METRICS_PORT=str(port))
    api.start()
    metered = Metered(api, port)
    with held(api):
        where = started(api)
        wait_running(api, where)
        assert metered.value("backtests_running") == 1
        api.client.post(f"{where}/cancel", headers=api.headers("admin")).raise_for_status()
        wait_until(
            lambda: metered.value("backtests_total", state="cancelled") == 1,
            "its end is counted",
            deadline_s=WAIT_S,
        )
    assert metered.value("backtests_running") == 0
    assert ended(api, started(api))["state"] == "done"
    wait_until(
        lambda: metered.value("backtests_total", state="done") == 1,
        "its end is counted",
        deadline_s=WAIT_S,
    )
    assert "tocsin_flow_" not in metered.text()
