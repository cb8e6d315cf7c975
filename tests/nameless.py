"""A proxy before Apache Kafka that can have its answers name no broker.

A broker that has begun and is not yet let into its cluster answers so, for a moment.
"""

import asyncio
from collections import Counter
from typing import Final

from tests.faults.proxy import Carrier, Streams, TcpProxy

_METADATA: Final = 3
_TAGGED_FROM_VERSION: Final = 9
_SIZE: Final = 4
_NONE: Final = b"\x01"


class NamelessProxy(TcpProxy):
    """Forwards what comes; takes the brokers out of the answers about the cluster when told.

    names_none: whether it does. emptied: by client id, how many answers it took them out of.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names_none = False
        self.emptied: Counter[str] = Counter()

    def carriers(
        self, here: Streams, there: Streams, gate: asyncio.Event
    ) -> tuple[Carrier, Carrier]:
        """Return what carries requests, and what carries their answers back."""
        asked: dict[bytes, str] = {}
        return self._to(here[0], there[1], asked), self._back(there[0], here[1], asked)

    async def _to(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: dict[bytes, str]
    ) -> None:
        while message := await _message(reader):
            kind, version = (int.from_bytes(message[at : at + 2], "big") for at in (0, 2))
            if kind == _METADATA:
                assert version >= _TAGGED_FROM_VERSION
                end = 10 + int.from_bytes(message[8:10], "big")
                asked[message[4:8]] = message[10:end].decode()
            await _send(writer, message)

    async def _back(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: dict[bytes, str]
    ) -> None:
        while message := await _message(reader):
            client = asked.pop(message[:4], None)
            if client is not None and self.names_none:
                message = _without_brokers(message)
                self.emptied[client] += 1
            await _send(writer, message)


async def _message(reader: asyncio.StreamReader) -> bytes:
    """Return the next request or answer; nothing at the end."""
    try:
        return await reader.readexactly(int.from_bytes(await reader.readexactly(_SIZE), "big"))
    except (asyncio.IncompleteReadError, OSError):
        return b""


async def _send(writer: asyncio.StreamWriter, message: bytes) -> None:
    writer.write(len(message).to_bytes(_SIZE, "big") + message)
    await writer.drain()


def _without_brokers(answer: bytes) -> bytes:
    """Return the answer with an empty list of brokers: behind correlation id, tags and throttle."""
    first = 4 + 1 + 4
    count, at = _varint(answer, first)
    for _ in range(count - 1):
        host, at = _varint(answer, at + 4)
        rack, at = _varint(answer, at + max(host - 1, 0) + 4)
        tags, at = _varint(answer, at + max(rack - 1, 0))
        assert not tags
    return answer[:first] + _NONE + answer[at:]


def _varint(of: bytes, at: int) -> tuple[int, int]:
    """Return an unsigned number as Kafka packs it, and where it ends."""
    value = shift = 0
    while True:
        byte = of[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
