"""The whole line under load: servers to break, the API, the flow, the senders and the checker."""

import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psycopg
from confluent_kafka import Consumer, TopicPartition
from msgspec import Struct

from stack.errors import StackError
from stack.kafka import KafkaBroker
from stack.ports import free_port
from stack.processes import Process
from stack.timescale import Timescale
from stack.waiting import wait_until
from tests.faults.checker import Storage, read_storage, read_tables
from tests.faults.load import Load
from tests.faults.proxy import TcpProxy
from tests.integration.conftest import Line, make_topic_of_producers_time
from tests.integration.http.conftest import Api
from tocsin.settings import load_settings

WAIT_S = 180
STOPPED_WITHIN_S = 10
_PATIENCE_S = 2
_HTTP_TIMEOUT_S = 8
_SHOWN_CHARS = 5000


class Servers(Struct, frozen=True):
    """What a run's tests share and break; each of them leaves all running.

    kafka_proxy, database_proxy: the way that a test may choose to take.
    """

    broker: KafkaBroker
    timescale: Timescale
    kafka_proxy: TcpProxy
    database_proxy: TcpProxy


class Found(Struct, frozen=True):
    """What the checker found; `problems` is empty when all is well."""

    storage: Storage
    windows: int
    incidents: int
    problems: list[str]


class Rig:
    """One topic, one database, an API and a flow, and the load that goes through them.

    fresh_database_url: another database, for what is compared.
    producers_time: the topic keeps the producer's time for the arrival.
    by_proxy: API and flow reach both servers through the proxies.
    faults: how many were done. exits: last words of what ended by itself.
    program: what Python runs as the API and the flow; the undisturbed run is of the true one.
    is_supervised: flow and API may end, and are started again.
    """

    def __init__(
        self,
        servers: Servers,
        folder: Path,
        *,
        database_url: str,
        fresh_database_url: str,
        topic: str,
        seed: int,
        by_proxy: bool = False,
        producers_time: bool = False,
        program: Sequence[str] = Line.program,
    ) -> None:
        self.servers = servers
        self.chance = random.Random(seed)
        self._folder = folder
        self.fresh_database_url = fresh_database_url
        direct = {
            "DATABASE_URL": database_url,
            "KAFKA_BOOTSTRAP": servers.broker.bootstrap,
            "TOCSIN_TOPIC": topic,
            "TOCSIN_INCIDENTS_TOPIC": f"{topic}-incidents",
            "TOCSIN_RECOVERY_DIR": str(folder / "recovery"),
            "TOCSIN_EPOCH_S": "0.5",
            "TOCSIN_DATABASE_PATIENCE_S": str(_PATIENCE_S),
            "TOCSIN_PUBLISH_TIMEOUT_S": "4",
        }
        if producers_time:
            make_topic_of_producers_time(load_settings(direct))
        self.line = Line(direct, folder)
        self._flow_environ: dict[str, str] = {}
        if by_proxy:
            place = urlsplit(database_url)
            host = place.netloc.rpartition(":")[0]
            self._flow_environ = {
                "DATABASE_URL": place._replace(
                    netloc=f"{host}:{servers.database_proxy.port}"
                ).geturl(),
                "KAFKA_BOOTSTRAP": f"127.0.0.1:{servers.kafka_proxy.port}",
            }
        api_environ = {**direct, "TOCSIN_API_PORT": str(free_port())}
        self.api = Api({**api_environ, **self._flow_environ}, folder / "api.log")
        self._key_owner = Api(api_environ, folder / "unused.log")
        self.line.program = self.api.program = program
        self._client = httpx.Client(base_url=self.api.url, timeout=_HTTP_TIMEOUT_S, trust_env=False)
        self.flow: Process
        self.load: Load
        self.faults = 0
        self.exits: list[str] = []
        self.is_supervised = False

    def begin(self) -> None:
        """Start the API, the flow and the load, and return when the load is stored."""
        self.api.launch()
        self.start_flow(wait=False)
        key = self._key_owner.key
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        client = self._client
        self.load = Load(
            topic=self.line.settings.topic,
            bootstrap=self.servers.broker.bootstrap,
            ingest=lambda body: client.post("/ingest", content=body, headers=headers),
            seed=self.chance.randrange(2**32),
        )
        wait_until(self._api_answers, "the API answers", deadline_s=WAIT_S)
        self.load.begin()
        self.line.wait_for(lambda: self.line.count("logs"), "the first logs", self.flow)
        self.load.wait_for_more(1000)

    def start_flow(self, *, wait: bool = True) -> None:
        """Start the flow."""
        self.flow = self.line.start_flow(environ=self._flow_environ, wait=wait)

    def kill_flow(self) -> None:
        """Kill the flow by SIGKILL."""
        self.flow.popen.kill()
        self.flow.popen.wait()

    def kill_api(self) -> None:
        """Kill the API by SIGKILL and start it again."""
        process = self.api.process
        assert process is not None
        process.kill()
        self.api.launch()

    def revive(self) -> None:
        """Start again, as a supervisor would, what has ended by itself; remember its last words."""
        if self.flow.exit_code() is not None:
            self.exits.append(self.flow.last_words())
            self.start_flow(wait=False)
        process = self.api.process
        if process is not None and process.exit_code() is not None:
            self.exits.append(process.last_words())
            self.api.launch()

    def look_after_flow(self) -> None:
        """Fail if the flow has ended by itself, or start it again where it may."""
        if self.is_supervised:
            self.revive()
        else:
            self.flow.require_running()

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        """Wait for what the flow does."""

        def holds() -> object:
            self.look_after_flow()
            return condition()

        wait_until(holds, what, deadline_s=WAIT_S, every_s=0.2)

    def wait_for_http(self) -> None:
        """Wait until something more was acknowledged over HTTP, unless nothing goes there."""
        before = self.load.posted
        if self.load.goes_over_http:
            self.wait_for(lambda: self.load.posted > before, "HTTP goes on")

    def wait_until_it_reads(self) -> None:
        """Wait until the flow has started."""
        self.wait_for(lambda: b"flow starts" in self.flow.log.read_bytes(), "the flow")

    def some_time(self, least_s: float, most_s: float) -> None:
        """Let the load go on for a random time: how long an outage lasts, or the next is away."""
        time.sleep(self.chance.uniform(least_s, most_s))

    def end(self) -> None:
        """End the load, have the flow store all of it, and stop it."""
        self.load.finish()
        wait_until_stored(self.line, self.look_after_flow)
        assert self.flow.stop(grace_s=STOPPED_WITHIN_S) == 0, self.flow.last_words()

    def check(self) -> Found:
        """Hold the end against what was sent, and against an undisturbed run of a fresh flow."""
        storage = read_storage(
            self.line.settings.database_url, self.load.sent, self.load.acknowledged
        )
        self._run_undisturbed()
        disturbed = read_tables(self.line.settings.database_url)
        undisturbed = read_tables(self.fresh_database_url)
        fresh = read_storage(self.fresh_database_url, self.load.sent, self.load.acknowledged)
        problems = [
            *storage.problems(),
            *disturbed.differences(undisturbed),
            *(f"undisturbed: {problem}" for problem in fresh.problems()),
        ]
        assert undisturbed.incidents, "the load opened no incident: nothing was compared"
        return Found(storage, len(undisturbed.windows), len(undisturbed.incidents), problems)

    def close(self) -> None:
        """Kill what still runs."""
        with suppress(AttributeError):
            self.load.abandon()
            # Shown of a test that failed.
            print(self.flow.log.read_text()[-_SHOWN_CHARS:])
        self.line.close()
        for client in (self._client, self._key_owner.client):
            client.close()
        self.api.client.close()
        if self.api.process is not None:
            self.api.process.kill()

    def _api_answers(self) -> bool:
        try:
            return self._client.get("/readyz").is_success
        except httpx.TransportError:
            return False

    def _run_undisturbed(self) -> None:
        environ = {
            **self.line.environ,
            "DATABASE_URL": self.fresh_database_url,
            "TOCSIN_RECOVERY_DIR": str(self._folder / "undisturbed"),
        }
        line = Line(environ, self._folder / "undisturbed-logs")
        try:
            flow = line.start_flow()
            wait_until_stored(line, flow.require_running)
            assert flow.stop(grace_s=STOPPED_WITHIN_S) == 0, flow.last_words()
        finally:
            line.close()


