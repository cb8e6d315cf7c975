"""Readiness: it asks the database and Kafka, and answers in time also when they hang."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import psycopg
import pytest

from stack.broker import Broker
from stack.waiting import wait_until
from tests.integration.http.conftest import WAIT_S, Api
from tests.integration.http.test_api_ingest import assert_problem
from tests.integration.http.test_api_outages import database_away
from tests.integration.http.test_api_process import ready

WITHIN_S = 12
"""The probe takes 2 s at most; the rest is for a machine that is busy.

One that waits for the database as long as a request does, 17 s, is found all the same.
"""


@contextmanager
def hanging_database(url: str) -> Iterator[None]:
    """Let the sessions of the API stand still: each connection stays, nothing is answered."""
    with psycopg.connect(url, autocommit=True) as conn:
        rows = conn.execute(
            "SELECT pid FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'tocsin-api'"
        ).fetchall()
    pids = [pid for (pid,) in rows]
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.fixture(params=[1, 2], ids=["one process", "two processes"])
def own_api(
    request: pytest.FixtureRequest, make_api: Callable[..., Api], own_broker: Broker
) -> Api:
    api = make_api(KAFKA_BOOTSTRAP=own_broker.bootstrap, TOCSIN_API_WORKERS=str(request.param))
    api.start_with_topic()
    wait_until(lambda: ready(api) == request.param, "all workers", deadline_s=WAIT_S)
    wait_until(lambda: answers(api) == {200}, "ready", deadline_s=WAIT_S)
    return api


def probe(api: Api) -> httpx.Response:
    """Ask on a connection of its own: any process may answer."""
    began = time.monotonic()
    answer = httpx.get(f"{api.url}/readyz", timeout=WAIT_S, trust_env=False)
    assert time.monotonic() - began < WITHIN_S
    assert httpx.get(f"{api.url}/healthz", timeout=WAIT_S, trust_env=False).is_success
    return answer


def answers(api: Api) -> set[int]:
    return {probe(api).status_code for _ in range(6)}


def named(api: Api) -> set[str]:
    """Return what a probe finds away."""
    answer = probe(api)
    if answer.status_code == 200:
        return set()
    faults = assert_problem(answer, 503)["detail"].split("; ")
    return {fault.partition(": ")[0] for fault in faults}


def test_broker_that_hangs_is_named_in_time_and_believed_when_it_goes_on(
    own_api: Api, own_broker: Broker
) -> None:
    own_broker.pause()
    for _ in range(4):
        # On a busy machine the other may take too long once, too.
        wait_until(lambda: named(own_api) == {"kafka"}, "it is named", deadline_s=WAIT_S)
    own_broker.resume()
    wait_until(lambda: answers(own_api) == {200}, "ready again", deadline_s=WAIT_S)


def test_database_that_hangs_is_named_in_time_and_believed_when_it_goes_on(own_api: Api) -> None:
    with hanging_database(own_api.settings.database_url):
        for _ in range(4):
            # The pool may have made a new connection, which answers.
            wait_until(lambda: named(own_api) <= {"database"}, "it is named", deadline_s=WAIT_S)
    wait_until(lambda: answers(own_api) == {200}, "ready again", deadline_s=WAIT_S)


def test_both_that_are_away_are_named_at_once(
    own_api: Api, own_broker: Broker, database_url: str
) -> None:
    own_broker.pause()
    with database_away(database_url):
        wait_until(
            lambda: named(own_api) == {"database", "kafka"}, "both are named", deadline_s=WAIT_S
        )
    own_broker.resume()
    wait_until(lambda: answers(own_api) == {200}, "ready again", deadline_s=WAIT_S)
