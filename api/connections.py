"""What Sanic leaves unbounded in a connection: how slowly a request may come, and a bad address."""

from time import monotonic
from typing import Any

from sanic import Request
from sanic.exceptions import RequestTimeout, SanicException
from sanic.http import Http, Stage
from sanic.server.protocols.http_protocol import HttpProtocol

BODY_BYTES_A_TIMEOUT = 64 * 1024
"""For each so many bytes of a body its client has another time-out."""
_LAST_WORDS_S = 0.5
"""So long a slow client may read why, before its connection is closed."""
_NO_METHOD = "NONE"
_NO_URL = b"*"


class ApiRequest(Request[Any, Any]):
    """A request that can be answered also when its address is none.

    Sanic answers what it can't parse by way of a request that it makes up, of the same address:
    when that is what can't be parsed, it gives up without an answer.
    """

    def __init__(self, url_bytes: bytes, *, method: str, **named: Any) -> None:
        named["method"] = method
        try:
            super().__init__(url_bytes, **named)
        except SanicException:
            if method != _NO_METHOD:
                raise
            super().__init__(_NO_URL, **named)


class BoundedProtocol(HttpProtocol):
    """A connection whose client has only so long to send a request.

    Sanic's own time-outs begin anew with each byte, so that one byte now and then would hold a
    connection for ever. They still bound how long a connection may idle, and an answer take.
    """

    __slots__ = ("_receiving", "_receiving_since")

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._receiving: object = None
        self._receiving_since = 0.0

    def check_timeouts(self) -> None:
        """End what takes too long; called again and again while the connection lasts."""
        stream = self._http
        if self._task is not None and stream is not None and self._is_too_slow(stream):
            stream.exception = RequestTimeout("the request came too slowly")
            self._task.cancel()
            # Once it is answered, Sanic still waits for the rest of the body: that is ended, too.
            self._callback_check_timeouts = self.loop.call_later(_LAST_WORDS_S, self.check_timeouts)
            return
        super().check_timeouts()  # type: ignore[no-untyped-call]  # Sanic's own has no types

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
