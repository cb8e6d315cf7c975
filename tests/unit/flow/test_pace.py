"""When records are sent again: gaps divided by the speed, and time stamps that go with it."""

import pytest

from flows.pace import Pace, read_speed
from tocsin.errors import SettingsError

FIRST_MS = 1_772_409_600_000
NOW_S = 1_800_000_000.0


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.at_s = 1_000.0

    def __call__(self) -> float:
        return self.at_s


def begun(speed: float | None) -> tuple[Pace, Clock]:
    clock = Clock()
    pace = Pace(speed, clock, lambda: NOW_S)
    assert pace.wait_s(FIRST_MS) == 0
    return pace, clock


@pytest.mark.parametrize(("speed", "due_s"), [(1.0, 60.0), (10.0, 6.0), (0.5, 120.0)])
def test_gap_is_divided_by_the_speed_and_what_was_missed_is_overdue(
    speed: float, due_s: float
) -> None:
    pace, clock = begun(speed)
    assert pace.wait_s(FIRST_MS + 60_000) == pytest.approx(due_s)
    clock.at_s += due_s + 3
    assert pace.wait_s(FIRST_MS + 60_000) == pytest.approx(-3)


def test_as_fast_as_it_goes_nothing_waits() -> None:
    pace, _ = begun(None)
    assert pace.wait_s(FIRST_MS + 10**9) == 0


def test_at_the_original_speed_all_time_stamps_move_by_the_same() -> None:
    pace, clock = begun(1.0)
    shift_ms = round(NOW_S * 1000) - FIRST_MS
    assert pace.shift_ms(FIRST_MS) == shift_ms
    clock.at_s += 17.3  # however late it is
    assert pace.shift_ms(FIRST_MS + 3_600_000) == shift_ms


@pytest.mark.parametrize("speed", [10.0, 0.5])
def test_at_another_speed_a_record_stays_as_late_as_it_was(speed: float) -> None:
    pace, _ = begun(speed)
    arrival_ms, lateness_ms = FIRST_MS + 60_000, 25_000
    again_ms = round(NOW_S * 1000) + round(60_000 / speed)
    moved_ms = arrival_ms - lateness_ms + pace.shift_ms(arrival_ms)
    assert again_ms - moved_ms == lateness_ms


def test_as_fast_as_it_goes_a_record_is_as_late_as_it_was_when_it_is_sent() -> None:
    pace, clock = begun(None)
    clock.at_s += 2
    arrival_ms = FIRST_MS + 3_600_000
    assert arrival_ms + pace.shift_ms(arrival_ms) == round(NOW_S * 1000) + 2_000


@pytest.mark.parametrize("text", ["0x", "0.0x", "fast", "-1x", "x", "10", "1e3x", "", "٣x", "1x\n"])
def test_what_is_no_speed_is_refused_with_what_would_be(text: str) -> None:
    with pytest.raises(SettingsError, match=r"--speed: .* is no speed, give one as 1x, 10x"):
        read_speed(text)


def test_speeds_are_read() -> None:
    assert [read_speed(text) for text in ("1x", "10x", "0.25x", "max")] == [1.0, 10.0, 0.25, None]
