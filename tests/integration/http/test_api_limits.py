"""Limits as clients meet them: on one worker, behind a proxy, on several hosts with Valkey."""

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import structlog

from api import shared_counts
from api.accounts import create_key
from api.shared_counts import SharedCounts
from stack import debian
from stack.errors import StackError
from stack.ports import LOOPBACK, free_port
from stack.processes import Process, end_with_starter
from stack.waiting import wait_until
from tests.integration.http.conftest import PASSWORD, WAIT_S, Api
from tests.integration.http.test_api_ingest import assert_problem, record


def assert_limited(answer: httpx.Response, most: int) -> None:
    assert_problem(answer, 429)
    wait_s = int(answer.headers["retry-after"])
    assert 1 <= wait_s <= 3600
    assert answer.headers["ratelimit-limit"] == str(most)
    assert answer.headers["ratelimit-remaining"] == "0"
    assert answer.headers["ratelimit-reset"] == str(wait_s)


def test_records_over_the_limit_are_refused_and_not_written(
    make_api: Callable[..., Api], service: str
) -> None:
    api = make_api(TOCSIN_LIMIT_KEY_RECORDS="10/hour")
    api.start_with_topic()
    assert_problem(api.ingest([record(service)] * 11), 413)
    assert api.ingest([record(service)] * 9).status_code == 202
    assert_limited(api.ingest([record(service)] * 2), 10)
    assert len(api.topic_records(service)) == 9


def test_login_is_limited_by_account_and_by_address(make_api: Callable[..., Api]) -> None:
    api = make_api(TOCSIN_LIMIT_ACCOUNT_LOGINS="3/hour", TOCSIN_LIMIT_ADDRESS_LOGINS="6/hour")
    api.start()

    def log_in(email: str) -> httpx.Response:
        return api.client.post("/auth/login", json={"email": email, "password": PASSWORD})

    for _ in range(3):
        assert_problem(log_in("a@example.org"), 401)
    assert_limited(log_in("A@example.org"), 3)
    assert_problem(log_in("b@example.org"), 401)
    assert_problem(log_in("c@example.org"), 401)
    assert_limited(log_in("d@example.org"), 6)
    refreshed = api.client.post("/auth/refresh", json={"refresh_token": "tcr_x"})
    assert_limited(refreshed, 6)


def test_requests_are_limited_by_the_address_that_a_trusted_proxy_tells(
    make_api: Callable[..., Api],
) -> None:
    limit = {"TOCSIN_LIMIT_ADDRESS_REQUESTS": "3/hour"}
    for trusted, second in (("", 429), ("127.0.0.0/8", 401)):
        api = make_api(**limit, TOCSIN_TRUSTED_PROXIES=trusted)
        api.start()
        first = {"x-forwarded-for": "198.51.100.9, 203.0.113.7"}
        for _ in range(3):
            assert api.client.get("/incidents", headers=first).status_code == 401
        assert_limited(api.client.get("/incidents", headers=first), 3)
        assert_limited(api.client.get("/nothing", headers=first), 3)
        other = api.client.get("/incidents", headers={"x-forwarded-for": "203.0.113.8"})
        assert other.status_code == second
        assert api.client.get("/healthz", headers=first).status_code == 200


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Valkey"]:
    """A Valkey of this module's own."""
    try:
        root = debian.install("valkey-server")
    except StackError as error:
        pytest.skip(str(error))
    server = Valkey(root, tmp_path_factory.mktemp("valkey") / "valkey.log")
    server.start()
    yield server
    server.stop()


class Valkey:
    """A server that keeps nothing."""

    def __init__(self, root: Path, log: Path) -> None:
        self.port = free_port()
        self._root = root
        self._log = log
        self._process: Process | None = None

    def start(self) -> None:
        """Start it and return when it answers."""
        command = ["valkey-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        # Even a run that is killed leaves none behind.
        argv = end_with_starter(["chroot", str(self._root), *command], "KILL")
        self._process = Process("valkey", argv, log=self._log)
        wait_until(self._answers, "Valkey answers", deadline_s=WAIT_S)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.stop()

    def _answers(self) -> bool:
        try:
            with socket.create_connection((LOOPBACK, self.port), WAIT_S) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


@pytest.mark.parametrize("scheme", ["redis", "valkey"])
def test_several_workers_count_together_in_valkey(
    make_api: Callable[..., Api], service: str, valkey: Valkey, scheme: str
) -> None:
    storage = f"{scheme}://127.0.0.1:{valkey.port}/0"
    one, other = (
        make_api(TOCSIN_LIMIT_KEY_RECORDS="10/hour", TOCSIN_LIMIT_STORAGE=storage) for _ in range(2)
    )
    one.start_with_topic()
    other.start_with_topic()

    def counted_together() -> bool:
        key = create_key(one.settings, secrets.token_hex(8))
        carried = {"authorization": f"Bearer {key}"}
        assert one.ingest([record(service)] * 6, **carried).status_code == 202
        answer = other.ingest([record(service)] * 5, **carried)
        # Each counts for itself for seconds, once Valkey took too long.
        if answer.status_code == 202:
            return False
        assert_limited(answer, 10)
        return True

    wait_until(counted_together, "they count together", deadline_s=WAIT_S)


def test_each_counts_for_itself_while_valkey_is_away_and_says_so(
    valkey: Valkey, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Away is what refuses a connection, not what a busy machine keeps waiting.
    monkeypatch.setattr(shared_counts, "_REDIS_TIMEOUT_S", WAIT_S)
    now = 1_000_000.0

    async def work() -> None:
        nonlocal now
        counts = SharedCounts(f"redis://127.0.0.1:{valkey.port}/0", clock=lambda: now)
        key = secrets.token_hex(4)
        assert await counts.incr(key, 3600, 5) == 5
        valkey.stop()
        assert await counts.incr(key, 3600, 2) == 2
        assert await counts.get_expiry(key) == now + 3600
        valkey.start()
        assert await counts.incr(key, 3600, 2) == 4
        now += 5
        assert await counts.incr(key, 3600, 7) == 7  # it keeps nothing
        await counts.close()

    with structlog.testing.capture_logs() as lines, caplog.at_level(logging.WARNING):
        asyncio.run(work())
    assert [line["event"] for line in lines] == ["limits"]
