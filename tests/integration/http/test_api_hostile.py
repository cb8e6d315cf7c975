"""Every operation of the API's description, asked by whom it is not for and with what harms others.

What is added to the API is held against this without a word: the description names it.
"""

import time
from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import psycopg
import pytest

from tests.integration.http.conftest import Api
from tests.integration.http.wire import exchange

INSIDE = {"incident_id": "0" * 32, "user_id": "0" * 32, "key_id": "0" * 16}
"""What stands in a path for the parameters of these names; `x` for others."""
ENDS_THE_SESSION = "/auth/logout"
STREAMS = "/logs/tail"
SLEEP_S = 20
TEXTS = (
    "' OR '1'='1",
    "1; DROP TABLE users CASCADE; --",
    f"'||pg_sleep({SLEEP_S})||'",
    f"1 AND (SELECT pg_sleep({SLEEP_S})) IS NULL",
    "\\",
    "%",
    "$1",
    "%(limit)s",
    "${jndi:ldap://127.0.0.1/x}",
    "../../../../etc/passwd",
    "<script>alert(1)</script>",
    "\r\nX-Injected: 1",
    "\0",
    "\u202e\ufeff",
    "\U0001f514" * 40,
)


class Described(NamedTuple):
    """An operation of the description."""

    method: str
    path: str
    security: list[dict[str, Any]]
    parameters: list[dict[str, Any]]

    def where(self, **inside: str) -> str:
        """Return its path with something in the place of each parameter."""
        found = self.path
        for parameter in self.parameters:
            if parameter["in"] == "path":
                name = parameter["name"]
                value = inside.get(name, INSIDE.get(name, "x"))
                found = found.replace(f"{{{name}}}", quote(value, safe=""))
        return found

    def send(self, api: Api, path: str, headers: dict[str, str]) -> httpx.Response:
        """Ask for it with an empty object where it takes a body."""
        body: dict[str, Any] = {"json": {}} if self.method in {"POST", "PUT", "PATCH"} else {}
        return api.client.request(self.method, path, headers=headers, **body)


def operations(api: Api) -> Iterator[Described]:
    for path, methods in api.client.get("/docs/openapi.json").json()["paths"].items():
        for method, entry in methods.items():
            yield Described(method.upper(), path, entry["security"], entry["parameters"])


def needs(operation: Described, scheme: str) -> bool:
    return {} not in operation.security and any(scheme in way for way in operation.security)


def test_nobody_gets_anything_with_the_wrong_credentials(api: Api) -> None:
    key, token = {"authorization": f"Bearer {api.key}"}, api.headers("admin")
    asked = 0
    for operation in operations(api):
        wrong: list[dict[str, str]] = []
        if needs(operation, "accessToken"):
            wrong = [{}, key, {"x-api-key": api.key}]
        elif needs(operation, "ingestKey"):
            wrong = [{}, token, {"x-api-key": token["authorization"].split()[1]}]
        for headers in wrong:
            asked += 1
            answer = operation.send(api, operation.where(), headers)
            assert answer.status_code == 401, (operation, headers, answer.text)
            assert answer.headers["www-authenticate"]
    assert asked > 100


def test_viewer_changes_nothing_but_themselves(api: Api) -> None:
    for operation in operations(api):
        if operation.method == "GET" or not needs(operation, "accessToken"):
            continue
        if operation.path == ENDS_THE_SESSION:
            continue
        answer = operation.send(api, operation.where(), api.headers("viewer"))
        assert answer.status_code == 403, (operation, answer.text)


def hostile_addresses(operation: Described) -> Iterator[str]:
    for parameter, text in product(operation.parameters, TEXTS):
        name = parameter["name"]
        if parameter["in"] == "query":
            yield f"{operation.where()}?{name}={quote(text, safe='')}"
        elif parameter["in"] == "path":
            yield operation.where(**{name: text})


def test_sql_and_control_characters_in_every_parameter_are_text(api: Api) -> None:
    with psycopg.connect(api.settings.database_url) as conn:
        tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        before = conn.execute(tables).fetchone()
    keys = {"authorization": f"Bearer {api.key}"}
    asked = 0
    for operation in operations(api):
        if operation.path == STREAMS:  # refuses likewise; what it takes it would go on sending
            continue
        is_for_keys = needs(operation, "ingestKey")
        for address in hostile_addresses(operation):
            asked += 1
            began = time.monotonic()
            answer = operation.send(api, address, keys if is_for_keys else api.headers("admin"))
            assert answer.status_code in {200, 400, 404, 409}, (operation, address, answer.text)
            assert time.monotonic() - began < SLEEP_S, address
            assert "x-injected" not in answer.headers
            assert answer.headers["content-type"].split(";")[0] != "text/html"
    assert asked > 500
    with psycopg.connect(api.settings.database_url) as conn:
        assert conn.execute(tables).fetchone() == before


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/docs/../../etc/passwd",
        "/docs/%2e%2e/%2e%2e/etc/passwd",
        "/docs/..%2f..%2fetc%2fpasswd",
        "/docs/..%5c..%5cetc%5cpasswd",
        "/incidents/..%2f..%2fusers",
        "/incidents/%00",
        "/incidents/" + "0" * 32 + "%0a",
        "/users/..;/audit",
        "/%2e%2e/api/app.py",
        "//etc/passwd",
        "/file:///etc/passwd",
    ],
)
def test_path_leads_nowhere_but_to_a_route(api: Api, path: str) -> None:
    token = api.headers("admin")["authorization"]
    head = f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: {token}\r\n\r\n"
    answer = exchange(api, head.encode())
    assert answer.startswith(b"HTTP/1.1 404 "), answer
    assert b"root:" not in answer


@pytest.mark.parametrize(
    "head",
    [
        "POST /ingest HTTP/1.1\r\ncontent-length: 6\r\ntransfer-encoding: chunked",
        "POST /ingest HTTP/1.1\r\ncontent-length: 6\r\ncontent-length: 5",
        "POST /ingest HTTP/1.1\r\ncontent-length: -1",
        "POST /ingest HTTP/1.1\r\ncontent-length: 1_0",
        "POST /ingest HTTP/1.1\r\ntransfer-encoding: gzip, chunked",
    ],
)
def test_body_that_two_servers_could_cut_differently_is_refused(api: Api, head: str) -> None:
    smuggled = "0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
    answer = exchange(api, f"{head}\r\nhost: x\r\n\r\n{smuggled}".encode())
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert answer.count(b"HTTP/1.1") == 1, "what followed was taken for a request"