def wait_until_stored(line: Line, look_after: Callable[[], None]) -> None:
    """Wait until a flow has stored and counted what every partition holds now."""
    ends = _ends(line)
    behind: dict[tuple[str, int], tuple[int, int]] = {}

    def stored() -> bool:
        look_after()
        try:
            rows = line.query("SELECT stage::text, partition, next_offset FROM positions")
        except psycopg.OperationalError:
            return False
        reached = {(stage, part): next_offset for stage, part, next_offset in rows}
        behind.clear()
        for part, end in ends.items():
            for stage in STAGES:
                if (at := reached.get((stage, part), 0)) < end:
                    behind[stage, part] = (at, end)
        return not behind

    try:
        wait_until(stored, "all is stored", deadline_s=WAIT_S, every_s=0.2)
    except StackError as error:
        raise AssertionError(f"{error}: where each stands, and the end: {behind}") from None


STAGES = ("logs", "detection")


def _ends(line: Line) -> dict[int, int]:
    """Return the end of every partition that holds anything."""
    topic = line.settings.topic
    consumer = Consumer({"bootstrap.servers": line.settings.kafka_bootstrap, "group.id": "ends"})
    try:
        parts = consumer.list_topics(topic, timeout=30).topics[topic].partitions
        ends = {
            part: consumer.get_watermark_offsets(TopicPartition(topic, part), timeout=30)[1]
            for part in parts
        }
    finally:
        consumer.close()
    return {part: end for part, end in ends.items() if end}
