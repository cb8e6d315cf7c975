"""However far behind the database is, the flow holds no more than it has room for.

Of each bound there is a mutation in `MUTATIONS` that a test here, or the one that is named, finds.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Producer

from flows.reader import POLL_RECORDS
from flows.room import ROOM_BYTES, weight_of
from stack.processes import Process
from tests.integration.conftest import Line
from tests.integration.memory import peak_mib
from tests.integration.test_flow_metrics import Metered
from tocsin.topics import PARTITIONER

MUTATIONS = """
Room.is_full always False: test_nothing_more_is_read_...; its long form by the memory, too
Room.stores, or `partitions` for Room(...) left out: test_nothing_more_is_read_...
Committer._take without `at_once`: test_committer.py, test_only_so_much_is_committed_at_once
IdleServices.within_reach returning until_ms: test_idle.py, test_long_gap_is_told_in_steps_...
RepeatLogic without ids_max: test_repeats.py (unit), test_only_so_many_ids_...
"""

RECORD_BYTES = 200
SHORT, LONG = 300_000, 2_000_000
SERVICES = 50
EPOCH_S = 30
"""A snapshot waits for the database, and reading with it: none is to hide what bounds reading."""
SHORT_EPOCH_S = 5
PEAK_MIB = 420
"""What may come on top of the memory with which the flow started.

128: the room, 64 MiB, twice over, as columns and laid out for COPY. 64: a batch that is laid out,
and the client's own copy of a commit. 64: what is fetched ahead. 64: unpacked fetches, detectors,
the pages of code. 100: what the allocators of a dozen threads keep. Measured: 180 to 330.

