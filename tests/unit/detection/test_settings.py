"""Detection settings: what is refused, what is exact, which version judges which window."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tocsin.detection import WINDOW_MS, DetectionSettings, SettingsTimeline, incident_id


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"minimum_count": -1}, "minimum_count is -1"),
        ({"baseline_windows": True}, "baseline_windows is True"),
        ({"calm_windows": 0}, "calm_windows is 0"),
        ({"idle_ms": 1.5}, "idle_ms is 1.5"),
        ({"threshold_sigma": 2.5}, r"threshold_sigma is 2.5: give a decimal"),
        ({"threshold_sigma": Decimal("NaN")}, "threshold_sigma is NaN"),
        ({"threshold_sigma": Decimal("2.0001")}, "up to 3 decimals"),
        ({"breach_lift": Decimal(0)}, "breach_lift is 0"),
        ({"hot_sigma": Decimal(4)}, "threshold_sigma must be at least hot_sigma"),
        ({"critical_sigma": Decimal(2)}, "critical_sigma must be at least threshold_sigma"),
        ({"confirm_sigma": Decimal(2)}, "confirm_sigma must be at least threshold_sigma"),
        ({"minimum_baseline_windows": 31}, "baseline_windows must be at least"),
        ({"baseline_windows": 151}, r"at least baseline_windows \+ 1"),
        ({"absorb_windows": 178}, r"kept_windows must be at least absorb_windows \+ 3"),
        ({"retirement_windows": 184}, "retirement_windows must be at least"),
        ({"effective_from_ms": 1}, "effective_from_ms is 1: give the start of a window"),
        ({"preset": "loud"}, "give Preset.GUARDED or Preset.PLAIN"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(
    wrong: dict[str, Any], complaint: str
) -> None:
    with pytest.raises((ValueError, TypeError), match=complaint):
        DetectionSettings(**wrong)


def test_defaults_are_the_contract() -> None:
    numbers = msgspec.to_builtins(DetectionSettings())
    assert numbers == {
        "version": 1,
        "effective_from_ms": 0,
        "preset": "guarded",
        "threshold_sigma": "3",
        "critical_sigma": "5",
        "minimum_count": 5,
        "baseline_windows": 30,
        "minimum_baseline_windows": 5,
        "breach_lift": "1.5",
        "confirm_sigma": "7",
        "confirm_run_windows": 3,
        "hot_sigma": "1.5",
        "calm_windows": 5,
        "absorb_windows": 120,
        "guarded_lookback_windows": 151,
        "unknown_gap_windows": 5,
        "unknown_records_per_window": 3,
        "silence": True,
        "idle_ms": 300_000,
        "idle_margin_ms": 60_000,
        "kept_windows": 180,
        "retirement_windows": 1_440,
    }


def test_a_decimal_threshold_is_read_as_written() -> None:
    settings = msgspec.json.decode(b'{"threshold_sigma": 2.1}', type=DetectionSettings)
    assert settings.threshold_sigma.as_integer_ratio() == (21, 10)
    again = msgspec.json.decode(msgspec.json.encode(settings), type=DetectionSettings)
    assert again == settings


def test_wrong_settings_from_json_name_the_field() -> None:
    with pytest.raises(msgspec.ValidationError, match="calm_windows is 0"):
        msgspec.json.decode(b'{"calm_windows": 0}', type=DetectionSettings)


def test_a_version_judges_the_windows_from_its_start_on() -> None:
    old = DetectionSettings(version=1, effective_from_ms=5 * WINDOW_MS)
    new = DetectionSettings(version=2, effective_from_ms=10 * WINDOW_MS)
    timeline = SettingsTimeline((old, new))
    assert [timeline.at(window).version for window in (-1, 5, 9, 10, 99)] == [1, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("versions", "complaint"),
    [
        ((), "at least one version"),
        ((DetectionSettings(version=2), DetectionSettings(version=1)), "comes after"),
        ((DetectionSettings(version=1), DetectionSettings(version=2)), "order versions"),
        (
            (
                DetectionSettings(version=1),
                DetectionSettings(version=2, effective_from_ms=60_000, idle_ms=1),
            ),
            "differ in idle_ms",
        ),
    ],
)
def test_a_timeline_out_of_order_or_with_two_clocks_is_refused(
    versions: tuple[DetectionSettings, ...], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        SettingsTimeline(versions)


def test_incident_id_is_the_service_and_the_opening_window() -> None:
    assert incident_id("checkout", 1_772_409_600_000) == "5f2be431164c2f15044a5b70a153d0bf"
    assert incident_id("Zürich", -60_000) != incident_id("Zürich", 60_000)
