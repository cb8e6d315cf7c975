"""Clients that others wrote, as their registries give them, send to the API as to their own."""

import logging
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import elasticsearch
import elasticsearch8
import elasticsearch8.helpers
import logging_loki
import pytest
from elasticsearch import helpers
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from tests.acceptance.conftest import Platform
from tests.acceptance.programs import API_KEY, API_PORT, SPOOL, Folder, Rsyslog

every_client = pytest.mark.parametrize(
    ("client", "bulk"),
    [
        (elasticsearch.Elasticsearch, helpers.bulk),
        (elasticsearch8.Elasticsearch, elasticsearch8.helpers.bulk),
    ],
    ids=["9", "8"],
)


@pytest.fixture
def service(unique_name: Callable[[str], str]) -> str:
    """The name of a service that no other test sends logs of."""
    return unique_name("shop")


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
def test_opentelemetry_sdk_exports(
    tocsin: Platform, service: str, compression: Compression
) -> None:
    provider = LoggerProvider(
        resource=Resource.create({"service.name": service}), shutdown_on_exit=False
    )
    exporter = OTLPLogExporter(
        endpoint=f"{tocsin.stack.api_url}/v1/logs",
        headers={"Authorization": f"Bearer {tocsin.key}"},
        compression=compression,
    )
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    logger = provider.get_logger("cart", "1.2")
    severities = (1, 8, 9, 12, 13, 17, 20, 21)
    for number in severities:
        logger.emit(
            LogRecord(
                timestamp=time.time_ns(),
                severity_number=SeverityNumber(number),
                body={"card": [number]},
                trace_id=0xABC,
                span_id=0xDEF,
                attributes={"order": number, "items": ["a", "b"]},
            )
        )
    provider.shutdown()
    stored = tocsin.logs(service, len(severities))
    levels = ["DEBUG", "DEBUG", "INFO", "INFO", "WARN", "ERROR", "ERROR", "FATAL"]
    assert [row["level"] for row in stored] == levels
    assert stored[0]["message"] == '{"card":[1]}'
    metadata = stored[0]["metadata"]
    assert metadata["attributes"] == {"order": 1, "items": ["a", "b"]}
    assert (metadata["trace_id"], metadata["span_id"]) == (f"{0xABC:032x}", f"{0xDEF:016x}")
    assert metadata["resource"]["service.name"] == service
    assert metadata["scope"] == {"name": "cart", "version": "1.2"}


def test_loki_library_pushes(tocsin: Platform, service: str) -> None:
    handler = logging_loki.LokiHandler(
        url=f"{tocsin.stack.api_url}/loki/api/v1/push",
        tags={"service_name": service, "zone": "eu"},
        auth=("anybody", tocsin.key),
    )
    log = logging.getLogger(service)
    log.propagate = False
    log.addHandler(handler)
    log.warning("three left")
    log.error("card declined")
    stored = tocsin.logs(service, 2)
    assert [(row["level"], row["message"]) for row in stored] == [
        ("WARN", "three left"),
        ("ERROR", "card declined"),
    ]
    assert stored[0]["metadata"]["zone"] == "eu"


@pytest.fixture(params=["api_key", "bearer_auth", "basic_auth", "pair"])
def credentials(request: pytest.FixtureRequest, tocsin: Platform) -> dict[str, Any]:
    """Every way in which the official client can send a key."""
    ways: dict[str, dict[str, Any]] = {
        "api_key": {"api_key": tocsin.key},
        "bearer_auth": {"bearer_auth": tocsin.key},
        "basic_auth": {"basic_auth": ("anybody", tocsin.key)},
        "pair": {"api_key": ("any-id", tocsin.key)},
    }
    return ways[request.param]


@every_client
def test_elasticsearch_client_sends_in_bulk(
    tocsin: Platform, service: str, client: Any, bulk: Any, credentials: dict[str, Any]
) -> None:
    with client(tocsin.stack.api_url, http_compress=True, **credentials) as es:
        assert es.ping()
        assert es.info()["tagline"] == "You Know, for Search"
        assert es.cluster.health()["status"] == "green"
        es.indices.put_index_template(name="logs", index_patterns=["logs-*"])
        assert es.indices.exists_index_template(name="logs")
        document = {"service.name": service, "severity": "err"}
        actions = [{"_index": "logs", "_id": f"{n}", "message": str(n), **document} for n in (1, 2)]
        actions.insert(1, {"_index": "logs", "message": "nul \0", **document})
        taken, refused = bulk(es, actions, raise_on_error=False)
    assert taken == 2
    [item] = refused
    assert "NUL" in item["index"]["error"]["reason"]
    stored = tocsin.logs(service, 2)
    assert [(row["level"], row["message"]) for row in stored] == [("ERROR", "1"), ("ERROR", "2")]


@every_client
def test_elasticsearch_client_tells_a_wrong_key(tocsin: Platform, client: Any, bulk: Any) -> None:
    with client(tocsin.stack.api_url, api_key="wrong") as es:
        assert not es.ping()
        with pytest.raises(Exception, match="security_exception") as error:
            bulk(es, [{"_index": "logs", "message": "x"}])
    assert type(error.value).__name__ == "AuthenticationException"


@pytest.fixture
def to_api(tocsin: Platform, folder: Folder) -> Iterator[Rsyslog]:
    """An rsyslogd that sends what it receives to the API."""
    port = tocsin.stack.api_url.rpartition(":")[2]
    ours = {API_PORT: f'serverport="{port}"', API_KEY: tocsin.key, SPOOL: folder.inside}
    rsyslog = Rsyslog(folder, "tocsin-elasticsearch.conf", replacements=ours)
    rsyslog.start()
    yield rsyslog
    rsyslog.stop()


def test_rsyslog_sends_by_omelasticsearch(tocsin: Platform, to_api: Rsyslog, service: str) -> None:
    text = 'two  spaces, "quotes" \\ back\\slashes, ñandú 🔔'
    to_api.log(text, "--priority", "local3.err", "--id=77", tag=service)
    lines = [f"line {number}" for number in range(300)]
    to_api.log_lines(lines, tag=service)
    first, *others = tocsin.logs(service, 1 + len(lines))
    assert (first["level"], first["message"]) == ("ERROR", text)
    host = socket.gethostname()
    assert first["metadata"].pop("host") in {host, host.partition(".")[0]}
    assert first["metadata"] == {"facility": "local3", "procid": "77"}
    assert [row["message"] for row in others] == lines
    assert not (to_api.folder.outside / "tocsin-refused.json").exists()
