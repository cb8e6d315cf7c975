"""A TCP proxy that can stop forwarding without closing anything: what no kernel ever notices."""

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from stack.ports import LOOPBACK, free_port

_CHUNK = 64 * 1024

Result = TypeVar("Result")
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Carrier = Coroutine[Any, Any, None]


class TcpProxy:
    """Forwards what comes to `port` to a target, while it is not told to stand still.

    target: port on loopback; set it before the first connection comes.
    accepted: connections that came, also those that nothing was forwarded on yet.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.target = 0
        self.accepted = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._gate: asyncio.Event
        self._server: asyncio.Server

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        self._do(self._listen())

    def stop(self) -> None:
        """Close everything."""
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def stand_still(self) -> None:
        """Forward nothing more, on no connection, until `resume`; all of them stay open."""
        self._do(self._shut())

    def resume(self) -> None:
        """Forward again, also what has piled up."""
        self._do(self._open())

    def forget(self) -> None:
        """Never forward anything again on the connections of now, nor close them; new ones work."""
        self._do(self._forget())

    def _do(self, what: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    async def _listen(self) -> None:
        await self._open_first()
        self._server = await asyncio.start_server(self._connected, LOOPBACK, self.port)

    async def _open_first(self) -> None:
        self._gate = asyncio.Event()
        self._gate.set()

    async def _shut(self) -> None:
        self._gate.clear()

    async def _open(self) -> None:
        self._gate.set()

    async def _forget(self) -> None:
        self._gate.clear()
        await self._open_first()

    async def _close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        # Another task than the one that the server watches, which it would cancel with a word.
        task = asyncio.create_task(self._forward(reader, writer, self._gate))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event
    ) -> None:
        try:
            await gate.wait()
            there = await asyncio.open_connection(LOOPBACK, self.target)
        except (OSError, asyncio.CancelledError):
            writer.close()
            return
        to, back = map(asyncio.create_task, self.carriers((reader, writer), there, gate))
        try:
            await asyncio.wait({to, back}, return_when=asyncio.FIRST_COMPLETED)
            await gate.wait()
        finally:
            for pump, stream in ((to, there[1]), (back, writer)):
                pump.cancel()
                stream.close()

    def carriers(
        self, here: Streams, there: Streams, gate: asyncio.Event
    ) -> tuple[Carrier, Carrier]:
        """Return what carries bytes from a client to the target, and what carries them back."""
        return carry(here[0], there[1], gate), carry(there[0], here[1], gate)


async def carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event
) -> None:
    """Carry bytes one way, up to the end of either side, while the gate is open."""
    with suppress(OSError):
        while chunk := await reader.read(_CHUNK):
            await gate.wait()
            writer.write(chunk)
            await writer.drain()
