"""The API as a process: what it boots with, its health, its errors and its description."""

import os
import re
import select
import signal
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from api.serve import _Workers
from stack.ports import free_port
from stack.processes import descendants, is_running
from stack.waiting import wait_until
from tests.integration.http.conftest import WAIT_S, Api
from tests.integration.http.test_api_ingest import assert_problem, record
from tocsin.settings import Settings
from tocsin.topics import create_topics


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({"TOCSIN_JWT_SECRET": ""}, "TOCSIN_JWT_SECRET: not set"),
        ({"TOCSIN_JWT_SECRET": "x" * 31}, "TOCSIN_JWT_SECRET: 31 bytes"),
        (
            {"TOCSIN_JWT_SECRET_PREVIOUS": "x" * 31, "TOCSIN_API_WORKERS": "2"},
            "TOCSIN_JWT_SECRET_PREVIOUS: 31 bytes",
        ),
        (
            {"TOCSIN_TRUSTED_PROXIES": "everybody", "TOCSIN_API_WORKERS": "2"},
            "TOCSIN_TRUSTED_PROXIES",
        ),
        (
            {"TOCSIN_LIMIT_STORAGE": "redis://h:secret:1/0", "TOCSIN_API_WORKERS": "2"},
            "TOCSIN_LIMIT_STORAGE: no such URL",
        ),
        ({"TOCSIN_CORS_ORIGINS": "null"}, "TOCSIN_CORS_ORIGINS: "),
        ({"TOCSIN_API_PORT": "0"}, "TOCSIN_API_PORT"),
        ({"TOCSIN_API_HOST": "203.0.113.7"}, "TOCSIN_API_HOST"),
        ({"DATABASE_URL": "postgresql://127.0.0.1:1/none"}, "cannot be reached"),
        ({"DATABASE_URL": "nonsense"}, "DATABASE_URL"),
    ],
)
def test_api_that_cannot_serve_says_why_in_one_line_and_exits(
    make_api: Callable[..., Api], environ: dict[str, str], line: str
) -> None:
    api = make_api()
    api.environ.update(environ)
    assert_refuses_to_boot(api, line)


def test_api_does_not_boot_on_a_database_without_schema(
    make_api: Callable[..., Api], empty_database_url: str
) -> None:
    assert_refuses_to_boot(make_api(DATABASE_URL=empty_database_url), "run `tocsin migrate`")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("is_shared", [False, True])
def test_api_does_not_boot_on_a_port_in_use(
    make_api: Callable[..., Api], workers: int, is_shared: bool
) -> None:
    with socket.create_server(("127.0.0.1", free_port()), reuse_port=is_shared) as taken:
        port = taken.getsockname()[1]
        api = make_api(TOCSIN_API_PORT=str(port), TOCSIN_API_WORKERS=str(workers))
        assert_refuses_to_boot(api, "TOCSIN_API_PORT")


def assert_refuses_to_boot(api: Api, line: str) -> None:
    assert api.launch().popen.wait(WAIT_S) == 1
    (said,) = api.log.read_text().splitlines()
    assert said.startswith("tocsin: ")
    assert line in said


def test_several_workers_serve_one_port(make_api: Callable[..., Api], service: str) -> None:
    api = make_api(TOCSIN_API_WORKERS="2")
    create_topics(api.settings)
    api.start_ready()
    assert all(api.ingest(record(service)).status_code == 202 for _ in range(20))
    assert len(api.topic_records(service)) == 20
    assert api.process is not None
    assert api.process.stop() == 0


def test_worker_that_is_awake_does_not_take_all_connections(make_api: Callable[..., Api]) -> None:
    api = make_api(TOCSIN_API_WORKERS="2")
    api.start()
    wait_until(lambda: ready(api) == 2, "both workers are ready", deadline_s=WAIT_S)
    asleep, _ = workers_of(api)
    address = ("127.0.0.1", api.settings.api_port)
    with ExitStack() as stack:
        os.kill(asleep, signal.SIGSTOP)
        clients = [stack.enter_context(socket.create_connection(address)) for _ in range(100)]
        for client in clients:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: answered(clients) >= 25, "answers of the other", deadline_s=WAIT_S)
        os.kill(asleep, signal.SIGCONT)
        answers = b"".join(client.recv(4096) for client in clients)
    # A request's id begins with its process's own.
    served = Counter(re.findall(rb"(?i)x-request-id: (\w+)-", answers))
    assert served.total() == len(clients)
    assert len(served) == 2
    assert min(served.values()) >= 25


