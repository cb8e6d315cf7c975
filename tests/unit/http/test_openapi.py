"""The description of the API: complete, and true to its routes."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from api.app import create_app
from api.docs import page
from api.openapi import Route, document
from tocsin.settings import Settings

SETTINGS = Settings(jwt_secret="x" * 32)


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    app = create_app(settings=SETTINGS)
    return json.loads(json.dumps(app.ctx.description))  # type: ignore[no-any-return]


def references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref":
                yield value
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_route_is_described(described: dict[str, Any]) -> None:
    app = create_app(settings=SETTINGS)
    served = {
        (method, "/" + route.path.replace("<", "{").replace(":str>", "}"))
        for route in app.router.routes
        for method in route.methods
    }
    told = {
        (method.upper(), path) for path, methods in described["paths"].items() for method in methods
    }
    heads = {("HEAD", path) for method, path in served if method == "GET"}
    pages = {("GET", "/"), ("GET", "/docs"), ("GET", "/docs/openapi.json")}
    assert served - told == heads | pages
    assert told <= served


def test_every_reference_leads_somewhere(described: dict[str, Any]) -> None:
    found = set(references(described))
    assert found
    for reference in found:
        node: Any = described
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def test_every_operation_tells_its_errors_and_its_credentials(described: dict[str, Any]) -> None:
    schemes = described["components"]["securitySchemes"]
    names = set()
    for path, methods in described["paths"].items():
        for method, entry in methods.items():
            names.add(entry["operationId"])
            assert {"500"} <= entry["responses"].keys()
            assert entry["summary"]
            needed = [name for need in entry["security"] for name in need]
            assert set(needed) <= schemes.keys()
            lets_in = path in {"/auth/login", "/auth/refresh"}
            assert ("401" in entry["responses"]) == (bool(needed) or lets_in)
            is_bare = path == "/auth/logout" or path.endswith("/cancel")
            has_body = method in {"post", "patch", "put"} and not is_bare
            assert ("requestBody" in entry) == has_body
    assert len(names) == sum(len(methods) for methods in described["paths"].values())


def test_page_tells_every_operation_and_type(described: dict[str, Any]) -> None:
    html = page(described)
    for path in described["paths"]:
        assert path in html
    for name in described["components"]["schemas"]:
        assert f'id="{name}"' in html or f"id={name}" in html


def test_contents_of_the_page_lead_to_every_operation(described: dict[str, Any]) -> None:
    html = page(described)
    anchors = re.findall(r'\bid="?([^">\s]+)', html)
    assert len(set(anchors)) == len(anchors)
    assert set(re.findall(r'href="?#([^">\s]+)', html)) <= set(anchors)
    contents = html.partition("<nav>")[2].partition("</nav>")[0]
    operations = sum(len(methods) for methods in described["paths"].values())
    assert len(re.findall(r'href="?#', contents)) == operations + 1


def test_page_reads_as_prose(described: dict[str, Any]) -> None:
    html = page(described)
    assert "`" not in html
    assert "<code>totalPages</code>" in html
    for scheme in described["components"]["securitySchemes"]:
        assert scheme not in html
    for sentence in (
        "Needs an ingest key (<code>Authorization: Bearer tcs_…</code>), or",
        "May need an access token",
        "Needs no credentials.",
    ):
        assert sentence in html


def test_route_without_a_description_is_found_out() -> None:
    with pytest.raises(TypeError, match="GET /secret is not described"):
        document([Route("GET", "/secret", lambda: None)])


def test_two_applications_live_in_one_process() -> None:
    first, second = create_app(settings=SETTINGS), create_app(settings=SETTINGS)
    assert first.name != second.name
