"""Streams of one service's records for property tests, and ways to cut them."""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import NamedTuple

from hypothesis import strategies as st
from msgspec.structs import replace

from flows.rows import Run
from tocsin.detection import WINDOW_MS, DetectionSettings, Preset, SettingsTimeline

SMALL = DetectionSettings(
    minimum_count=2,
    baseline_windows=4,
    minimum_baseline_windows=2,
    confirm_sigma=Decimal("3.5"),
    confirm_run_windows=3,
    calm_windows=2,
    absorb_windows=6,
    guarded_lookback_windows=9,
    unknown_gap_windows=2,
    unknown_records_per_window=1,
    idle_ms=150_000,
    idle_margin_ms=60_000,
    kept_windows=14,
    retirement_windows=20,
)
"""Numbers so small that a short stream reaches every rule."""

SMALL_GUARDED = SettingsTimeline((SMALL,))
SMALL_PLAIN = SettingsTimeline((replace(SMALL, preset=Preset.PLAIN),))


class Tally(NamedTuple):
    """Records of one window that arrived together."""

    arrival_ms: int
    window: int
    errors: int
    others: int

    def run(self, offset: int) -> Run:
        """Return the tally as a run of its own."""
        return Run(
            self.window,
            self.errors + self.others,
            self.errors,
            self.arrival_ms,
            self.arrival_ms,
            offset,
        )


_STEPS_MS = st.sampled_from([0, 1_000, 20_000, 20_000, 30_000, 60_000, 60_000, 150_000, 150_001])
_LONG_STEPS_MS = st.sampled_from([400_000, 700_000, 1_500_000, 2_000_000])
_ON_TIME = st.sampled_from([0, 0, 0, 0, 0, -1, -1, 1])
_LATE = st.sampled_from([-2, -3, -6, -12, -16, -40])
_ERRORS = st.sampled_from([0, 0, 0, 1, 1, 2, 3, 4, 6, 9, 20])


@st.composite
def streams(
    draw: st.DrawFn, *, late: bool = True, most: int = 90, gaps: bool = True
) -> list[Tally]:
    """Draw tallies in arrival order; windows lie around the arrival, some long before it."""
    arrival_ms, stream = 20 * WINDOW_MS, []
    for _ in range(draw(st.integers(1, most))):
        kind = draw(st.integers(0, 24))
        arrival_ms += draw(_LONG_STEPS_MS if gaps and kind == 0 else _STEPS_MS)
        shift = draw(_LATE if late and kind in {1, 2} else _ON_TIME)
        others = draw(st.integers(0, 2))
        errors = draw(_ERRORS)
        if errors + others:
            window = arrival_ms // WINDOW_MS + shift
            stream.append(Tally(arrival_ms, window, errors, others))
    return stream or [Tally(arrival_ms, 20, 1, 0)]


def records(stream: Iterable[Tally]) -> Iterator[tuple[int, int, bool]]:
    """Yield (arrival, window, is an error) of every single record: errors first."""
    for tally in stream:
        for number in range(tally.errors + tally.others):
            yield tally.arrival_ms, tally.window, number < tally.errors


def cut(stream: list[Tally], borders: set[int], idle_ms: int) -> list[list[Run]]:
    """Cut a stream into batches before the tallies at `borders`, and each batch into runs."""
    batches: list[list[Run]] = [[]]
    for offset, tally in enumerate(stream):
        if offset in borders:
            batches.append([])
        batch, run = batches[-1], tally.run(offset)
        if batch and _continues(batch[-1], run, idle_ms):
            last = batch[-1]
            batch[-1] = Run(
                run.window,
                last.total + run.total,
                last.errors + run.errors,
                last.first_arrival_ms,
                run.last_arrival_ms,
                offset,
            )
        else:
            batch.append(run)
    return batches


def _continues(last: Run, run: Run, idle_ms: int) -> bool:
    return last.window == run.window and run.first_arrival_ms - last.last_arrival_ms <= idle_ms
