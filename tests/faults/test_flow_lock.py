"""The lock of the one flow: let go of by who is gone, and taken anew by who lost it."""

import subprocess
import sys
from threading import Event

import psycopg
import pytest

from sql.flow_lock import only_flow
from stack.waiting import wait_until
from tests.faults.rig import WAIT_S, Servers
from tocsin.errors import FlowRunning

HOLD = """
import sys, threading
from sql.flow_lock import only_flow
with only_flow(sys.argv[1], "logs", 0, threading.Event(), patience_s=2):
    print("held", flush=True)
    threading.Event().wait()
"""
SILENT = (
    "SELECT 1 FROM pg_stat_activity"
    " WHERE application_name = 'tocsin-flow-lock' AND now() - state_change > '1 s'"
)
HOLDERS = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"


def only_holder(conn: psycopg.Connection) -> int | None:
    """Return who holds a lock, if it is one: who let go may not have ended yet."""
    holders = conn.execute(HOLDERS).fetchall()
    return int(holders[0][0]) if len(holders) == 1 else None


def test_lock_of_a_dead_flow_is_let_go_though_its_connection_is_kept_open(
    servers: Servers,
) -> None:
    url = servers.timescale.url
    by_proxy = url.replace(f":{servers.timescale.port}/", f":{servers.database_proxy.port}/")
    assert by_proxy != url
    holder = subprocess.Popen([sys.executable, "-c", HOLD, by_proxy], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    with holder.stdout as told:
        assert told.readline() == b"held\n"
    servers.database_proxy.forget()
    holder.kill()
    holder.wait()
    with only_flow(url, "logs", 0, Event(), patience_s=2):
        pass


def test_flow_ends_though_the_database_hangs_while_it_is_told_that_the_flow_lives(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sql.flow_lock._BEAT_S", 0.01)
    url = servers.timescale.url
    by_proxy = url.replace(f":{servers.timescale.port}/", f":{servers.database_proxy.port}/")
    with psycopg.connect(url, autocommit=True) as conn:
        try:
            with only_flow(by_proxy, "logs", 2, Event(), patience_s=3600):
                servers.database_proxy.stand_still()
                wait_until(
                    lambda: conn.execute(SILENT).fetchall(), "a beat hangs", deadline_s=WAIT_S
                )
        finally:
            servers.database_proxy.resume()
        wait_until(
            lambda: not conn.execute(HOLDERS).fetchall(), "nobody holds it", deadline_s=WAIT_S
        )


def test_lock_that_was_lost_is_taken_anew(servers: Servers) -> None:
    url = servers.timescale.url
    with (
        psycopg.connect(url, autocommit=True) as conn,
        only_flow(url, "logs", 1, Event(), patience_s=2),
    ):
        former = wait_until(lambda: only_holder(conn), "nobody else holds one", deadline_s=WAIT_S)
        conn.execute("SELECT pg_terminate_backend(%s)", [former])

        def is_held_anew() -> bool:
            return [pid for (pid,) in conn.execute(HOLDERS) if pid != former] != []

        wait_until(is_held_anew, "the lock is taken anew", deadline_s=WAIT_S)
        stopping = Event()
        stopping.set()
        with (
            pytest.raises(FlowRunning, match="stop it first"),
            only_flow(url, "logs", 1, stopping, patience_s=2),
        ):
            pass
    with psycopg.connect(url) as conn:
        wait_until(
            lambda: not conn.execute(HOLDERS).fetchall(), "nobody holds it", deadline_s=WAIT_S
        )
