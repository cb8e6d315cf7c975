"""The API as a process of its own, with a client, a topic and a database to look into."""

import os
import secrets
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar
from unittest.mock import patch

import bcrypt
import httpx
import psycopg
import pytest
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from psycopg import sql

from api import accounts
from api.accounts import create_key
from sql import reader
from sql.audit import command_line
from sql.reader import Reader, with_reader
from sql.users import UserTable
from stack.broker import Broker
from stack.ports import free_port
from stack.processes import Process, end_with_starter
from stack.timescale import Timescale
from stack.waiting import wait_until
from tests.conftest import as_role
from tocsin.settings import load_settings
from tocsin.topics import create_topics

PASSWORD = "correct horse battery"
WAIT_S = 30
_ASKED_OF_WORKERS = 16
"""On so many connections of their own one of two processes is hardly ever missed."""

Result = TypeVar("Result")


@cache
def _cheap_hash() -> str:
    """Return a hash of PASSWORD that takes no quarter of a second to make and to compare."""
    return bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()


class Person(NamedTuple):
    """Somebody who has logged in."""

    id: str
    email: str
    access_token: str
    refresh_token: str

    @property
    def headers(self) -> dict[str, str]:
        """What their requests carry."""
        return {"authorization": f"Bearer {self.access_token}"}


class Api:
    """One API process and what it was started with.

    program: what Python runs, for those who break it on purpose.
    """

    program: Sequence[str] = ("-m", "tocsin")

    def __init__(self, environ: Mapping[str, str], log: Path) -> None:
        self.environ = {
            "TOCSIN_JWT_SECRET": secrets.token_urlsafe(48),
            # All tests come from one address.
            "TOCSIN_LIMIT_ADDRESS_LOGINS": "off",
            # A whole run of tests keeps its tokens.
            "TOCSIN_JWT_TTL_S": "36000",
            **environ,
        }
        self.environ.setdefault("TOCSIN_API_PORT", str(free_port()))
        self.settings = load_settings(self.environ)
        self.url = f"http://{self.settings.api_host}:{self.settings.api_port}"
        self.client = httpx.Client(base_url=self.url, timeout=WAIT_S, trust_env=False)
        self.log = log
        self.process: Process | None = None
        self._key: str | None = None
        self._people: dict[str, Person] = {}

    def start(self) -> None:
        """Start `tocsin api` and return when it answers and has found the database."""
        process = self.launch()

        def answers() -> bool:
            process.require_running()
            try:
                return not any("database: " in fault for fault in self._faults())
            except httpx.TransportError:
                return False

        wait_until(answers, "the API has its database", deadline_s=WAIT_S)

    def start_ready(self) -> None:
        """Start, and return when it has found its topic, too.

        It asks for it once: until then a broker that takes long to tell costs a request its answer.
        """
        self.start()
        wait_until(lambda: not self._faults(), "the API has its topic", deadline_s=WAIT_S)

    def start_with_topic(self) -> None:
        """Create its topics, then start on them."""
        create_topics(self.settings)
        self.start_ready()

    def launch(self) -> Process:
        """Start `tocsin api`, whatever becomes of it."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("TOCSIN_") and name not in {"DATABASE_URL", "KAFKA_BOOTSTRAP"}
        }
        self.process = Process(
            "api",
            end_with_starter([sys.executable, *self.program, "api"], "KILL"),
            log=self.log,
            env={
                **inherited,
                **self.environ,
                "DATABASE_URL": as_role(self.environ["DATABASE_URL"], "tocsin_api"),
            },
        )
        return self.process

    def stop(self) -> None:
        """Close the client and end the process."""
        self.client.close()
        if self.process is not None:
            self.process.stop()

    @property
    def key(self) -> str:
        """An ingest key of this API."""
        if self._key is None:
            self._key = create_key(self.settings, f"tests-{secrets.token_hex(4)}")
        return self._key

    def ingest(self, content: object, **headers: str) -> httpx.Response:
        """Post records, as JSON or as the bytes given, with a good key unless told otherwise."""
        sent = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(content, bytes):
            return self.client.post("/ingest", content=content, headers={**sent, **given})
        return self.client.post("/ingest", json=content, headers={**sent, **given})

    def headers(self, role: str = "viewer") -> dict[str, str]:
        """Return the headers of a logged-in person of this role."""
        if role not in self._people:
            self._people[role] = self.person(role)
        return self._people[role].headers

    def person(self, role: str = "viewer") -> Person:
        """Make a person of this role and log them in."""
        email = f"{role}-{secrets.token_hex(4)}@example.org"
        made = with_patient_reader(
            self.settings.database_url,
            lambda reader: UserTable(reader).insert(email, _cheap_hash(), role, by=command_line()),
        )
        return self.log_in(email, user_id=str(made.id))

    def log_in(self, email: str, password: str = PASSWORD, *, user_id: str = "") -> Person:
        """Log a person in."""
        answer = self.client.post("/auth/login", json={"email": email, "password": password})
        assert answer.status_code == 200, answer.text
        tokens = answer.json()
        return Person(user_id, email, tokens["access_token"], tokens["refresh_token"])

    def topic_records(self, service_id: str) -> list[Message]:
        """Return everything on the topic of one service."""
        found = read_topic(self.settings.kafka_bootstrap, self.settings.topic)
        return [message for message in found if message.key() == service_id.encode()]

    def _faults(self) -> list[str]:
        """Return what its processes say that they lack."""
        asked = 1 if self.settings.api_workers == 1 else _ASKED_OF_WORKERS
        apart = {"connection": "close"}
        answers = [self.client.get("/readyz", headers=apart) for _ in range(asked)]
        return [answer.text for answer in answers if not answer.is_success]


def with_patient_reader(url: str, work: Callable[[Reader], Awaitable[Result]]) -> Result:
    """Do one thing with a reader, which waits longer than a person would for a busy database."""
    with patch.object(reader, "CONNECTION_TIMEOUT_S", WAIT_S):
        return with_reader(url, work)


@pytest.fixture(scope="session", autouse=True)
def patient_accounts() -> Iterator[None]:
    """People and keys are made with such a reader."""
    with patch.object(accounts, "with_reader", with_patient_reader):
        yield


def read_topic(bootstrap: str, topic: str) -> list[Message]:
    """Return all messages of a topic, each partition's in order."""
    # To the end as a fetch tells it: the light broker's watermark lags behind the last batch.
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "reader",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 20,
        }
    )
    try:
        parts = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, part, 0) for part in parts])
        found: list[Message] = []
        ended = 0
        while ended < len(parts):
            message = consumer.poll(WAIT_S)
            assert message is not None, "the broker does not answer"
            error = message.error()
            if error is None:
                found.append(message)
            else:
                assert error.code() == KafkaError._PARTITION_EOF, error
                ended += 1
        return found
    finally:
        consumer.close()


