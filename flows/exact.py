"""A long run applied so that its time stamps are those of its records judged one by one.

A run is counted at once, but what it decides is decided by one of its error records: the one with
which the count reaches a limit. So a run is cut at these, and only at these.
"""

from collections.abc import Iterator, Sequence

from flows.detector import Detector
from flows.rows import Run


def apply_exactly(detector: Detector, run: Run, error_arrivals: Sequence[int]) -> None:
    """Apply a run of which the arrival of every error is known, in order."""
    detector.reach(run.window, run.first_arrival_ms)
    if not (run.errors or detector.open_silence):
        detector.apply(run)
        return
    for piece in _pieces(run, error_arrivals, _borders(detector, run, error_arrivals)):
        detector.apply(piece)


def _borders(detector: Detector, run: Run, error_arrivals: Sequence[int]) -> list[int]:
    """Return after how many of its errors a run is to be cut."""
    borders = set()
    if detector.open_silence and run.first_arrival_ms < run.last_arrival_ms:
        # Its first record ends the silence.
        borders.add(sum(arrival == run.first_arrival_ms for arrival in error_arrivals))
    found = detector.find(run.window)
    if found is not None:
        window, counted = found
        if counted + run.errors > window.settings.minimum_count:
            borders |= {
                limit - counted
                for limit in window.limits
                if counted < limit <= counted + run.errors
            }
    return sorted(borders)


def _pieces(run: Run, error_arrivals: Sequence[int], borders: list[int]) -> Iterator[Run]:
    total, errors, first_ms = run.total, run.errors, run.first_arrival_ms
    done = 0
    for border in borders:
        own = border - done
        if own == 0:  # only the silence's border: whatever came first was no error
            yield Run(run.window, 1, 0, first_ms, first_ms, run.offset)
            total -= 1
            continue
        last_ms = error_arrivals[border - 1]
        yield Run(run.window, own, own, first_ms, last_ms, run.offset)
        total, errors, first_ms, done = total - own, errors - own, last_ms, border
    if total:
        yield Run(run.window, total, errors, first_ms, run.last_arrival_ms, run.offset)
