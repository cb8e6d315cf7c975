"""Limits: what is let through, what is said to whom is not, with a clock that the test moves."""

import asyncio

import pytest
from sanic import Request, Sanic
from sanic.compat import Header

from api.addresses import Addresses
from api.counts import Windows
from api.limits import Limits
from api.problems import Refusal
from tocsin.settings import Settings


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def asking(path: str = "/ingest") -> Request:
    app = Sanic("limits") if "limits" not in Sanic._app_registry else Sanic.get_app("limits")
    return Request(path.encode(), Header({}), "1.1", "POST", None, app)  # type: ignore[arg-type]


def limits(clock: Clock, **settings: str) -> Limits:
    chosen = Settings(**settings)  # type: ignore[arg-type]
    return Limits(chosen, Addresses(chosen), Windows(clock=clock), clock=clock)


def refusal_of(work: object) -> Refusal:
    with pytest.raises(Refusal) as refusal:
        asyncio.run(work)  # type: ignore[arg-type]
    return refusal.value


def test_records_are_counted_not_requests() -> None:
    clock = Clock()
    limited = limits(clock, limit_key_records="100/minute")
    asyncio.run(limited.records(asking(), "a", 99))
    asyncio.run(limited.records(asking(), "b", 100))
    asyncio.run(limited.records(asking(), "a", 1))
    clock.now += 17.5
    refusal = refusal_of(limited.records(asking(), "a", 1))
    assert refusal.status == 429
    assert (
        refusal.detail
        == "over the limit of 100 records of one ingest key in 60 s: try again in 43 s"
    )
    assert refusal.headers == {
        "Retry-After": "43",
        "RateLimit-Limit": "100",
        "RateLimit-Remaining": "0",
        "RateLimit-Reset": "43",
    }
    clock.now += 42.5
    asyncio.run(limited.records(asking(), "a", 100))


def test_more_than_a_limit_ever_allows_is_too_large_and_costs_nothing() -> None:
    limited = limits(Clock(), limit_key_records="100/minute")
    assert refusal_of(limited.records(asking(), "a", 101)).status == 413
    asyncio.run(limited.records(asking(), "a", 100))


def test_address_is_limited_over_all_its_keys() -> None:
    limited = limits(Clock(), limit_address_records="10/second")
    asyncio.run(limited.records(asking(), "a", 6))
    refusal = refusal_of(limited.records(asking(), "b", 6))
    assert (refusal.status, refusal.headers["Retry-After"]) == (429, "1")


def test_account_is_limited_in_any_case_whether_or_not_it_is_one() -> None:
    limited = limits(Clock(), limit_account_logins="2/hour")
    for email in ("a@example.org", "A@Example.org"):
        asyncio.run(limited.account(email))
    assert refusal_of(limited.account("a@example.org")).status == 429
    asyncio.run(limited.account("b\ud800@example.org"))


def test_health_is_never_limited() -> None:
    limited = limits(Clock(), limit_address_requests="1/day")
    for _ in range(3):
        asyncio.run(limited.request(asking("/healthz")))
        asyncio.run(limited.request(asking("/readyz")))
    asyncio.run(limited.request(asking()))
    assert refusal_of(limited.request(asking())).status == 429


def test_limit_that_is_off_counts_nothing() -> None:
    off = {f"limit_{name}": "off" for name in ("key_records", "address_records")}
    limited = limits(Clock(), **off)
    asyncio.run(limited.records(asking(), "a", 10**12))


def test_counts_of_this_process_stay_few() -> None:
    clock = Clock()
    windows = Windows(clock=clock, keys_max=100)

    async def work() -> None:
        for number in range(1000):
            assert await windows.incr(f"key-{number}", 60) == 1
        assert await windows.incr("key-999", 60) == 2
        assert len(windows._counts) <= 100
        clock.now += 60
        for number in range(100):
            await windows.incr(f"later-{number}", 60)
        assert len(windows._counts) <= 100
        assert await windows.incr("key-999", 60) == 1

    asyncio.run(work())
