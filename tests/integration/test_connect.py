"""A connection that hangs without closing is given up, and its session in the server ended."""

import asyncio
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from sql.connect import BoundedAsyncConnection, SilentDatabase, Succession, connect
from tests.conftest import as_role
from tests.faults.proxy import TcpProxy
from tocsin.errors import StorageError

PATIENCE_S = 2


@pytest.fixture
def proxy(database_url: str) -> Iterator[TcpProxy]:
    proxy = TcpProxy()
    proxy.target = urlsplit(database_url).port or 0
    proxy.start()
    yield proxy
    proxy.stop()


@pytest.fixture
def proxied(proxy: TcpProxy, database_url: str) -> str:
    """As the flow connects: its role must suffice to end its own session before."""
    place = urlsplit(as_role(database_url, "tocsin_flow"))
    return place._replace(netloc=f"{place.netloc.rpartition(':')[0]}:{proxy.port}").geturl()


def test_silent_connection_is_given_up(proxy: TcpProxy, proxied: str) -> None:
    conn = connect(proxied, name="test", patience_s=PATIENCE_S)
    assert conn.execute("SELECT 1").fetchall() == [(1,)]
    proxy.forget()
    with pytest.raises(SilentDatabase, match="for 2 s"):
        conn.execute("SELECT 1")
    assert conn.closed


def test_transaction_on_a_silent_connection_ends_at_once(proxy: TcpProxy, proxied: str) -> None:
    conn = connect(proxied, name="test", patience_s=PATIENCE_S)

    def insert() -> None:
        with conn.transaction():
            proxy.forget()
            conn.execute("SELECT 1")

    with pytest.raises(SilentDatabase):
        insert()
    assert conn.closed


def test_statement_that_is_heard_of_may_take_longer(proxied: str) -> None:
    with connect(proxied, name="test", patience_s=PATIENCE_S) as conn:
        # A row every 0.5 s: each is a sign of life.
        rows = "SELECT repeat('x', 100000), pg_sleep(0.5) FROM generate_series(1, 5)"
        assert len(conn.execute(rows.encode()).fetchall()) == 5


def test_request_on_a_silent_connection_is_given_up(proxy: TcpProxy, proxied: str) -> None:
    async def ask() -> None:
        conn = await BoundedAsyncConnection.connect(proxied)
        conn.patience_s = PATIENCE_S
        await conn.execute("SELECT 1")
        proxy.forget()
        with pytest.raises(SilentDatabase):
            await conn.execute("SELECT 1")

    asyncio.run(ask())


def test_locks_of_a_connection_that_was_given_up_are_free(proxy: TcpProxy, proxied: str) -> None:
    succession = Succession(proxied, name="test", patience_s=PATIENCE_S)
    first = succession.connect()
    first.execute("LOCK TABLE positions IN EXCLUSIVE MODE")
    proxy.forget()
    with pytest.raises(SilentDatabase):
        first.execute("SELECT 1")
    with succession.connect() as second:
        second.execute("LOCK TABLE positions IN EXCLUSIVE MODE NOWAIT")


def test_next_connection_is_twice_as_patient_after_a_silence(proxy: TcpProxy, proxied: str) -> None:
    succession = Succession(proxied, name="test", patience_s=PATIENCE_S)
    first = succession.connect()
    proxy.forget()
    with pytest.raises(SilentDatabase):
        first.execute("SELECT 1")
    second = succession.connect()
    second.execute("SELECT pg_sleep(2.6)")
    second.close()
    third = succession.connect()
    with pytest.raises(SilentDatabase):
        third.execute("SELECT pg_sleep(60)")


@pytest.mark.parametrize(
    ("login", "told"),
    [
        ("postgres:wrong", 'refuses: FATAL: password authentication failed for user "postgres"'),
        ("nobody:x", 'refuses: FATAL: password authentication failed for user "nobody"'),
        ("postgres", "asks for a password; DATABASE_URL has none"),
    ],
)
def test_server_that_answers_is_not_said_to_be_away(
    database_url: str, login: str, told: str
) -> None:
    place = urlsplit(database_url)
    url = place._replace(netloc=f"{login}@{place.hostname}:{place.port}").geturl()
    with pytest.raises(StorageError) as error:
        connect(url, name="test")
    assert f":{place.port} {told}" in str(error.value)
    assert "is it running" not in str(error.value)
