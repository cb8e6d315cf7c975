"""A whole Tocsin on this machine: servers, then the commands of the Procfile."""

import os
import secrets
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from stack import brokers, debian, folders
from stack.broker import Broker
from stack.cache import Say, silent
from stack.errors import StackError
from stack.ports import LOOPBACK, Ports, free_port, require_free
from stack.processes import Process, Relay, end_with_starter
from stack.state import State, load_state, lock_state, require_alone, save_state
from stack.timescale import DURABLE, FAST, Timescale
from stack.waiting import wait_until
from tocsin.errors import SettingsError
from tocsin.settings import load_settings, require_jwt_secrets

CHECKOUT = Path(__file__).resolve().parent.parent
MARK = "STACK_STARTED_FROM"
"""The variable by which `down` knows the processes of a state folder."""


@dataclass
class Stack:
    """Running servers, and the means to run Tocsin's commands against them.

    settings: what else is set in the environment of every command.
    """

    folder: Path
    state: State
    database_url: str
    kafka_bootstrap: str
    api_url: str
    timescale: Timescale | None = None
    broker: Broker | None = None
    processes: dict[str, Process] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of every command: the caller's, with what this stack has made."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        defaults = {"TOCSIN_REGISTRATION": "open", "TOCSIN_JWT_SECRET": self.state.jwt_secret}
        return {
            **defaults,
            **os.environ,
            "PATH": path,
            "PYTHONUNBUFFERED": "1",
            "DATABASE_URL": self.database_url,
            "KAFKA_BOOTSTRAP": self.kafka_bootstrap,
            "TOCSIN_API_HOST": LOOPBACK,
            "TOCSIN_API_PORT": str(self._api_port),
            "TOCSIN_RECOVERY_DIR": str(self.folder / "recovery"),
            MARK: str(self.folder),
            **self.settings,
        }

    def _database_url_of(self, name: str) -> str:
        roles = {
            "api": ("tocsin_api", self.state.api_password),
            "flow": ("tocsin_flow", self.state.flow_password),
        }
        return self.role_url(*roles[name]) if name in roles else self.database_url

    @property
    def _api_port(self) -> int:
        port = urlsplit(self.api_url).port
        if port is None:
            raise StackError(f"{self.api_url} names no port")
        return port

    def run(self, *command: str, env: Mapping[str, str] | None = None) -> str:
        """Run a command to its end and return what it printed.

        Raises StackError with its last line when it fails.
        """
        done = subprocess.run(
            end_with_starter(command, "TERM"),
            env={**self.environment, **(env or {})},
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            lines = [line.strip("│╭╰─╮╯ ") for line in f"{done.stdout}\n{done.stderr}".splitlines()]
            last_line = next(filter(None, reversed(lines)), f"exit code {done.returncode}")
            raise StackError(f"`{' '.join(command)}` failed: {last_line}")
        return done.stdout

    def migrate(self) -> None:
        """Run `tocsin migrate`, which gives the database's roles their passwords."""
        passwords = {
            "TOCSIN_FLOW_PASSWORD": self.state.flow_password,
            "TOCSIN_API_PASSWORD": self.state.api_password,
            "TOCSIN_ANALYST_PASSWORD": self.state.analyst_password,
        }
        self.run("tocsin", "migrate", env=passwords if self.timescale else {})

    def role_url(self, role: str, password: str) -> str:
        """Return the URL by which a role logs in; where the database is not ours, the owner's."""
        if self.timescale is None:
            return self.database_url
        place = urlsplit(self.database_url)
        host = place.netloc.rpartition("@")[2]
        return place._replace(netloc=f"{role}:{password}@{host}").geturl()

    def start(self, name: str, *, relay: Relay | None = None) -> Process:
        """Start a command of the Procfile; it logs to `log/NAME.log` of the state folder."""
        command = procfile_commands()[name]
        if name == "api":
            require_free((self._api_port, "the API", "TOCSIN_API_PORT"))
        self.processes[name] = Process(
            name,
            end_with_starter(command, "TERM"),
            log=self.folder / f"log/{name}.log",
            relay=relay,
            env={**self.environment, "DATABASE_URL": self._database_url_of(name)},
            cwd=CHECKOUT,
        )
        return self.processes[name]

    def wait_ready(self, *, deadline_s: float = 60) -> None:
        """Wait until the API says that it is ready; raises StackError if a process ends first."""

        def ready() -> bool:
            self.require_running()
            try:
                with urllib.request.urlopen(f"{self.api_url}/readyz", timeout=5) as answer:
                    return bool(answer.status == 200)
            except (urllib.error.URLError, OSError):
                return False

        wait_until(ready, "the API is ready", deadline_s=deadline_s)

    def require_running(self) -> None:
        """Raise StackError with its last words when any process has ended."""
        servers = [server.process for server in (self.timescale, self.broker) if server]
        for process in (*servers, *self.processes.values()):
            process.require_running()

    def watch(self) -> NoReturn:
        """Return never; raises StackError as soon as any process has ended."""
        while True:
            wait_until(self.require_running, "the end of a process", deadline_s=inf, every_s=0.2)

    def create_credentials(self) -> None:
        """Make the admin and the ingest key, once."""
        state = self.state
        if not state.admin_created:
            admin = ("--email", state.admin_email, "--role", "admin")
            password = {"TOCSIN_PASSWORD": state.admin_password}
            self.run("tocsin", "users", "create", *admin, env=password)
            state.admin_created = True
            save_state(self.folder, state)
        if state.ingest_key is None:
            state.ingest_key = self.run("tocsin", "keys", "create", "--name", state.name).strip()
            save_state(self.folder, state)

    def stop_commands(self) -> None:
        """Stop what `start` has started, the last one first."""
        while self.processes:
            _name, process = self.processes.popitem()
            process.stop()


def procfile_commands() -> dict[str, list[str]]:
    """Return the words of each command of the Procfile."""
    lines = (CHECKOUT / "Procfile").read_text().splitlines()
    named = (line.partition(":") for line in lines if line and not line.startswith("#"))
    return {name: command.split() for name, _, command in named}


def require_settings(environ: Mapping[str, str]) -> None:
    """Raise StackError if a command would refuse its settings: before any server is started."""
    try:
        settings = load_settings(environ)
        if settings.jwt_secret:
            require_jwt_secrets(settings)
    except SettingsError as error:
        raise StackError(str(error)) from None


@contextmanager
def running(folder: Path, *, ports: Ports, say: Say = silent) -> Iterator[Stack]:
    """Run servers whose data outlives them, but for those that the environment names.

    folder: keeps the secrets, logs and recovery store; one stack at a time has it. It is made
    once all that the servers need is there: a start that fails before leaves none.
    """
    require_alone(folder)
    kind = brokers.chosen(os.environ)
    if not os.environ.get("DATABASE_URL"):
        debian.require_root("set DATABASE_URL")
    require_free(*_wanted_ports(folder, ports))
    if not os.environ.get("KAFKA_BOOTSTRAP"):
        brokers.make_ready(kind, say)
    if not os.environ.get("DATABASE_URL"):
        debian.lay_out(say)
    with lock_state(folder):
        state = load_state(folder)
        with _servers(
            folder=folder,
            state=state,
            ports=ports,
            settings=DURABLE,
            say=say,
            environ=os.environ,
        ) as stack:
            state.api_url, state.kafka_bootstrap = stack.api_url, stack.kafka_bootstrap
            state.database_url = stack.database_url
            state.analyst_url = stack.role_url("analyst", state.analyst_password)
            save_state(folder, state)
            yield stack


def _wanted_ports(folder: Path, ports: Ports) -> Iterator[tuple[int, str, str]]:
    """Yield the fixed ports to listen on, but for those of servers that the environment names.

    Nor that of our own database when it outlived its starter: its next start ends it.
    """
    own = folders.folder(load_state(folder).name) if (folder / "state.json").exists() else None
    outlived = own is not None and folders.live_postmaster(own / "pgdata")
    if ports.database and not os.environ.get("DATABASE_URL") and not outlived:
        yield ports.database, "TimescaleDB", "STACK_DATABASE_PORT"
    if ports.broker and not os.environ.get("KAFKA_BOOTSTRAP"):
        yield ports.broker, "the broker", "STACK_BROKER_PORT"
    if ports.api:
        yield ports.api, "the API", "TOCSIN_API_PORT"


@contextmanager
def temporary(*, settings: Mapping[str, str] = FAST, say: Say = silent) -> Iterator[Stack]:
    """Run servers of one's own on free ports; nothing is left of them at the end.

    DATABASE_URL and KAFKA_BOOTSTRAP of the environment are not looked at; BROKER is.
    """
    brokers.chosen(os.environ)
    debian.require_root()
    name = f"temporary-{secrets.token_hex(6)}"
    with tempfile.TemporaryDirectory(prefix="tocsin-") as text:
        folder = Path(text)
        state = load_state(folder)
        state.name = name
        try:
            with _servers(
                folder=folder, state=state, ports=Ports(), settings=settings, say=say, environ={}
            ) as stack:
                yield stack
        finally:
            folders.remove(name)


@contextmanager
def _servers(
    *,
    folder: Path,
    state: State,
    ports: Ports,
    settings: Mapping[str, str],
    say: Say,
    environ: Mapping[str, str],
) -> Iterator[Stack]:
    (folder / "log").mkdir(exist_ok=True)
    with ExitStack() as cleanup:
        stack = Stack(
            folder=folder,
            state=state,
            database_url=environ.get("DATABASE_URL", ""),
            kafka_bootstrap=environ.get("KAFKA_BOOTSTRAP", ""),
            api_url=f"http://{LOOPBACK}:{ports.api or free_port()}",
        )
        if not stack.database_url:
            stack.timescale = _start_timescale(folder, state, ports, settings, say)
            cleanup.callback(stack.timescale.stop)
            stack.database_url = stack.timescale.url
        if not stack.kafka_bootstrap:
            kind = brokers.chosen(os.environ)
            brokers.make_ready(kind, say)
            say(f"starting {brokers.NAMES[kind]}")
            log = folder / "log/broker.log"
            stack.broker = brokers.make(kind, folder / "kafka", log, port=ports.broker)
            stack.broker.start()
            cleanup.callback(stack.broker.stop)
            stack.kafka_bootstrap = stack.broker.bootstrap
        cleanup.callback(stack.stop_commands)
        yield stack


def _start_timescale(
    folder: Path, state: State, ports: Ports, settings: Mapping[str, str], say: Say
) -> Timescale:
    debian.lay_out(say)
    folders.sweep("temporary-")
    _sweep_forsaken()
    say("starting TimescaleDB")
    server = Timescale(
        state.name,
        password=state.database_password,
        port=ports.database,
        settings=settings,
        say=say,
    )
    server.start()
    (server.folder / "owner").write_text(str(folder))
    return server


def _sweep_forsaken() -> None:
    """Delete the data of stacks whose state folder has gone, and with it the password."""
    for owner in folders.folder("").glob("up-*/owner"):
        folder = Path(owner.read_text())
        if not (folder / "state.json").exists():
            folders.remove(owner.parent.name)
