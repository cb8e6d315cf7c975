"""The decision on a window: from how many errors on its baselines say that it is not normal.

With c errors on a baseline of n windows (`flows.baseline`), d = n c - S and the spread V,

    z = d / sqrt(V),   z > p/q   iff   d > 0 and q^2 d^2 > p^2 V.

q d is an integer, so the last inequality is q d > isqrt(p^2 V), and every test of a window becomes
a least count: exact, found once, and compared with one integer from then on. Counts only grow while
the baseline stands, so a test that holds early holds for good.

    SIGNAL   n >= 5, c > 5 and z > 3 on the plain baseline
    BREACH   n >= 5, c > 5, z' > 3 and 2 n c >= 3 S on the guarded one
    FIRE     BREACH and z' > 7, or the third BREACH in a row
    HOT      SIGNAL, BREACH, or z' > 1.5 and c > 5 in a confirmed incident

(the numbers are those of the default settings).
"""

import math
import sys
from decimal import Decimal
from functools import lru_cache
from typing import Final, NamedTuple

from flows.baseline import Baseline, GuardedBaseline
from tocsin.detection import DetectionSettings

NEVER: Final = sys.maxsize
"""The least count of a test that cannot hold."""

NO_SPREAD_Z: Final = 999.0
"""z above a baseline without any spread, for display."""


class Limits(NamedTuple):
    """From how many errors on each test of a window holds.

    fire: alone, without breaches before it. hot: in a confirmed incident.
    """

    signal: int
    signal_critical: int
    breach: int
    breach_critical: int
    fire: int
    hot: int


def score(count: int, baseline: Baseline | GuardedBaseline | None) -> float | None:
    """Return z of a count for display; None without baseline windows.

    >>> score(9, Baseline(n=2, errors=8, squares=40))
    2.5
    """
    if baseline is None or baseline.n == 0:
        return None
    above_mean = baseline.n * count - baseline.errors
    spread = baseline.spread
    if spread == 0:
        return NO_SPREAD_Z if above_mean > 0 else 0.0
    return above_mean / math.sqrt(spread)


def least_count_above(baseline: Baseline | GuardedBaseline, sigma: Decimal) -> int:
    """Return the least count whose z exceeds so many standard deviations.

    >>> least_count_above(Baseline(n=2, errors=8, squares=40), Decimal("2.5"))
    10
    """
    return _least_count(baseline.n, baseline.errors, baseline.spread, sigma)


@lru_cache(maxsize=10_000)
def _least_count(n: int, errors: int, spread: int, sigma: Decimal) -> int:
    """Many candidates of a backtest ask the same of one baseline."""
    p, q = sigma.as_integer_ratio()
    above_mean = math.isqrt(p * p * spread) // q + 1
    return _ceil_div(errors + above_mean, n)


def limits_of(
    plain: Baseline, guarded: GuardedBaseline | None, settings: DetectionSettings
) -> Limits:
    """Turn the baselines of a window into the least counts of its tests."""
    over_minimum = settings.minimum_count + 1
    signal = signal_critical = NEVER
    if plain.n >= settings.minimum_baseline_windows:
        signal = max(over_minimum, least_count_above(plain, settings.threshold_sigma))
        signal_critical = max(signal, least_count_above(plain, settings.critical_sigma))
    breach = breach_critical = fire = hot = NEVER
    if guarded is not None and guarded.n >= settings.minimum_baseline_windows:
        p, q = settings.breach_lift.as_integer_ratio()
        lifted = _ceil_div(p * guarded.errors, q * guarded.n)
        threshold = least_count_above(guarded, settings.threshold_sigma)
        breach = max(over_minimum, threshold, lifted)
        breach_critical = max(breach, least_count_above(guarded, settings.critical_sigma))
        fire = max(breach, least_count_above(guarded, settings.confirm_sigma))
        hot = max(over_minimum, least_count_above(guarded, settings.hot_sigma))
    return Limits(signal, signal_critical, breach, breach_critical, fire, hot)


def is_below_minimum(observed: int, plain: Baseline, settings: DetectionSettings) -> bool:
    """Tell whether z is over the threshold and only the minimum count keeps it from a SIGNAL."""
    return (
        0 < observed <= settings.minimum_count
        and plain.n >= settings.minimum_baseline_windows
        and observed >= least_count_above(plain, settings.threshold_sigma)
    )


def _ceil_div(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)
