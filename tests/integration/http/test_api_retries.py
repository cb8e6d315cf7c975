"""`Idempotency-Key`: a request that is sent again is stored once, in any format."""

import http.client
import os
import secrets
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from stack.broker import Broker
from stack.processes import descendants
from stack.waiting import wait_until
from tests.integration.conftest import Line
from tests.integration.http.conftest import WAIT_S, Api, read_topic
from tests.integration.http.formats import FORMATS, error_of, made, send, wire
from tests.integration.http.test_api_ingest import record


@pytest.mark.parametrize("name", FORMATS)
def test_retry_has_the_ids_of_the_request_and_another_request_others(
    api: Api, service: str, name: str
) -> None:
    body = made(name, service, "one", "two")
    for key in ("a", "a", "b"):
        answer = send(api, name, body, idempotency_key=key)
        assert answer.status_code == FORMATS[name][3]
    ids = [wire(message)["id"] for message in api.topic_records(service)]
    assert ids[:2] == ids[2:4]
    assert len({*ids}) == 4


def test_record_keeps_an_id_of_its_own(api: Api, service: str) -> None:
    sent = [record(service, id="mine"), record(service, id=None), record(service)]
    assert api.ingest(sent, idempotency_key="k").json()["accepted"] == 3
    first, second, third = (wire(message)["id"] for message in api.topic_records(service))
    assert first == "mine"
    assert second.endswith("-1")
    assert third.endswith("-2")


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\tinside"])
@pytest.mark.parametrize("name", ["lines", "otlp", "loki-json", "bulk"])
def test_key_that_is_none_is_refused(api: Api, service: str, name: str, key: str) -> None:
    answer = send(api, name, made(name, service, "one"), idempotency_key=key)
    assert answer.status_code == 400
    assert "Idempotency-Key" in error_of(name, answer)


@pytest.fixture
def own_line(make_line: Callable[[Broker], Line], own_broker: Broker) -> Line:
    """A line on a broker of this test's own."""
    return make_line(own_broker)


@pytest.mark.parametrize("name", ["lines", "otlp"])
def test_request_whose_api_is_killed_before_its_answer_is_stored_once_after_a_retry(
    make_api: Callable[..., Api], own_line: Line, own_broker: Broker, service: str, name: str
) -> None:
    settings = own_line.settings
    api = make_api(
        DATABASE_URL=settings.database_url,
        KAFKA_BOOTSTRAP=settings.kafka_bootstrap,
        TOCSIN_TOPIC=settings.topic,
    )
    api.start_ready()
    flow = own_line.start_flow()
    # It has its connection to Kafka, and has asked where the topic is.
    assert send(api, name, made(name, f"{service}-0", "warm")).status_code == FORMATS[name][3]
    # Nothing compresses them below what they hold, so that their bytes tell when all have come.
    messages = [secrets.token_urlsafe(150) for _ in range(50)]
    body = made(name, service, *messages)
    own_broker.pause()
    waiting = http.client.HTTPConnection(api.settings.api_host, api.settings.api_port)
    path, kind = FORMATS[name][:2]
    headers = {"X-API-Key": api.key, "Content-Type": kind, "Idempotency-Key": "retry-me"}
    waiting.request("POST", path, body, headers)
    sent_bytes = sum(map(len, messages))
    wait_until(
        lambda: sent_to(own_broker) >= sent_bytes,
        "the records reach Kafka's port",
        deadline_s=WAIT_S,
    )
    kill(api)
    waiting.close()
    own_broker.resume()
    wait_until(lambda: on_topic(own_line, service) == 50, "they are written", deadline_s=WAIT_S)

    api.start_ready()
    answer = send(api, name, body, idempotency_key="retry-me")
    assert answer.status_code == FORMATS[name][3]
    assert on_topic(own_line, service) == 100
    # What comes behind the repeats is stored after they were seen.
    send(api, name, made(name, service, "last"))
    stored = f"SELECT message FROM logs WHERE service_id = '{service}'"
    own_line.wait_for(lambda: ("last",) in own_line.query(stored), "what came last is stored", flow)
    found = [message for (message,) in own_line.query(stored)]
    assert sorted(found) == sorted([*messages, "last"])


def on_topic(line: Line, service: str) -> int:
    found = read_topic(line.settings.kafka_bootstrap, line.settings.topic)
    return sum(message.key() == service.encode() for message in found)


def sent_to(broker: Broker) -> int:
    """Return how many bytes lie unread at the broker's port; it stands still."""
    port = f"{int(broker.bootstrap.rpartition(':')[2]):04X}"
    # A JVM listens by IPv6.
    tables = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
    rows = [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
    return sum(int(row[4].partition(":")[2], 16) for row in rows if row[1].endswith(f":{port}"))


def kill(api: Api) -> None:
    """End all of an API's processes at once."""
    assert api.process is not None
    for pid in (api.process.pid, *descendants(api.process.pid)):
        os.kill(pid, signal.SIGKILL)
    api.process.popen.wait(WAIT_S)
