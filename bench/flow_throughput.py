"""flow-throughput: from the topic to TimescaleDB, exactly once, beside a bare COPY.

The records are on the topic before the flow starts. Measured is the time from the moment at which
it says that it starts to read until the last record is committed. The limit is COPY alone, of
the same rows as CSV made beforehand, in pieces as large as the flow's, into the same table.
"""

import time
from collections.abc import Iterator
from itertools import islice

import psycopg

from bench.measurement import Figure
from bench.topic import fill
from bench.workload import wire_records
from flows.parse import parse_batch
from sql import writer
from stack.commands import Stack
from stack.running import temporary
from stack.waiting import wait_until
from tocsin.batches import RawBatch, RecordBatch

ID = "flow-throughput"
LARGE, MANY = "flow-large-records", "flow-many-services"
COPY_ROWS = 20_000
_COPY_DATABASE = "bench_copy"


def run(records: int) -> list[Figure]:
    """Return the flow's rate and the bare COPY's, in records per second."""
    return _figures(list(wire_records(records)))


def run_large(records: int) -> list[Figure]:
    """Return the same of records of 2 KB."""
    return _figures(list(wire_records(records, padding=1_850)))


def run_many(records: int) -> list[Figure]:
    """Return the same of ten thousand services."""
    return _figures(list(wire_records(records, services=10_000)))


def _figures(wire: list[tuple[str, bytes]]) -> list[Figure]:
    with temporary() as stack:
        stack.migrate()
        fill(stack.kafka_bootstrap, wire)
        rate = flow_rate(stack, len(wire))
        limit = _copy_rate(stack, wire)
    return [Figure("flow", rate, "records/s", limit, "bare COPY")]


def flow_rate(stack: Stack, records: int) -> float:
    """Return at what rate a flow that starts now stores what lies on the topic."""
    flow = stack.start("flow")
    with psycopg.connect(stack.database_url, autocommit=True) as conn:
        wait_until(lambda: b"flow starts" in flow.log.read_bytes(), "the flow", deadline_s=60)
        began = time.perf_counter()

        def all_stored() -> bool:
            flow.require_running()
            return stored(conn) >= records

        wait_until(all_stored, "all records", deadline_s=600, every_s=0.01)
        took_s = time.perf_counter() - began
    stack.stop_commands()
    return records / took_s


def stored(conn: psycopg.Connection) -> int:
    """Return how many records of the topic the flow has stored."""
    query = "SELECT coalesce(sum(next_offset), 0) FROM positions WHERE stage = 'logs'"
    [(count,)] = conn.execute(query).fetchall()
    return int(count)


def _copy_rate(stack: Stack, wire: list[tuple[str, bytes]]) -> float:
    """Return the rate of COPY alone, into an empty table of its own like the flow's."""
    pieces = [writer.logs_csv(batch) for batch in _batches(wire)]
    url = _fresh_database(stack)
    with psycopg.connect(url) as conn:
        began = time.perf_counter()
        for piece in pieces:
            writer.copy_csv(conn, [piece])
            conn.commit()
        return len(wire) / (time.perf_counter() - began)


def _fresh_database(stack: Stack) -> str:
    with psycopg.connect(stack.database_url, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {_COPY_DATABASE}")
    url = stack.database_url.rpartition("/")[0] + f"/{_COPY_DATABASE}"
    stack.run("tocsin", "migrate", env={"DATABASE_URL": url})
    return url


def _batches(wire: list[tuple[str, bytes]]) -> Iterator[RecordBatch]:
    records = iter(wire)
    while piece := list(islice(records, COPY_ROWS)):
        count = len(piece)
        now_ms = int(time.time() * 1000)
        yield parse_batch(
            RawBatch(
                incarnation=1,
                partition=0,
                next_offset=count,
                key=[None] * count,
                value=[value for _, value in piece],
                arrival_ms=[now_ms] * count,
                offset=list(range(count)),
                read_until_ms=now_ms,
            )
        )
