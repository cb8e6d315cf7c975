"""`make up` and `make down`: what starts also ends, however it is ended."""

import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack import folders
from stack.broker import Broker
from stack.cache import silent
from stack.commands import CHECKOUT, MARK
from stack.named import Named, named_servers
from stack.ports import LOOPBACK, free_port, is_free
from stack.processes import Process, is_running, marked_processes
from stack.state import load_state, save_state
from stack.timescale import Timescale
from stack.waiting import wait_until
from tocsin.settings import Settings
from tocsin.topics import describe_topic


class Up:
    """`python -m stack` on free ports and with a state folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "state"
        self.log = folder / "up.log"
        self.ports = [free_port() for _ in range(3)]
        self.environment = {
            **{name: text for name, text in os.environ.items() if name not in _SERVERS},
            "STACK_STATE_DIR": str(self.folder),
            "STACK_DATABASE_PORT": str(self.ports[0]),
            "STACK_BROKER_PORT": str(self.ports[1]),
            "TOCSIN_API_PORT": str(self.ports[2]),
            "COLUMNS": "40",
        }
        self.starter: Process | None = None

    def start(self, **environment: str) -> Process:
        """Start `up` and return at once."""
        self.log.unlink(missing_ok=True)
        argv = [sys.executable, "-m", "stack", "up"]
        env = {**self.environment, **environment}
        self.starter = Process("up", argv, log=self.log, env=env, cwd=CHECKOUT)
        return self.starter

    def start_and_wait(self, **environment: str) -> Process:
        """Start `up` and return when it has introduced itself."""
        starter = self.start(**environment)

        def is_up() -> bool:
            starter.require_running()
            return "secrets and logs" in self.log.read_text()

        wait_until(is_up, "Tocsin is up", deadline_s=90)
        return starter

    def down(self) -> subprocess.CompletedProcess[str]:
        """Run `down` to its end."""
        return subprocess.run(
            [sys.executable, "-m", "stack", "down"],
            env=self.environment,
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def remaining(self) -> list[int]:
        """Return the pids of what still runs, the servers' included."""
        commands = [pid for pid in marked_processes(MARK, str(self.folder)) if is_running(pid)]
        postmaster = folders.live_postmaster(self.data_folder / "pgdata")
        return commands + ([postmaster] if postmaster else [])

    @property
    def data_folder(self) -> Path:
        """The folder of the database."""
        return folders.folder(load_state(self.folder).name)


_SERVERS = {"DATABASE_URL", "KAFKA_BOOTSTRAP"}


@pytest.fixture
def up(timescale: Timescale, tmp_path: Path) -> Iterator[Up]:
    """An `up` that is taken down at the end; `timescale` has laid out what it needs."""
    stack = Up(tmp_path)
    yield stack
    if stack.starter:
        stack.starter.stop(grace_s=60)
    assert stack.down().returncode == 0


def credentials(log: str) -> set[str]:
    return set(re.findall(r"(?:ingest key|password) +(\S+)", log))


def test_up_serves_and_sigterm_leaves_nothing_running(up: Up) -> None:
    starter = up.start_and_wait()
    with urllib.request.urlopen(f"http://{LOOPBACK}:{up.ports[2]}/readyz", timeout=5) as answer:
        assert answer.status == 200
    starter.popen.send_signal(signal.SIGTERM)
    assert starter.popen.wait(60) == 0
    assert up.remaining() == []
    assert all(map(is_free, up.ports))


def exported(log: str) -> dict[str, str]:
    words = shlex.split("\n".join(re.findall(r"^  export (.*)$", log, re.MULTILINE)))
    return dict(word.split("=", 1) for word in words)


def test_credentials_and_data_outlive_a_restart_but_not_down(up: Up) -> None:
    pasted: dict[str, str] = {}
    for stop_signal in (signal.SIGINT, signal.SIGTERM):
        starter = up.start_and_wait(**pasted)
        pasted = exported(up.log.read_text())
        assert set(pasted) > _SERVERS
        made = credentials(up.log.read_text())
        assert len(made) == 2
        state_file = up.folder / "state.json"
        assert stat.S_IMODE(state_file.stat().st_mode) == 0o600
        state = load_state(up.folder)
        assert made == {state.ingest_key, state.admin_password}
        starter.popen.send_signal(stop_signal)
        starter.popen.wait(60)
    data_folder = up.data_folder
    assert data_folder.exists()
    up.environment |= pasted
    assert f"`unset {' '.join(pasted)}`" in up.down().stdout
    assert not data_folder.exists()
    assert not up.folder.exists()


