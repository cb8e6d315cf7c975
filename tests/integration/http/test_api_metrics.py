"""What the API tells Prometheus: of all its processes, on the port that is set."""

import json
from collections.abc import Callable
from contextlib import ExitStack

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from stack.broker import Broker
from stack.ports import free_port
from stack.waiting import wait_until
from tests.integration.http.conftest import WAIT_S, Api
from tests.integration.http.test_api_connections import posted
from tests.integration.http.test_api_ingest import record
from tests.integration.http.test_api_process import assert_refuses_to_boot, ready
from tests.integration.http.wire import connected


class Metered:
    """An API and where its metrics are."""

    def __init__(self, api: Api, port: int) -> None:
        self.api = api
        self._url = f"http://{api.settings.api_host}:{port}/metrics"

    def text(self) -> str:
        return httpx.get(self._url, trust_env=False, timeout=WAIT_S).raise_for_status().text

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of that name with these labels."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.text())
            for sample in family.samples
            if sample.name == f"tocsin_api_{name}" and labels.items() <= sample.labels.items()
        )


@pytest.fixture(params=["one process", "two processes", "two processes, on the API's port"])
def metered(
    request: pytest.FixtureRequest, make_api: Callable[..., Api], own_broker: Broker
) -> Metered:
    workers = 1 if request.param == "one process" else 2
    api_port = free_port()
    port = api_port if "API's" in request.param else free_port()
    api = make_api(
        KAFKA_BOOTSTRAP=own_broker.bootstrap,
        TOCSIN_API_WORKERS=str(workers),
        TOCSIN_API_PORT=str(api_port),
        TOCSIN_API_METRICS_PORT=str(port),
        TOCSIN_LIMIT_ADDRESS_RECORDS="1000/minute",
    )
    api.start_with_topic()
    wait_until(lambda: ready(api) == workers, "all workers", deadline_s=WAIT_S)
    return Metered(api, port)


def spread(api: Api) -> list[httpx.Client]:
    """Return clients of many connections: those of two workers, whichever accepts."""
    return [httpx.Client(base_url=api.url, trust_env=False, timeout=WAIT_S) for _ in range(16)]


def test_api_counts_what_it_does_in_all_its_processes(
    metered: Metered, own_broker: Broker, service: str
) -> None:
    api = metered.api
    bad = [record(service, level="LOUD"), record(service, extra=1), record(service, extra=2)]
    headers = {"x-api-key": api.key}
    for client in spread(api):
        with client:
            answer = client.post("/ingest", json=[record(service)] * 3 + bad, headers=headers)
            assert answer.status_code == 202
            assert client.get("/incidents/0123").status_code == 401
            assert client.get(f"/{service}").status_code == 404
            assert client.request("BREW", "/ingest").status_code == 405
    for _ in range(3):  # whichever process is asked, it is the same
        assert metered.value("records_accepted_total", format="tocsin") == 48
        refused = ("records_refused_total", "tocsin")
        assert metered.value(refused[0], format=refused[1], reason="level") == 16
        assert metered.value(refused[0], format=refused[1], reason="unknown_field") == 32
        assert metered.value("requests_total", route="/ingest", method="POST", status="202") == 16
        assert metered.value("requests_total", route="/incidents/{incident_id}", status="401") == 16
        assert metered.value("requests_total", route="none", method="GET", status="404") == 16
        assert metered.value("requests_total", method="other", status="405") == 16
        assert metered.value("request_seconds_count", route="/ingest", method="POST") == 16
        assert metered.value("publish_seconds_count", outcome="confirmed") == 16
    assert service not in metered.text()
    wait_until(
        lambda: metered.value("pool_connections", state="idle") >= api.settings.api_workers,
        "the pools' connections",
        deadline_s=WAIT_S,
    )
    # The window may end between two requests, and each process counts for itself.
    wait_until(
        lambda: api.ingest([record(service)] * 999).status_code == 429,
        "the limit is reached",
        deadline_s=WAIT_S,
    )
    assert metered.value("rate_limited_total", limit="address") == 1
    assert metered.value("rate_limited_total", limit="key") == 0


def test_what_kafka_has_not_confirmed_is_seen(
    metered: Metered, own_broker: Broker, service: str
) -> None:
    api = metered.api
    for _ in range(16):  # on connections of their own, so each process knows the key
        assert api.ingest(record(service), connection="close").status_code == 202
    request = posted(api, json.dumps(record(service)).encode())
    own_broker.pause()
    with ExitStack() as waiting:
        for _ in range(4):
            waiting.enter_context(connected(api)).sendall(request)
        wait_until(
            lambda: metered.value("records_in_flight") == 4, "the records", deadline_s=WAIT_S
        )
        assert metered.value("bytes_in_flight") > 400
        own_broker.resume()
    wait_until(lambda: metered.value("records_in_flight") == 0, "their end", deadline_s=WAIT_S)


def test_nobody_reads_the_metrics_unless_a_port_is_set(api: Api) -> None:
    assert api.client.get("/metrics").status_code == 404


def test_port_that_is_taken_is_named_in_one_line(make_api: Callable[..., Api], api: Api) -> None:
    taken = make_api(TOCSIN_API_METRICS_PORT=str(api.settings.api_port))
    assert_refuses_to_boot(taken, "TOCSIN_API_METRICS_PORT: cannot listen on")
