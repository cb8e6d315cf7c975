"""Replays of the synthetic series, run once for all tests that look at them."""

import pytest

from bench.replay import GUARDED, TIMELINES, Tables, replay_events, replay_week
from flows.detector import Detector

Replays = dict[str, dict[str, Tables]]


@pytest.fixture(scope="session")
def week() -> Replays:
    """Closed replay of the synthetic week: preset -> service -> tables."""
    return {preset: replay_week(timeline) for preset, timeline in TIMELINES.items()}


@pytest.fixture(scope="session")
def three_hours() -> Replays:
    """Event replay of the three hours, row by row: preset -> service -> tables."""
    return {preset: replay_events(timeline) for preset, timeline in TIMELINES.items()}


@pytest.fixture
def guarded() -> Detector:
    """Return a fresh detector with the default settings."""
    return Detector("service", GUARDED)
