"""What is done to every answer on its way out: its headers, its line in the log, its count."""

from time import perf_counter
from types import SimpleNamespace
from typing import Any

import structlog
from sanic import Request
from sanic.http import Http
from sanic.response import BaseHTTPResponse

from api.cors import Cors
from api.metrics import count_request
from api.problems import REQUEST_ID_HEADER, request_id
from tocsin.settings import Settings

_QUIET = frozenset(
    {"/ingest", "/v1/logs", "/loki/api/v1/push", "/_bulk", "/healthz", "/readyz", "/metrics"}
)
_SNIFFING = "x-content-type-options"
_DEFAULTS = {
    # An answer may hold a token, or what only its reader may see. Pages and files say otherwise.
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    _SNIFFING: "nosniff",
}

log = structlog.get_logger("api")


class Answers:
    """Finishes answers, and tells clients to leave when the server is about to."""

    def __init__(self, settings: Settings, cors: Cors) -> None:
        self._cors = cors
        self._is_closing = False
        self._defaults = dict(_DEFAULTS)
        if settings.hsts_s:
            self._defaults["strict-transport-security"] = f"max-age={settings.hsts_s}"

    def finish(self, request: Request[Any, SimpleNamespace], response: BaseHTTPResponse) -> None:
        """Complete the headers, count and log."""
        name, status, headers = request_id(request), response.status, response.headers
        path = request.path
        is_quiet = status < 400 and (path in _QUIET or path.endswith("/_bulk"))
        headers[REQUEST_ID_HEADER] = name
        if is_quiet:  # programs alone read these, and each header costs a microsecond or two
            headers[_SNIFFING] = "nosniff"
        else:
            for header, value in self._defaults.items():
                headers.setdefault(header, value)
        if self._cors.is_on:
            self._cors.describe(request, headers)
        stream, seconds = request.stream, None
        if isinstance(stream, Http):
            if stream.perft0 is not None:
                seconds = perf_counter() - stream.perft0
            if self._is_closing:
                stream.keep_alive = False
        count_request(request, status, seconds)
        if not is_quiet:
            level = log.warning if status >= 500 else log.info
            level("request", method=request.method, path=path, status=status, request_id=name)

    async def close(self, *_: object) -> None:
        """Begin to close each connection with its next answer, so that none is cut in the middle.

        Else a client that goes on asking would be served until the time for an orderly end is over,
        and then left without the answer to what was taken last.
        """
        self._is_closing = True
