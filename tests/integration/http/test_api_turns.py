"""What comes in the very turn of the loop in which something is about to end its connection."""

import asyncio
import socket
from typing import Any

import pytest
from sanic import HTTPResponse, Request, Sanic
from sanic.response import raw

from api.connections import ApiRequest, BoundedProtocol
from stack.ports import LOOPBACK
from tests.integration.http.conftest import WAIT_S
from tests.integration.http.in_process import served


class Ends(BoundedProtocol):
    """A connection that is asked to close, if it idles, before the loop turns to what has come."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.close_if_idle()


class IsTimed(BoundedProtocol):
    """A connection whose time is over, as that of one whose server stood still meanwhile."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._receiving_since -= 2 * self.request_timeout
        self.check_timeouts()


def patient(name: str, **timeouts_s: float) -> Sanic[Any, Any]:
    """Return an application that gives its clients all the time but that."""
    app: Sanic[Any, Any] = Sanic(name, request_class=ApiRequest, configure_logging=False)
    usual_s = dict.fromkeys(("REQUEST_TIMEOUT", "KEEP_ALIVE_TIMEOUT", "RESPONSE_TIMEOUT"), 1000.0)
    app.config.update(usual_s | timeouts_s)
    return app


@pytest.mark.parametrize("protocol", [Ends, IsTimed])
def test_request_that_has_come_is_answered(protocol: type[BoundedProtocol]) -> None:
    app = patient(f"turns-{protocol.__name__}")
    begun = asyncio.Event()

    @app.post("/", stream=True)
    async def take(request: ApiRequest) -> HTTPResponse:
        begun.set()
        await request.receive_body()
        for _ in range(10):  # turns of the loop, as one that waits for Kafka lets go by
            await asyncio.sleep(0)
        return raw(request.body)

    async def ask() -> bytes:
        async with served(app, protocol) as port:
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n")
            writer.write(b"content-length: 5\r\n\r\n")
            await begun.wait()
            writer.write(b"taken")
            answer = await reader.read()
            writer.close()
        return answer

    assert asyncio.run(ask()).endswith(b"taken")


def test_request_that_has_come_in_part_is_ended_when_its_time_is_over() -> None:
    app = patient("turns-in-part")

    @app.get("/")
    async def take(_request: Request) -> HTTPResponse:
        return raw(b"taken")

    async def ask() -> bytes:
        async with served(app, IsTimed) as port:
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(b"GET / HTTP/1.1\r\nx: ")
            answer = await reader.read()
            writer.close()
        return answer

    assert asyncio.run(ask()).startswith(b"HTTP/1.1 408 ")


def test_client_that_reads_nothing_gains_no_time_by_what_it_sends() -> None:
    app = patient("turns-unread", RESPONSE_TIMEOUT=0.5)

    @app.get("/")
    async def take(_request: Request) -> HTTPResponse:
        return raw(bytes(32 * 1024 * 1024))

    async def send_until_it_is_closed() -> None:
        loop = asyncio.get_running_loop()
        async with served(app) as port:
            with socket.create_connection((LOOPBACK, port)) as client:
                client.setblocking(False)
                await loop.sock_sendall(client, 3 * b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                while True:
                    await asyncio.sleep(0.05)  # again and again, long before its time is over
                    await loop.sock_sendall(client, b"G")

    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        asyncio.run(asyncio.wait_for(send_until_it_is_closed(), WAIT_S))
