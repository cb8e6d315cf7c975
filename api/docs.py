"""The OpenAPI document and its page, which needs no network: plain HTML, no script."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from html5tagger import Builder, Document, E
from sanic import HTTPResponse, Request

from api.bodies import JSON
from api.openapi import Route, document

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
pre { overflow-x: auto; padding: .75rem; border: 1px solid #8886; border-radius: 6px; }
section { border-top: 1px solid #8886; padding-top: .5rem; }
h2 code { font-size: 1rem; }
.method { display: inline-block; min-width: 4rem; font-weight: bold; color: #b3541e; }
table { border-collapse: collapse; }
td { padding: .1rem 1rem .1rem 0; vertical-align: top; }
nav td { white-space: nowrap; }
nav td:last-child { white-space: normal; }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
_CREDENTIALS = {
    "accessToken": "an access token (`Authorization: Bearer …`)",
    "ingestKey": "an ingest key (`Authorization: Bearer tcs_…`)",
    "ingestKeyHeader": "the same as `X-API-Key: tcs_…`",
    "ingestKeyBasic": "the same as the password of HTTP Basic",
}
_NOT_IN_AN_ANCHOR = re.compile(r"[^a-z0-9_]+")
_CODE = re.compile(r"`([^`]+)`")


class Docs:
    """Serves the description of the routes, as JSON and as a page."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.description = document(routes)
        self._json = msgspec.json.encode(self.description)
        self._html = page(self.description).encode()

    async def document(self, _request: Request) -> HTTPResponse:
        """Answer the OpenAPI document."""
        return HTTPResponse(self._json, content_type=JSON)

    async def page(self, _request: Request) -> HTTPResponse:
        """Answer the page."""
        return HTTPResponse(
            self._html,
            content_type="text/html; charset=utf-8",
            headers={"Content-Security-Policy": _POLICY},
        )


async def lead(_request: Request) -> HTTPResponse:
    """Lead whoever knows but the address to the page."""
    return HTTPResponse(status=302, headers={"Location": "/docs"})


def page(described: dict[str, Any]) -> str:
    """Return the page of an OpenAPI document."""
    info = described["info"]
    html = Document(f"{info['title']} API", lang="en").style(_STYLE)
    html.h1(f"{info['title']} API {info['version']}").p(_prose(info["description"]))
    html.p(E("Machine-readable: ").a("openapi.json", href="/docs/openapi.json"))
    html.nav(_contents(described["paths"]))
    for path, operations in described["paths"].items():
        for method, entry in operations.items():
            html.section(_operation(method, path, entry))
    html.h1("Types", id="types")
    for name, schema in described["components"]["schemas"].items():
        html.section(_type(name, schema))
    return str(html)


def _contents(paths: dict[str, dict[str, dict[str, Any]]]) -> Builder:
    """Return a table of all operations by chapter, each of which leads to its own."""
    chapters: dict[str, list[Builder]] = {}
    for path, operations in paths.items():
        for method, entry in operations.items():
            name = E.span(method.upper(), class_="method")(path)
            link = E.a(E.code(name), href=f"#{_anchor(method, path)}")
            chapters.setdefault(entry["tags"][0], []).append(
                E.tr(E.td(link).td(_prose(entry["summary"])))
            )
    html = E("")
    for chapter, rows in chapters.items():
        html.h3(chapter)
        with html.table:
            for row in rows:
                html(row)
    return html.p(E.a("Types", href="#types"))


def _anchor(method: str, path: str) -> str:
    return _NOT_IN_AN_ANCHOR.sub("-", f"{method}{path}".lower()).strip("-")


def _operation(method: str, path: str, entry: dict[str, Any]) -> Builder:
    html = E.h2(E.code(E.span(method.upper(), class_="method")(path)), id=_anchor(method, path))
    html.p(E.strong(entry["summary"])(". ", _prose(entry.get("description", ""))))
    html.p(_prose(_needs(entry["security"])))
    with html.table:
        for parameter in entry["parameters"]:
            html.tr(
                E.td(E.code(parameter["name"]))
                .td(parameter["in"])
                .td(_prose(parameter.get("description", "")))
            )
        if "requestBody" in entry:
            html.tr(E.td("body").td("").td(_links(entry["requestBody"]["content"])))
        for status, answer in entry["responses"].items():
            html.tr(
                E.td(E.code(status))
                .td(_prose(answer["description"]))
                .td(_links(answer.get("content", {})))
            )
    return html


def _type(name: str, schema: dict[str, Any]) -> Builder:
    text = msgspec.json.format(msgspec.json.encode(schema)).decode()
    return E.h3(name, id=name).pre(_prose(text))


def _needs(security: Iterable[dict[str, list[str]]]) -> str:
    """Say in words what a request must carry; an empty requirement makes the others optional."""
    ways = list(security)
    named = ", or ".join(_CREDENTIALS[name] for way in ways for name in way)
    if not named:
        return "Needs no credentials."
    return f"May need {named}." if {} in ways else f"Needs {named}."


def _prose(text: str) -> Builder:
    """Set what stands between backticks as code."""
    html = E("")
    for number, part in enumerate(_CODE.split(text)):
        html(E.code(part) if number % 2 else part)
    return html


def _links(content: dict[str, Any]) -> Builder:
    html = E("")
    for media_type, entry in content.items():
        for schema in entry["schema"].get("oneOf", [entry["schema"]]):
            many = schema.get("type") == "array"
            name = (schema["items"] if many else schema).get("$ref", "").rpartition("/")[2]
            if name:
                html.a(f"array of {name}" if many else name, href=f"#{name}")(" ")
            else:
                html(_prose(schema.get("description", "")))(" ")
        html.small(media_type)(" ")
    return html
