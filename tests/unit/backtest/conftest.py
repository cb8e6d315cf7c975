"""A replay of three recorded days by four settings, done once for all tests that look at it."""

import pytest

from bench.week_grid import candidate, grid, replay_of, week_of
from flows.replayed import Replay

SERVICES = ("ml-scorer", "reports")


@pytest.fixture(scope="session")
def three_days() -> Replay:
    tried = [*grid(("2.5", "4"), (5,)), candidate("preset=plain", preset='"plain"')]
    return replay_of(week_of(SERVICES, days=3), tried)
