"""The live tail over HTTP: records as they arrive, by server-sent events."""

import asyncio
import time

import structlog
from sanic import HTTPResponse, Request
from sanic.http import Http

from api.log_filters import FILTER_NAMES, FILTER_PARAMETERS, FILTERS_GIVEN_OFTEN, read_filter
from api.openapi import TOKEN, operation
from api.parameters import Parameters
from api.problems import Refusal, request_id
from api.sessions import Sessions
from api.tails import EndReason, Tail, Tails, event
from tocsin.errors import StorageError

SERVER_SENT_EVENTS = "text/event-stream"
HEARTBEAT_S = 10.0
CHECK_S = 5.0
"""How often a tail asks whether its token is still good."""
SEND_S = 30.0
"""A client that takes nothing for so long is dropped."""
_EVENT = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {"enum": ["start", "log", "skipped", "away", "back", "end"]},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "description": "of `log` a StoredLog",
        },
    },
}
_CHUNK_BYTES = 64 * 1024
_RETRY = b"retry: 2000\n"

log = structlog.get_logger(__name__)


class LiveTail:
    """Sends everyone who may log in the records that arrive."""

    def __init__(self, tails: Tails, sessions: Sessions) -> None:
        self._tails = tails
        self._sessions = sessions

    @operation(
        summary="Follow the logs as they arrive",
        description=(
            "Server-sent events, from the topic, with the filters of `GET /logs`. `start`: from "
            "here on nothing is missed. `log`: a record, before it is stored; what breaks the "
            "contract is left out, what is sent twice is shown twice. `skipped`: so many "
            "`records` went by while the client was slow or the stream too fast. `away`, `back`: "
            "Kafka does not answer, or does again. `end`: why the stream ends, `reason` `session` "
            "(the token is no longer good) or `shutdown`. A comment every 10 seconds without "
            "anything else keeps the connection open; a client that takes nothing for 30 seconds "
            "is dropped. At most `TOCSIN_TAILS_MAX` at once: 503."
        ),
        parameters=FILTER_PARAMETERS,
        answers={200: {SERVER_SENT_EVENTS: _EVENT}},
        errors=(400, 401, 503),
        security=TOKEN,
    )
    async def follow(self, request: Request) -> HTTPResponse | None:
        """Send records until the client leaves, its token ends, or this process does."""
        await self._sessions.require(request)
        parameters = Parameters(request, FILTER_NAMES, several=FILTERS_GIVEN_OFTEN)
        wanted = read_filter(parameters)
        if request.method == "HEAD":
            return HTTPResponse(content_type=SERVER_SENT_EVENTS)
        stream = request.stream
        if not isinstance(stream, Http):
            raise TypeError(f"a tail needs a plain connection, not {stream!r}")
        # A connection that is kept open would hold up a shutdown.
        stream.keep_alive = False
        async with self._tails.watching(wanted) as tail:
            response = await request.respond(
                content_type=SERVER_SENT_EVENTS,
                # Proxies must pass on what comes at once.
                headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
            )
            try:
                await self._stream(request, response, tail)
            except asyncio.TimeoutError:
                log.info("tail dropped", request_id=request_id(request))
                stream.protocol.close(timeout=0)
        return None

    async def _stream(self, request: Request, response: HTTPResponse, tail: Tail) -> None:
        await _send(response, _RETRY + event("start", {}))
        sent_at = checked_at = time.monotonic()
        has_ended = False
        while not has_ended:
            await tail.wait(CHECK_S)
            now = time.monotonic()
            if now - checked_at >= CHECK_S:
                checked_at = now
                await self._check(request, tail)
            text, has_ended = tail.take(_CHUNK_BYTES)
            if not text and now - sent_at >= HEARTBEAT_S:
                text = b": alive\n\n"
            if text:
                await _send(response, text)
                sent_at = now
        await asyncio.wait_for(response.send("", True), SEND_S)

    async def _check(self, request: Request, tail: Tail) -> None:
        """End a tail whose token is no longer good."""
        try:
            await self._sessions.require(request)
        except Refusal as refusal:
            tail.end(EndReason.SESSION, refusal.detail)
        except StorageError:
            # The logs come from Kafka: a database that is away ends no tail but by its time.
            return


async def _send(response: HTTPResponse, text: bytes) -> None:
    await asyncio.wait_for(response.send(text), SEND_S)
