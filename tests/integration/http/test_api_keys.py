"""Ingest keys against the real database, with a clock that the test moves."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import psycopg
import pytest
from sanic import Request, Sanic
from sanic.compat import Header

from api.accounts import create_key
from api.key_use import KeyUse
from api.keys import FRESH_S, KeyRing
from api.problems import Refusal
from sql.keys import GoodKeyRow, KeyTable
from sql.reader import Reader
from tests.integration.http.test_api_outages import database_away
from tocsin.errors import AlreadyExists, SettingsError, StorageError
from tocsin.settings import Settings

Result = TypeVar("Result")


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings(database_url=database_url)


@pytest.fixture
def run(
    settings: Settings, clock: Clock
) -> Callable[[Callable[[KeyRing], Awaitable[Result]]], Result]:
    """A function that runs something with a key ring of its own."""

    async def with_ring(work: Callable[[KeyRing], Awaitable[Result]]) -> Result:
        reader = Reader(settings.database_url)
        await reader.open()
        try:
            table = KeyTable(reader)
            return await work(KeyRing(table, KeyUse(table), clock=clock))
        finally:
            await reader.close()

    return lambda work: asyncio.run(with_ring(work))


Run = Callable[[Callable[[KeyRing], Awaitable[None]]], None]


def carrying(key: str) -> Request:
    """A request with this key, for an application that nobody serves."""
    app = Sanic("keys") if "keys" not in Sanic._app_registry else Sanic.get_app("keys")
    return Request(b"/ingest", Header({"x-api-key": key}), "1.1", "POST", None, app)  # type: ignore[arg-type]


def revoke(settings: Settings) -> None:
    with psycopg.connect(settings.database_url, autocommit=True) as conn:
        conn.execute("update ingest_keys set revoked_at = now()")


def test_revoked_key_ends_when_it_is_no_longer_fresh(
    run: Run, settings: Settings, clock: Clock
) -> None:
    request = carrying(create_key(settings, "shipper"))

    async def work(ring: KeyRing) -> None:
        assert (await ring.require(request)).name == "shipper"
        await asyncio.to_thread(revoke, settings)
        clock.now = FRESH_S
        assert (await ring.require(request)).name == "shipper"
        clock.now += 0.001
        with pytest.raises(Refusal, match="revoked"):
            await ring.require(request)

    run(work)


class SlowTable(KeyTable):
    """Answers of a key when it is told to, with what it read before."""

    def __init__(self, reader: Reader) -> None:
        super().__init__(reader)
        self.has_read = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def find_good(self, key_id: str) -> GoodKeyRow | None:
        row = await super().find_good(key_id)
        self.has_read.set()
        await self.may_answer.wait()
        return row


def test_key_that_was_looked_up_before_it_was_revoked_is_not_believed(settings: Settings) -> None:
    request = carrying(create_key(settings, "shipper"))

    async def work() -> None:
        reader = Reader(settings.database_url)
        await reader.open()
        table = SlowTable(reader)
        ring = KeyRing(table, KeyUse(table))
        early = asyncio.create_task(ring.require(request))
        await table.has_read.wait()
        await asyncio.to_thread(revoke, settings)
        ring.forget(early_id := request.headers["x-api-key"].split("_")[1])
        late = asyncio.create_task(ring.require(request))
        await asyncio.sleep(0)
        table.may_answer.set()
        assert (await early).id == early_id
        for asked in (late, ring.require(request)):
            with pytest.raises(Refusal, match="revoked"):
                await asked
        await reader.close()

    asyncio.run(work())


def test_known_key_outlives_its_freshness_only_while_the_database_is_away(
    run: Run, settings: Settings, clock: Clock
) -> None:
    request = carrying(create_key(settings, "shipper"))

    async def work(ring: KeyRing) -> None:
        await ring.require(request)
        await asyncio.to_thread(revoke, settings)
        with database_away(settings.database_url):
            clock.now = 1_000_000
            assert (await ring.require(request)).name == "shipper"
            with pytest.raises(StorageError):
                await ring.require(carrying("tcs_0123456789abcdef_never-seen"))
        clock.now += FRESH_S + 1
        with pytest.raises(Refusal, match="revoked"):
            await ring.require(request)

    run(work)


def test_key_that_is_made_later_works_within_seconds(
    run: Run, settings: Settings, clock: Clock
) -> None:
    async def work(ring: KeyRing) -> None:
        with pytest.raises(Refusal):
            await ring.require(carrying("tcs_0123456789abcdef_guessed"))
        key = await asyncio.to_thread(create_key, settings, "shipper")
        assert (await ring.require(carrying(key))).name == "shipper"

    run(work)


def test_key_is_stored_as_a_hash_alone(settings: Settings) -> None:
    key = create_key(settings, "shipper")
    _, key_id, secret = key.split("_", 2)
    with psycopg.connect(settings.database_url) as conn:
        row = conn.execute("select id, name, hash::text from ingest_keys").fetchone()
    assert row is not None
    assert row[:2] == (key_id, "shipper")
    assert secret not in row[2]


def test_two_keys_share_no_name(settings: Settings) -> None:
    create_key(settings, "shipper")
    with pytest.raises(AlreadyExists, match="shipper"):
        create_key(settings, "shipper")


@pytest.mark.parametrize("name", ["", "x" * 129, "two\nlines", "nul\0"])
def test_key_needs_a_name_that_can_be_read(settings: Settings, name: str) -> None:
    with pytest.raises(SettingsError, match="--name"):
        create_key(settings, name)
