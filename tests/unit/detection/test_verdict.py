"""Verdicts on a window: unit vectors, and least counts against the inequality itself."""

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bench.replay import read_json
from flows.baseline import Baseline, GuardedBaseline
from flows.verdict import is_below_minimum, least_count_above, limits_of, score
from tocsin.detection import DetectionSettings

DEFAULTS = DetectionSettings()
COUNTS = st.lists(st.integers(0, 200), min_size=1, max_size=30)
SIGMAS = st.decimals("0.001", "50", places=3)


def baselines(counts: list[int]) -> tuple[Baseline, GuardedBaseline]:
    sums = len(counts), sum(counts), sum(count * count for count in counts)
    return Baseline(*sums), GuardedBaseline(*sums, records=10 * len(counts))


@pytest.mark.parametrize("vector", read_json("unit_vectors.json"), ids=lambda v: v["name"])
def test_unit_vector(vector: dict[str, Any]) -> None:
    plain, guarded = baselines(vector["baseline"])
    limits, count = limits_of(plain, guarded, DEFAULTS), vector["count"]
    assert (plain.n, plain.errors, plain.squares) == (vector["n"], vector["S"], vector["Q"])
    assert (plain.spread, guarded.spread) == (vector["V"], vector["V_floored"])
    assert plain.mean == pytest.approx(vector["mean"])
    assert plain.sigma == pytest.approx(vector["sigma"])
    assert guarded.sigma == pytest.approx(vector["sigma_floored"])
    assert score(count, plain) == pytest.approx(vector["z"], abs=1e-6)
    assert score(count, guarded) == pytest.approx(vector["z_floored"], abs=1e-6)
    assert (count >= limits.signal) == vector["signal"]
    critical = {None: False, "HIGH": False, "CRITICAL": True}[vector["signal_severity"]]
    assert (count >= limits.signal_critical) == critical
    assert (count >= limits.breach) == vector["breach"]
    assert (count >= limits.breach_critical) == vector["breach_critical"]
    assert (count >= limits.fire) == vector["fire_at_once"]
    assert (count >= limits.hot) == vector["hot_hysteresis"]


@given(counts=COUNTS, sigma=SIGMAS)
def test_least_count_is_the_first_that_exceeds_and_never_one_that_equals(
    counts: list[int], sigma: Decimal
) -> None:
    for baseline in baselines(counts):
        least = least_count_above(baseline, sigma)
        for count, holds in ((least, True), (least - 1, False)):
            above_mean = baseline.n * count - baseline.errors
            exceeds = above_mean > 0 and above_mean**2 > Fraction(sigma) ** 2 * baseline.spread
            assert exceeds is holds


def test_z_of_exactly_the_threshold_is_normal() -> None:
    plain = Baseline(n=2, errors=8, squares=40)
    assert score(7, plain) == 1.5
    assert least_count_above(plain, Decimal("1.5")) == 8
    assert least_count_above(plain, Decimal("1.499")) == 7


def test_exact_where_a_double_is_not() -> None:
    root = 10**9 + 1
    plain = Baseline(n=5, errors=4, squares=(root * root + 14) // 5)
    assert plain.spread == root * root - 2
    assert math.sqrt(plain.spread) == root
    assert least_count_above(plain, Decimal(1)) == (4 + root) // 5


@given(counts=COUNTS)
def test_mean_and_sigma_are_numpys(counts: list[int]) -> None:
    plain, guarded = baselines(counts)
    assert plain.mean == pytest.approx(np.mean(counts))
    assert plain.sigma == pytest.approx(np.std(counts), abs=1e-9)
    assert guarded.sigma == pytest.approx(max(np.std(counts), np.sqrt(np.mean(counts))), abs=1e-9)


@given(counts=COUNTS, count=st.integers(0, 500))
def test_z_is_numpys(counts: list[int], count: int) -> None:
    plain, _ = baselines(counts)
    if plain.spread:
        z = (count - np.mean(counts)) / np.std(counts)
        assert score(count, plain) == pytest.approx(z, abs=1e-9)


def test_no_baseline_is_no_score_rather_than_zero() -> None:
    assert score(50, Baseline(0, 0, 0)) is None
    assert score(50, None) is None
    assert Baseline(0, 0, 0).mean is None


def test_plain_preset_never_breaches() -> None:
    plain, _ = baselines([0] * 30)
    limits = limits_of(plain, None, DEFAULTS)
    assert limits.signal == 6
    assert min(limits.breach, limits.fire, limits.hot) > 10**12


def test_a_breach_has_half_as_much_again_as_the_mean() -> None:
    _, guarded = baselines([10_000] * 30)
    limits = limits_of(Baseline(30, 300_000, 3_000_000_000), guarded, DEFAULTS)
    assert limits.breach == 15_000
    unlifted = replace(DEFAULTS, breach_lift=Decimal("0.001"))
    assert limits_of(Baseline(30, 0, 0), guarded, unlifted).breach == 10_301


@pytest.mark.parametrize(("observed", "below"), [(0, False), (2, False), (3, True), (6, False)])
def test_below_minimum_is_over_the_threshold_on_too_few_errors(observed: int, below: bool) -> None:
    plain, _ = baselines([1, 0, 1, 0, 1, 2])
    assert is_below_minimum(observed, plain, DEFAULTS) is below


def test_nothing_is_below_minimum_without_enough_baseline_windows() -> None:
    plain, _ = baselines([0, 0, 0, 0])
    assert not is_below_minimum(5, plain, DEFAULTS)
