"""What a person sees of the stack when something is missing or runs already."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from stack import debian, folders
from stack.commands import CHECKOUT
from stack.errors import StackError
from stack.ports import LOOPBACK, Ports, free_port, http_url
from stack.running import temporary
from stack.state import load_state, lock_state, save_state
from tests.unit.test_make import run


def up(**env: str) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-m", "stack", "up", **env)


def test_unknown_command_shows_the_usage() -> None:
    done = run(sys.executable, "-m", "stack", "sideways")
    assert done.returncode == 2
    assert "usage" in done.stdout


def test_port_that_is_no_number_gets_one_clear_line(tmp_path: Path) -> None:
    done = run(
        sys.executable, "-m", "stack", "up", STACK_STATE_DIR=str(tmp_path), STACK_BROKER_PORT="nine"
    )
    assert done.returncode == 1
    assert done.stderr == "error: STACK_BROKER_PORT=nine: a port is a number from 1 to 65535\n"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TOCSIN_LOG_LEVEL", "loud", "error: TOCSIN_LOG_LEVEL: 'loud' is not debug or info"),
        ("TOCSIN_API_PROT", "8123", "error: TOCSIN_API_PROT: no such setting, did you mean"),
        ("TOCSIN_JWT_SECRET", "short", "error: TOCSIN_JWT_SECRET: 5 bytes, at least 32"),
    ],
)
def test_wrong_setting_is_told_before_anything_is_started(
    tmp_path: Path, name: str, value: str, said: str
) -> None:
    folder = tmp_path / "state"
    environ = {"STACK_STATE_DIR": str(folder), name: value}
    done = run(sys.executable, "-m", "stack", "up", **environ)
    assert done.returncode == 1
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1
    assert not folder.exists()


def test_all_taken_ports_are_named_at_once_and_no_folder_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    with socket.create_server((LOOPBACK, 0)) as one, socket.create_server((LOOPBACK, 0)) as other:
        ports = [str(server.getsockname()[1]) for server in (one, other)]
        done = up(
            STACK_STATE_DIR=str(folder),
            DATABASE_URL="postgresql://elsewhere",
            KAFKA_BOOTSTRAP="",
            STACK_BROKER_PORT=ports[0],
            TOCSIN_API_PORT=ports[1],
        )
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"error: port {ports[0]} for the broker is in use; port {ports[1]} for the API is in use: "
    )
    assert done.stderr.endswith("STACK_BROKER_PORT=PORT TOCSIN_API_PORT=PORT\n")
    assert not folder.exists()


def test_taken_ports_of_metrics_are_named_with_the_others(tmp_path: Path) -> None:
    with (
        socket.create_server((LOOPBACK, 0)) as api,
        socket.create_server(("127.0.0.2", 0)) as flow,
    ):
        ports = [str(server.getsockname()[1]) for server in (api, flow)]
        done = up(
            STACK_STATE_DIR=str(tmp_path / "state"),
            DATABASE_URL="postgresql://elsewhere",
            KAFKA_BOOTSTRAP="elsewhere:9092",
            TOCSIN_API_PORT=str(free_port()),
            TOCSIN_API_METRICS_PORT=ports[0],
            TOCSIN_FLOW_METRICS_PORT=ports[1],
            TOCSIN_FLOW_METRICS_HOST="127.0.0.2",
        )
    assert done.returncode == 1
    assert done.stderr == (
        f"error: port {ports[0]} for the API's metrics is in use;"
        f" port {ports[1]} for the flow's metrics is in use: stop what listens there"
        f" (`ss -ltnp 'sport = :{ports[0]} or sport = :{ports[1]}'` names it) or choose another"
        " with TOCSIN_API_METRICS_PORT=PORT TOCSIN_FLOW_METRICS_PORT=PORT\n"
    )
    assert not (tmp_path / "state").exists()


def test_host_that_nobody_can_listen_on_gets_one_clear_line(tmp_path: Path) -> None:
    port = str(free_port())
    done = up(
        STACK_STATE_DIR=str(tmp_path / "state"),
        DATABASE_URL="postgresql://elsewhere",
        KAFKA_BOOTSTRAP="elsewhere:9092",
        TOCSIN_API_PORT=port,
        TOCSIN_API_HOST="192.0.2.1",
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"error: cannot listen on 192.0.2.1, port {port} (Cannot assign requested address):"
        " choose another\n"
    )


@pytest.mark.parametrize(
    ("host", "url"),
    [
        (LOOPBACK, "http://127.0.0.1:8123"),
        ("::1", "http://[::1]:8123"),
        ("localhost", "http://localhost:8123"),
        ("0.0.0.0", "http://127.0.0.1:8123"),
        ("::", "http://[::1]:8123"),
    ],
)
def test_url_is_one_by_which_this_machine_reaches_the_host(host: str, url: str) -> None:
    assert http_url(host, 8123) == url


def test_second_up_says_where_the_first_is_and_how_to_see_more(tmp_path: Path) -> None:
    state = load_state(tmp_path)
    state.api_url = "http://127.0.0.1:8123"
    save_state(tmp_path, state)
    with lock_state(tmp_path):
        done = run(sys.executable, "-m", "stack", "up", STACK_STATE_DIR=str(tmp_path))
    assert done.returncode == 1
    said = f"error: Tocsin is already up at http://127.0.0.1:8123 (pid {os.getpid()}): Ctrl-C there"
    assert done.stderr.startswith(said)
    assert "make show" in done.stderr


def test_show_prints_the_credentials_of_a_running_and_of_a_stopped_stack(tmp_path: Path) -> None:
    state = load_state(tmp_path)
    state.api_url, state.ingest_key = "http://127.0.0.1:8123", "the-key"
    state.database_url, state.kafka_bootstrap = "postgresql://u:p@h/d?a=b&c=d", "127.0.0.1:9123"
    save_state(tmp_path, state)
    shown = (sys.executable, "-m", "stack", "show")
    with lock_state(tmp_path):
        running = run(*shown, STACK_STATE_DIR=str(tmp_path))
    stopped = run(*shown, STACK_STATE_DIR=str(tmp_path))
    assert f"runs (pid {os.getpid()})" in running.stdout
    assert "stopped" in stopped.stdout
    for done in (running, stopped):
        for word in ("http://127.0.0.1:8123", "the-key", state.admin_email, state.admin_password):
            assert word in done.stdout
        lines = [line for line in done.stdout.splitlines() if line.startswith("  export ")]
        sourced = run("sh", "-c", "\n".join((*lines, "env")))
        assert "TOCSIN_URL=http://127.0.0.1:8123\n" in sourced.stdout
        assert f"DATABASE_URL={state.database_url}\n" in sourced.stdout
        assert f"KAFKA_BOOTSTRAP={state.kafka_bootstrap}\n" in sourced.stdout
        assert f"INGEST_KEY={state.ingest_key}\n" in sourced.stdout
        assert f"EMAIL={state.admin_email}\n" in sourced.stdout
        assert f"PASSWORD={state.admin_password}\n" in sourced.stdout


def test_show_ends_quietly_where_its_reader_has_read_enough(tmp_path: Path) -> None:
    state = load_state(tmp_path)
    state.api_url = "http://127.0.0.1:8123"
    save_state(tmp_path, state)
    unread, output = os.pipe()
    os.close(unread)
    with os.fdopen(output) as closed:
        done = subprocess.run(
            [sys.executable, "-m", "stack", "show"],
            cwd=CHECKOUT,
            env={**os.environ, "STACK_STATE_DIR": str(tmp_path)},
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")


def test_show_without_a_stack_says_how_to_make_one(tmp_path: Path) -> None:
    done = run(sys.executable, "-m", "stack", "show", STACK_STATE_DIR=str(tmp_path / "none"))
    assert done.returncode == 1
    assert "make up" in done.stderr
    assert not (tmp_path / "none").exists()


def test_down_without_a_stack_has_nothing_to_do(tmp_path: Path) -> None:
    done = run(sys.executable, "-m", "stack", "down", STACK_STATE_DIR=str(tmp_path / "none"))
    assert done.returncode == 0
    assert "nothing to clean up" in done.stdout


@pytest.mark.parametrize(
    ("own_database", "own_broker", "told"),
    [
        (True, True, "TOCSIN_URL DATABASE_URL KAFKA_BOOTSTRAP EMAIL PASSWORD"),
        (True, False, "TOCSIN_URL DATABASE_URL EMAIL PASSWORD"),
        (False, True, "TOCSIN_URL KAFKA_BOOTSTRAP"),
        (False, False, "TOCSIN_URL"),
    ],
)
def test_down_names_the_exports_that_it_makes_void(
    tmp_path: Path, own_database: bool, own_broker: bool, told: str
) -> None:
    folder = tmp_path / "state"
    state = load_state(folder)
    state.api_url, state.ingest_key = "http://127.0.0.1:8123", "the-key"
    state.database_url, state.kafka_bootstrap = "postgresql://u:p@h/d", "127.0.0.1:9123"
    state.analyst_url = "postgresql://analyst:p@h/d" if own_database else None
    state.has_own_broker = own_broker
    save_state(folder, state)
    shell = {**state.exports, "INGEST_KEY": "another key", "STACK_STATE_DIR": str(folder)}
    done = run(sys.executable, "-m", "stack", "down", **shell)
    assert done.returncode == 0
    last_line = done.stdout.splitlines()[-1]
    assert last_line == f"stack | now `unset {told}`: what they name is gone"
    assert not folder.exists()


def test_ports_are_the_expected_ones_unless_named() -> None:
    assert Ports.fixed({}) == Ports(database=5432, broker=9092, api=8000)
    assert Ports.fixed({"TOCSIN_API_PORT": "8001", "STACK_DATABASE_PORT": ""}).api == 8001
    assert Ports.fixed({"TOCSIN_API_HOST": "::1"}).api_host == "::1"


def test_without_root_rights_the_way_out_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(StackError, match="needs root") as refusal:
        debian.lay_out()
    assert "\n" not in str(refusal.value)
    assert "DATABASE_URL" not in str(refusal.value)
    with pytest.raises(StackError, match="set DATABASE_URL"):
        debian.require_root("set DATABASE_URL")


def test_without_root_rights_nothing_is_cleaned_up_that_was_not_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    folders.folder("").mkdir(parents=True)

    def forbidden(_name: str) -> None:
        raise PermissionError

    monkeypatch.setattr(folders, "try_lock", forbidden)
    with pytest.raises(StackError, match="needs root"), temporary():
        pass
    assert folders.remove("never-made")


def test_half_made_root_is_not_taken_for_a_root(tmp_path: Path) -> None:
    server = tmp_path / debian.BIN[1:] / "postgres"
    server.parent.mkdir(parents=True)
    server.touch()
    assert not debian.is_complete(tmp_path)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/tocsin-complete").touch()
    assert debian.is_complete(tmp_path)
    server.unlink()
    assert not debian.is_complete(tmp_path)
