"""Heads of odd bytes: what no client library sends is refused, each with the status for it."""

import pytest

from tests.integration.http.conftest import Api
from tests.integration.http.wire import exchange


@pytest.mark.parametrize("odd", [b"\0", b"\xff\xfe", b"\xc3\xa9", b"\x7f", b"\x1b[0m"])
@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        (b"X-API-Key", b"tcs_%bab_cd", 401),
        (b"X-API-Key", b"tcs_0123456789abcdef_%b", 401),
        (b"X-API-Key", b"%b", 401),
        (b"Authorization", b"Bearer tcs_%bab_cd", 401),
        (b"Authorization", b"%b", 401),
        (b"Content-Type", b"application/json%b", 401),
        (b"Content-Encoding", b"%b", 401),
        (b"X-Request-ID", b"%b", 401),
        (b"Expect", b"%b", 417),
        (b"Content-Length", b"%b", 400),
    ],
)
def test_header_of_odd_bytes_is_the_clients_mistake(
    api: Api, header: bytes, value: bytes, status: int, odd: bytes
) -> None:
    lines = {b"Content-Length": b"0", b"Connection": b"close", header: value.replace(b"%b", odd)}
    head = b"".join(b"%b: %b\r\n" % line for line in lines.items())
    answer = exchange(api, b"POST /ingest HTTP/1.1\r\n" + head + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"application/problem+json" in answer


@pytest.mark.parametrize("odd", [b"\0", b"\xff\xfe", b"\xc3\xa9"])
@pytest.mark.parametrize("header", ["content-type", "content-encoding"])
def test_body_of_an_odd_type_is_refused(api: Api, header: str, odd: bytes) -> None:
    lines = {"x-api-key": api.key, "content-type": "application/json", "content-length": "2"}
    lines[header] = f"application/json; charset={odd.decode('latin-1')}"
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode("latin-1")
    answer = exchange(api, b"POST /ingest HTTP/1.1\r\nconnection: close\r\n" + head + b"\r\n{}")
    assert answer.startswith(b"HTTP/1.1 415 "), answer


@pytest.mark.parametrize("odd", [b"\0", b"\xff\xfe", b"\xc3\xa9"])
def test_access_token_of_odd_bytes_is_refused(api: Api, odd: bytes) -> None:
    head = b"GET /incidents HTTP/1.1\r\nconnection: close\r\nauthorization: Bearer a.%b.c\r\n\r\n"
    assert exchange(api, head % odd).startswith(b"HTTP/1.1 401 ")


def test_method_of_odd_bytes_is_refused(api: Api) -> None:
    answer = exchange(api, b"G\xff\xfeT /healthz HTTP/1.1\r\nconnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 405 "), answer
