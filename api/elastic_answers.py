"""How Elasticsearch answers: what its clients look for in every answer, and what they ask first."""

import re
from typing import Any

import msgspec
from sanic import HTTPResponse, Request

from api.bodies import JSON
from api.openapi import Content, Shape
from api.problems import Refusal

PRODUCT = {"X-Elastic-Product": "Elasticsearch"}
"""The official clients talk to no server without it."""
VERSION = "8.19.0"
"""The release whose `_bulk` this is; shippers ask for it."""
_TYPES = {
    400: "illegal_argument_exception",
    401: "security_exception",
    403: "security_exception",
    404: "resource_not_found_exception",
    413: "content_too_long_exception",
    415: "media_type_header_exception",
    429: "es_rejected_execution_exception",
    503: "unavailable_exception",
}
_COMPATIBLE = re.compile(
    r"application/vnd\.elasticsearch\+(?:x-nd)?json\s*;\s*compatible-with\s*=\s*([789])", re.ASCII
)
_CLIENTS = re.compile(
    r"elastic|logstash|beat/|fluent|vector/|rsyslog|opensearch", re.ASCII | re.IGNORECASE
)


def answer(request: Request, content: Any, status: int = 200) -> HTTPResponse:
    """Return an answer, in the dialect of JSON that its client asks for."""
    wanted = _COMPATIBLE.search(request.headers.get("accept", ""))
    kind = f"application/vnd.elasticsearch+json;compatible-with={wanted[1]}" if wanted else JSON
    return HTTPResponse(
        msgspec.json.encode(content), status=status, headers=PRODUCT.copy(), content_type=kind
    )


def refuse(request: Request, refusal: Refusal) -> HTTPResponse:
    """Answer an error as Elasticsearch does."""
    status = refusal.status
    cause = error(refusal.detail.encode(errors="replace").decode(), status)
    document = {"error": {"root_cause": [cause], **cause}, "status": status}
    response = answer(request, document, status)
    response.headers.update(refusal.headers)
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Basic realm="tocsin", Bearer realm="tocsin", ApiKey'
    return response


def error(reason: str, status: int = 400, kind: str | None = None) -> dict[str, str]:
    """Return what is wrong, by its name in Elasticsearch and in words."""
    return {"type": kind or _TYPES.get(status, "exception"), "reason": reason}


def asks_as_client(request: Request) -> bool:
    """Whether whoever asks for `/` is a client of Elasticsearch, and no browser."""
    headers = request.headers
    accept = headers.get("accept", "")
    if "text/html" in accept:
        return False
    agent = headers.get("user-agent", "")
    return "json" in accept or "x-elastic-client-meta" in headers or bool(_CLIENTS.search(agent))


def described(description: str) -> Content:
    """Return what a body of JSON is, for the API's description."""
    return {JSON: {"type": "object", "description": description}}


SHAPE = Shape(refuse, described("`error.type`, `error.reason`, `status`"))
