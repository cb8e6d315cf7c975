"""Whether the process lives, and whether what it needs answers."""

import asyncio
from typing import Literal

from msgspec import Struct
from sanic import HTTPResponse, Request

from api.bodies import json_answer
from api.openapi import operation
from api.problems import unavailable
from api.publisher import Publisher
from sql.reader import Reader
from tocsin.errors import BrokerError, StorageError

PROBE_TIMEOUT_S = 2.0


class Alive(Struct, frozen=True):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Ready(Struct, frozen=True):
    """The database and Kafka have just answered."""

    status: Literal["ready"] = "ready"


class Health:
    """Answers orchestrators and load balancers."""

    def __init__(self, reader: Reader, publisher: Publisher) -> None:
        self._reader = reader
        self._publisher = publisher
        self._probe: asyncio.Task[list[str]] | None = None

    @operation(summary="Whether the process lives", answers={200: Alive}, errors=())
    async def live(self, _request: Request) -> HTTPResponse:
        """Answer."""
        return json_answer(Alive())

    @operation(
        summary="Whether the database and Kafka answer",
        description="Both are asked, within 2 seconds. The 503 names what is away.",
        answers={200: Ready},
        errors=(503,),
    )
    async def ready(self, _request: Request) -> HTTPResponse:
        """Ask the database and Kafka; requests that come at once share one probe."""
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(self._away())
        if away := await asyncio.shield(self._probe):
            raise unavailable("; ".join(away))
        return json_answer(Ready())

    async def _away(self) -> list[str]:
        database = asyncio.create_task(self._reader.ping())
        kafka = asyncio.create_task(self._publisher.require_topic(PROBE_TIMEOUT_S))
        # What hangs is left behind: to wait for the end of its cancelling could take as long again.
        _, late = await asyncio.wait({database, kafka}, timeout=PROBE_TIMEOUT_S)
        for task in late:
            task.cancel()
        asked = (_fault("database", database), _fault("kafka", kafka))
        return [fault for fault in asked if fault]


def _fault(name: str, probe: asyncio.Task[None]) -> str | None:
    if not probe.done():
        return f"{name}: does not answer"
    error = probe.exception()
    if error is None:
        return None
    if isinstance(error, (StorageError, BrokerError)):
        return f"{name}: {error}"
    raise error
