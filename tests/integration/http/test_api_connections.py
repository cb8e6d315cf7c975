"""Connections: a client that is slow, idle or no speaker of HTTP holds nothing for long."""

import asyncio
import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise
from time import monotonic
from typing import Any

import pytest
from sanic import HTTPResponse, Sanic
from sanic.response import text

from api import connections
from api.connections import BODY_BYTES_A_TIMEOUT, ApiRequest
from stack.ports import LOOPBACK, free_port, is_free
from stack.waiting import wait_until
from tests.integration.http import streaming
from tests.integration.http.conftest import WAIT_S, Api
from tests.integration.http.in_process import served
from tests.integration.http.test_api_ingest import record
from tests.integration.http.wire import connected, exchange, rest_of
from tocsin.records import parse_record

HEAD = b"POST /auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


@pytest.fixture(scope="module")
def impatient(beside: Callable[..., Api]) -> Api:
    return beside(TOCSIN_CLIENT_TIMEOUT_S="0.5", TOCSIN_KEEP_ALIVE_S="1.5")


def drip(api: Api, head: bytes, drops: bytes) -> bytes:
    """Send a head at once and then a byte now and then; return the answer."""
    closed = threading.Event()
    with connected(api) as connection:
        connection.sendall(head)

        def feed() -> None:
            for drop in drops:
                if closed.wait(0.1):
                    return
                try:
                    connection.sendall(bytes([drop]))
                except OSError:
                    return

        feeder = threading.Thread(target=feed)
        feeder.start()
        try:
            return rest_of(connection)
        finally:
            closed.set()
            feeder.join()


@pytest.mark.parametrize(
    ("head", "drops"),
    [
        (b"GET /healthz HTTP/1.1\r\nx: ", b"a" * 300),
        (HEAD + b"content-length: 1000\r\n\r\n", b"a" * 300),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n", b"1\r\na\r\n" * 60),
    ],
    ids=["head", "body", "chunks"],
)
def test_request_that_comes_byte_by_byte_is_ended(
    impatient: Api, head: bytes, drops: bytes
) -> None:
    answer = drip(impatient, head, drops)
    assert answer.startswith(b"HTTP/1.1 408 "), answer
    assert b"application/problem+json" in answer


def test_rest_of_a_refused_body_that_comes_byte_by_byte_is_not_waited_for(
    make_api: Callable[..., Api],
) -> None:
    small = make_api(TOCSIN_MAX_BODY_BYTES="20000", TOCSIN_CLIENT_TIMEOUT_S="0.5")
    small.start()
    answer = drip(small, HEAD + b"content-length: 30000\r\n\r\n", b"a" * 300)
    assert answer.startswith(b"HTTP/1.1 413 "), answer


def test_connection_that_sends_nothing_is_closed(impatient: Api) -> None:
    with connected(impatient) as connection:
        assert rest_of(connection) == b""


def test_idle_connection_is_closed(impatient: Api) -> None:
    with connected(impatient) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        answer = rest_of(connection)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: keep-alive" in answer


@pytest.mark.parametrize(("share", "status"), [(0.9, b"200"), (1.1, b"408")])
def test_large_body_may_take_longer_than_a_small_one(
    monkeypatch: pytest.MonkeyPatch, service: str, share: float, status: bytes
) -> None:
    """Its first five pieces have earned it six time-outs; this share of them passes."""
    piece, patience_s, ahead_s = bytes(BODY_BYTES_A_TIMEOUT), 1000.0, 0.0
    monkeypatch.setattr(connections, "monotonic", lambda: monotonic() + ahead_s)
    app: Sanic[Any, Any] = Sanic(service, request_class=ApiRequest, configure_logging=False)
    app.config.REQUEST_TIMEOUT = patience_s
    passed = asyncio.Event()

    def let_pass(request: Any) -> None:
        nonlocal ahead_s
        ahead_s += share * 6 * patience_s
        request.protocol.check_timeouts()
        passed.set()

    @app.post("/", stream=True)
    async def take(request: Any) -> HTTPResponse:
        size = 0
        while content := await request.stream.read():
            size += len(content)
            if size == 5 * len(piece):
                request.protocol.check_timeouts()  # from here on
                asyncio.get_running_loop().call_soon(let_pass, request)
        return text("taken")

    async def ask() -> bytes:
        async with served(app) as port:
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            head = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
            writer.write(head + b"content-length: %d\r\n\r\n" % (6 * len(piece)))
            writer.write(5 * piece)
            await passed.wait()
            writer.write(piece)
            answer = await reader.read()
            writer.close()
        return answer

    assert asyncio.run(ask()).startswith(b"HTTP/1.1 %b " % status)


