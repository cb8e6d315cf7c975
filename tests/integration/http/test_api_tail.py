"""The live tail: everything that arrives is told or counted, to nobody whose token has ended."""

import asyncio
import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
from confluent_kafka import Producer

from api.log_filters import LogFilter
from api.tail_source import Arrived, TailSource
from api.tails import BYTES_WAITING_MAX, RECORDS_WAITING_MAX, EndReason, Tail, Tails
from stack.broker import Broker
from stack.waiting import wait_until
from tests.integration.http.conftest import WAIT_S, Api
from tests.integration.http.test_api_ingest import assert_problem
from tocsin.errors import BrokerError
from tocsin.settings import Settings
from tocsin.topics import create_topics

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


def test_slow_tail_is_told_how_many_it_missed_in_their_place() -> None:
    tail = Tail(LogFilter())
    tail.offer([b"%d " % number for number in range(RECORDS_WAITING_MAX + 7)], 0)
    tail.offer([b"more"], 0)
    text, has_ended = tail.take(1 << 30)
    assert text.startswith(b"0 1 ")
    assert text.endswith(b'999 event: skipped\ndata: {"records":8}\n\n')
    tail.offer([b"after"], 0)
    assert tail.take(1 << 30) == (b"after", False)
    assert not has_ended


def test_what_waits_for_a_slow_tail_is_bounded_in_bytes_and_sent_in_parts() -> None:
    tail = Tail(LogFilter())
    line = b"x" * 100_000
    tail.offer([line] * 200, 0)
    kept, parts = 0, 0
    while True:
        text, _ = tail.take(64 * 1024)
        kept += text.count(line)
        parts += 1
        if b"skipped" in text:
            break
    assert parts == kept
    assert BYTES_WAITING_MAX <= kept * len(line) < BYTES_WAITING_MAX + 2 * len(line)
    assert f'"records":{200 - kept}'.encode() in text


def test_tail_ends_after_what_waits() -> None:
    tail = Tail(LogFilter())
    tail.offer([b"1", b"2"], 0)
    tail.end(EndReason.SHUTDOWN, "x")
    assert tail.take(1) == (b"1", False)
    text, has_ended = tail.take(1)
    assert text.startswith(b"2event: end\n")
    assert has_ended


def test_tail_is_told_that_kafka_is_away_and_back(
    own_broker: Broker, unique_name: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.tails.WATCH_S", 0.05)
    monkeypatch.setattr("api.tails._ASK_S", 0.5)
    settings = Settings(kafka_bootstrap=own_broker.bootstrap, topic=unique_name("logs"))
    create_topics(settings)

    async def work() -> None:
        tails = Tails(settings)
        tails.start()
        async with tails.watching(LogFilter()) as early:
            own_broker.pause()
            assert b"event: away" in await next_of(early)
            async with tails.watching(LogFilter()) as late:
                assert b"event: away" in await next_of(late)
                own_broker.resume()
                assert b"event: back" in await next_of(late)
            assert b"event: back" in await next_of(early)
        tails.stop()

    asyncio.run(work())


async def next_of(tail: Tail) -> bytes:
    await tail.wait(WAIT_S)
    return tail.take(1 << 30)[0]


def test_source_that_ended_is_nobodys_source(
    own_broker: Broker, unique_name: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.tails._ASK_S", 0.5)
    settings = Settings(kafka_bootstrap=own_broker.bootstrap, topic=unique_name("logs"))
    create_topics(settings)

    async def work() -> None:
        tails = Tails(settings)
        tails.start()
        async with tails.watching(LogFilter()):
            own_broker.pause()
            with pytest.raises(BrokerError):
                await tails._follow("another")
            with pytest.raises(BrokerError):
                async with tails.watching(LogFilter()):
                    pass
            own_broker.resume()
        tails.stop()

    asyncio.run(work())


def test_source_that_falls_behind_leaps_to_the_end_and_counts(api: Api, service: str) -> None:
    seen: list[int] = []
    skips: list[int] = []
    hold = threading.Event()

    def deliver(arrived: list[Arrived], skipped: int) -> None:
        seen.append(sum(one.record.service_id == service for one in arrived))
        skips.append(skipped)
        hold.wait(WAIT_S)

    source = TailSource(api.settings, deliver, lag_max=100)
    asyncio.run(source.start())
    try:
        api.ingest(record(service, "first"))
        wait_until(lambda: sum(seen) == 1, "the first", deadline_s=4 * WAIT_S)
        for _ in range(5):
            api.ingest([record(service, "many") for _ in range(1000)])
        hold.set()
        wait_until(lambda: sum(skips) > 0, "a leap", deadline_s=4 * WAIT_S)

        def caught_up() -> bool:
            api.ingest(record(service, "last"))
            return seen[-1] > 0 and skips[-1] == 0

        wait_until(caught_up, "it goes on", deadline_s=4 * WAIT_S)
        assert sum(skips) <= 5000
    finally:
        hold.set()
        source.stop()
