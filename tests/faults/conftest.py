"""Servers for the tests that break them, and the rig that puts them under load."""

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL, Composed, Identifier

from stack import debian, folders
from stack.kafka import KafkaBroker
from stack.timescale import FAST, Timescale
from tests.conftest import TEMPLATE, migrate_for_tests, skip_without_server
from tests.faults.figures import FIGURES, Figures
from tests.faults.proxy import TcpProxy
from tests.faults.rig import Rig, Servers
from tests.integration.conftest import Line

SEED = int(os.environ.get("FAULTS_SEED") or secrets.randbelow(2**31))
"""Of everything that is left to chance; printed by every test that fails."""


@pytest.fixture(scope="session")
def servers(kafka_here: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """A broker and a database of these tests' own, each with a proxy before it."""
    folder = tmp_path_factory.mktemp("faults")
    kafka_proxy, database_proxy = TcpProxy(), TcpProxy()
    broker = KafkaBroker(folder / "broker", folder / "broker.log", proxy_port=kafka_proxy.port)
    with skip_without_server():
        debian.lay_out()
        folders.sweep("test-")
        timescale = Timescale(
            f"test-{secrets.token_hex(6)}", password=secrets.token_urlsafe(16), settings=FAST
        )
        timescale.start()
    try:
        with skip_without_server():
            broker.start()
        kafka_proxy.target = broker.proxied_port or 0
        database_proxy.target = timescale.port
        kafka_proxy.start()
        database_proxy.start()
        _execute(timescale, SQL("CREATE DATABASE {}").format(Identifier(TEMPLATE)))
        migrate_for_tests(timescale.database_url(TEMPLATE))
        yield Servers(broker, timescale, kafka_proxy, database_proxy)
        kafka_proxy.stop()
        database_proxy.stop()
    finally:
        broker.remove()
        timescale.remove()


@pytest.fixture
def make_rig(servers: Servers, tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    """A function that makes a rig of the test's own."""
    made: list[tuple[Rig, list[str]]] = []
    print(f"FAULTS_SEED={SEED}")

    def make(
        *,
        by_proxy: bool = False,
        producers_time: bool = False,
        program: Sequence[str] = Line.program,
    ) -> Rig:
        names = [f"faults_{secrets.token_hex(6)}" for _ in range(2)]
        for name in names:
            clone = SQL("CREATE DATABASE {} TEMPLATE {}")
            _execute(servers.timescale, clone.format(Identifier(name), Identifier(TEMPLATE)))
        (tmp_path / "undisturbed-logs").mkdir()
        rig = Rig(
            servers,
            tmp_path,
            database_url=servers.timescale.database_url(names[0]),
            fresh_database_url=servers.timescale.database_url(names[1]),
            topic=f"logs-{secrets.token_hex(4)}",
            seed=SEED,
            by_proxy=by_proxy,
            producers_time=producers_time,
            program=program,
        )
        made.append((rig, names))
        return rig

    yield make
    for rig, _ in made:
        rig.close()
    # A test that failed in the middle of an outage leaves the servers as it found them.
    servers.kafka_proxy.resume()
    servers.database_proxy.resume()
    servers.timescale.start()
    servers.broker.resume()
    servers.broker.start()
    for _, names in made:
        for name in names:
            drop = SQL("DROP DATABASE {} WITH (FORCE)")
            _execute(servers.timescale, drop.format(Identifier(name)))


def _execute(timescale: Timescale, statement: Composed) -> None:
    with psycopg.connect(timescale.database_url("postgres"), autocommit=True) as conn:
        conn.execute(statement)


@pytest.fixture
def figures() -> Figures:
    """Where a test writes what it found."""
    return FIGURES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the tests of this run found."""
    if FIGURES.rows:
        terminalreporter.section(f"faults, FAULTS_SEED={SEED}")
        for line in FIGURES.lines():
            terminalreporter.write_line(line)
