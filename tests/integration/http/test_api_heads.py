"""A request whose head has come before, to the byte, is answered as the first one was."""

import asyncio
import json
import re
import secrets
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sanic import HTTPResponse, Request, Sanic
from sanic.compat import Header
from sanic.http import Http
from sanic.response import text

from api.connections import ApiRequest
from api.heads import KnownHeads
from stack.ports import LOOPBACK
from tests.integration.http.conftest import Api
from tests.integration.http.in_process import served
from tests.integration.http.test_api_ingest import record
from tests.integration.http.wire import connected, exchange, rest_of

FILTERS = (
    "level=error&service_id=a%20b&service_id=c&from=2026-03-02T08:00:00Z&to=2026-03-02T09:00:00Z"
)
HEADS = {
    "get": "GET /healthz HTTP/1.1\r\nhost: x\r\nx: {name}",
    "head": "HEAD /healthz HTTP/1.1\r\nhost: x\r\nx: {name}",
    "query": f"GET /logs?{FILTERS} HTTP/1.1\r\nhost: x\r\nauthorization: {{bearer}}\r\nx: {{name}}",
    "old": "GET /healthz HTTP/1.0\r\nx: {name}",
    "old and kept": "GET /healthz HTTP/1.0\r\nconnection: keep-alive\r\nx: {name}",
    "ended": "GET /healthz HTTP/1.1\r\nhost: x\r\nConnection: close\r\nx: {name}",
    "twice": "GET /healthz HTTP/1.1\r\nhost: x\r\nX: {name}\r\nx: {name}",
    "named": "GET /healthz HTTP/1.1\r\nhost: x\r\nx-request-id: {name}",
    "no body": "POST /ingest HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nx: {name}",
    "no length": "POST /ingest HTTP/1.1\r\nhost: x\r\nx: {name}",
    "no such": "GET /nothing/{name} HTTP/1.1\r\nhost: x",
    "no such method": "BREW /healthz HTTP/1.1\r\nhost: x\r\nx: {name}",
    "no version": "GET /healthz HTTP/3\r\nhost: x\r\nx: {name}",
    "no address": "GET http:// HTTP/1.1\r\nhost: x\r\nx: {name}",
    "no header": "GET /healthz HTTP/1.1\r\n{name}",
    "long": "GET /healthz HTTP/1.1\r\nhost: x\r\nx: {name}{long}",
    "chunks": "POST /ingest HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nx: {name}",
    "expecting": "POST /ingest HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\nx: {name}",
    "two lengths": "POST /ingest HTTP/1.1\r\ncontent-length: 2\r\ncontent-length: 2\r\nx: {name}",
}
BODIES = {"chunks": b"2\r\n[]\r\n0\r\n\r\n", "expecting": b"[]", "two lengths": b"[]"}


def comparable(answer: bytes) -> bytes:
    """Return an answer without the id that the server makes for it, which grows now and then."""
    named = re.search(rb'"request_id":"([0-9a-f]{12}-[0-9a-f]+)"', answer)
    if named is not None:
        size = rb"content-length: (\d+)"
        answer = re.sub(size, lambda told: b"%d" % (int(told[1]) - len(named[1])), answer)
    return re.sub(rb'(?i)(x-request-id: |"request_id":")[0-9a-f]{12}-[0-9a-f]+', rb"\1", answer)


@pytest.mark.parametrize("which", HEADS)
def test_known_head_is_answered_as_the_first_one(api: Api, which: str) -> None:
    values = {
        "name": secrets.token_hex(8),
        "long": "l" * 2000,
        "bearer": api.headers()["authorization"],
    }
    raw = HEADS[which].format(**values).encode() + b"\r\n\r\n" + BODIES.get(which, b"")
    first, *others = (comparable(exchange(api, raw)) for _ in range(4))
    assert first.startswith(b"HTTP/1.1 ")
    assert others == [first, first, first]


def test_known_head_has_the_body_that_came_with_it(api: Api, service: str) -> None:
    one = record(service)
    bodies = [json.dumps({**one, "message": f"number {n}"}).encode() for n in range(5)]
    bodies[3] = b"x" * len(bodies[0])
    head = (
        f"POST /ingest HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {api.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(bodies[0])}\r\n\r\n"
    ).encode()
    apart = head + bodies[1]
    with connected(api) as connection:
        connection.sendall(head + bodies[0] + apart[:40])
        connection.recv(1)
        connection.sendall(apart[40:])
        for body in bodies[2:]:
            connection.sendall(head + body)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        answers = rest_of(connection)
    statuses = [int(found) for found in re.findall(rb"TP/1\.1 (\d+)", answers)]
    assert statuses == [202, 202, 202, 400, 202, 200]


def test_connection_of_known_heads_may_idle(beside: Callable[..., Api]) -> None:
    """A request was answered, also if its head was known: the next one is not due yet."""
    impatient = beside(TOCSIN_CLIENT_TIMEOUT_S="0.5", TOCSIN_KEEP_ALIVE_S="60")
    for _ in range(3):
        with connected(impatient) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
            connection.settimeout(1.5)
            with pytest.raises(TimeoutError):
                connection.recv(1)


def test_known_head_begins_the_request_that_is_current() -> None:
    """Its id is what log lines are named by."""
    app: Sanic[Any, Any] = Sanic("heads", request_class=ApiRequest, configure_logging=False)

    @app.get("/")
    async def tell(request: Request) -> HTTPResponse:
        return text(str(Request.get_current() is request))

    async def ask() -> list[bytes]:
        async with served(app) as port:
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            answers = []
            for _ in range(4):
                writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                answers.append((await reader.readuntil(b"\r\n\r\n")) + await reader.readexactly(4))
            writer.close()
        return answers

    assert [answer[-4:] for answer in asyncio.run(ask())] == [b"True"] * 4


def stream(**headers: str) -> Http:
    """Return what Sanic's stream is when it has just parsed a head without a body."""
    said = {"raw_url": b"/", "method": "GET", "version": "1.1", "headers": Header(headers)}
    found = {"request": SimpleNamespace(**said), "url": "/", "keep_alive": True, "head_only": False}
    return cast("Http", SimpleNamespace(**found, request_body=None, request_bytes=0))


def test_no_more_heads_are_known_than_there_is_room_for() -> None:
    heads = KnownHeads()
    raws = [b"GET / HTTP/1.1\r\nx: %d" % number for number in range(1500)]
    for raw in raws:
        heads.remember(raw, stream())
        assert heads.get(raw) is None
        heads.remember(raw, stream())
    assert sum(heads.get(raw) is not None for raw in raws) == 1500 - 1024
    assert heads.get(raws[-1]) is not None


@pytest.mark.parametrize("name", ["expect", "transfer-encoding", "upgrade"])
def test_head_that_asks_for_more_is_not_remembered(name: str) -> None:
    heads = KnownHeads()
    raws = {
        b"special": stream(**{name: "x"}),
        b"l" * 1025: stream(),
        b"many": stream(**{f"x{number}": "" for number in range(33)}),
        b"plain": stream(host="x"),
    }
    for raw, said in [*raws.items(), *raws.items()]:
        heads.remember(raw, said)
    assert [raw for raw in raws if heads.get(raw)] == [b"plain"]
