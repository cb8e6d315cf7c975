"""What a history takes in it gives back, at any width of its rings, and it stays small."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.detector_memory import (
    GOAL_BYTES,
    MINUTES,
    full_detector,
    object_bytes,
    snapshot_bytes,
)
from bench.replay import closed_runs, synthetic_series
from flows.history import History

LENGTH = 7
COUNTS = st.integers(0, 2**32 - 1) | st.sampled_from(
    [2**bits + d for bits in (8, 16) for d in (-1, 0)]
)
SUMS = st.integers(0, 2**64 - 1) | COUNTS
CLOSED = st.tuples(
    COUNTS, COUNTS, st.tuples(st.integers(0, 1000), SUMS, SUMS, SUMS), COUNTS, COUNTS
)


WINDOWS = st.lists(CLOSED, min_size=1, max_size=2 * LENGTH)
Closed = tuple[int, int, tuple[int, int, int, int], int, int]


def history_of(windows: list[Closed], first: int = 0) -> History:
    history = History(LENGTH, LENGTH)
    for number, (errors, total, guarded, late_errors, late_total) in enumerate(windows, first):
        history.close(number, errors, total, guarded, number % 16)
        history.add_late(number, late_errors, 0)
        history.add_late(number, 0, late_total)
    return history


@given(windows=WINDOWS)
@settings(derandomize=True)
def test_numbers_of_any_width_are_kept_exactly(windows: list[Closed]) -> None:
    history = history_of(windows)
    for kept in (history, History.from_columns(LENGTH, LENGTH, history.columns())):
        for number in range(max(0, len(windows) - LENGTH), len(windows)):
            errors, total, guarded, *late = windows[number]
            assert kept.errors_of(number) == errors
            assert kept.total_of(number) == total
            assert kept.guarded_of(number) == guarded
            assert kept.late_of(number) == tuple(late)
            assert kept.marks_of(number) == number % 16


@given(windows=WINDOWS)
@example([(1, 1, (1, 1, 1, 1), 1, 1), *[(0, 0, (0, 0, 0, 0), 0, 0)] * LENGTH])
@settings(derandomize=True)
def test_histories_of_the_same_windows_have_the_same_columns(windows: list[Closed]) -> None:
    """Whatever came before: candidates of a backtest are compared by them."""
    newest = windows[-LENGTH:]
    assert history_of(windows).columns() == history_of(newest, len(windows) - len(newest)).columns()


def test_columns_leave_out_the_zeros_around_the_numbers() -> None:
    history = History(1000, 1000)
    for number in range(500, 510):
        history.close(number, 7, 300, (30, 7, 7, 300), 1)
    assert max(map(len, history.columns())) < 30


def test_a_wider_history_keeps_the_errors_of_its_windows() -> None:
    history = History(LENGTH, LENGTH)
    counts = [1, 2, 70_000, 4, 5, 6, 7, 8]
    for number, errors in enumerate(counts):
        history.close(number, errors, errors, None, 0)
    history.widen(3 * LENGTH, newest=7)
    assert history.errors_between(1, 7) == counts[1:]


def test_a_history_of_zeros_is_restored_at_its_own_lengths() -> None:
    history = History(LENGTH, 3 * LENGTH)
    restored = History.from_columns(LENGTH, 3 * LENGTH, history.columns())
    restored.close(3 * LENGTH - 1, 5, 6, None, 0)
    assert restored.errors_between(2 * LENGTH, 3 * LENGTH - 1) == [*[0] * (LENGTH - 1), 5]
    assert restored.total_of(3 * LENGTH - 1) == 6


def test_the_snapshot_of_a_young_service_leaves_out_the_time_before_it() -> None:
    runs = list(closed_runs(synthetic_series()["edge-proxy"][:30]))
    assert snapshot_bytes(full_detector("service", runs)) < 800


def test_a_service_at_full_history_takes_less_than_8_kb() -> None:
    runs = list(closed_runs(synthetic_series()["edge-proxy"][:MINUTES]))
    detectors = [full_detector(f"service-{number}", runs) for number in range(3)]
    assert object_bytes(detectors) < len(detectors) * GOAL_BYTES
    assert all(snapshot_bytes(detector) < GOAL_BYTES for detector in detectors)
