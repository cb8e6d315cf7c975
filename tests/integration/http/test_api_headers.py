"""Headers that protect whoever reads an answer, and which pages may read it (CORS)."""

from collections.abc import Callable
from typing import Literal

import httpx
import pytest

from api.cors import Cors
from tests.integration.http.conftest import PASSWORD, Api
from tocsin.errors import SettingsError
from tocsin.settings import Settings

PAGE = "https://board.example.org"


def ask(api: Api, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.client.request(method, path, headers=given)


@pytest.mark.parametrize("path", ["/", "/docs", "/docs/openapi.json", "/incidents", "/x"])
def test_every_answer_protects_its_reader(api: Api, path: str) -> None:
    headers = ask(api, path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert "strict-transport-security" not in headers
    assert "server" not in headers
    assert "sanic" not in str(headers).lower()


def test_token_is_kept_in_no_cache(api: Api) -> None:
    api.headers("viewer")
    email = "cache@example.org"
    api.client.post("/users", json={"email": email, "password": PASSWORD})
    answer = api.client.post("/auth/login", json={"email": email, "password": PASSWORD})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"


def test_page_may_style_itself_and_nothing_else(api: Api) -> None:
    policy = ask(api, "/docs").headers["content-security-policy"]
    assert "script-src" not in policy
    assert "style-src 'unsafe-inline'" in policy
    assert "frame-ancestors 'none'" in policy


def test_no_page_of_another_origin_is_let_in_unless_it_is_set(api: Api) -> None:
    answer = ask(api, "/incidents", origin=PAGE)
    assert not [name for name in answer.headers if name.startswith("access-control")]
    asked = ask(api, "/incidents", "OPTIONS", origin=PAGE, access_control_request_method="GET")
    assert asked.status_code == 405


@pytest.fixture(scope="module")
def open_api(beside: Callable[..., Api]) -> Api:
    return beside(
        TOCSIN_CORS_ORIGINS=f"{PAGE}, http://localhost:3000",
        TOCSIN_CORS_CREDENTIALS="yes",
        TOCSIN_HSTS_S="31536000",
    )


def test_page_of_an_origin_that_is_named_may_read(open_api: Api) -> None:
    for path, status in (("/healthz", 200), ("/incidents", 401), ("/nothing", 404)):
        answer = ask(open_api, path, origin=PAGE)
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert answer.headers["access-control-allow-credentials"] == "true"
        exposed = answer.headers["access-control-expose-headers"].split(", ")
        assert {"ETag", "Location", "Retry-After", "X-Request-ID"} <= set(exposed)
        assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize(
    "origin",
    [
        "https://board.example.org.evil.org",
        "http://board.example.org",
        "https://BOARD.example.org",
        "https://board.example.org:8443",
        "null",
        "*",
        "",
    ],
)
def test_page_of_another_origin_may_not(open_api: Api, origin: str) -> None:
    answer = ask(open_api, "/healthz", origin=origin)
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize(
    ("path", "method"), [("/ingest", "POST"), ("/incidents", "GET"), ("/incidents/1", "PATCH")]
)
def test_browser_that_asks_first_is_told_what_it_may(open_api: Api, path: str, method: str) -> None:
    answer = ask(
        open_api,
        path,
        "OPTIONS",
        origin=PAGE,
        access_control_request_method=method,
        access_control_request_headers="authorization, content-type",
    )
    assert answer.status_code == 204
    assert answer.content == b""
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert method in answer.headers["access-control-allow-methods"].split(", ")
    taken = answer.headers["access-control-allow-headers"].split(", ")
    assert {"Authorization", "Idempotency-Key", "If-Match", "X-API-Key"} <= set(taken)
    foreign = ask(open_api, path, "OPTIONS", origin="https://evil.org")
    assert "access-control-allow-origin" not in foreign.headers


def test_behind_tls_browsers_are_told_to_insist_on_it(open_api: Api) -> None:
    answer = ask(open_api, "/nothing")
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


def test_any_origin_may_be_let_in_but_with_no_credentials(beside: Callable[..., Api]) -> None:
    answer = ask(beside(TOCSIN_CORS_ORIGINS="*"), "/healthz", origin=PAGE)
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    ("origins", "credentials"),
    [
        ("*", "yes"),
        (f"{PAGE},*", "yes"),
        ("board.example.org", "no"),
        (f"{PAGE}/", "no"),
        ("https://*.example.org", "no"),
        ("null", "no"),
    ],
)
def test_what_is_no_safe_list_of_origins_is_refused(
    origins: str, credentials: Literal["no", "yes"]
) -> None:
    settings = Settings(cors_origins=origins, cors_credentials=credentials)
    with pytest.raises(SettingsError, match=r"^TOCSIN_CORS_ORIGINS: "):
        Cors(settings)