@contextmanager
def clone(timescale: Timescale, template: str) -> Iterator[str]:
    """Make a migrated database and yield its URL."""
    name = f"test_{secrets.token_hex(6)}"
    admin = timescale.database_url("postgres")
    with psycopg.connect(admin, autocommit=True) as conn:
        make = sql.SQL("create database {} template {}")
        conn.execute(make.format(sql.Identifier(name), sql.Identifier(template)))
    yield timescale.database_url(name)
    with psycopg.connect(admin, autocommit=True) as conn:
        drop = sql.SQL("drop database {} with (force)")
        conn.execute(drop.format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def api(
    timescale: Timescale,
    migrated_template: str,
    broker: Broker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Api]:
    """An API that anybody may register at, shared by all tests of this folder."""
    with clone(timescale, migrated_template) as url:
        shared = Api(
            {
                "DATABASE_URL": url,
                "KAFKA_BOOTSTRAP": broker.bootstrap,
                "TOCSIN_TOPIC": f"logs-{secrets.token_hex(4)}",
                "TOCSIN_REGISTRATION": "open",
                "TOCSIN_LOG_FORMAT": "json",
            },
            tmp_path_factory.mktemp("api") / "api.log",
        )
        try:
            shared.start_with_topic()
            yield shared
        finally:
            shared.stop()


@pytest.fixture(scope="session")
def beside(api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Api]]:
    """A function that starts another API on the database and topic of `api`, set otherwise."""
    started: list[Api] = []

    def start(**environ: str) -> Api:
        shared = {name: value for name, value in api.environ.items() if name != "TOCSIN_API_PORT"}
        own = Api({**shared, **environ}, tmp_path_factory.mktemp("beside") / "api.log")
        started.append(own)
        own.start_ready()
        return own

    yield start
    for own in started:
        own.stop()


@pytest.fixture(scope="session")
def small(beside: Callable[..., Api]) -> Api:
    """An API that takes 20,000 bytes and 10 records at once, shared by all tests."""
    return beside(TOCSIN_MAX_BODY_BYTES="20000", TOCSIN_MAX_BATCH_RECORDS="10")


@pytest.fixture
def make_api(database_url: str, broker: Broker, tmp_path: Path) -> Iterator[Callable[..., Api]]:
    """A function that makes an API of this test's own, not yet started."""
    made: list[Api] = []

    def make(**environ: str) -> Api:
        own = Api(
            {
                "DATABASE_URL": database_url,
                "KAFKA_BOOTSTRAP": broker.bootstrap,
                "TOCSIN_TOPIC": f"logs-{secrets.token_hex(4)}",
                **environ,
            },
            tmp_path / f"api-{len(made)}.log",
        )
        made.append(own)
        return own

    yield make
    for own in made:
        own.stop()


@pytest.fixture
def service(unique_name: Callable[[str], str]) -> str:
    """The name of a service that no other test sends logs of."""
    return unique_name("service")
