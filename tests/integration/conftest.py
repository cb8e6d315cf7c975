"""The line that the tests drive: a topic, a database, and a flow to start, stop and kill."""

import itertools
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from confluent_kafka import Message, Producer
from confluent_kafka.cimpl import NewTopic
from psycopg.sql import SQL, Identifier

from stack.broker import Broker
from stack.kafka import KafkaBroker
from stack.ports import free_port
from stack.processes import Process, end_with_starter
from stack.waiting import wait_until
from tests.conftest import as_role
from tocsin.errors import BrokerError
from tocsin.settings import Settings, load_settings
from tocsin.topics import PARTITIONER, admin_client, create_topics, describe_topic

WAIT_S = 60


class Line:
    """Topic in, database out, and the flow between them as a process of its own.

    program: what Python runs, for those who break it on purpose.
    """

    program: Sequence[str] = ("-m", "tocsin")

    def __init__(self, environ: dict[str, str], folder: Path) -> None:
        self.environ = environ
        self.settings: Settings = load_settings(environ)
        self._folder = folder
        self._numbers = itertools.count()
        self._running: list[Process] = []
        self._producer = Producer(
            {
                "bootstrap.servers": self.settings.kafka_bootstrap,
                "acks": "all",
                "partitioner": PARTITIONER,
            }
        )
        create_topics(self.settings)

    def start_flow(
        self,
        *options: str,
        workers: int = 1,
        recovery: str | None = None,
        environ: Mapping[str, str] | None = None,
        wait: bool = True,
    ) -> Process:
        """Start `tocsin flow` and return its process, unless told otherwise once it reads.

        recovery: name of a recovery folder of its own. environ: what else is set.
        """
        own = {"DATABASE_URL": as_role(self.environ["DATABASE_URL"], "tocsin_flow")}
        if recovery:
            own["TOCSIN_RECOVERY_DIR"] = str(self._folder / recovery)
        argv = [sys.executable, *self.program, "flow", "--workers", str(workers), *options]
        process = Process(
            "flow",
            end_with_starter(argv, "KILL"),
            log=self._folder / f"flow-{next(self._numbers)}.log",
            env={**os.environ, **self.environ, **own, **(environ or {})},
        )
        self._running.append(process)
        if wait:
            self.wait_for(lambda: b"flow starts" in process.log.read_bytes(), "the flow", process)
        return process

    def start_cluster(self, processes: int) -> list[Process]:
        """Start a flow of several processes and return them once all of them read."""
        addresses = ",".join(f"127.0.0.1:{free_port()}" for _ in range(processes))
        flows = [
            self.start_flow("--process", str(number), "--addresses", addresses, wait=False)
            for number in range(processes)
        ]
        for flow in flows:
            self.wait_for(lambda at=flow: b"flow starts" in at.log.read_bytes(), "the flow", flow)  # type: ignore[misc]  # mypy does not infer a lambda's default
        return flows

    @contextmanager
    def database_away(self) -> Iterator[None]:
        """Let nobody into the database, and throw out who is there."""
        place = urlsplit(self.settings.database_url)
        name = place.path.lstrip("/")
        allow = SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
        with psycopg.connect(place._replace(path="/postgres").geturl(), autocommit=True) as conn:
            conn.execute(allow.format(Identifier(name), SQL("false")))
            conn.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s",
                [name],
            )
            try:
                yield
            finally:
                conn.execute(allow.format(Identifier(name), SQL("true")))

    def lose_recovery(self) -> None:
        """Remove the recovery folder."""
        shutil.rmtree(self.settings.recovery_dir)

    def make_topic_again(self) -> None:
        """Delete the topic and make it anew: its id is another, its offsets start at 0."""
        admin = admin_client(self.settings)
        former_id, _ = describe_topic(self.settings, self.settings.topic)
        admin.delete_topics([self.settings.topic])[self.settings.topic].result()

        def made() -> bool:
            try:
                create_topics(self.settings)
                return describe_topic(self.settings, self.settings.topic)[0] != former_id
            except BrokerError:
                return False

        wait_until(made, "the topic is made again", deadline_s=WAIT_S)

    def send(self, *records: Mapping[str, Any], partition: int = -1) -> None:
        """Produce records as JSON, keyed by service; return when Kafka has them all."""
        for record in records:
            key = str(record["service_id"])
            self.send_raw(json.dumps(record).encode(), key=key.encode(), partition=partition)
        self.flush()

    def send_raw(
        self,
        value: bytes | None,
        *,
        key: bytes = b"",
        partition: int = -1,
        arrival_ms: int | None = None,
    ) -> None:
        """Produce bytes as they are; `flush` waits for them.

        arrival_ms: taken for the arrival by a broker that keeps the producer's time.
        """
        arguments: dict[str, Any] = {} if partition < 0 else {"partition": partition}
        if arrival_ms is not None:
            arguments["timestamp"] = arrival_ms
        while True:
            try:
                self._producer.produce(
                    self.settings.topic, value, key, on_delivery=_delivered, **arguments
                )
            except BufferError:
                self._producer.poll(0.1)
            else:
                break
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait for Kafka's acknowledgement of everything sent."""
        assert self._producer.flush(WAIT_S) == 0

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with psycopg.connect(self.settings.database_url) as conn:
            return conn.execute(statement.encode()).fetchall()

    def execute(self, statement: str) -> None:
        """Run a statement that returns nothing."""
        with psycopg.connect(self.settings.database_url) as conn:
            conn.execute(statement.encode())

    def count(self, table: str) -> int:
        """Return how many rows a table has."""
        return int(self.query(f"SELECT count(*) FROM {table}")[0][0])

    def wait_for(
        self,
        condition: Callable[[], object],
        what: str,
        flow: Process,
        *,
        deadline_s: float = WAIT_S,
    ) -> None:
        """Wait until the condition holds; fail when the flow ends before."""

        def holds() -> object:
            flow.require_running()
            return condition()

        wait_until(holds, what, deadline_s=deadline_s)

    def wait_for_logs(self, expected: int, flow: Process) -> None:
        """Wait until so many logs are stored."""
        self.wait_for(lambda: self.count("logs") >= expected, f"{expected} logs", flow)

    def close(self) -> None:
        """Kill what still runs."""
        for process in self._running:
            if process.exit_code() is None:
                process.popen.send_signal(signal.SIGKILL)
                process.popen.wait()


