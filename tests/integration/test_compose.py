"""The commands and environment of the compose file's own services, run on local servers."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from stack.broker import Broker
from stack.commands import CHECKOUT
from stack.ports import LOOPBACK, free_port
from stack.processes import Process, end_with_starter
from stack.timescale import Timescale
from stack.waiting import wait_until
from tests.conftest import as_role

COMPOSE_TEXT = (CHECKOUT / "docker-compose.yml").read_text()
PASSWORDS = {
    "tocsin": "POSTGRES_PASSWORD",
    "tocsin_flow": "TOCSIN_FLOW_PASSWORD",
    "tocsin_api": "TOCSIN_API_PASSWORD",
}
"""By role, the variable of its password."""


def secrets_of(password: str) -> dict[str, str]:
    """Return what `.env` holds where all roles of the database have the same password."""
    names = [*PASSWORDS.values(), "TOCSIN_ANALYST_PASSWORD"]
    return {"TOCSIN_JWT_SECRET": "f" * 48, **dict.fromkeys(names, password)}


def interpolated(secrets: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Return the services with the variables filled in, as Compose does."""

    def value(match: re.Match[str]) -> str:
        return secrets.get(match["name"]) or match["default"] or ""

    text = re.sub(r"\$\{(?P<name>\w+)(:-(?P<default>[^}]*)|[^}]*)\}", value, COMPOSE_TEXT)
    services: dict[str, dict[str, Any]] = yaml.safe_load(text)["services"]
    return services


class LocalServices:
    """The compose file's services of ours, with hosts, ports and paths of this machine."""

    def __init__(self, database_url: str, broker: Broker, folder: Path) -> None:
        self.owner = urlsplit(database_url)
        # The roles are those of the whole server, which other tests log in to.
        self.services = interpolated(secrets_of(self.owner.password or ""))
        self.folder = folder
        self.api_port = free_port()
        self.replacements = {
            "KAFKA_BOOTSTRAP": broker.bootstrap,
            "TOCSIN_API_HOST": LOOPBACK,
            "TOCSIN_API_PORT": str(self.api_port),
            "TOCSIN_API_METRICS_PORT": str(free_port()),
            "TOCSIN_FLOW_METRICS_PORT": str(free_port()),
            "TOCSIN_RECOVERY_DIR": str(folder / "recovery"),
        }
        self.processes: list[Process] = []

    def environment(self, name: str) -> dict[str, str]:
        """Return exactly what the container would have, but for the replaced values."""
        values = self.services[name]["environment"].items()
        given = {key: "" if value is None else str(value) for key, value in values}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}"
        replaced = {key: text for key, text in self.replacements.items() if key in given}
        replaced["DATABASE_URL"] = self._local_url(given["DATABASE_URL"])
        return {"PATH": path, "PYTHONUNBUFFERED": "1", **given, **replaced}

    def _local_url(self, url: str) -> str:
        """Return a URL with this machine's server in place of its own, as the same role."""
        role = urlsplit(url).username or ""
        if role == "tocsin":
            return self.owner.geturl()
        return as_role(self.owner.geturl(), role)

    def run(self, name: str) -> subprocess.CompletedProcess[str]:
        """Run a one-shot service to its end."""
        return subprocess.run(
            self.services[name]["command"],
            env=self.environment(name),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, name: str) -> Process:
        """Start a service."""
        process = Process(
            name,
            end_with_starter(self.services[name]["command"], "TERM"),
            log=self.folder / f"{name}.log",
            env=self.environment(name),
            cwd=self.folder,
        )
        self.processes.append(process)
        return process


@pytest.fixture
def local(
    empty_database_url: str, broker: Broker, timescale: Timescale, tmp_path: Path
) -> Iterator[LocalServices]:
    services = LocalServices(empty_database_url, broker, tmp_path)
    yield services
    for process in services.processes:
        process.kill()


def test_database_and_broker_of_our_services_are_services_of_the_file() -> None:
    services = interpolated({name: name for name in secrets_of("")})
    owners = {"migrate": "tocsin", "maintain": "tocsin", "api": "tocsin_api", "flow": "tocsin_flow"}
    for name, role in owners.items():
        environment = services[name]["environment"]
        database = urlsplit(environment["DATABASE_URL"])
        server = services[str(database.hostname)]["environment"]
        assert database.username == role
        assert database.password == PASSWORDS[role]
        assert server["POSTGRES_USER"] == "tocsin"
        assert server["POSTGRES_PASSWORD"] == "POSTGRES_PASSWORD"
        assert database.path == f"/{server['POSTGRES_DB']}"
        kafka = services[environment["KAFKA_BOOTSTRAP"].partition(":")[0]]["environment"]
        assert f"INTERNAL://{environment['KAFKA_BOOTSTRAP']}" in kafka["KAFKA_ADVERTISED_LISTENERS"]


def test_migrate_api_and_flow_run_as_the_compose_file_says(local: LocalServices) -> None:
    migrated = local.run("migrate")
    assert migrated.returncode == 0, migrated.stderr
    api, flow, maintain = local.start("api"), local.start("flow"), local.start("maintain")

    def healthy() -> bool:
        api.require_running()
        flow.require_running()
        return run_healthcheck(local) == 0

    wait_until(healthy, "the image's healthcheck passes", deadline_s=60, every_s=0.2)
    with urllib.request.urlopen(f"http://{LOOPBACK}:{local.api_port}/healthz", timeout=5) as answer:
        assert answer.status == 200
    wait_until(
        lambda: any((local.folder / "recovery").glob("*")), "a recovery store", deadline_s=30
    )
    wait_until(
        lambda: b"dropped" in maintain.log.read_bytes(), "the first maintenance", deadline_s=30
    )
    for process in (maintain, flow, api):
        assert process.stop() in (0, -signal.SIGTERM), process.last_words()


def run_healthcheck(local: LocalServices) -> int:
    """Run the Dockerfile's own healthcheck in the API's environment."""
    dockerfile = (CHECKOUT / "Dockerfile").read_text().replace("\\\n", "")
    command = re.search(r"^HEALTHCHECK .*? CMD (\[.*\])$", dockerfile, re.MULTILINE)
    assert command
    argv: list[str] = yaml.safe_load(command[1])
    done = subprocess.run(
        argv, env=local.environment("api"), timeout=30, capture_output=True, check=False
    )
    return done.returncode
