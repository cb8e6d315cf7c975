"""Tails and their one source: what is skipped is counted, and Kafka's absence is told."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from api.log_filters import LogFilter
from api.tail_source import Arrived, TailSource
from api.tails import BYTES_WAITING_MAX, RECORDS_WAITING_MAX, EndReason, Tail, Tails
from stack.broker import Broker
from stack.waiting import wait_until
from tests.integration.http.conftest import WAIT_S, Api
from tests.integration.http.test_api_tail import record
from tocsin.errors import BrokerError
from tocsin.settings import Settings
from tocsin.topics import create_topics


@pytest.fixture
def tails(
    own_broker: Broker, unique_name: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> Tails:
    """Tails of a topic on a broker to break, which look after it all the time."""
    monkeypatch.setattr("api.tails.WATCH_S", 0.05)
    monkeypatch.setattr("api.tails._ASK_S", 0.5)
    settings = Settings(kafka_bootstrap=own_broker.bootstrap, topic=unique_name("logs"))
    create_topics(settings)
    return Tails(settings)


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


def test_tail_is_told_that_kafka_is_away_and_back(tails: Tails, own_broker: Broker) -> None:
    async def work() -> None:
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
    tails: Tails, own_broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.tails.WATCH_S", 3600)

    async def work() -> None:
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