def test_many_slow_clients_keep_nobody_else_waiting(beside: Callable[..., Api]) -> None:
    api = beside(TOCSIN_CLIENT_TIMEOUT_S="2")
    with ExitStack() as stack:
        slow = []
        for _ in range(200):
            slow.append(stack.enter_context(connected(api)))
            slow[-1].sendall(b"GET /healthz HTTP/1.1\r\nx: ")
        assert api.client.get("/healthz").status_code == 200
        for connection in slow:
            assert rest_of(connection).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("odd", [b"\0", b"\x01", b"\x0b", b"\x1b[31m", b"\x7f", b"\t"])
@pytest.mark.parametrize("place", [b"/incidents?page=%b", b"/%b", b"%b", b"/incidents/%b/logs"])
def test_control_byte_in_an_address_is_the_clients_mistake(
    api: Api, place: bytes, odd: bytes
) -> None:
    logged = len(api.log.read_bytes())
    answer = exchange(api, b"GET " + place.replace(b"%b", odd) + b" HTTP/1.1\r\nhost: x\r\n\r\n")
    assert re.match(rb"HTTP/1.1 40[04] ", answer), answer
    assert b"application/problem+json" in answer
    wait_until(lambda: b'"request"' in api.log.read_bytes()[logged:], "its line", deadline_s=WAIT_S)
    assert b"Traceback" not in api.log.read_bytes()[logged:]


def test_head_over_the_limit_is_refused_as_such(api: Api) -> None:
    for head in (b"x: " + b"x" * 9000, b"x: y\r\n" * 2000):
        answer = exchange(api, b"GET /healthz HTTP/1.1\r\n" + head + b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 431 "), answer


def test_address_over_the_limit_is_refused(api: Api) -> None:
    answer = exchange(api, b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 431 "), answer


def test_requests_that_come_at_once_are_each_answered_in_order(api: Api, service: str) -> None:
    names = [f"n-{number}" for number in range(50)]
    requests = [
        posted(api, json.dumps(record(service, message=name)).encode(), f"x-request-id: {name}")
        for name in names
    ]
    with connected(api) as connection:
        connection.sendall(b"".join(requests))
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        answers = rest_of(connection)
    assert re.findall(rb"HTTP/1.1 (\d+) ", answers) == [b"202"] * 50 + [b"200"]
    assert re.findall(r"(?i)x-request-id: (n-\d+)", answers.decode()) == names
    found = [parse_record(one.value() or b"").message for one in api.topic_records(service)]
    assert found == names


@pytest.mark.parametrize("path", ["/healthz", "/no"])
def test_client_that_ends_its_sending_at_once_is_still_answered(api: Api, path: str) -> None:
    for _ in range(50):
        with connected(api) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            connection.shutdown(socket.SHUT_WR)
            assert rest_of(connection).startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize("size", [1, 100, 30_000])
@pytest.mark.parametrize("expected", ["x-any: y", "expect: 100-continue"])
def test_body_is_whole_in_whatever_pieces_it_comes(
    api: Api, service: str, size: int, expected: str
) -> None:
    message = "".join(chr(ord("a") + number % 26) for number in range(size))
    body = json.dumps(record(service, message=message)).encode()
    request = posted(api, body, expected, "connection: close")
    head = len(request) - len(body)
    with connected(api) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(request[: head - 2])
        connection.sendall(request[head - 2 : head])
        if expected.startswith("expect"):
            assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        for first, end in pairwise([head, head + 1, len(request) - 1, len(request)]):
            connection.sendall(request[first:end])
        answer = rest_of(connection)
    assert b"HTTP/1.1 202 " in answer
    (found,) = api.topic_records(service)
    assert found.value() == body


def test_stream_waits_for_a_client_that_does_not_read() -> None:
    port = free_port()
    with subprocess.Popen(
        [sys.executable, streaming.__file__, str(port)], stdout=subprocess.PIPE, text=True
    ) as server:
        wait_until(lambda: not is_free(port), "the stream", deadline_s=WAIT_S)
        with socket.create_connection(("127.0.0.1", port), WAIT_S) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            connection.recv(1)
        told, _ = server.communicate(timeout=WAIT_S)
    assert 0 < int(told) < streaming.PIECES


def posted(api: Api, body: bytes, *headers: str) -> bytes:
    lines = [
        "POST /ingest HTTP/1.1",
        "host: x",
        f"x-api-key: {api.key}",
        "content-type: application/json",
        *headers,
        f"content-length: {len(body)}",
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + body
