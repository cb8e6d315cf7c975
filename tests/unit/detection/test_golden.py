"""The golden files: what the detector must say, exactly, on every recorded series."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bench.replay import (
    EVENTS_END,
    GUARDED,
    TIMELINES,
    Tables,
    closed_runs,
    event_runs,
    read_csv,
    read_json,
    replay,
)
from flows.baseline import Baseline
from flows.detector import Detector
from flows.rows import Run, WindowRow
from flows.verdict import score
from tests.unit.detection.conftest import Replays
from tests.unit.detection.golden import Golden, assert_same_incidents
from tests.unit.detection.reference import exceeds
from tocsin.detection import WINDOW_MS, DetectionSettings, Verdict

DEFAULTS = DetectionSettings()
PRESETS = pytest.mark.parametrize("preset", ["plain", "guarded"])

CHECKOUT = Path(__file__).parents[3]
REAL = Path(os.environ.get("DETECTION_DATA", CHECKOUT.parent / "shared" / "detection"))
REAL_SERIES = sorted(REAL.glob("real_*.json"))


def signals(row: WindowRow) -> bool:
    """SIGNAL on the errors that came on time, recomputed from the evidence in the row."""
    sums = (row.plain_n, row.plain_sum, row.plain_squares, 0)
    enough = row.plain_n >= 5 and row.errors > 5
    return enough and exceeds(row.errors, sums, DEFAULTS.threshold_sigma, floor=False)


def run_scenario(scenario: dict[str, Any], preset: str) -> Tables:
    """Return what was written; each row is stamped with its number."""
    detector, tables = Detector("service", TIMELINES[preset]), Tables()
    for stamp, row in enumerate(scenario["rows"]):
        if row[0] == "advance":
            detector.advance_to(row[1], stamp)
        else:
            window, errors, others = row
            detector.apply(Run(window, errors + others, errors, stamp, stamp, stamp))
        tables.write(detector.drain())
    return tables


@PRESETS
@pytest.mark.parametrize("scenario", read_json("scenarios.json"), ids=lambda s: s["name"])
def test_scenario(scenario: dict[str, Any], preset: str) -> None:
    tables = run_scenario(scenario, preset)
    expected = scenario["expected"][preset]
    assert_same_incidents(map(Golden.of, tables.incidents.values()), map(Golden.expected, expected))
    rows = sorted(tables.incidents.values(), key=lambda row: row.window_start_ms)
    assert [(row.opened_at_ms, row.confirmed_at_ms, row.resolved_at_ms) for row in rows] == [
        (one["opened_row"], one["confirmed_row"], one["resolved_row"]) for one in expected
    ]


@pytest.mark.parametrize("scenario", read_json("scenarios.json"), ids=lambda s: s["name"])
def test_scenario_state(scenario: dict[str, Any]) -> None:
    tables = run_scenario(scenario, "guarded")
    clock, rows = tables.clock, tables.windows
    oldest = clock.clock_start_ms // WINDOW_MS - DEFAULTS.kept_windows + 1
    breaches = tables.numbers(verdict=Verdict.BREACH)
    fires = tables.numbers(verdict=Verdict.FIRE)
    assert scenario["state"] == {
        "first": clock.first_start_ms // WINDOW_MS,
        "clock_window": clock.clock_start_ms // WINDOW_MS,
        "signal_windows": [number for number, row in sorted(rows.items()) if signals(row)],
        "breach_windows": sorted(breaches + fires),
        "fire_windows": fires,
        "unknown": [number for number in tables.numbers(unknown=True) if number >= oldest],
        "flagged": [number for number in tables.numbers(flagged=True) if number >= oldest],
        "late_errors": sum(row.late_errors for row in rows.values()),
        "too_late": clock.too_late,
        "plain_baseline_of_clock_window": [clock.plain_n, clock.plain_sum, clock.plain_squares],
        "guarded_baseline_of_clock_window": [
            clock.guarded_n,
            clock.guarded_sum,
            clock.guarded_squares,
            clock.guarded_records,
        ],
    }


@PRESETS
@pytest.mark.parametrize("scenario", read_json("idle_scenarios.json"), ids=lambda s: s["name"])
def test_idle_scenario(scenario: dict[str, Any], preset: str) -> None:
    detector, tables = Detector("service", TIMELINES[preset]), Tables()
    for offset, (arrival_ms, event_ms, errors, others) in enumerate(scenario["rows"]):
        window = event_ms // WINDOW_MS
        detector.apply(Run(window, errors + others, errors, arrival_ms, arrival_ms, offset))
        tables.write(detector.drain())
    if "idle_at" in scenario:
        detector.advance(scenario["idle_at"])
        tables.write(detector.drain())
    assert_same_incidents(
        map(Golden.of, tables.incidents.values()),
        map(Golden.expected, scenario["expected"][preset]),
    )
    stamps = {
        row.window_start_ms // WINDOW_MS: (
            row.opened_at_ms,
            row.confirmed_at_ms,
            row.resolved_at_ms,
        )
        for row in tables.incidents.values()
    }
    for one in scenario["expected"][preset]:
        expected = (one["opened_at_ms"], one["confirmed_at_ms"], one["resolved_at_ms"])
        assert stamps[one["window"]] == expected
    if preset == "guarded":
        assert idle_state(tables) == scenario["state"]


def idle_state(tables: Tables) -> dict[str, Any]:
    """Return the counts of the service's present life, none if it has been forgotten."""
    clock = tables.clock
    rows = [row for row in tables.windows.values() if row.first_start_ms == clock.first_start_ms]
    if clock.closed:
        rows = []
    oldest_ms = clock.clock_start_ms - (DEFAULTS.kept_windows - 1) * WINDOW_MS
    return {
        "first": clock.first_start_ms // WINDOW_MS if rows else None,
        "clock_window": clock.clock_start_ms // WINDOW_MS if rows else None,
        "errors": sum(row.errors for row in rows if row.window_start_ms >= oldest_ms),
        "total": sum(row.total for row in rows if row.window_start_ms >= oldest_ms),
        "late_total": sum(row.late_total for row in rows),
        "too_late": clock.too_late if rows else 0,
        "unknown": sorted(
            row.window_start_ms // WINDOW_MS
            for row in rows
            if row.unknown and row.window_start_ms >= oldest_ms
        ),
    }


