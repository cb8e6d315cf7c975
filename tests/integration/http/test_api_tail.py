"""The live tail: everything that arrives is told or counted, to nobody whose token has ended."""

import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
from confluent_kafka import Producer

from api.tails import RECORDS_WAITING_MAX, EndReason
from stack.waiting import wait_until
from tests.integration.http.conftest import WAIT_S, Api
from tests.integration.http.test_api_ingest import assert_problem

Event = tuple[str, Any]


@contextmanager
def tailing(
    api: Api, headers: dict[str, str] | None = None, **parameters: object
) -> Iterator[Iterator[Event]]:
    """Watch; ask again when Kafka took too long to tell whether the topic is there."""
    request = api.client.build_request(
        "GET",
        "/logs/tail",
        params=parameters,  # type: ignore[arg-type]
        headers=headers or api.headers(),
    )
    with ExitStack() as stack:

        def answered() -> httpx.Response | None:
            answer = api.client.send(request, stream=True)
            stack.callback(answer.close)
            unheard = answer.status_code == 503 and b"Kafka does not answer" in answer.read()
            return None if unheard else answer

        answer = wait_until(answered, "the tail", deadline_s=WAIT_S)
        assert answer is not None
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        events = parsed(answer)
        assert next(events) == ("start", {})
        yield events


def parsed(answer: httpx.Response) -> Iterator[Event]:
    name = ""
    for line in answer.iter_lines():
        key, _, value = line.partition(": ")
        if key == "event":
            name = value
        elif key == "data":
            yield name, json.loads(value)


def told(events: Iterator[Event], count: int) -> list[str]:
    found: list[str] = []
    while len(found) < count:
        name, content = next(events)
        assert name == "log", (name, content)
        found.append(content["message"])
    return found


def record(service: str, message: str, level: str = "INFO", **more: object) -> dict[str, Any]:
    return {"service_id": service, "level": level, "message": message, **more}


def test_record_is_told_as_it_will_be_stored(api: Api, service: str) -> None:
    with tailing(api, service_id=service) as events:
        api.ingest(record(service, "ü\n\"'", "warning", metadata={"a": 10**30}, id="x-1"))
        name, content = next(events)
    assert name == "log"
    assert content.pop("timestamp").endswith("Z")
    assert content.pop("arrival").endswith("Z")
    assert content == {
        "service_id": service,
        "level": "WARN",
        "message": "ü\n\"'",
        "metadata": {"a": 10**30},
        "id": "x-1",
    }


def test_only_what_arrives_from_the_start_on_and_passes_the_filter_is_told(
    api: Api, service: str
) -> None:
    api.ingest(record(service, "before"))
    with tailing(
        api, service_id=service, min_level="error", text="CARD", metadata="order=17"
    ) as events:
        api.ingest(
            [
                record(service, "card", "ERROR", metadata={"order": 18}),
                record(service, "card", "INFO", metadata={"order": 17}),
                record(service, "cart", "ERROR", metadata={"order": 17}),
                record("other", "card", "ERROR", metadata={"order": 17}),
                record(service, "Card one", "ERROR", metadata={"order": 17}),
                record(service, "card two", "FATAL", metadata={"order": "17"}),
            ]
        )
        assert told(events, 2) == ["Card one", "card two"]


def test_tails_share_one_source_and_each_has_its_filter(api: Api, service: str) -> None:
    with tailing(api, service_id=service) as every, tailing(api, text="b") as some:
        api.ingest([record(service, letter) for letter in "abab"])
        assert told(every, 4) == ["a", "b", "a", "b"]
        assert told(some, 2) == ["b", "b"]


