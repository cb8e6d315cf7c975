"""What comes in the very turn of the loop in which something is about to end its connection."""

import asyncio
from typing import Any

import pytest
from sanic import HTTPResponse, Sanic
from sanic.response import raw

from api.connections import ApiRequest, BoundedProtocol
from stack.ports import LOOPBACK
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
        usual, self.request_timeout = self.request_timeout, 0
        self.check_timeouts()
        self.request_timeout = usual


@pytest.mark.parametrize("protocol", [Ends, IsTimed])
def test_request_that_has_come_is_answered(protocol: type[BoundedProtocol]) -> None:
    app: Sanic[Any, Any] = Sanic(
        f"turns-{protocol.__name__}", request_class=ApiRequest, configure_logging=False
    )
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
