"""Replays of the synthetic series, run once for all tests that look at them."""

from collections import defaultdict

import pytest

from flows.detector import Detector
from flows.rows import Run
from tests.unit.detection.replay import (
    GUARDED,
    PLAIN,
    TIMELINES,
    Tables,
    closed_runs,
    read_csv,
    replay,
    synthetic_series,
)
from tocsin.detection import WINDOW_MS

Replays = dict[str, dict[str, Tables]]

EVENTS_END = 181


@pytest.fixture(scope="session")
def week() -> Replays:
    """Closed replay of the synthetic week: preset -> service -> tables."""
    series = synthetic_series()
    return {
        preset: {
            service: replay(closed_runs(minutes), len(minutes) + 1, timeline, service_id=service)
            for service, minutes in series.items()
        }
        for preset, timeline in (("plain", PLAIN), ("guarded", GUARDED))
    }


@pytest.fixture(scope="session")
def event_runs() -> dict[str, list[Run]]:
    """Return the rows of three hours of every service, each as one run."""
    runs: dict[str, list[Run]] = defaultdict(list)
    for offset, row in enumerate(read_csv("events_3h_s11.csv.gz")):
        arrival_ms, event_ms, errors, others = (int(row[column]) for column in (0, 1, 3, 4))
        window = event_ms // WINDOW_MS
        runs[row[2]].append(Run(window, errors + others, errors, arrival_ms, arrival_ms, offset))
    return dict(runs)


@pytest.fixture(scope="session")
def three_hours(event_runs: dict[str, list[Run]]) -> Replays:
    """Event replay of the three hours, row by row: preset -> service -> tables."""
    return {
        preset: {
            service: replay(runs, EVENTS_END, timeline, service_id=service)
            for service, runs in event_runs.items()
        }
        for preset, timeline in TIMELINES.items()
    }


@pytest.fixture
def guarded() -> Detector:
    """Return a fresh detector with the default settings."""
    return Detector("service", GUARDED)
