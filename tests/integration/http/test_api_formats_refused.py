"""What no format takes, and that each says so in the way that its clients read."""

import gzip
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import cramjam
import pytest
from backports import zstd

from tests.integration.http.conftest import Api
from tests.integration.http.formats import (
    FORMATS,
    bulk,
    error_of,
    every_format,
    every_protocol,
    made,
    send,
)


@every_protocol
@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
@pytest.mark.parametrize("body", [b"", b"not compressed", b"\x1f\x8b\x08\0\0", b"\0" * 100])
def test_damaged_compression_is_refused(api: Api, name: str, coding: str, body: bytes) -> None:
    answer = send(api, name, body, content_encoding=coding)
    assert answer.status_code == 400
    assert error_of(name, answer)


@every_protocol
@pytest.mark.parametrize("compress", [gzip.compress, zstd.compress])
def test_body_that_is_cut_off_is_refused_whole(
    api: Api, service: str, name: str, compress: Callable[[bytes], bytes]
) -> None:
    whole = compress(made(name, service, *"abcdefgh"))
    coding = "gzip" if compress is gzip.compress else "zstd"
    answer = send(api, name, whole[:-5], content_encoding=coding)
    assert answer.status_code == 400
    assert "body" in error_of(name, answer)
    assert api.topic_records(service) == []


@cache
def bomb(coding: str) -> bytes:
    """Return 1 GiB of zeros, compressed."""
    zeros = b"\0" * (1 << 26)
    compressor: Any = {
        "gzip": zlib.compressobj(wbits=31),
        "deflate": zlib.compressobj(),
        "zstd": zstd.ZstdCompressor(),
    }[coding]
    return b"".join(compressor.compress(zeros) for _ in range(16)) + bytes(compressor.flush())


@every_protocol
@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_bomb_is_refused_before_it_fills_the_memory(api: Api, name: str, coding: str) -> None:
    assert api.process is not None
    packed = bomb(coding)
    before = peak_kib(api.process.pid)
    answer = send(api, name, packed, content_encoding=coding)
    assert answer.status_code == 413
    assert "decompressed" in error_of(name, answer)
    assert peak_kib(api.process.pid) - before < 100_000  # of the 1 GiB that it would be


def peak_kib(pid: int) -> int:
    with open(f"/proc/{pid}/status") as status:  # noqa: PTH123 (a line of the kernel's)
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def test_snappy_that_says_it_is_huge_is_refused_unread(api: Api) -> None:
    answer = send(api, "loki", b"\xff\xff\xff\xff\x0f" + b"\0" * 100)
    assert answer.status_code == 413
    assert "decompressed" in error_of("loki", answer)


@pytest.mark.parametrize("body", [b"", b"\0\0", b"\x10abc", b"nonsense" * 20, b"\xff" * 20])
def test_damaged_snappy_is_refused(api: Api, body: bytes) -> None:
    answer = send(api, "loki", body)
    # Two zeros are an empty push and a rest.
    assert answer.status_code == 400
    assert "snappy" in error_of("loki", answer)


@every_format
@pytest.mark.parametrize(
    "credentials",
    ["", "Bearer tcs_0123456789abcdef_secret", "Basic eDp5", "ApiKey eDp5", "Basic ?"],
)
def test_without_a_good_key_nothing_is_taken(
    api: Api, service: str, name: str, credentials: str
) -> None:
    answer = send(api, name, made(name, service, "one"), authorization=credentials)
    assert answer.status_code == 401
    assert "key" in error_of(name, answer)
    assert answer.headers["www-authenticate"]
    assert api.topic_records(service) == []


@every_format
@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/octet-stream", "multipart/form-data"]
)
def test_body_of_another_type_is_refused(api: Api, name: str, kind: str) -> None:
    path = FORMATS[name][0]
    headers = {"authorization": f"Bearer {api.key}", "content-type": kind}
    answer = api.client.post(path, content=b"x", headers=headers)
    assert answer.status_code == 415
    shape = name if name != "otlp" else "otlp-json"  # who names neither encoding gets JSON
    assert "Content-Type" in error_of(shape, answer)


