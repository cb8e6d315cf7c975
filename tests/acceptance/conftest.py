"""The whole platform as its users meet it: programs that send, SQL and HTTP that show."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

import httpx
import msgspec
import psycopg
import pytest
from psycopg.rows import dict_row

from stack.commands import Stack
from stack.waiting import wait_until
from tests.acceptance import programs
from tests.acceptance.programs import BROKER, SPOOL, Folder, Rsyslog
from tests.conftest import skip_without_server

WAIT_S = 30


class Platform:
    """A running Tocsin: what was stored, by SQL; what people see, by HTTP.

    key: an ingest key. client: is logged in as an admin.
    """

    def __init__(self, stack: Stack, client: httpx.Client) -> None:
        assert stack.state.ingest_key
        self.stack = stack
        self.client = client
        self.key = stack.state.ingest_key
        who = {"email": stack.state.admin_email, "password": stack.state.admin_password}
        token = _answered(client.post("/auth/login", json=who))["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"

    def ingest(self, records: list[dict[str, Any]]) -> dict[str, Any]:
        """Post records and return the answer, which must be 202."""
        headers = {"Authorization": f"Bearer {self.key}"}
        return _answered(self.client.post("/ingest", json=records, headers=headers), 202)

    def get(self, path: str, **parameters: int) -> dict[str, Any]:
        """Return the answer to a GET, which must be 200."""
        return _answered(self.client.get(path, params=parameters))

    def patch(self, path: str, change: dict[str, str]) -> dict[str, Any]:
        """Return the answer to a PATCH, which must be 200."""
        return _answered(self.client.patch(path, json=change))

    def query(self, statement: str, *values: object) -> list[dict[str, Any]]:
        """Return the rows of a query."""
        url = self.stack.database_url
        with psycopg.connect(url, row_factory=dict_row) as conn:
            return conn.execute(statement.encode(), values).fetchall()

    def logs(self, service_id: str, expected: int) -> list[dict[str, Any]]:
        """Return a service's stored logs in their order, once there are as many as expected."""
        count = "SELECT count(*) AS n FROM logs WHERE service_id = %s"
        self.wait_for(
            lambda: self.query(count, service_id)[0]["n"] >= expected,
            f"{expected} logs of {service_id}",
        )
        return self.query(
            "SELECT timestamp, level::text, message, metadata, partition FROM logs"
            ' WHERE service_id = %s ORDER BY partition, "offset"',
            service_id,
        )

    def incident(self, service_id: str, is_due: Callable[[Any], bool]) -> dict[str, Any]:
        """Return a service's newest incident over HTTP, once it is as it is due to be."""
        seen: list[dict[str, Any]] = []

        def shown() -> dict[str, Any] | None:
            page = self.get("/incidents", page=1, limit=100)["data"]
            seen[:] = [found for found in page if found["service_id"] == service_id][:1]
            return seen[0] if seen and is_due(seen[0]) else None

        return self.wait_for(shown, f"the incident of {service_id}") or seen[0]

    def incident_logs(self, incident_id: str, expected: int) -> list[dict[str, Any]]:
        """Return all correlated logs of an incident over HTTP, page by page.

        An incident may be shown a moment before its logs are, for they are stored side by side.
        """
        path = f"/incidents/{incident_id}/logs"
        self.wait_for(lambda: self.get(path)["meta"]["total"] >= expected, "the incident's logs")
        found: list[dict[str, Any]] = []
        for number in itertools.count(1):
            page = self.get(path, page=number, limit=100)
            found += page["data"]
            if number >= page["meta"]["totalPages"]:
                return found
        raise AssertionError

    def wait_for(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait until the condition holds; fail when the platform ends before."""

        def holds() -> Any:
            self.stack.require_running()
            return condition()

        return wait_until(holds, what, deadline_s=WAIT_S)


def time_of(text: str) -> datetime:
    """Return the time that the API wrote."""
    return msgspec.convert(text, datetime)


def _answered(answer: httpx.Response, expected: int = 200) -> dict[str, Any]:
    assert answer.status_code == expected, answer.text
    members: dict[str, Any] = answer.json()
    return members


@pytest.fixture(scope="session")
def tocsin(platform: Stack) -> Iterator[Platform]:
    """The platform, local or composed, with the means to look at it."""
    with httpx.Client(base_url=platform.api_url, timeout=30) as client:
        yield Platform(platform, client)


@pytest.fixture
def folder() -> Iterator[Folder]:
    """A folder of this test's own in the Debian root, with the programs installed."""
    with skip_without_server(), programs.folder() as folder:
        yield folder


@pytest.fixture
def rsyslog_with(
    tocsin: Platform, folder: Folder
) -> Iterator[Callable[[Mapping[str, str]], Rsyslog]]:
    """A function that starts rsyslogd with our templates, given what is set in the second one."""
    started: list[Rsyslog] = []

    def start(replacements: Mapping[str, str]) -> Rsyslog:
        names = ["tocsin.conf", *(["tocsin-postgresql.conf"] if replacements else [])]
        ours = {BROKER: tocsin.stack.kafka_bootstrap, SPOOL: folder.inside}
        rsyslog = Rsyslog(folder, *names, replacements={**ours, **replacements})
        started.append(rsyslog)
        rsyslog.start()
        return rsyslog

    yield start
    for rsyslog in started:
        rsyslog.stop()


@pytest.fixture
def rsyslog(rsyslog_with: Callable[[Mapping[str, str]], Rsyslog]) -> Rsyslog:
    """An rsyslogd that sends what it receives to the platform's topic."""
    return rsyslog_with({})