def _delivered(error: object, _message: Message) -> None:
    assert error is None, error


def make_topic_of_producers_time(settings: Settings) -> None:
    """Make the topic of logs so that it keeps, for the arrival, any time that a producer names."""
    keeping = {
        "message.timestamp.type": "CreateTime",
        "message.timestamp.after.max.ms": str(2**63 - 1),
        "retention.ms": "-1",
    }
    topic = NewTopic(settings.topic, settings.partitions, settings.replication, config=keeping)
    admin = admin_client(settings)
    admin.create_topics([topic])[settings.topic].result()


@pytest.fixture
def make_line(
    request: pytest.FixtureRequest,
    database_url: str,
    unique_name: Callable[[str], str],
    tmp_path: Path,
) -> Iterator[Callable[[Broker], Line]]:
    """A function that makes a line on a broker.

    Marked `producers_time`, its topic keeps the producer's time; else arrival is the broker's.
    """
    made: list[Line] = []

    def make(broker: Broker) -> Line:
        environ = {
            "DATABASE_URL": database_url,
            "KAFKA_BOOTSTRAP": broker.bootstrap,
            "TOCSIN_TOPIC": unique_name("logs"),
            "TOCSIN_INCIDENTS_TOPIC": unique_name("incidents"),
            "TOCSIN_RECOVERY_DIR": str(tmp_path / "recovery"),
            "TOCSIN_EPOCH_S": "0.5",
        }
        if request.node.get_closest_marker("producers_time"):
            make_topic_of_producers_time(load_settings(environ))
        made.append(Line(environ, tmp_path))
        return made[-1]

    yield make
    for line in made:
        line.close()


@pytest.fixture
def line(make_line: Callable[[Broker], Line], broker: Broker) -> Line:
    """A line of this test's own, on the broker that BROKER names."""
    return make_line(broker)


@pytest.fixture
def full_line(make_line: Callable[[Broker], Line], full_broker: KafkaBroker) -> Line:
    """A line of this test's own on Apache Kafka, whatever BROKER says."""
    return make_line(full_broker)