def test_up_starts_where_the_exports_of_a_deleted_stack_are_set(up: Up) -> None:
    starter = up.start_and_wait()
    pasted = exported(up.log.read_text())
    assert up.down().returncode == 0
    assert starter.popen.wait(10) == 0
    up.start_and_wait(**pasted)
    assert exported(up.log.read_text())["DATABASE_URL"] != pasted["DATABASE_URL"]
    assert up.log.read_text().count("as if it were unset") == 2


def test_kafka_of_up_keeps_its_topics_over_a_kill_but_not_over_down(
    up: Up, kafka_here: None
) -> None:
    ids = []
    for _ in range(2):
        starter = up.start_and_wait(BROKER="kafka")
        settings = Settings(kafka_bootstrap=f"{LOOPBACK}:{up.ports[1]}")
        ids.append(describe_topic(settings, settings.topic))
        starter.popen.kill()
        starter.popen.wait()
        wait_until(lambda: all(map(is_free, up.ports)), "everything ends", deadline_s=60)
    assert ids[0] == ids[1]
    assert up.down().returncode == 0
    assert not up.folder.exists()


def test_end_of_one_process_ends_all_and_is_an_error(up: Up) -> None:
    starter = up.start_and_wait()
    flow = next(pid for pid in up.remaining() if "tocsin flow" in command_line(pid))
    os.kill(flow, signal.SIGKILL)
    assert starter.popen.wait(60) == 1
    last_line = up.log.read_text().splitlines()[-1]
    assert re.match(r"error: flow ended with exit code -9: .+", last_line)
    assert "Traceback" not in up.log.read_text()
    assert up.remaining() == []


def test_killed_up_takes_everything_along(up: Up) -> None:
    starter = up.start_and_wait()
    os.kill(starter.pid, signal.SIGKILL)
    wait_until(lambda: up.remaining() == [], "everything ends", deadline_s=60)


def test_down_stops_a_running_up(up: Up) -> None:
    starter = up.start_and_wait()
    family = up.remaining()
    assert up.down().returncode == 0
    assert starter.popen.wait(10) == 0
    assert not any(map(is_running, family))


def test_port_in_use_is_one_clear_line(up: Up, broker: Broker) -> None:
    port = broker.bootstrap.partition(":")[2]
    starter = up.start(STACK_BROKER_PORT=port)
    assert starter.popen.wait(60) == 1
    assert up.log.read_text().splitlines()[-1].startswith(f"error: port {port} for the broker is")
    assert "Traceback" not in up.log.read_text()
    assert up.remaining() == []


def test_servers_that_the_environment_names_are_used(
    up: Up, empty_database_url: str, broker: Broker
) -> None:
    up.start_and_wait(DATABASE_URL=empty_database_url, KAFKA_BOOTSTRAP=broker.bootstrap)
    assert empty_database_url in up.log.read_text()
    assert "SQL, to read" not in up.log.read_text()
    assert not up.data_folder.exists()
    assert is_free(up.ports[0])
    assert is_free(up.ports[1])


def test_running_servers_of_another_stack_are_those_of_others(
    timescale: Timescale, broker: Broker, tmp_path: Path
) -> None:
    password = load_state(tmp_path).database_password
    url = f"postgresql://postgres:{password}@{LOOPBACK}:{timescale.port}/tocsin"
    for kafka_bootstrap in (broker.bootstrap, f"{LOOPBACK}:{free_port()}"):
        exports = {"DATABASE_URL": url, "KAFKA_BOOTSTRAP": kafka_bootstrap}
        assert named_servers(exports, None, silent) == Named(url, kafka_bootstrap)


def test_api_listens_where_it_is_told(up: Up, empty_database_url: str, broker: Broker) -> None:
    servers = {"DATABASE_URL": empty_database_url, "KAFKA_BOOTSTRAP": broker.bootstrap}
    up.start_and_wait(**servers, TOCSIN_API_HOST="127.0.0.2")
    url = f"http://127.0.0.2:{up.ports[2]}"
    assert f"  {url}\n" in up.log.read_text()
    with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
        assert answer.status == 200
    somebody = b'{"email": "somebody@example.com", "password": "a long password"}'
    request = urllib.request.Request(f"{url}/users", somebody, {"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(request, timeout=5)
    assert is_free(up.ports[2])


def test_start_that_fails_changes_nothing_that_show_prints(
    up: Up, timescale: Timescale, broker: Broker
) -> None:
    state = load_state(up.folder)
    state.api_url, state.database_url = "http://127.0.0.1:8123", "postgresql://own"
    state.analyst_url, state.kafka_bootstrap = "postgresql://analyst@own", "127.0.0.1:9123"
    save_state(up.folder, state)
    environment = {"DATABASE_URL": timescale.database_url("missing")}
    starter = up.start(**environment, KAFKA_BOOTSTRAP=broker.bootstrap)
    assert starter.popen.wait(60) == 1
    assert 'database "missing" does not exist' in up.log.read_text()
    assert load_state(up.folder) == state


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
