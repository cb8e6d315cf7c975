"""The API's own description: OpenAPI 3.1, made from the types that the routes read and answer."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, TypeVar

import msgspec
from sanic import HTTPResponse, Request

from api.limits import UNLIMITED_PATHS
from api.problems import PROBLEM_JSON, Problem, Refusal

JSON = "application/json"
Schema = dict[str, Any]
Security = Sequence[Mapping[str, list[str]]]
Content = Mapping[str, Schema]
"""What a body is in each media type, where no type of ours describes it."""

NOBODY: Security = ()
TOKEN: Security = ({"accessToken": []},)
OPTIONAL_TOKEN: Security = ({"accessToken": []}, {})
INGEST_KEY: Security = ({"ingestKey": []}, {"ingestKeyHeader": []}, {"ingestKeyBasic": []})

_SECURITY_SCHEMES = {
    "accessToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The `access_token` of `POST /auth/login`.",
    },
    "ingestKey": {
        "type": "http",
        "scheme": "bearer",
        "description": "An ingest key, `tcs_<id>_<secret>`, from `tocsin keys create`.",
    },
    "ingestKeyHeader": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "ingestKeyBasic": {
        "type": "http",
        "scheme": "basic",
        "description": "An ingest key for the password; the name is not looked at.",
    },
}
_DESCRIPTION = (
    "Logs in, incidents out. Names are snake_case, as in log records and SQL; `totalPages`, "
    "`totalRelation` and `confirmedAt` are those that clients of such platforms already know "
    "otherwise. Times are RFC 3339 in UTC. Every error is a problem (RFC 9457) with the request's "
    "id."
)
_RETRY_AFTER = {
    "Retry-After": {"description": "Seconds to wait", "schema": {"type": "integer", "minimum": 0}}
}
_OVER_LIMIT = {
    **_RETRY_AFTER,
    **{
        f"RateLimit-{name}": {"description": told, "schema": {"type": "integer", "minimum": 0}}
        for name, told in (
            ("Limit", "How much is let through in a window"),
            ("Remaining", "How much of it is left"),
            ("Reset", "Seconds until the window ends"),
        )
    },
}
_HEADERS = {429: _OVER_LIMIT, 503: _RETRY_AFTER}


@dataclass(frozen=True)
class Shape:
    """How a route refuses, where it is another protocol's. content: what its clients then read."""

    refuse: Callable[[Request, Refusal], HTTPResponse]
    content: Content


@dataclass(frozen=True)
class Operation:
    """What is to be said about a route beside its path."""

    summary: str
    description: str
    answers: Mapping[int, type | Content]
    errors: Sequence[int]
    body: type | None
    body_schema: Schema
    one_or_many: bool
    body_optional: bool
    content: Content
    parameters: Sequence[Schema]
    security: Security
    shape: Shape | None
    tag: str | None


@dataclass(frozen=True)
class Route:
    """A method of a path and its handler, which carries an Operation."""

    method: str
    path: str
    handler: Callable[..., Any]


Handler = TypeVar("Handler", bound=Callable[..., Any])


def operation(
    *,
    summary: str,
    answers: Mapping[int, type | Content],
    errors: Sequence[int],
    description: str = "",
    body: type | None = None,
    body_schema: Schema | None = None,
    one_or_many: bool = False,
    body_optional: bool = False,
    content: Content | None = None,
    parameters: Sequence[Schema] = (),
    security: Security = NOBODY,
    shape: Shape | None = None,
    tag: str | None = None,
) -> Callable[[Handler], Handler]:
    """Describe a handler. one_or_many: its body is one of `body` or an array of them.

    body_schema: what the type of the body can't say. content: what else the body may be; an
    answer of empty content has no body. tag: the chapter, else the first part of the path.
    """
    described = Operation(
        summary,
        description,
        answers,
        errors,
        body,
        body_schema or {},
        one_or_many,
        body_optional,
        content or {},
        parameters,
        security,
        shape,
        tag,
    )

    def describe(handler: Handler) -> Handler:
        handler.__operation__ = described  # type: ignore[attr-defined]  # a function carries it
        if shape is not None:
            handler.__refuse__ = shape.refuse  # type: ignore[attr-defined]  # likewise
        return handler

    return describe


