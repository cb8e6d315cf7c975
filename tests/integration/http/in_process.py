"""An application of Sanic's served in the loop of a test, for what no other process would show."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sanic import Sanic

from api.connections import BoundedProtocol
from stack.ports import LOOPBACK, free_port


@asynccontextmanager
async def served(
    app: Sanic[Any, Any], protocol: type[BoundedProtocol] = BoundedProtocol
) -> AsyncIterator[int]:
    """Serve on a free port of this machine, which is given."""
    app.config.TOUCHUP = False  # it rewrites Sanic's own methods, once in a process
    port = free_port()
    server: Any = await app.create_server(
        LOOPBACK, port, protocol=protocol, return_asyncio_server=True
    )
    await server.startup()
    await server.start_serving()
    try:
        yield port
    finally:
        await server.close()
