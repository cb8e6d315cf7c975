"""One shape for every error: RFC 9457 `application/problem+json`, with the request's id."""

import itertools
import re
import secrets
from contextlib import suppress
from http import HTTPStatus
from typing import Any, cast

import msgspec
import structlog
from msgspec import Struct
from sanic import HTTPResponse, Request
from sanic.constants import HTTP_METHODS
from sanic.exceptions import MethodNotAllowed, PayloadTooLarge, RequestCancelled, SanicException
from sanic.http import Http

from api.connections import ApiRequest
from tocsin.errors import (
    AlreadyExists,
    BrokerError,
    NotFound,
    StaleRevision,
    StorageError,
    TocsinError,
    TookTooLong,
    WrongState,
)

PROBLEM_JSON = "application/problem+json"
REQUEST_ID_HEADER = "X-Request-ID"
RETRY_AFTER_S = 2
DRAINED_BYTES_MAX = 64 * 1024 * 1024
"""So much of a body that is refused as too large is still read; who sends more meets a reset."""
CLIENT_GONE = 499
"""What the log says of a client that left before its answer; nobody receives it."""
# Unique without asking the system for random bytes at every request.
_PROCESS = secrets.token_hex(6)
_NUMBERS = itertools.count(1)
_STATUSES: dict[type[TocsinError], int] = {
    NotFound: 404,
    AlreadyExists: 409,
    WrongState: 409,
    StaleRevision: 412,
    TookTooLong: 504,
}
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")

log = structlog.get_logger(__name__)


class Problem(Struct, frozen=True, kw_only=True):
    """What went wrong. request_id: also in the answer's `X-Request-ID` and in Tocsin's own log."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str


class Refusal(Exception):
    """A request that is answered by a problem.

    members: what the problem document holds beside its usual members.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: dict[str, str] | None = None,
        members: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}
        self.members = members or {}


def unavailable(detail: str, *, members: dict[str, Any] | None = None) -> Refusal:
    """Return the refusal of a request that may succeed when it is sent again later."""
    return Refusal(503, detail, headers={"Retry-After": str(RETRY_AFTER_S)}, members=members)


def too_long(limit: int) -> str:
    """Say that a body has more bytes than the limit, and which setting that is."""
    return f"body: more than {limit} bytes, the limit that TOCSIN_MAX_BODY_BYTES sets"


def request_id(request: Request) -> str:
    """Return the client's own id of a request, if it gave a usable one, or one made for it."""
    if isinstance(request, ApiRequest) and request.known_id is not None:
        return request.known_id
    given = request.headers.get(REQUEST_ID_HEADER)
    name = given if given and _REQUEST_ID.fullmatch(given) else f"{_PROCESS}-{next(_NUMBERS):x}"
    if isinstance(request, ApiRequest):
        request.known_id = name
    return name


def answer_exception(request: Request, exception: BaseException) -> HTTPResponse:
    """Turn whatever a request ended in into a problem; what nobody foresaw goes to the log."""
    if isinstance(exception, RequestCancelled):
        return HTTPResponse(status=CLIENT_GONE)
    if isinstance(exception, MethodNotAllowed):
        # Sanic leaves it out where the path holds a parameter.
        exception.headers = {"Allow": ", ".join(_allowed_methods(request))}
    if isinstance(exception, PayloadTooLarge):
        _drain(request)
        exception = _too_large(request, exception)
    refusal = _refusal(exception)
    if refusal is None:
        log.error("unexpected", exc_info=exception, request_id=request_id(request))
        refusal = Refusal(500, "something unexpected happened; the log tells more by request_id")
    # A route of another protocol refuses in that protocol's words.
    refuse = getattr(request.route and request.route.handler, "__refuse__", problem_response)
    return cast("HTTPResponse", refuse(request, refusal))


def problem_response(request: Request, refusal: Refusal) -> HTTPResponse:
    """Return the answer that a refusal is."""
    problem = Problem(
        type="about:blank",
        title=HTTPStatus(refusal.status).phrase,
        status=refusal.status,
        # Sanic quotes what it refuses, and a header's bytes need not be UTF-8.
        detail=refusal.detail.encode(errors="replace").decode(),
        request_id=request_id(request),
    )
    document = {**msgspec.structs.asdict(problem), **refusal.members}
    return HTTPResponse(
        msgspec.json.encode(document),
        status=refusal.status,
        headers=refusal.headers,
        content_type=PROBLEM_JSON,
    )


def _drain(request: Request) -> None:
    """Let Sanic read the rest of the body and drop it, before it closes the connection.

    To close on a client that still sends is to reset it, before it has read its answer.
    """
    stream = request.stream
    if isinstance(stream, Http):
        stream.request_max_size = stream.protocol.request_max_size = DRAINED_BYTES_MAX


def _too_large(request: Request, exception: PayloadTooLarge) -> Refusal:
    """Tell what Sanic finds too large: the head of a request or its body."""
    if str(exception).startswith("Request header"):
        return Refusal(431, str(exception))
    return Refusal(413, too_long(request.app.config.REQUEST_MAX_SIZE))


def _allowed_methods(request: Request) -> list[str]:
    allowed = []
    for method in HTTP_METHODS:
        with suppress(SanicException):
            request.app.router.get(request.path, method.value, None)
            allowed.append(method.value)
    return allowed


def _refusal(exception: BaseException) -> Refusal | None:
    if isinstance(exception, Refusal):
        return exception
    for kind, status in _STATUSES.items():
        if isinstance(exception, kind):
            return Refusal(status, str(exception))
    if isinstance(exception, (StorageError, BrokerError)):
        return unavailable(str(exception))
    if isinstance(exception, SanicException):
        return _of_sanic(exception)
    return None


def _of_sanic(exception: SanicException) -> Refusal | None:
    status = exception.status_code
    if status == 503:
        return unavailable("the request took too long")
    if status >= 500:
        return None
    headers = {name: str(value) for name, value in (exception.headers or {}).items()}
    return Refusal(status, str(exception) or HTTPStatus(status).phrase, headers=headers)
