"""Connections: what Sanic leaves unbounded in them, and shorter ways for what is usual.

Unbounded are how slowly a request may come, and an address that is none. Shorter are the waiting
for a request, the parsing of a head that is known and the reading of a body that came with its
head.
"""

import asyncio
from time import monotonic
from typing import Any, cast

from sanic import Request
from sanic.exceptions import RequestCancelled, RequestTimeout, SanicException
from sanic.http import Http, Stage
from sanic.models.protocol_types import TransportProtocol
from sanic.server.protocols.http_protocol import HttpProtocol

from api.heads import Head, KnownHeads

BODY_BYTES_A_TIMEOUT = 64 * 1024
"""For each so many bytes of a body its client has another time-out."""
_UNSENT_MAX = 16 * 1024
"""More than this is sent at once."""
_HEAD_END = b"\r\n\r\n"
_LAST_WORDS_S = 0.5
"""So long a slow client may read why, before its connection is closed."""

_heads = KnownHeads()


class ApiRequest(Request[Any, Any]):
    """A request whose body, where it has come whole, is taken at once and not bit by bit.

    known_id: as `api.problems.request_id` gave it first.
    """

    known_id: str | None = None

    def become_current(self) -> None:
        """Be what `Request.get_current` returns in this task."""
        self._current.set(self)

    async def receive_body(self) -> None:
        """Receive the body."""
        stream = self.stream
        if isinstance(stream, Http):
            # Of a body that comes in chunks it is not known yet how much is left.
            size, buffer = stream.request_bytes_left or 0, stream.recv_buffer
            if 0 < size <= min(len(buffer), stream.request_max_size):
                self.body = bytes(buffer[:size])
                del buffer[:size]
                stream.request_bytes_left, stream.request_body = 0, None
                return
        await super().receive_body()


class _Stream(Http):
    """A stream of requests whose heads are parsed once, and answered also where an address is none.

    Sanic answers what it can't parse by way of a request that it makes up, of the same address:
    when that is what can't be parsed, it gives up without an answer.
    """

    def create_empty_request(self) -> None:
        """Make up a request for the answer to what is none."""
        try:
            super().create_empty_request()
        except SanicException:
            self.url = None
            super().create_empty_request()

    async def http1_request_header(self) -> None:
        """Receive a head and parse it, unless one like it has come before."""
        buffer = self.recv_buffer
        raw = bytes(buffer[: max(buffer.find(_HEAD_END), 0)])
        known = _heads.get(raw)
        if known is not None:
            self._begin(raw, known)
            return
        await super().http1_request_header()
        if raw:
            _heads.remember(raw, self)

    def _begin(self, raw: bytes, head: Head) -> None:
        """Begin a request whose head is known: what Sanic does when it has parsed one."""
        protocol = self.protocol
        self.url, self.keep_alive = head.url, head.is_kept_alive
        self.head_only = head.is_head_only
        request = ApiRequest(
            url_bytes=head.raw_url,
            headers=head.headers,  # of which it makes a copy
            head=raw,
            version=head.version,
            method=head.method,
            transport=cast("TransportProtocol", protocol.transport),
            app=protocol.app,
        )
        request.become_current()
        self.request_bytes_left = self.request_bytes = head.size or 0
        if head.size is not None:
            self.request_body = cast("bytes", True)  # Sanic's own mark
        del self.recv_buffer[: len(raw) + len(_HEAD_END)]
        self.request, request.stream = request, self
        protocol.state["requests_count"] += 1


class BoundedProtocol(HttpProtocol):
    """A connection whose client has only so long to send a request.

    Sanic's own time-outs begin anew with each byte, so that one byte now and then would hold a
    connection for ever. They still bound how long a connection may idle, and an answer take.
    """

    HTTP_CLASS = _Stream
    __slots__ = ("_more", "_receiving", "_receiving_since", "_unsent")

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._unsent = b""
        self._more: asyncio.Future[None] | None = None
        self._receiving: object = None
        self._receiving_since = 0.0

    async def receive_more(self) -> None:
        """Wait for more data. Sanic waits for an event, which costs 5 µs a request."""
        if self.transport is not None:
            self.transport.resume_reading()
        self._more = self.loop.create_future()
        await self._more

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        answering_since = None if self._can_write.is_set() else self._time
        super().data_received(data)
        if answering_since is not None:
            self._time = answering_since  # what it sends is no sign that it reads
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    async def send(self, data: bytes) -> None:
        """Send data: soon, together with what other connections send in this turn of the loop.

        Sent at once, each answer would wake a client that waits for it, which costs more than to
        write it; of many in a row the first wakes, and the others find their client awake.
        """
        if not self._can_write.is_set():
            await self._can_write.wait()
        if self.transport is None or self.transport.is_closing():
            raise RequestCancelled
        if not self._unsent:
            self.loop.call_soon(self._flush)
        self._unsent += data
        self._time = monotonic()
        if len(self._unsent) > _UNSENT_MAX:
            self._flush()

    def close_if_idle(self) -> bool:
        """Close unless a request is being answered, or has been read.

        Until the next turn of the loop, in which it is looked at, Sanic counts the connection as
        idle: it would close it, handle the request and answer nobody.
        """
        return not self.recv_buffer and super().close_if_idle()

    def eof_received(self) -> None:
        """Send what is unsent: its client sends no more but may still read, and is left next."""
        self._flush()

    def close(self, timeout: float | None = None) -> None:
        """Close when all is sent."""
        self._flush()
        super().close(timeout)

    def _flush(self) -> None:
        data, self._unsent = self._unsent, b""
        if data and self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def check_timeouts(self) -> None:
        """End what takes too long; called again and again while the connection lasts.

        In this turn of the loop, but when what has come in it is looked at: that may be whole by
        then, and we are late, not its client.
        """
        self._callback_check_timeouts = self.loop.call_soon(self._check_timeouts)

    def _check_timeouts(self) -> None:
        stream = self._http
        if self._task is not None and stream is not None and self._is_too_slow(stream):
            stream.exception = RequestTimeout("the request came too slowly")
            self._task.cancel()
            # Once it is answered, Sanic still waits for the rest of the body: that is ended, too.
            self._callback_check_timeouts = self.loop.call_later(_LAST_WORDS_S, self.check_timeouts)
            return
        super().check_timeouts()

    def _is_too_slow(self, stream: Http) -> bool:
        number = self.state["requests_count"]
        # The head of the first request is due from the beginning of the connection.
        is_head = stream.stage is Stage.REQUEST or (number == 0 and stream.stage is Stage.IDLE)
        if not is_head and not stream.request_body:
            self._receiving = None
            return False
        now = monotonic()
        if self._receiving != (number, is_head):
            self._receiving, self._receiving_since = (number, is_head), now
        received = 0 if is_head else (stream.request_bytes or 0) - (stream.request_bytes_left or 0)
        allowed_s = self.request_timeout * (1 + received / BODY_BYTES_A_TIMEOUT)
        return bool(now - self._receiving_since > allowed_s)
