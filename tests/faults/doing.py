"""The faults, one function each: what is done to a rig under load, a few times or many."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

import psycopg
from confluent_kafka.admin import NewPartitions
from msgspec import Struct

from stack.processes import descendants, is_running
from stack.waiting import wait_until
from tests.faults.rig import STOPPED_WITHIN_S, WAIT_S, Rig, wait_until_stored
from tocsin.topics import admin_client

_COPYING: Final = """
    SELECT pid FROM pg_stat_activity
    WHERE application_name LIKE 'tocsin-flow-logs-%' AND state = 'active' AND query LIKE 'COPY%'
"""


class Form(Struct, frozen=True):
    """How hard a fault is. kills: of anything. outage_s, stop_s: how long something is away."""

    kills: int
    few_kills: int
    outage_s: float
    stop_s: float
    pause_s: tuple[float, float]


SHORT: Final = Form(kills=2, few_kills=1, outage_s=3, stop_s=3, pause_s=(0.3, 1.2))
LONG: Final = Form(kills=25, few_kills=4, outage_s=60, stop_s=90, pause_s=(0.3, 3))


def kill_flow(rig: Rig, form: Form) -> None:
    """Kill the flow, also while it starts."""
    for _ in range(form.kills):
        rig.some_time(*form.pause_s)
        rig.kill_flow()
        rig.start_flow(wait=rig.chance.random() < 0.7)
        rig.faults += 1


def kill_api(rig: Rig, form: Form) -> None:
    """Kill the API; its client sends again, with the same ids, what was not acknowledged."""
    for _ in range(form.kills):
        rig.wait_for_http()
        rig.some_time(*form.pause_s)
        rig.kill_api()
        rig.faults += 1


def kill_broker(rig: Rig, form: Form) -> None:
    """Kill the broker, and start it again on what it kept."""
    for _ in range(form.few_kills):
        rig.some_time(*form.pause_s)
        with broker_away(rig, graceful=False):
            rig.some_time(*form.pause_s)
        rig.faults += 1


def kill_postmaster(rig: Rig, form: Form) -> None:
    """Kill the postmaster alone; its backends end when they notice."""
    for _ in range(form.few_kills):
        rig.some_time(*form.pause_s)
        with database_killed(rig):
            rig.some_time(*form.pause_s)
        rig.faults += 1


def terminate_backend(rig: Rig, form: Form) -> None:
    """End the session that copies the logs, by a signal that PostgreSQL knows."""
    for _ in range(form.kills):
        rig.some_time(*form.pause_s)
        with psycopg.connect(rig.line.settings.database_url, autocommit=True) as conn:
            conn.execute("SELECT pg_terminate_backend(%s)", [copying(conn)])
        rig.faults += 1


def kill_backend(rig: Rig, form: Form) -> None:
    """Kill the session that copies the logs by SIGKILL: PostgreSQL ends all and recovers."""
    for _ in range(form.few_kills):
        rig.some_time(*form.pause_s)
        with psycopg.connect(rig.line.settings.database_url, autocommit=True) as conn:
            os.kill(copying(conn), signal.SIGKILL)
            wait_until(lambda: is_lost(conn), "the end of all sessions", deadline_s=WAIT_S)
        wait_until(lambda: answers(rig), "the database answers", deadline_s=WAIT_S)
        rig.faults += 1


def lose_database(rig: Rig, form: Form) -> None:
    """Let nobody into the database for a while."""
    with rig.line.database_away():
        rig.some_time(form.outage_s, form.outage_s)
    rig.faults += 1


def lose_broker(rig: Rig, form: Form) -> None:
    """Stop the broker for a while."""
    with broker_away(rig, graceful=True):
        rig.some_time(form.outage_s, form.outage_s)
    rig.faults += 1


def lose_both(rig: Rig, form: Form) -> None:
    """Have neither for a while; the broker comes back first."""
    with rig.line.database_away(), broker_away(rig, graceful=True):
        rig.some_time(form.outage_s, form.outage_s)
    rig.faults += 1


def hang_database(rig: Rig, form: Form) -> None:
    """Let every connection to the database stand still for a while, then go on."""
    proxy = rig.servers.database_proxy
    proxy.stand_still()
    rig.some_time(form.outage_s, form.outage_s)
    proxy.resume()
    rig.faults += 1


def forget_database(rig: Rig, form: Form) -> None:
    """Let the connections of now hang for ever; new ones work."""
    for _ in range(form.few_kills):
        rig.servers.database_proxy.forget()
        rig.faults += 1
        flows_on(rig)


def hang_broker(rig: Rig, form: Form) -> None:
    """Let every connection to the broker stand still for a while, then go on."""
    proxy = rig.servers.kafka_proxy
    proxy.stand_still()
    rig.some_time(form.outage_s, form.outage_s)
    proxy.resume()
    rig.faults += 1


def forget_broker(rig: Rig, form: Form) -> None:
    """Let the connections of now hang for ever; new ones work."""
    for _ in range(form.few_kills):
        rig.servers.kafka_proxy.forget()
        rig.faults += 1
        flows_on(rig)


def stop_flow(rig: Rig, form: Form) -> None:
    """Let the flow stand still."""
    rig.flow.pause()
    rig.some_time(form.stop_s, form.stop_s)
    rig.flow.resume()
    rig.faults += 1


def end_flow(rig: Rig, form: Form) -> None:
    """Ask the flow to end while it reads: within ten seconds, with code 0."""
    for _ in range(form.kills):
        rig.some_time(*form.pause_s)
        rig.wait_until_it_reads()
        assert rig.flow.stop(grace_s=STOPPED_WITHIN_S) == 0, rig.flow.last_words()
        rig.start_flow()
        rig.faults += 1


def add_partition(rig: Rig, form: Form) -> None:
    """Add a partition while the flow reads, with a service in it.

    A service that goes to it, instead of to where its history is, would be judged in both.
    """
    rig.load.end_http()
    admin = admin_client(rig.line.settings)
    topic = rig.line.settings.topic
    first = rig.line.settings.partitions
    for added in range(form.few_kills):
        count = first + added + 1
        admin.create_partitions([NewPartitions(topic, count)])[topic].result()
        service = f"added-{added}"
        rig.load.send_service(service, 2000, partition=count - 1)
        query = f"SELECT count(*) = 2000 FROM logs WHERE service_id = '{service}'"
        rig.wait_for(partial(_is_true, rig, query), "the new partition is read")
        rig.faults += 1


def lose_recovery(rig: Rig, form: Form) -> None:
    """Kill the flow, and remove or damage its recovery store."""
    for number in range(2 * form.few_kills):
        rig.some_time(*form.pause_s)
        rig.kill_flow()
        if number % 2:
            shutil.rmtree(rig.line.settings.recovery_dir)
        else:
            for store in rig.line.settings.recovery_dir.glob("store/part-*.sqlite3"):
                store.write_bytes(store.read_bytes()[: store.stat().st_size // 2])
        rig.start_flow()
        rig.faults += 1


@contextmanager
def broker_away(rig: Rig, *, graceful: bool) -> Iterator[None]:
    """Have no broker."""
    broker = rig.servers.broker
    if graceful:
        broker.stop()
    else:
        broker.kill()
    try:
        yield
    finally:
        broker.start()


@contextmanager
def database_killed(rig: Rig) -> Iterator[None]:
    """Have no database server, its postmaster having been killed."""
    server = rig.servers.timescale
    backends = descendants(server.process.pid)
    server.process.popen.kill()
    server.process.popen.wait()
    try:
        yield
    finally:
        wait_until(
            lambda: not any(map(is_running, backends)), "the end of the backends", deadline_s=WAIT_S
        )
        server.start()


def copying(conn: psycopg.Connection) -> int:
    """Return the session that copies logs right now."""

    def found() -> int | None:
        row = conn.execute(_COPYING).fetchone()
        return None if row is None else int(row[0])

    return wait_until(found, "a COPY", deadline_s=WAIT_S, every_s=0) or 0


def is_lost(conn: psycopg.Connection) -> bool:
    """Tell whether the session of a connection has ended."""
    try:
        conn.execute("SELECT 1")
    except psycopg.OperationalError:
        return True
    return False


def answers(rig: Rig) -> bool:
    """Tell whether the database answers."""
    try:
        rig.line.count("topics")
    except psycopg.OperationalError:
        return False
    return True


def flows_on(rig: Rig) -> None:
    """Wait until HTTP goes on, and what every partition holds then is stored."""
    rig.wait_for_http()
    wait_until_stored(rig.line, rig.look_after_flow)


def _is_true(rig: Rig, query: str) -> bool:
    return rig.line.query(query) == [(True,)]


Fault = Callable[[Rig, Form], None]

DIRECT: Final[tuple[Fault, ...]] = (
    kill_flow,
    kill_api,
    kill_broker,
    kill_postmaster,
    terminate_backend,
    kill_backend,
    lose_database,
    lose_broker,
    lose_both,
    stop_flow,
    end_flow,
    add_partition,
    lose_recovery,
)
BY_PROXY: Final[tuple[Fault, ...]] = (hang_database, forget_database, hang_broker, forget_broker)
VICTIMS: Final[dict[str, tuple[Fault, ...]]] = {
    # Last what makes the topic another one.
    "flow and API": (kill_flow, stop_flow, end_flow, lose_recovery, kill_api, add_partition),
    "database": (
        kill_postmaster,
        terminate_backend,
        kill_backend,
        lose_database,
        hang_database,
        forget_database,
    ),
    "broker": (kill_broker, lose_broker, lose_both, hang_broker, forget_broker),
}
"""The short form: what is done in a row, on one topic."""
STORMY: Final[tuple[Fault, ...]] = tuple(
    fault for fault in (*DIRECT, *BY_PROXY) if fault is not add_partition
)