Without the room 2,000,000 records take 1,200 and more.
"""


def fill(
    line: Line,
    records: int,
    *,
    services: int = SERVICES,
    partitions: list[int] | None = None,
    ids: bool = False,
) -> None:
    """Put a backlog on the topic: records of 200 bytes, of many services."""
    producer = Producer(
        {
            "bootstrap.servers": line.settings.kafka_bootstrap,
            "partitioner": PARTITIONER,
            "compression.type": "lz4",
            "linger.ms": 20,
            "queue.buffering.max.messages": 100_000,
        }
    )
    now = datetime.now(timezone.utc).isoformat()
    rng = random.Random(1)
    texts = [
        "".join(rng.choices("abcdefghijklmnopqrstuvwxyz 0123456789", k=130)) for _ in range(997)
    ]
    for number in range(records):
        service = f"service-{number % services:02d}"
        named = f',"id":"{number:08d}"' if ids else ""
        head = f'{{"timestamp":"{now}","service_id":"{service}","level":"INFO"{named}'
        value = (
            f'{head},"message":"{texts[number % len(texts)]}'.encode()[: RECORD_BYTES - 2] + b'"}'
        )
        part = -1 if partitions is None else partitions[number % len(partitions)]
        while True:
            try:
                producer.produce(line.settings.topic, value, service.encode(), part)
            except BufferError:
                producer.poll(0.1)
            else:
                break
    assert producer.flush(60) == 0


@contextmanager
def locked(line: Line, *tables: str) -> Iterator[None]:
    """Let nobody read or write tables: the database stands still."""
    with psycopg.connect(line.settings.database_url) as conn:
        conn.execute(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE".encode())
        yield
        conn.rollback()


def slow_down(line: Line, seconds: float) -> None:
    """Have each commit of logs take so much longer."""
    line.execute(f"""
        CREATE FUNCTION rest() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN PERFORM pg_sleep({seconds}); RETURN NULL; END';
        CREATE TRIGGER rest AFTER INSERT ON logs FOR EACH STATEMENT EXECUTE FUNCTION rest();
    """)


def wait_for_standstill(metered: Metered, flow: Process, sent: int) -> int:
    """Wait until the flow has no room and reads no more; return how many records it has read."""
    seen: list[float] = []

    def stands_still() -> bool:
        if metered.metric("tocsin_flow_room_ratio") < 1:
            return False
        seen.append(metered.lag())
        return len(seen) > 20 and len(set(seen[-20:])) == 1

    metered.line.wait_for(stands_still, "no room", flow)
    return sent - int(seen[-1])


def wait_for_lag(metered: Metered, flow: Process, records: int) -> None:
    metered.line.wait_for(lambda: metered.lag() == records, f"a lag of {records}", flow)


def in_room(metered: Metered) -> int:
    """Return how many records of RECORD_BYTES have found room."""
    taken_bytes = metered.metric("tocsin_flow_room_ratio") * ROOM_BYTES
    return round(taken_bytes / weight_of(RECORD_BYTES, 1))


def stored(line: Line) -> int:
    [(offsets,)] = line.query("SELECT sum(next_offset) FROM positions WHERE stage = 'logs'")
    return int(offsets or 0)


def readable(workers: int) -> int:
    """Return how many records find room: until it is full, and then a poll of each worker.

    The light broker's end of a partition, and the lag with it, is behind by a batch.
    """
    return ROOM_BYTES // weight_of(RECORD_BYTES, 1) + workers * POLL_RECORDS + 20_000


def require_all_stored(line: Line, flow: Process, sent: int) -> None:
    """Each record is stored once, and counted."""
    line.wait_for(lambda: stored(line) == sent, "everything is stored", flow, deadline_s=600)
    assert flow.stop(grace_s=60) == 0
    assert line.count("logs") == sent
    assert line.query("SELECT sum(total + late_total) FROM error_windows") == [(sent,)]


def check_backlog(line: Line, records: int, course: str, workers: int) -> int:
    """Let a flow store a backlog; return what it took in MiB."""
    fill(line, records)
    if course == "slow":
        slow_down(line, 0.2)
    metered = Metered(line)
    if course == "standing still":
        with locked(line, "logs"):
            flow = metered.start_flow(workers=workers, epoch_s=EPOCH_S)
            began = peak_mib(flow.pid)
            assert wait_for_standstill(metered, flow, records) <= readable(workers)
    else:
        flow = metered.start_flow(workers=workers, epoch_s=SHORT_EPOCH_S)
        began = peak_mib(flow.pid)
    line.wait_for(lambda: stored(line) == records, "all is stored", flow, deadline_s=600)
    taken = peak_mib(flow.pid) - began
    print(f"{records} records, {course}, {workers} workers: {taken} MiB more than {began}")
    require_all_stored(line, flow, records)
    return taken


COURSES = [("full speed", 1), ("standing still", 1), ("slow", 2)]


@pytest.mark.parametrize(("course", "workers"), COURSES)
def test_backlog_is_stored_in_bounded_memory(line: Line, course: str, workers: int) -> None:
    assert check_backlog(line, SHORT, course, workers) < PEAK_MIB


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("course", "workers"), COURSES)
def test_long_backlog_is_stored_in_the_same_memory(line: Line, course: str, workers: int) -> None:
    assert check_backlog(line, LONG, course, workers) < PEAK_MIB


def test_nothing_more_is_read_while_another_worker_cannot_go_on(
    line: Line, tmp_path: Path, unique_name: Callable[[str], str]
) -> None:
    """A worker that reads and stores, but drops no repeats, is held back by the one that does.

    With two workers, Bytewax has the even ones of eight partitions read and stored by one worker
    and their repeats dropped by the other, which waits for the stored ids.
    """
    wide = Line(
        line.environ
        | {
            "TOCSIN_TOPIC": unique_name("wide"),
            "TOCSIN_PARTITIONS": "8",
            "TOCSIN_RECOVERY_DIR": str(tmp_path / "wide"),
        },
        tmp_path,
    )
    sent = 200_000
    fill(wide, sent, partitions=[0, 2, 4, 6], ids=True)
    metered = Metered(wide)
    try:
        with locked(wide, "logs"):
            flow = metered.start_flow(workers=2, epoch_s=EPOCH_S)
            assert wait_for_standstill(metered, flow, sent) <= readable(2)
        require_all_stored(wide, flow, sent)
    finally:
        wide.close()


def test_lag_is_true_on_the_full_broker_under_load(full_line: Line) -> None:
    """While nothing is stored, what is not read and what is in the room make up all that was sent.

    The backlog grows under the flow's feet: each time, the lag grows by what was sent.
    """
    metered = Metered(full_line)
    first, more = 150_000, 2_000
    fill(full_line, first)
    with locked(full_line, "logs"):
        flow = metered.start_flow(epoch_s=EPOCH_S)
        wait_for_standstill(metered, flow, first)
        # What was read last takes room a moment before the lag is told without it.
        read = in_room(metered)
        assert 0 < read <= readable(1)
        wait_for_lag(metered, flow, first - read)
        for number in range(1, 6):
            fill(full_line, more)
            wait_for_lag(metered, flow, first + number * more - read)
    sent = first + 5 * more
    full_line.wait_for(lambda: stored(full_line) == sent, "all is stored", flow, deadline_s=120)
    wait_for_lag(metered, flow, 0)
    full_line.wait_for(lambda: metered.metric("tocsin_flow_room_ratio") == 0, "an empty room", flow)
    require_all_stored(full_line, flow, sent)