@PRESETS
def test_incidents_of_the_synthetic_week(week: Replays, preset: str) -> None:
    golden = read_json("synth_s11_golden_incidents.json.gz")[preset]
    for service, tables in week[preset].items():
        expected = [one for one in golden if one["service"] == service]
        assert_same_incidents(
            map(Golden.of, tables.incidents.values()), map(Golden.expected, expected)
        )
        assert_same_stamps(tables, expected)


def assert_same_stamps(tables: Tables, expected: list[dict[str, Any]]) -> None:
    assert sorted(
        (row.opened_at_ms, row.confirmed_at_ms or 0, row.resolved_at_ms or 0)
        for row in tables.incidents.values()
    ) == sorted(
        (one["opened_at_ms"], one["confirmed_at_ms"] or 0, one["resolved_at_ms"] or 0)
        for one in expected
    )


def test_signal_windows_of_the_synthetic_week(week: Replays) -> None:
    golden = {
        (service, int(window)): (*map(int, sums), pytest.approx(float(z), abs=1e-3), severity)
        for service, window, *sums, z, severity in read_csv("synth_s11_golden_windows.csv.gz")
    }
    assert golden == {
        (service, number): (
            row.errors,
            row.plain_n,
            row.plain_sum,
            row.plain_squares,
            row.z,
            row.severity,
        )
        for service, tables in week["plain"].items()
        for number, row in tables.windows.items()
        if row.verdict is Verdict.SIGNAL
    }