def answered(clients: list[socket.socket]) -> int:
    return len(select.select(clients, [], [], 0)[0])


@pytest.mark.parametrize("told", ["step", "between"])
def test_api_that_is_told_to_end_while_it_starts_ends(
    make_api: Callable[..., Api], told: str
) -> None:
    api = make_api(TOLD=told)
    api.program = ("-m", "tests.integration.http.told_early")
    assert api.launch().popen.wait(WAIT_S) == 0
    assert "Traceback" not in api.log.read_text()


def test_workers_end_when_they_are_told_to_at_once(make_api: Callable[..., Api]) -> None:
    api = make_api(TOCSIN_API_WORKERS="3")
    process = api.launch()
    wait_until(lambda: "listening" in api.log.read_text(), "it listens", deadline_s=WAIT_S)
    process.popen.send_signal(signal.SIGTERM)
    assert process.popen.wait(WAIT_S) == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_url_that_is_told_can_be_asked(make_api: Callable[..., Api], workers: int) -> None:
    api = make_api(TOCSIN_API_WORKERS=str(workers))
    api.environ["TOCSIN_API_HOST"] = "::1"
    process = api.launch()
    wait_until(lambda: ready(api) == workers, "all workers", deadline_s=WAIT_S)
    url = re.findall(r"url=(\S+)", api.log.read_text())[0]
    assert httpx.get(f"{url}/healthz", timeout=WAIT_S, trust_env=False).is_success
    assert process.stop() == 0


def test_workers_end_when_they_are_told_to_while_they_take_no_signal(
    make_api: Callable[..., Api],
) -> None:
    api = make_api(TOCSIN_API_WORKERS="2")
    api.program = ("-m", "tests.integration.http.deaf")
    process = api.launch()
    wait_until(lambda: ready(api) == 2, "both workers are ready", deadline_s=WAIT_S)
    process.popen.send_signal(signal.SIGTERM)
    assert process.popen.wait(WAIT_S) == 0


def test_workers_end_when_they_are_told_to_before_the_first_has_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # it stays that of the tests
    with socket.create_server(("127.0.0.1", 0)) as sock:
        workers = _Workers(Settings(), [sock])
        workers._stop(signal.SIGTERM, None)
        workers.run()


def test_workers_live_and_end_together(make_api: Callable[..., Api]) -> None:
    api = make_api(TOCSIN_API_WORKERS="2")
    api.start()
    assert api.process is not None
    wait_until(lambda: len(workers_of(api)) == 2, "both workers run", deadline_s=WAIT_S)
    killed = workers_of(api)[0]
    os.kill(killed, signal.SIGKILL)
    assert api.process.popen.wait(WAIT_S) == 1
    said = f"tocsin: a worker of the API (process {killed}) ended by SIGKILL unasked: all"
    assert said in api.log.read_text()


def test_workers_do_not_outlive_the_first_process(make_api: Callable[..., Api]) -> None:
    api = make_api(TOCSIN_API_WORKERS="2")
    api.start()
    assert api.process is not None
    wait_until(lambda: ready(api) == 2, "both workers are ready", deadline_s=WAIT_S)
    workers = workers_of(api)
    api.process.popen.kill()
    api.process.popen.wait(WAIT_S)
    wait_until(lambda: not any(map(is_running, workers)), "the workers' end", deadline_s=WAIT_S)


