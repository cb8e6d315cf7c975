"""A load on the topic, at a pace, in a process of its own: `python -m bench.load`."""

import sys
import time

from confluent_kafka import Producer

from bench.workload import wire_records
from tocsin.topics import PARTITIONER

_STEPS_PER_S = 20


def main() -> None:
    """Produce records of the present at a pace until told to end: BOOTSTRAP PER_S SERVICES."""
    bootstrap, per_s, services = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "partitioner": PARTITIONER,
            "compression.type": "lz4",
            "linger.ms": 5,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    step = per_s // _STEPS_PER_S
    due = time.monotonic()
    for number in range(sys.maxsize):
        for service_id, value in wire_records(step, seed=number, span_s=0, services=services):
            producer.produce("logs", value, service_id)
        producer.poll(0)
        due += 1 / _STEPS_PER_S
        time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    main()