@every_protocol
def test_unknown_compression_is_refused(api: Api, service: str, name: str) -> None:
    answer = send(api, name, made(name, service, "one"), content_encoding="br")
    assert answer.status_code == 415
    assert "gzip" in error_of(name, answer)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("otlp", b"\xff\xff\xff"),
        ("otlp", b"\x0a\x05abc"),
        ("otlp-json", b""),
        ("otlp-json", b"{"),
        ("otlp-json", b"[]"),
        ("otlp-json", b'{"resourceLogs": 7}'),
        ("otlp-json", b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":"x"}]}]}]}'),
        ("otlp-json", b'{"a":' * 100_000),
        ("otlp-json", b'{"resourceLogs": "\xff"}'),
        ("loki", bytes(cramjam.snappy.compress_raw(b"\xff\xff"))),
        ("loki", bytes(cramjam.snappy.compress_raw(b"\x0a\x03\x0a\x01x"))),
        ("loki-json", b""),
        ("loki-json", b"[]"),
        ("loki-json", b"{}"),
        ("loki-json", b'{"streams": [{"stream": {"a": 1}, "values": []}]}'),
        ("loki-json", b'{"streams": [{"stream": {"a": "b"}, "values": [["1"]]}]}'),
        ("loki-json", b'{"streams": [{"stream": {"a": "b"}, "values": [[1, "x"]]}]}'),
        ("loki-json", b'{"streams": [{"stream": {"a": "b"}, "values": [["x", "x"]]}]}'),
        ("loki-json", b'{"streams": [{"stream": {}, "values": [["99999999999999999999", "x"]]}]}'),
        ("loki-json", b'{"streams": [{"stream": {}, "values": [["1", "older than a year"]]}]}'),
        ("loki-json", b'{"streams": [{"stream": {}, "values": ' + b"[" * 100_000),
        ("bulk", b""),
        ("bulk", b"\n\n"),
        ("bulk", b'{"index":{}}\n{"message":"no end"}'),
        ("bulk", b'{"index":{}}\n'),
        ("bulk", b"[]\n{}\n"),
        ("bulk", b'{"index":7}\n{}\n'),
        ("bulk", b'{"index":{},"create":{}}\n{}\n'),
        ("bulk", b'{"upsert":{}}\n{}\n'),
        ("bulk", b'{"a":' * 100_000 + b"\n"),
        ("bulk", b"\xff\n\xff\n"),
        ("lines", b""),
        ("lines", b" \n \r\n"),
        ("lines", b"not json"),
        ("lines", b"\xff\xff"),
    ],
)
def test_body_that_is_none_is_refused(api: Api, name: str, body: bytes) -> None:
    answer = send(api, name, body)
    assert answer.status_code == 400, answer.text
    assert error_of(name, answer)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"7",
        b"[]",
        b"null",
        b'{"message":',
        b'{"message":"\xff"}',
        b'{"level":"INFO"}',
        b'{"message":{"a":1}}',
        b'{"message":"x","@timestamp":"yesterday"}',
        b'{"message":"x","@timestamp":1e400}',
        b'{"message":"x","@timestamp":99999999999999999999999}',
        b'{"message":"x","level":"loud"}',
        b'{"message":"x","level":30}',
        b'{"message":"x","service":7}',
        b'{"message":"x","a":"\\u0000"}',
        b'{"message":"x","a":1e99999}',
        b'{"message":"x","deep":' + b'{"a":' * 5000 + b"1" + b"}" * 5001,
    ],
)
def test_bad_document_is_refused_as_an_item(api: Api, service: str, document: bytes) -> None:
    good = bulk(service, "good")
    answer = send(api, "bulk", good + b'{"create":{"_id":"x1"}}\n' + document + b"\n" + good)
    assert answer.status_code == 200, answer.text
    first, second, third = (next(iter(item.values())) for item in answer.json()["items"])
    assert (first["status"], second["status"], third["status"]) == (201, 400, 201)
    assert second["_id"] == "x1"
    assert second["error"]["type"] == "document_parsing_exception"
    assert second["error"]["reason"]
    assert len(api.topic_records(service)) == 2


@every_protocol
def test_requests_over_the_limits_are_refused_in_the_formats_own_way(
    small: Api, service: str, name: str
) -> None:
    many = send(small, name, made(name, service, *"abcdefghijk"))
    assert many.status_code == 413
    assert "records, at most 10 are taken" in error_of(name, many)
    long = send(small, name, b"x" * 20_001)
    assert long.status_code == 413
    assert error_of(name, long)
