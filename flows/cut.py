"""Records to runs: what a detector is fed, cut as the arrival order of each service commands."""

from collections.abc import Sequence

from msgspec import Struct

from flows.rows import Run
from tocsin.batches import RecordBatch
from tocsin.detection import WINDOW_MS
from tocsin.records import ERROR_LEVELS

_WINDOW_US = WINDOW_MS * 1000


class ServiceRuns(Struct, frozen=True):
    """The runs of one service in one batch, in arrival order.

    advance_ms: an arrival in the service's partition, by which its clock is moved if it is idle.
    error_arrivals: of every error of the runs, in order.
    """

    service_id: str
    incarnation: int
    partition: int
    runs: list[Run]
    advance_ms: int | None = None
    error_arrivals: Sequence[int] = ()


def cut_runs(batch: RecordBatch, idle_ms: int) -> list[ServiceRuns]:
    """Return every service's runs.

    A run is a maximal stretch of records of one service and one window, each arriving at most
    `idle_ms` after the one before. Records of other services in between do not end it.
    """
    growing: dict[str, _Growing] = {}
    runs: dict[str, list[Run]] = {}
    error_arrivals: dict[str, list[int]] = {}
    for service_id, event_us, level, arrival_ms, offset in zip(
        batch.service_id, batch.event_us, batch.level, batch.arrival_ms, batch.offset, strict=True
    ):
        window = event_us // _WINDOW_US
        run = growing.get(service_id)
        if run is None or run.window != window or arrival_ms - run.last_arrival_ms > idle_ms:
            if run is None:
                runs[service_id], error_arrivals[service_id] = [], []
            else:
                runs[service_id].append(run.ended())
            run = growing[service_id] = _Growing(window, arrival_ms)
        run.total += 1
        if level in ERROR_LEVELS:
            run.errors += 1
            error_arrivals[service_id].append(arrival_ms)
        run.last_arrival_ms = arrival_ms
        run.offset = offset
    for service_id, run in growing.items():
        runs[service_id].append(run.ended())
    return [
        ServiceRuns(
            service_id,
            batch.incarnation,
            batch.partition,
            own,
            error_arrivals=error_arrivals[service_id],
        )
        for service_id, own in runs.items()
    ]


class _Growing:
    """A run that may still grow."""

    __slots__ = ("errors", "first_arrival_ms", "last_arrival_ms", "offset", "total", "window")

    def __init__(self, window: int, arrival_ms: int) -> None:
        self.window = window
        self.total = 0
        self.errors = 0
        self.first_arrival_ms = arrival_ms
        self.last_arrival_ms = arrival_ms
        self.offset = -1

    def ended(self) -> Run:
        return Run(
            self.window,
            self.total,
            self.errors,
            self.first_arrival_ms,
            self.last_arrival_ms,
            self.offset,
        )
