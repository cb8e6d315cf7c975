"""catch-up: a flow that was down reads what piled up meanwhile, many times faster than it came.

The topic holds so many seconds of 5,000 records each, with their own event times; an hour is 18
million. The figure is how many seconds of it are stored in one.
"""

from bench.flow_throughput import flow_rate
from bench.measurement import Figure
from bench.topic import fill
from bench.workload import wire_records
from stack.running import temporary

ID = "catch-up"
RECORDS_PER_S = 5_000
GOAL = 15.0


def run(seconds: int) -> list[Figure]:
    """Return how many times real time the backlog is read."""
    records = seconds * RECORDS_PER_S
    with temporary() as stack:
        stack.migrate()
        fill(stack.kafka_bootstrap, wire_records(records, span_s=seconds))
        rate = flow_rate(stack, records)
    return [Figure("catch-up", rate / RECORDS_PER_S, "times real time", GOAL, "goal")]
