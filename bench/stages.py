"""stages: the cost of a record in the pure stages, and that it does not grow with anything.

Parsing, cutting and judging, without Kafka, Bytewax or a database: with more services, with as many
partitions as eight workers would share, and with more incidents open. The slope is what a tenfold
adds to the cost of a record. A service's share of a batch is judged at once, so where each has less
of it a record costs more: services are counted in batches of one size, and in batches that grow
with them.
"""

import json
import math
import statistics
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

from bench.measurement import Figure
from flows import garbage
from flows.cut import cut_runs
from flows.detector import Detector
from flows.parse import parse_batch
from tocsin.batches import RawBatch
from tocsin.detection import SettingsTimeline

ID = "stages"
_BATCH = 10_000
_PER_MINUTE = 10
"""Records of a service in a minute: each size has as many windows a record."""
_SHARE = 10
"""Records of a service in a batch that grows with them."""
_SETTINGS = SettingsTimeline()
_IDLE_MS = _SETTINGS.versions[0].idle_ms


def run(records: int) -> list[Figure]:
    """Return microseconds a record at each size, and the slopes over the logarithm of the size."""
    figures: list[Figure] = []
    for name, sizes, cost in (
        ("services", (10, 100, 1_000, 10_000), lambda size: _cost(records, services=size)),
        (
            f"services of {_SHARE} records each in a batch",
            (10, 100, 1_000, 10_000),
            lambda size: _cost(records, services=size, batch=size * _SHARE),
        ),
        ("partitions", (1, 2, 4, 8), lambda size: _cost(records, partitions=size)),
        ("open incidents", (1, 10, 100), lambda size: _cost(records, services=1_000, burning=size)),
    ):
        figures += _slope(name, sizes, cost)
    return figures


def _slope(name: str, sizes: tuple[int, ...], cost: Callable[[int], float]) -> list[Figure]:
    found = [cost(size) for size in sizes]
    slope, _ = statistics.linear_regression([math.log10(size) for size in sizes], found)
    rows = [
        Figure(f"{name}: {size:,}", value, "us a record")
        for size, value in zip(sizes, found, strict=True)
    ]
    return [*rows, Figure(f"{name}, slope", slope, "us a record and tenfold")]


def _cost(
    records: int, *, services: int = 100, partitions: int = 1, burning: int = 0, batch: int = _BATCH
) -> float:
    """Return the microseconds of processor time that a record takes, of all partitions' together.

    burning: how many of the services have an incident open, with many errors in every minute.
    """
    polls = _polls(records, services, partitions, burning, batch)
    with garbage.searched_for_seldom():  # as the flow does
        began = time.process_time()
        _judge(polls)
        return (time.process_time() - began) / records * 1_000_000


def _judge(polls: list[RawBatch]) -> None:
    detectors: dict[str, Detector] = {}
    for poll in polls:
        for service in cut_runs(parse_batch(poll), _IDLE_MS):
            detector = detectors.get(service.service_id)
            if detector is None:
                detector = Detector(service.service_id, _SETTINGS)
                detectors[service.service_id] = detector
            for run in service.runs:
                detector.apply(run)
            detector.drain()


def _polls(
    records: int, services: int, partitions: int, burning: int, batch: int
) -> list[RawBatch]:
    """Return the polls of all partitions, in turn; a service keeps to one of them."""
    start = datetime(2026, 3, 2, tzinfo=timezone.utc)
    span = timedelta(minutes=records / (services * _PER_MINUTE))
    held: list[list[tuple[bytes, int]]] = [[] for _ in range(partitions)]
    for number in range(records):
        service = number % services
        when = start + span * number / records
        is_error = service < burning and number > records // 2
        record = {
            "timestamp": when.isoformat(timespec="milliseconds"),
            "service_id": f"service-{service:05d}",
            "level": "ERROR" if is_error else "INFO",
            "message": "request accepted by upstream after retry",
            "metadata": {"request": f"{number:012x}"},
        }
        value = json.dumps(record, separators=(",", ":")).encode()
        held[service % partitions].append((value, int(when.timestamp() * 1000)))
    return [
        _poll(partition, first, own[first : first + batch])
        for partition, own in enumerate(held)
        for first in range(0, len(own), batch)
    ]


def _poll(partition: int, first: int, records: list[tuple[bytes, int]]) -> RawBatch:
    end = first + len(records)
    return RawBatch(
        incarnation=1,
        partition=partition,
        next_offset=end,
        key=[None] * len(records),
        value=[value for value, _ in records],
        arrival_ms=[arrival_ms for _, arrival_ms in records],
        offset=list(range(first, end)),
        read_until_ms=records[-1][1],
    )