def test_what_breaks_the_contract_is_left_out(api: Api, service: str) -> None:
    producer = Producer({"bootstrap.servers": api.settings.kafka_bootstrap})
    with tailing(api, service_id=service) as events:
        for value in (b"", b"\xff", b"{}", b'{"service_id": 1}'):
            producer.produce(api.settings.topic, value, service.encode())
        assert producer.flush(WAIT_S) == 0
        api.ingest(record(service, "good"))
        assert told(events, 1) == ["good"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"level": "LOUD"},
        {"text": "a\0b"},
        {"from": "2026-03-02T08:00:00Z"},
        {"limit": "1"},
        {"cursor": "x"},
        {"service_id": [f"s-{number}" for number in range(21)]},
        {"metadata": "order"},
    ],
)
def test_tail_that_cannot_be_is_refused(api: Api, parameters: dict[str, Any]) -> None:
    assert_problem(api.client.get("/logs/tail", params=parameters, headers=api.headers()), 400)


def test_tail_needs_a_token(api: Api) -> None:
    assert_problem(api.client.get("/logs/tail"), 401)
    assert_problem(
        api.client.get("/logs/tail", headers={"authorization": f"Bearer {api.key}"}), 401
    )


def test_head_of_a_tail_ends(api: Api) -> None:
    answer = api.client.head("/logs/tail", headers=api.headers())
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].startswith("text/event-stream")


def test_tail_ends_when_its_session_does(api: Api, service: str) -> None:
    person = api.person("viewer")
    with tailing(api, person.headers, service_id=service) as events:
        answer = api.client.post("/auth/logout", headers=person.headers)
        assert answer.is_success, answer.text
        name, content = next(events)
        assert (name, content["reason"]) == ("end", EndReason.SESSION.value)
        assert next(events, None) is None


def test_tail_ends_when_its_token_expires(make_api: Callable[..., Api]) -> None:
    own = make_api(TOCSIN_JWT_TTL_S="6")
    own.start_with_topic()
    with tailing(own) as events:
        # On a busy machine Kafka may be away and back.
        name, content = next(event for event in events if event[0] not in {"away", "back"})
        assert (name, content["reason"]) == ("end", EndReason.SESSION.value)
        assert "expired" in content["detail"]


def test_tails_end_at_shutdown_and_hold_up_nothing(make_api: Callable[..., Api]) -> None:
    own = make_api()
    own.start_with_topic()
    with tailing(own) as first, tailing(own) as second:
        assert own.process is not None
        began = time.monotonic()
        own.process.popen.send_signal(signal.SIGTERM)
        for events in (first, second):
            assert [name for name, _ in events] == ["end"]
        assert own.process.popen.wait(WAIT_S) == 0
        assert time.monotonic() - began < 12


def test_one_tail_too_many_is_refused_until_another_ends(make_api: Callable[..., Api]) -> None:
    own = make_api(TOCSIN_TAILS_MAX="2")
    own.start_with_topic()
    with tailing(own), tailing(own):
        answer = own.client.get("/logs/tail", headers=own.headers())
        assert "2 live tails" in assert_problem(answer, 503)["detail"]

    def one_more() -> bool:
        with own.client.stream("GET", "/logs/tail", headers=own.headers()) as answer:
            return answer.status_code == 200

    wait_until(one_more, "the others are gone", deadline_s=WAIT_S)


def test_tail_of_a_topic_that_is_not_there_is_refused(make_api: Callable[..., Api]) -> None:
    own = make_api()
    own.start()
    answer = own.client.get("/logs/tail", headers=own.headers())
    assert "tocsin migrate" in assert_problem(answer, 503)["detail"]


def test_client_that_reads_nothing_holds_up_no_other(api: Api, service: str) -> None:
    request = (
        f"GET /logs/tail?service_id={service} HTTP/1.1\r\nhost: x\r\n"
        f"authorization: {api.headers()['authorization']}\r\n\r\n"
    )
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect((api.settings.api_host, api.settings.api_port))
        deaf.sendall(request.encode())
        with tailing(api, service_id=service) as events:
            large = "x" * 8_000
            for batch in range(40):
                api.ingest([record(service, f"{batch}-{number}{large}") for number in range(100)])
            api.ingest(record(service, "last"))
            count = skipped = 0
            for name, content in events:
                count += name == "log"
                skipped += content["records"] if name == "skipped" else 0
                if name == "log" and content["message"] == "last":
                    break
                if count + skipped >= 4001:
                    break
            assert count + skipped >= 4001
            assert count > RECORDS_WAITING_MAX / 2