def document(routes: Sequence[Route]) -> Schema:
    """Return the OpenAPI document of the routes."""
    operations = [(route, operation_of(route)) for route in routes]
    kinds: set[Any] = {Problem}
    for _, described in operations:
        kinds.update(kind for kind in described.answers.values() if isinstance(kind, type))
        kinds.update({described.body} if described.body else ())
    ordered = sorted(kinds, key=lambda kind: kind.__name__)
    _, schemas = msgspec.json.schema_components(ordered, ref_template="#/components/schemas/{name}")
    paths: dict[str, Schema] = {}
    shared = Counter(route.handler.__qualname__ for route in routes)
    for route, described in operations:
        entry = _entry(route, described)
        if shared[entry["operationId"]] > 1:
            entry["operationId"] += f" {route.method} {_path(route.path)}"
        paths.setdefault(_path(route.path), {})[route.method.lower()] = entry
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tocsin", "version": version("tocsin"), "description": _DESCRIPTION},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": _SECURITY_SCHEMES},
    }


def operation_of(route: Route) -> Operation:
    """Return what is said about a route; each must be described."""
    found = getattr(route.handler, "__operation__", None)
    if not isinstance(found, Operation):
        raise TypeError(f"{route.method} {route.path} is not described: give it @operation")
    return found


def _entry(route: Route, described: Operation) -> Schema:
    responses = {str(status): _answer(kind) for status, kind in described.answers.items()}
    # What any request may meet: a limit, a head or body out of bounds, and what nobody foresaw.
    always = {431, 500} if route.method == "GET" else {413, 431, 500}
    always |= set() if route.path in UNLIMITED_PATHS else {429}
    for status in sorted({*described.errors, *always}):
        responses[str(status)] = _problem(status, described.shape)
    entry: Schema = {
        "operationId": route.handler.__qualname__,
        "tags": [described.tag or route.path.split("/")[1].split("<")[0]],
        "summary": described.summary,
        "parameters": [*_path_parameters(route.path), *described.parameters],
        "responses": responses,
        "security": list(described.security),
    }
    if described.description:
        entry["description"] = described.description
    content = {media: {"schema": schema} for media, schema in described.content.items()}
    if schema := _body_schema(described):
        content = {JSON: {"schema": schema}, **content}
    if content:
        required = not described.body_optional
        entry["requestBody"] = {"required": required, "content": content}
    return entry


def _body_schema(described: Operation) -> Schema | None:
    if described.body is None:
        return None
    one = {**_reference(described.body), **described.body_schema}
    many = {"type": "array", "minItems": 1, "items": one}
    return {"oneOf": [one, many]} if described.one_or_many else one


def _answer(kind: type | Content) -> Schema:
    if not isinstance(kind, type):
        content = {media: {"schema": schema} for media, schema in kind.items()}
        return {"description": "Taken", **({"content": content} if content else {})}
    return {
        "description": (kind.__doc__ or "").partition("\n")[0],
        "content": {JSON: {"schema": _reference(kind)}},
    }


def _problem(status: int, shape: Shape | None) -> Schema:
    kinds = shape.content if shape else {PROBLEM_JSON: _reference(Problem)}
    answer: Schema = {
        "description": HTTPStatus(status).phrase,
        "content": {media: {"schema": schema} for media, schema in kinds.items()},
    }
    return {**answer, "headers": _HEADERS[status]} if status in _HEADERS else answer


def _reference(kind: type) -> Schema:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _path(path: str) -> str:
    """Turn Sanic's `<name:type>` into OpenAPI's `{name}`."""
    parts = [
        "{" + part[1:-1].partition(":")[0] + "}" if part.startswith("<") else part
        for part in path.split("/")
    ]
    return "/".join(parts)


def _path_parameters(path: str) -> list[Schema]:
    return [
        {
            "name": part[1:-1].partition(":")[0],
            "in": "path",
            "required": True,
            "schema": {"type": "string"},
        }
        for part in path.split("/")
        if part.startswith("<")
    ]
