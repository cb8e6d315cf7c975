"""Records to runs: what a detector is fed, cut as the arrival order of each service commands."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise

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
    if not len(batch):
        return []
    windows = [event_us // _WINDOW_US for event_us in batch.event_us]
    arrivals = batch.arrival_ms
    # Where all arrived within so short a time, no two lie further apart.
    has_gaps = max(arrivals) - min(arrivals) > idle_ms
    is_error = [level in ERROR_LEVELS for level in batch.level]
    indices: dict[str, list[int]] = defaultdict(list)
    for index, service_id in enumerate(batch.service_id):
        indices[service_id].append(index)
    cut = []
    for service_id, own in indices.items():
        runs: list[Run] = []
        error_arrivals: list[int] = []
        for piece in _pieces(own, windows, arrivals, idle_ms, has_gaps=has_gaps):
            errors = [arrivals[index] for index in piece if is_error[index]]
            first, last = piece[0], piece[-1]
            runs.append(
                Run(
                    windows[first],
                    len(piece),
                    len(errors),
                    arrivals[first],
                    arrivals[last],
                    batch.offset[last],
                )
            )
            error_arrivals += errors
        cut.append(
            ServiceRuns(
                service_id,
                batch.incarnation,
                batch.partition,
                runs,
                error_arrivals=error_arrivals,
            )
        )
    return cut


def _pieces(
    own: list[int], windows: list[int], arrivals: list[int], idle_ms: int, *, has_gaps: bool
) -> Iterable[list[int]]:
    """Cut a service's records, by their indices, where the window changes or it was idle."""
    if not has_gaps:
        return [list(piece) for _, piece in groupby(own, windows.__getitem__)]
    borders = [
        place
        for place, (before, index) in enumerate(pairwise(own), 1)
        if windows[index] != windows[before] or arrivals[index] - arrivals[before] > idle_ms
    ]
    return [own[first:end] for first, end in pairwise([0, *borders, len(own)])]
