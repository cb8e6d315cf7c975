"""flow-memory: what the live flow holds over a time of load, and for every further service.

Its resident memory is read every second; the growth an hour is the slope over the second half of
the time, by least squares. Then a second flow hears ten thousand services once a few seconds.
Memory says something only of a flow that stores what is sent: how much it was is given, too. The
light broker slows down with what it holds, so the long runs take Apache Kafka (`BROKER=kafka`).
"""

import statistics
import time
from pathlib import Path

import psycopg

from bench.flow_throughput import stored
from bench.measurement import Figure
from bench.time_to_incident import start_load
from stack.commands import Stack
from stack.processes import Process
from stack.running import temporary
from stack.waiting import wait_until

ID = "flow-memory"
FEW, MANY = 50, 10_000
PER_S = 5_000
GOAL_MIB, GOAL_BYTES = 300.0, 8 * 1024
_MIB = 1024 * 1024


def run(seconds: int) -> list[Figure]:
    """Return the memory at few services, its growth, and the bytes that one more service takes."""
    few, few_per_s = _resident(seconds, FEW)
    many, many_per_s = _resident(seconds // 2, MANY)
    later = few[len(few) // 2 :]
    slope, _ = statistics.linear_regression(range(len(later)), later)
    top = max(few)
    return [
        Figure(f"{FEW} services", top / _MIB, "MiB", GOAL_MIB, "goal"),
        Figure(f"stored, {FEW} services", few_per_s, "records/s", PER_S, "sent"),
        Figure("growth", slope * 3600 / _MIB, "MiB an hour"),
        Figure("a further service", (max(many) - top) / (MANY - FEW), "B", GOAL_BYTES, "goal"),
        Figure(f"stored, {MANY:,} services", many_per_s, "records/s", PER_S, "sent"),
    ]


def _resident(seconds: int, services: int) -> tuple[list[int], float]:
    """Return the flow's resident bytes, second by second, and the rate at which it stored."""
    with temporary() as stack:
        stack.migrate()
        flow = stack.start("flow")
        start_load(stack, PER_S, services)
        began = time.monotonic()
        found = _watched(stack, flow, seconds)
        with psycopg.connect(stack.database_url) as conn:
            return found, stored(conn) / (time.monotonic() - began)


def _watched(stack: Stack, flow: Process, seconds: int) -> list[int]:
    found: list[int] = []
    began = time.monotonic()

    def over() -> bool:
        stack.require_running()
        found.append(resident_bytes(flow.pid))
        return time.monotonic() - began > seconds

    wait_until(over, "the end of the load", deadline_s=seconds + 60, every_s=1)
    return found


def resident_bytes(pid: int) -> int:
    """Return what of a process is in memory now."""
    [line] = [
        line
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmRSS:")
    ]
    return int(line.split()[1]) * 1024
