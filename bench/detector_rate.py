"""detector-rate: verdicts a second on one core, beside a loop that does nothing but the counting.

The recorded week goes through one detector a service, in memory: first a minute at a time, as a
replay of history does, which judges a window with every run; then every minute in pieces, as a
live topic does, which judges the same windows many times. A row of every window is built, too. The
limit is what the same loop takes to add up the same runs by service and window.
"""

import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice

from bench.measurement import Figure
from bench.replay import GUARDED, closed_runs, synthetic_series
from flows.detector import Detector
from flows.rows import Run
from tocsin.detection import WINDOW_MS

ID = "detector-rate"
PIECES = 6
DRAIN_EVERY = 60

Runs = dict[str, list[Run]]


def run(minutes: int) -> list[Figure]:
    """Return windows judged and runs applied a second, of so many minutes of every service."""
    whole = {
        service: list(closed_runs(islice(series, minutes)))
        for service, series in synthetic_series().items()
    }
    pieces = {
        service: [piece for run in runs for piece in _cut(run)] for service, runs in whole.items()
    }
    windows, took_s, counting_s = _measure(whole)
    judged = Figure(
        "windows judged", windows / took_s, "windows/s", windows / counting_s, "counting alone"
    )
    _, took_s, counting_s = _measure(pieces)
    count = sum(map(len, pieces.values()))
    applied = Figure("runs applied", count / took_s, "runs/s", count / counting_s, "counting alone")
    return [judged, applied]


def _measure(runs: Runs) -> tuple[int, float, float]:
    """Return how many windows were judged, and the seconds that this and the counting took."""
    began = time.process_time()
    windows = sum(_detect(service, own) for service, own in runs.items())
    detected = time.process_time()
    for own in runs.values():
        _count(own)
    return windows, detected - began, time.process_time() - detected


def _detect(service_id: str, runs: list[Run]) -> int:
    detector = Detector(service_id, GUARDED)
    for number, run in enumerate(runs, 1):
        detector.apply(run)
        if number % DRAIN_EVERY == 0:
            detector.drain()
    detector.drain()
    return runs[-1].window - runs[0].window + 1


def _count(runs: list[Run]) -> None:
    errors: Counter[int] = Counter()
    total: Counter[int] = Counter()
    for run in runs:
        errors[run.window] += run.errors
        total[run.window] += run.total


def _cut(run: Run) -> Iterator[Run]:
    """Cut a minute's run into pieces that arrive one after the other; the counts stay the same."""
    step_ms = WINDOW_MS // PIECES
    for piece in range(PIECES):
        errors, others = _share(run.errors, piece), _share(run.total - run.errors, piece)
        if errors + others:
            arrival_ms = run.first_arrival_ms - WINDOW_MS + (piece + 1) * step_ms
            offset = run.offset * PIECES + piece
            yield Run(run.window, errors + others, errors, arrival_ms, arrival_ms, offset)


def _share(count: int, piece: int) -> int:
    return count * (piece + 1) // PIECES - count * piece // PIECES
