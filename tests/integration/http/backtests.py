"""Backtests over HTTP as tests ask for them, and what holds one where it is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from stack.processes import descendants
from stack.waiting import wait_until
from tests.integration.conftest import Line
from tests.integration.http.conftest import WAIT_S, Api
from tests.integration.test_backtest_command import fill, moment

RANGE = {"from": moment(5), "to": moment(31)}
ENDED = {"done", "failed", "cancelled"}


@pytest.fixture
def filled(line: Line) -> Line:
    """A topic with the history."""
    return fill(line)


@pytest.fixture
def own(make_api: Callable[..., Api], filled: Line) -> Api:
    """An API on that topic."""
    api = make_api(**filled.environ)
    api.start()
    return api


def post(api: Api, **asked: object) -> httpx.Response:
    """Ask for a backtest as an admin, of most of the history unless another range is given."""
    body = {**RANGE, **asked}
    return api.client.post("/backtests", json=body, headers=api.headers("admin"))


def started(api: Api, **asked: object) -> str:
    """Start a backtest and return its path."""
    answer = post(api, **asked)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/backtests/{answer.json()['id']}"
    return answer.headers["location"]


def shown(api: Api, where: str) -> dict[str, Any]:
    """Return a backtest as a viewer sees it."""
    answer = api.client.get(where, headers=api.headers())
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def ended(api: Api, where: str) -> dict[str, Any]:
    """Return a backtest when it has ended."""
    wait_until(lambda: shown(api, where)["ended_at"], "its end", deadline_s=3 * WAIT_S)
    return shown(api, where)


@contextmanager
def held(api: Api) -> Iterator[None]:
    """Let backtests of the topic come no further than to its incarnation, which they look up."""
    with psycopg.connect(api.settings.database_url) as conn:
        conn.execute("LOCK TABLE topics IN ACCESS EXCLUSIVE MODE")
        yield


def wait_running(api: Api, where: str) -> int:
    """Return the pid of a backtest's process, when it runs."""
    wait_until(lambda: shown(api, where)["state"] == "running", "it runs", deadline_s=2 * WAIT_S)
    [pid] = processes_of(api, where)
    return pid


def processes_of(api: Api, where: str) -> list[int]:
    """Return the pids of the processes of a backtest."""
    assert api.process is not None
    wanted = where.rpartition("/")[2].encode()
    return [pid for pid in descendants(api.process.pid) if wanted in command_of(pid)]


def command_of(pid: int) -> bytes:
    """Return what a process was started as; nothing of one that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
