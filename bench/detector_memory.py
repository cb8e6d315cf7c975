"""detector-memory: what a service's detector takes, live and as the snapshot that recovery keeps.

Detectors are fed four hours of the recorded week, so that their history is full, and drained. At a
hundredth and a tenth of the services and at all of them: the sum of the sizes of their objects, and
the pickled snapshots. The slope, by least squares, is the price of one more service. The process's
resident memory, which has slack of its own, is given by its growth over the last nine tenths.
"""

import enum
import gc
import os
import pickle
import statistics
import sys
import types
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Final

from bench.measurement import Figure
from bench.replay import GUARDED, closed_runs, synthetic_series
from flows.detector import Detector
from flows.known import Place, ServiceState
from flows.rows import Run
from tocsin.detection import SettingsTimeline

ID = "detector-memory"
MINUTES = 240
DRAIN_EVERY = 60
GOAL_BYTES = 8 * 1024

_SHARED: Final = (
    type,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    enum.Enum,
    SettingsTimeline,
)
_SMALL_INTS: Final = range(-5, 257)


def run(services: int) -> list[Figure]:
    """Return bytes a service at three sizes, and the slopes beside the goal."""
    runs = [list(closed_runs(islice(series, MINUTES))) for series in synthetic_series().values()]
    resident: list[int] = []
    detectors: list[Detector] = []
    sizes = [services // 100, services // 10, services]
    taken: dict[str, list[int]] = {"objects": [], "snapshots": []}
    for size in sizes:
        detectors += [
            full_detector(f"service-{number:05d}", runs[number % len(runs)])
            for number in range(len(detectors), size)
        ]
        taken["objects"].append(object_bytes(detectors))
        gc.collect()
        resident.append(_resident_bytes())
        taken["snapshots"].append(sum(map(snapshot_bytes, detectors)))
    figures = [
        Figure(f"{name}, {size:,} services", total / size, "B/service")
        for name, totals in taken.items()
        for size, total in zip(sizes, totals, strict=True)
    ]
    for name, totals in taken.items():
        slope, _ = statistics.linear_regression(sizes, totals)
        figures.append(Figure(f"{name}, slope", slope, "B/service", GOAL_BYTES, "goal"))
    growth = (resident[-1] - resident[-2]) / (sizes[-1] - sizes[-2])
    figures.append(Figure("resident memory, growth", growth, "B/service", GOAL_BYTES, "goal"))
    return figures


def full_detector(service_id: str, runs: Iterable[Run]) -> Detector:
    """Return a detector that has been fed and drained."""
    detector = Detector(service_id, GUARDED)
    for number, run in enumerate(runs, 1):
        detector.apply(run)
        if number % DRAIN_EVERY == 0:
            detector.drain()
    detector.drain()
    return detector


def object_bytes(detectors: Iterable[Detector]) -> int:
    """Return the size of all objects of detectors, without what all of them share."""
    total, seen, todo = 0, set[int](), list[object](detectors)
    while todo:
        one = todo.pop()
        if id(one) in seen or isinstance(one, _SHARED):
            continue
        seen.add(id(one))
        if one is None or (isinstance(one, int) and one in _SMALL_INTS):
            continue
        total += sys.getsizeof(one)
        todo += gc.get_referents(one)
    return total


def snapshot_bytes(detector: Detector) -> int:
    """Return the size of a detector's snapshot as Bytewax keeps it."""
    return len(pickle.dumps(ServiceState(Place(1, 0, 0), detector.snapshot()).packed()))


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