def workers_of(api: Api) -> list[int]:
    """Return the workers' pids; the tracker of multiprocessing is none."""
    assert api.process is not None
    return [
        pid
        for pid in descendants(api.process.pid)
        if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def ready(api: Api) -> int:
    return api.log.read_text().count("Worker ready")


def test_api_is_alive_and_ready(api: Api) -> None:
    assert api.client.get("/healthz").json() == {"status": "alive"}
    assert api.client.get("/readyz").json() == {"status": "ready"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/../etc/passwd", 404),
        ("GET", "/incidents/%2e%2e/%2e%2e", 404),
        ("GET", "/ingest", 405),
        ("DELETE", "/incidents", 405),
        ("TRACE", "/healthz", 405),
        ("PUT", "/incidents/1", 405),
        ("OPTIONS", "/ingest", 405),
        ("HEAD", "/ingest", 405),
        ("POST", "/", 405),
    ],
)
def test_unknown_route_is_a_problem(api: Api, method: str, path: str, status: int) -> None:
    answer = api.client.request(method, path)
    if method == "HEAD":
        assert (answer.status_code, answer.content) == (status, b"")
    else:
        assert_problem(answer, status)
    assert bool(answer.headers.get("allow")) == (status == 405)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/docs", "/docs/openapi.json", "/"])
def test_head_is_the_answer_without_its_body(api: Api, path: str) -> None:
    got, head = api.client.get(path), api.client.head(path)
    assert head.status_code == got.status_code
    assert head.content == b""
    for name in ("content-type", "content-length", "location"):
        assert head.headers.get(name) == got.headers.get(name)


def test_head_of_what_needs_a_token_needs_it_too(api: Api) -> None:
    assert api.client.head("/incidents").status_code == 401
    assert api.client.head("/incidents", headers=api.headers()).status_code == 200


def test_bare_address_leads_to_the_page(api: Api) -> None:
    answer = api.client.get("/")
    assert answer.status_code == 302
    assert api.client.get(answer.headers["location"]).text.startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\n\r\n",
        b"POST /ingest HTTP/1.1\r\ncontent-length: minus\r\n\r\n",
        b"POST /ingest HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nx: " + b"x" * 20_000 + b"\r\n\r\n",
    ],
)
def test_what_is_hardly_http_gets_a_problem_all_the_same(api: Api, request_bytes: bytes) -> None:
    address = (api.settings.api_host, api.settings.api_port)
    with socket.create_connection(address, WAIT_S) as connection:
        connection.sendall(request_bytes)
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert re.match(rb"HTTP/1.1 4\d\d ", answer), answer
    assert b"application/problem+json" in answer
    assert b"Traceback" not in answer


def test_request_id_of_the_client_is_kept_and_logged(api: Api) -> None:
    answer = api.client.get("/nothing", headers={"x-request-id": "trace-42.a"})
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "trace-42.a"
    assert '"request_id": "trace-42.a"' in api.log.read_text()


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", '"><script>', "a\tb"])
def test_request_id_that_could_harm_a_log_is_replaced(api: Api, given: str) -> None:
    answer = api.client.get("/nothing", headers={"x-request-id": given})
    assert re.fullmatch(r"[0-9a-f]{12}-[0-9a-f]+", answer.headers["x-request-id"])


def test_every_request_has_an_id_of_its_own(api: Api) -> None:
    ids = {api.client.get("/healthz").headers["x-request-id"] for _ in range(10)}
    assert len(ids) == 10


def test_description_is_served_and_its_page_needs_nothing_else(api: Api) -> None:
    described = api.client.get("/docs/openapi.json")
    assert described.headers["content-type"] == "application/json"
    assert described.json()["openapi"].startswith("3.1")
    page = api.client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for path in described.json()["paths"]:
        assert path in page.text
    assert "<script" not in page.text
    assert "`" not in page.text
    assert "//" not in page.text.replace("http://", "").replace("https://", "")
    assert not re.search(r'(src|href)="?https?:', page.text)


def test_answers_of_the_api_fit_its_description(api: Api) -> None:
    described = api.client.get("/docs/openapi.json").json()
    problem = described["components"]["schemas"]["Problem"]
    answer: httpx.Response = api.client.get("/incidents")
    assert set(problem["required"]) == set(answer.json())
