"""A running Tocsin: the commands of the Procfile, and the environment that they run in."""

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from stack.broker import Broker
from stack.errors import StackError
from stack.ports import LOOPBACK, LOOPBACKS, Wanted, require_free
from stack.processes import Process, Relay, end_with_starter
from stack.state import State, save_state
from stack.timescale import Timescale
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
    api_host: str = LOOPBACK
    timescale: Timescale | None = None
    broker: Broker | None = None
    processes: dict[str, Process] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of every command: the caller's, with what this stack has made."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        registration = "open" if self.api_host in LOOPBACKS else "closed"
        defaults = {"TOCSIN_REGISTRATION": registration, "TOCSIN_JWT_SECRET": self.state.jwt_secret}
        return {
            **defaults,
            **os.environ,
            "PATH": path,
            "PYTHONUNBUFFERED": "1",
            "MALLOC_ARENA_MAX": "2",  # as in the Dockerfile
            "DATABASE_URL": self.database_url,
            "KAFKA_BOOTSTRAP": self.kafka_bootstrap,
            "TOCSIN_API_HOST": self.api_host,
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
            wanted = Wanted(self._api_port, "the API", "TOCSIN_API_PORT", self.api_host)
            require_free(wanted)
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

    def remember_places(self) -> None:
        """Keep for `show` where all is reached; once it is, for a failed start changes nothing."""
        state = self.state
        state.api_url, state.kafka_bootstrap = self.api_url, self.kafka_bootstrap
        state.has_own_broker = self.broker is not None
        state.database_url = self.database_url
        state.analyst_url = None
        if self.timescale:
            state.analyst_url = self.role_url("analyst", state.analyst_password)
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