def test_breach_windows_of_the_synthetic_week(week: Replays) -> None:
    golden = {
        (service, int(window)): (*map(int, sums), pytest.approx(float(z), abs=1e-3), fire == "1")
        for service, window, *sums, z, fire in read_csv("synth_s11_golden_breaches.csv.gz")
    }
    assert golden == {
        (service, number): (
            row.errors,
            row.guarded_n,
            row.guarded_sum,
            row.guarded_squares,
            row.guarded_z,
            row.verdict is Verdict.FIRE,
        )
        for service, tables in week["guarded"].items()
        for number, row in tables.windows.items()
        if row.verdict in {Verdict.BREACH, Verdict.FIRE}
    }


def test_every_window_of_the_synthetic_week_has_its_row(week: Replays) -> None:
    for tables in week["guarded"].values():
        first = tables.clock.first_start_ms // WINDOW_MS
        assert sorted(tables.windows) == list(range(first, 7 * 1440 + 2))


@PRESETS
def test_incidents_of_the_event_replay(three_hours: Replays, preset: str) -> None:
    golden = read_json("events_3h_s11_expected.json")["incidents"][preset]
    for service, tables in three_hours[preset].items():
        expected = [one for one in golden if one["service"] == service]
        assert_same_incidents(
            map(Golden.of, tables.incidents.values()), map(Golden.expected, expected)
        )
        assert_same_stamps(tables, expected)


def test_signal_windows_of_the_event_replay(three_hours: Replays) -> None:
    golden = {
        (service, window): (*sums, pytest.approx(z, abs=1e-3), severity)
        for service, window, *sums, z, severity in read_json("events_3h_s11_expected.json")[
            "signal_windows"
        ]
    }
    assert golden == {
        (service, number): (
            row.errors,
            row.plain_n,
            row.plain_sum,
            row.plain_squares,
            score(row.errors, Baseline(row.plain_n, row.plain_sum, row.plain_squares)),
            row.severity,
        )
        for service, tables in three_hours["plain"].items()
        for number, row in tables.windows.items()
        if signals(row)
    }


def test_ledger_of_the_event_replay_counts_the_kept_windows(three_hours: Replays) -> None:
    expected = read_json("events_3h_s11_expected.json")["ledger"]
    oldest = EVENTS_END - DEFAULTS.kept_windows + 1
    for service, tables in three_hours["guarded"].items():
        kept = [row for number, row in tables.windows.items() if number >= oldest]
        assert expected[service] == {
            "first": tables.clock.first_start_ms // WINDOW_MS,
            "on_time_errors": sum(row.errors for row in kept),
            "on_time_total": sum(row.total for row in kept),
            "late_errors": sum(row.late_errors for row in tables.windows.values()),
            "late_total": sum(row.late_total for row in tables.windows.values()),
            "too_late": tables.clock.too_late,
        }


@pytest.mark.skipif(not REAL_SERIES, reason=f"no real_*.json in {REAL}: set DETECTION_DATA")
@pytest.mark.parametrize("path", REAL_SERIES, ids=lambda path: path.stem)
def test_incidents_of_a_real_series(path: Path) -> None:
    real = json.loads(path.read_text())
    errors, totals = real["errors"], real["total"]
    series = [
        (window, 0 if count < 0 else max(count, totals[window]) if totals else count + 10, count)
        for window, count in enumerate(errors)
    ]
    for preset, timeline in TIMELINES.items():
        tables = replay(closed_runs(series), len(series) + 1, timeline)
        assert_same_incidents(
            map(Golden.of, tables.incidents.values()),
            map(Golden.expected, real["golden_incidents"][preset]),
        )


def test_feeding_records_one_by_one_equals_feeding_tallies() -> None:
    service = "feature-flags"
    runs = event_runs()[service]
    single = [
        Run(run.window, 1, int(number < run.errors), run.first_arrival_ms, run.last_arrival_ms, 0)
        for run in runs
        for number in range(run.total)
    ]
    one_by_one = replay(single, EVENTS_END, GUARDED, service_id=service)
    tallies = replay(runs, EVENTS_END, GUARDED, service_id=service)
    assert_same_incidents(
        map(Golden.of, one_by_one.incidents.values()), map(Golden.of, tallies.incidents.values())
    )
    assert len(one_by_one.windows) == len(tallies.windows)
