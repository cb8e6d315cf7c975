"""Every scenario of the bench still runs, small; what it measures is nobody's promise here."""

import math

import pytest

from bench.__main__ import SCENARIOS


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario_still_runs(name: str) -> None:
    figures = SCENARIOS[name].run(SCENARIOS[name].smoke)
    assert figures
    for figure in figures:
        assert math.isfinite(figure.value), figure
        assert figure.limit is None or figure.limit > 0, figure
