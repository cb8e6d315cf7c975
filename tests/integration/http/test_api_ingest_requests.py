"""Requests to `/ingest` as a whole: of which type they are, whose, and how large."""

import gzip
import http.client
import json
from collections.abc import Iterator

import httpx
import pytest

from tests.integration.http.conftest import Api
from tests.integration.http.test_api_ingest import assert_problem, record


@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": "text/plain"},
        {"content_type": "application/x-www-form-urlencoded"},
        {"content_type": ""},
        {"content_type": "application/json; charset=latin-1"},
        {"content_type": 'application/json; x=y; Charset="UTF-16"'},
        {"content_encoding": "br"},
        {"content_encoding": "gzip, gzip"},
    ],
)
def test_body_of_another_type_is_refused(api: Api, service: str, headers: dict[str, str]) -> None:
    body = json.dumps(record(service)).encode()
    assert_problem(api.ingest(body, **headers), 415)


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json; profile=x;",
        "Application/JSON",
    ],
)
def test_json_is_known_by_any_spelling(api: Api, service: str, content_type: str) -> None:
    assert api.ingest(record(service), content_type=content_type).status_code == 202


def test_key_is_taken_from_either_header(api: Api, service: str) -> None:
    body = json.dumps(record(service)).encode()
    answer = api.client.post(
        "/ingest",
        content=body,
        headers={"x-api-key": api.key, "content-type": "application/json"},
    )
    assert answer.status_code == 202


@pytest.mark.parametrize(
    "key",
    [
        "",
        "Bearer",
        "Bearer tcs_",
        "Bearer tcs__",
        "Bearer tcs_0123456789abcdef_secret",
        "Bearer ' OR 1=1 --",
        "Bearer tcs_' OR 1=1 --_x",
        "Bearer " + "tcs_" * 1000,
        "Basic dGNzXzE6eA==",
    ],
)
def test_without_a_good_key_nothing_is_taken(api: Api, service: str, key: str) -> None:
    answer = api.ingest(record(service), authorization=key)
    assert_problem(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_key_with_another_secret_is_refused(api: Api, service: str) -> None:
    forged = api.key[:-1] + ("A" if api.key[-1] != "A" else "B")
    assert_problem(api.ingest(record(service), authorization=f"Bearer {forged}"), 401)


def test_key_with_bytes_beyond_ascii_is_refused(api: Api) -> None:
    raw = httpx.Headers([(b"authorization", f"Bearer {api.key}".encode() + b"\xff\xe9")])
    answer = api.client.post("/ingest", json={}, headers=raw)
    assert_problem(answer, 401)


def test_access_token_does_not_ingest(api: Api, service: str) -> None:
    assert_problem(api.ingest(record(service), **api.headers("admin")), 401)


def test_requests_over_the_limits_are_refused_as_too_large(small: Api, service: str) -> None:
    assert_problem(small.ingest([record(service)] * 11), 413)
    assert_problem(small.ingest(record(service, message="x" * 20_000)), 413)


TOO_LONG = "body: more than 20000 bytes, the limit that TOCSIN_MAX_BODY_BYTES sets"


def test_limit_of_a_body_is_named_whether_or_not_it_is_compressed(small: Api, service: str) -> None:
    body = json.dumps(record(service, message="x" * 20_000)).encode()
    assert assert_problem(small.ingest(body), 413)["detail"] == TOO_LONG
    answer = small.ingest(gzip.compress(body), content_encoding="gzip")
    assert assert_problem(answer, 413)["detail"] == f"{TOO_LONG}, when decompressed"


def test_answer_reaches_a_client_that_sends_far_too_much(small: Api, service: str) -> None:
    piece = b"x" * 1_000_000

    def chunks() -> Iterator[bytes]:
        yield from [piece] * 16

    # A client that reads nothing before it has sent everything, as most do.
    connection = http.client.HTTPConnection(small.settings.api_host, small.settings.api_port)
    headers = {"X-API-Key": small.key, "Content-Type": "application/json"}
    for body in (piece * 16, chunks()):
        connection.request("POST", "/ingest", body, headers, encode_chunked=True)
        answer = connection.getresponse()
        assert answer.status == 413
        assert json.loads(answer.read())["detail"] == TOO_LONG
    connection.close()
    assert_problem(small.ingest(record(service, message="x" * 20_000)), 413)
