"""Apache Kafka itself as a local process on loopback."""

import base64
import shutil
import subprocess
import uuid
from pathlib import Path

from stack import kafka_jars
from stack.broker import wait_until_answers
from stack.cache import Say, silent
from stack.errors import StackError
from stack.ports import LOOPBACK, Wanted, free_port, require_free
from stack.processes import Process, end_with_starter

HEAP = "-Xmx512m"
QUIET = (
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
)


class KafkaBroker:
    """One node, broker and controller in one, that keeps its topics over a stop and a kill.

    folder: its settings and data, made at the first start; one process at a time may use it.
    proxy_port: of a proxy before it; who asks there is sent there for everything. It forwards to
        `proxied_port`.
    Start from a thread that lives as long as the broker (`end_with_starter` says why).
    """

    def __init__(
        self,
        folder: Path,
        log: Path,
        *,
        port: int | None = None,
        proxy_port: int | None = None,
        say: Say = silent,
    ) -> None:
        self.folder = folder
        self.log = log
        self._port = port or free_port()
        self._proxy_port = proxy_port
        self.proxied_port = free_port() if proxy_port else None
        self._say = say
        self._process: Process | None = None

    @property
    def bootstrap(self) -> str:
        """The host and port for clients."""
        return f"{LOOPBACK}:{self._port}"

    @property
    def process(self) -> Process:
        """The Java process; only after `start`."""
        if self._process is None:
            raise StackError("the broker was not started")
        return self._process

    def start(self) -> None:
        """Start the broker on what data it has.

        Raises StackError: no Java, no jars, port in use, or its last words.
        """
        if self._process and self._process.exit_code() is None:
            return
        jars = kafka_jars.fetch(self._say)
        require_free(Wanted(self._port, "the broker", "STACK_BROKER_PORT"))
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._data.exists():
            self._format(jars)
        # It loses nothing by a kill, and its folder can be deleted as soon as its starter is dead.
        argv = end_with_starter([*_java(jars, "kafka.Kafka"), self._configure(self._data)], "KILL")
        self._process = Process("the broker", argv, log=self.log, cwd=self.folder)
        try:
            wait_until_answers(self)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the broker by SIGTERM; its data stay."""
        if self._process:
            self._process.stop()

    def kill(self) -> None:
        """Kill the broker by SIGKILL; its data stay."""
        self.process.kill()

    def pause(self) -> None:
        """Let the broker stand still, its connections open."""
        self.process.pause()

    def resume(self) -> None:
        """Let the broker go on after a pause."""
        self.process.resume()

    def remove(self) -> None:
        """Stop the broker and delete its data; the next start makes it anew, without topics."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _format(self, jars: Path) -> None:
        """Make an empty data directory, whole or not at all."""
        aside = self.folder / "data.partial"
        shutil.rmtree(aside, ignore_errors=True)
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        done = subprocess.run(
            [
                *_java(jars, "kafka.tools.StorageTool"),
                "format",
                f"--cluster-id={cluster_id}",
                f"--config={self._configure(aside)}",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            why = (done.stderr.splitlines() or ["no word why"])[0]
            raise StackError(f"formatting Apache Kafka's data directory failed: {why}")
        aside.rename(self._data)

    def _configure(self, data: Path) -> str:
        """Write the settings for a data directory and return the path of their file."""
        controller = f"{LOOPBACK}:{free_port()}"
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{controller}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"CLIENTS://{self.bootstrap},CONTROLLER://{controller}",
            "advertised.listeners": f"CLIENTS://{self.bootstrap}",
            "listener.security.protocol.map": "CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "CLIENTS",
            "log.dirs": str(data),
            "auto.create.topics.enable": "false",
            # One broker can hold one replica.
            "offsets.topic.replication.factor": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            # Fifty partitions of the groups' offsets take a second to make, and nobody shares them.
            "offsets.topic.num.partitions": "1",
            "group.initial.rebalance.delay.ms": "0",
            # A killed broker is not let in again while its last session may be alive.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
        }
        if self._proxy_port:
            settings["listeners"] += f",PROXIED://{LOOPBACK}:{self.proxied_port}"
            settings["advertised.listeners"] += f",PROXIED://{LOOPBACK}:{self._proxy_port}"
            settings["listener.security.protocol.map"] += ",PROXIED:PLAINTEXT"
        path = self.folder / "server.properties"
        path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        return str(path)


def _java(jars: Path, main_class: str) -> list[str]:
    # Dies at once when memory is short, rather than live on half.
    return ["java", HEAP, "-XX:+ExitOnOutOfMemoryError", *QUIET, "-cp", f"{jars}/*", main_class]
