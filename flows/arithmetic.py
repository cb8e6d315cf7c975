"""The arithmetic of a decision: baselines, scores and tests, line by line with their numbers."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from msgspec import Struct

from flows.baseline import Baseline, GuardedBaseline
from flows.verdict import limits_of, score
from flows.wording import span, start_of, stretches
from tocsin.detection import DetectionSettings


class CountedWindow(Struct, frozen=True):
    """A window of a baseline, with its errors."""

    window_start: datetime
    errors: int


class Arithmetic(Struct, frozen=True, kw_only=True):
    """How many sigma the errors of a window lie above a baseline, and from which numbers.

    n: windows of the baseline; sum, squares: S and Q, of their errors and of those squared;
    records: L, of their records of any level, where it counts them. mean = S/n; above = n c - S of
    the c errors; spread: V = n Q - S^2, but at least n S on the guarded one; sigma = sqrt(V)/n;
    z = above / sqrt(V). windows: the baseline's, where their counts are still known.
    """

    errors: int
    n: int
    sum: int
    squares: int
    records: int | None
    mean: float | None
    sigma: float | None
    above: int
    spread: int
    z: float | None
    windows: list[CountedWindow]


def arithmetic(
    errors: int, baseline: Baseline | GuardedBaseline, counts: Mapping[int, int]
) -> Arithmetic:
    """Return the numbers of a count on a baseline of windows with these counts."""
    return Arithmetic(
        errors=errors,
        n=baseline.n,
        sum=baseline.errors,
        squares=baseline.squares,
        records=baseline.records if isinstance(baseline, GuardedBaseline) else None,
        mean=baseline.mean,
        sigma=baseline.sigma,
        above=baseline.n * errors - baseline.errors,
        spread=baseline.spread,
        z=score(errors, baseline),
        windows=[CountedWindow(start_of(number), counts[number]) for number in sorted(counts)],
    )


def members(name: str, counts: Mapping[int, int]) -> Iterator[str]:
    """Tell the windows of a baseline with their errors, a stretch a line."""
    if not counts:
        return
    yield f"{name} baseline, errors of each window:"
    for windows in stretches(counts):
        yield f"  {span(windows)}: {' '.join(str(counts[number]) for number in windows)}"


def left_out(windows: Mapping[int, str]) -> Iterator[str]:
    """Tell the windows that a guarded baseline skips, and why."""
    for reason in sorted(set(windows.values())):
        own = [number for number, why in windows.items() if why == reason]
        for stretch in stretches(own):
            yield f"  left out as part of {_REASONS[reason]}: {span(stretch)}"


def sums(name: str, baseline: Baseline | GuardedBaseline) -> Iterator[str]:
    """Tell n, S, Q, mean, V and sigma."""
    n, total, squares = baseline.n, baseline.errors, baseline.squares
    if n == 0:
        yield f"{name} baseline: no windows yet"
        return
    yield f"{name} baseline: n = {n} windows, S = {total} errors, Q = {squares} (sum of squares)"
    yield f"  mean = S/n = {baseline.mean!r}"
    own = n * squares - total * total
    line = f"  V = n*Q - S*S = {n}*{squares} - {total}*{total} = {own}"
    if isinstance(baseline, GuardedBaseline):
        line += f", at least n*S = {n * total}: {baseline.spread}"
    yield line
    yield f"  sigma = sqrt(V)/n = {baseline.sigma!r}"


def scored(name: str, errors: int, baseline: Baseline | GuardedBaseline) -> Iterator[str]:
    """Tell d and z of a count."""
    if baseline.n == 0:
        return
    n, total = baseline.n, baseline.errors
    above = n * errors - total
    yield f"  d = n*c - S = {n}*{errors} - {total} = {above}"
    if baseline.spread == 0:
        yield f"  {name} = {score(errors, baseline)!r}, for the baseline has no spread"
    else:
        yield f"  {name} = d/sqrt(V) = {score(errors, baseline)!r}"


def signal(errors: int, baseline: Baseline, settings: DetectionSettings) -> str:
    """Tell the tests of a signal."""
    limits = limits_of(baseline, None, settings)
    return _verdict(
        _tests("z", errors, baseline, settings),
        "signal",
        holds=errors >= limits.signal,
        critical=errors >= limits.signal_critical,
        settings=settings,
    )


def breach(
    errors: int, plain: Baseline, baseline: GuardedBaseline, settings: DetectionSettings
) -> str:
    """Tell the tests of a breach."""
    limits = limits_of(plain, baseline, settings)
    tests = _tests("z'", errors, baseline, settings)
    if baseline.n:
        p, q = settings.breach_lift.as_integer_ratio()
        is_lifted = q * baseline.n * errors >= p * baseline.errors
        sign = ">=" if is_lifted else "<"
        tests.append(f"{errors} {sign} {settings.breach_lift} x mean {baseline.mean:.4g}")
    return _verdict(
        tests,
        "breach",
        holds=errors >= limits.breach,
        critical=errors >= limits.breach_critical,
        settings=settings,
    )


def compared(name: str, errors: int, baseline: Baseline | GuardedBaseline, sigma: Decimal) -> str:
    """Tell z beside a threshold, as exactly as it takes to see on which side it lies."""
    z = score(errors, baseline)
    if z is None:
        return f"{name} = none"
    is_above = exceeds(errors, baseline, sigma)
    texts = [f"{z:.3g}", f"{z:.6g}", repr(z)]
    text = next((text for text in texts if (Decimal(text) > sigma) is is_above), texts[-1])
    return f"{name} = {text} {'>' if is_above else '<='} {sigma}"


def exceeds(errors: int, baseline: Baseline | GuardedBaseline, sigma: Decimal) -> bool:
    """Tell, exactly, whether z is above so many standard deviations."""
    p, q = sigma.as_integer_ratio()
    above = baseline.n * errors - baseline.errors
    return above > 0 and q * q * above * above > p * p * baseline.spread


def _tests(
    name: str,
    errors: int,
    baseline: Baseline | GuardedBaseline,
    settings: DetectionSettings,
) -> list[str]:
    least, enough = settings.minimum_count, settings.minimum_baseline_windows
    return [
        compared(name, errors, baseline, settings.threshold_sigma),
        f"{errors} errors {'>' if errors > least else '<='} {least}",
        f"{baseline.n} windows {'>=' if baseline.n >= enough else '<'} {enough}",
    ]


def _verdict(
    tests: Sequence[str], name: str, *, holds: bool, critical: bool, settings: DetectionSettings
) -> str:
    line = f"  {', '.join(tests)}: "
    if not holds:
        return f"{line}no {name}"
    severity, sign = ("CRITICAL", ">") if critical else ("HIGH", "<=")
    return f"{line}{name}, {severity} for {tests[0].split()[0]} {sign} {settings.critical_sigma}"


_REASONS = {"incident": "an incident", "silence": "a silence"}
