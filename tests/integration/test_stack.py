"""The servers start, stop, fail and leave nothing behind."""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from stack.errors import StackError
from stack.folders import live_postmaster, sweep
from stack.ports import LOOPBACK
from stack.processes import descendants, is_running
from stack.timescale import FAST, Timescale
from stack.waiting import wait_until

PREFIX = "broken-"
"""Of its own: another process that runs tests sweeps what begins with theirs and isn't locked."""


@pytest.fixture
def own_timescale(timescale: Timescale) -> Iterator[Timescale]:
    """A server to break; `timescale` has laid out what it needs, or skipped."""
    server = Timescale(
        f"{PREFIX}{secrets.token_hex(6)}", password=secrets.token_urlsafe(16), settings=FAST
    )
    yield server
    server.remove()


def family_of(server: Timescale) -> list[int]:
    return [server.process.pid, *descendants(server.process.pid)]


def test_stopped_timescale_leaves_no_process_and_keeps_its_rows(own_timescale: Timescale) -> None:
    own_timescale.start()
    with psycopg.connect(own_timescale.url) as connection:
        connection.execute("create extension timescaledb")
        connection.execute("create table kept as select 7 as n")
    family = family_of(own_timescale)
    own_timescale.stop()
    assert not any(map(is_running, family))
    own_timescale.start()
    with psycopg.connect(own_timescale.url) as connection:
        assert connection.execute("select n from kept").fetchone() == (7,)


def test_committed_rows_survive_a_killed_timescale(own_timescale: Timescale) -> None:
    own_timescale.start()
    url = own_timescale.url
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table kept as select 7 as n")
        family = family_of(own_timescale)
        own_timescale.kill()
        assert not any(map(is_running, family))
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
    own_timescale.start()
    assert own_timescale.url == url
    with psycopg.connect(url) as connection:
        assert connection.execute("select n from kept").fetchone() == (7,)


def test_removed_timescale_leaves_no_file(own_timescale: Timescale) -> None:
    own_timescale.start()
    own_timescale.remove()
    assert not list(own_timescale.folder.parent.glob(f"{own_timescale.name}*"))


def test_timescale_refuses_a_wrong_password(own_timescale: Timescale) -> None:
    own_timescale.start()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(f"postgresql://postgres:wrong@{LOOPBACK}:{own_timescale.port}/tocsin")


def test_two_processes_cannot_run_one_database(own_timescale: Timescale) -> None:
    own_timescale.start()
    rival = Timescale(own_timescale.name, password="irrelevant")
    with pytest.raises(StackError, match="run by another process"):
        rival.start()
    assert own_timescale.process.exit_code() is None


def test_timescale_names_the_port_in_use(timescale: Timescale) -> None:
    server = Timescale(f"{PREFIX}{secrets.token_hex(6)}", password="x", port=timescale.port)
    with pytest.raises(StackError, match=f"port {timescale.port} for TimescaleDB is in use"):
        server.start()
    server.remove()


STARTER = """
import sys
from stack.timescale import FAST, Timescale
Timescale(sys.argv[1], password="secret", settings=FAST).start()
print("started", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def orphan(timescale: Timescale) -> Iterator[Callable[[], Timescale]]:
    """Starts a server from another process and kills that process by SIGKILL."""
    server = Timescale(f"{PREFIX}{secrets.token_hex(6)}", password="secret", settings=FAST)

    def start_and_kill_starter() -> Timescale:
        command = [sys.executable, "-c", STARTER, server.name]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as starter:
            assert starter.stdout
            assert starter.stdout.readline() == "started\n"
            starter.kill()
        return server

    yield start_and_kill_starter
    server.remove()


def test_timescale_ends_with_a_killed_starter(orphan: Callable[[], Timescale]) -> None:
    server = orphan()
    wait_until(
        lambda: live_postmaster(server.folder / "pgdata") is None, "the orphan ends", deadline_s=60
    )


def test_sweep_deletes_what_a_killed_starter_left(orphan: Callable[[], Timescale]) -> None:
    server = orphan()
    sweep(server.name)
    assert not server.folder.exists()


def test_sweep_spares_a_running_server(own_timescale: Timescale) -> None:
    own_timescale.start()
    sweep(own_timescale.name)
    with psycopg.connect(own_timescale.url) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_stale_pid_file_of_a_living_process_is_no_obstacle(own_timescale: Timescale) -> None:
    own_timescale.start()
    pid_file = own_timescale.folder / "pgdata/postmaster.pid"
    left = pid_file.read_text()
    own_timescale.kill()
    pid_file.write_text(left.replace(left.split()[0], str(os.getpid()), 1))
    own_timescale.start()
    assert own_timescale.process.exit_code() is None


LAY_OUT = """
import signal
from stack import debian
signal.signal(signal.SIGTERM, signal.default_int_handler)
debian.lay_out()
"""
MMDEBSTRAP = """#!/bin/sh
for root; do :; done
mkdir -p "$root/proc"
mount -t tmpfs tocsin-test "$root/proc" && touch "$root/proc/mounted"
echo laid out >"$STARTED"
trap '' INT TERM
(trap - INT; exec sleep 60)
sleep 0.1
"""


def test_interrupted_layout_leaves_no_mount_and_is_quick(
    timescale: Timescale, tmp_path: Path
) -> None:
    started, programs, cache = tmp_path / "started", tmp_path / "bin", tmp_path / "cache"
    os.mkfifo(started)
    programs.mkdir()
    (programs / "mmdebstrap").write_text(MMDEBSTRAP)
    (programs / "mmdebstrap").chmod(0o755)
    environment = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "STARTED": str(started),
        "XDG_CACHE_HOME": str(cache),
    }
    with subprocess.Popen(
        [sys.executable, "-c", LAY_OUT],
        env={**os.environ, **environment},
        stderr=subprocess.DEVNULL,
    ) as starter:
        assert started.read_text() == "laid out\n"
        starter.send_signal(signal.SIGTERM)
        assert starter.wait(15) != 0
    assert str(cache) not in Path("/proc/mounts").read_text()
    assert [path.name for path in (cache / "tocsin").iterdir()] == ["debian.lock"]
