"""The laws of silence, of settings that change, and of a state that is rebuilt."""

import pytest
from msgspec.structs import replace

from bench.replay import GUARDED, Tables
from flows.detector import Detector
from flows.rows import Run
from tests.unit.detection.service import Service
from tests.unit.detection.streams import SMALL
from tocsin.detection import (
    WINDOW_MS,
    DetectionSettings,
    Preset,
    SettingsTimeline,
    Verdict,
)


def test_a_long_silence_of_a_talkative_service_is_unknown() -> None:
    service = Service().minutes([1] * 40)
    service.advance_to(46)
    assert service.tables.numbers(unknown=True) == [40, 41, 42, 43, 44]
    assert service.tables.windows[42].verdict is Verdict.UNKNOWN
    service.advance_to(60)
    row = service.tables.windows[60]
    assert (row.guarded_n, row.guarded_sum) == (30, 30)
    assert (row.plain_n, row.plain_sum) == (30, 11)


def test_a_silence_of_a_quiet_service_is_normal() -> None:
    service = Service()
    for window in range(40):
        service.run(window, 0, 2)
    service.advance_to(60)
    assert service.tables.numbers(unknown=True) == []


def test_idle_advance_starts_one_millisecond_past_five_minutes() -> None:
    service = Service().minutes([1] * 40)
    assert service.detector.idle_from_ms == 40 * WINDOW_MS + 300_000
    service.detector.advance(40 * WINDOW_MS + 300_000)
    assert service.detector.drain().windows == []
    service.detector.advance(40 * WINDOW_MS + 300_001)
    assert service.detector.drain().windows[-1].window_start_ms == 44 * WINDOW_MS


def test_an_idle_advance_resolves_an_incident() -> None:
    service = Service().minutes([1] * 40 + [60])
    service.detector.advance(60 * WINDOW_MS)
    service.tables.write(service.detector.drain())
    (incident,) = service.tables.incidents.values()
    assert incident.resolved_start_ms == 45 * WINDOW_MS
    assert incident.resolved_at_ms == 60 * WINDOW_MS


def test_an_idle_advance_made_sooner_changes_nothing() -> None:
    sooner, later = Service().minutes([1] * 40), Service().minutes([1] * 40)
    sooner.detector.advance(50 * WINDOW_MS)
    sooner.tables.write(sooner.detector.drain())
    for service in (sooner, later):
        service.run(40, 30, arrival_ms=55 * WINDOW_MS)
        service.run(54, 30, arrival_ms=55 * WINDOW_MS)
        service.advance_to(58)
    assert sooner.tables.windows.keys() == later.tables.windows.keys()
    assert sooner.tables.clock == later.tables.clock
    assert sooner.tables.windows[40].late_errors == 30
    assert sooner.tables.incidents == later.tables.incidents


def test_a_dead_service_is_forgotten_after_a_day() -> None:
    service = Service().minutes([1] * 40)
    service.advance_to(39 + 1440)
    assert service.detector.idle_from_ms is not None
    service.advance_to(39 + 1441)
    assert service.detector.idle_from_ms is None
    assert len(service.tables.windows) == 40 + 1440
    assert service.tables.numbers(closed=False) == []
    service.run(5000, 50)
    row = service.tables.windows[5000]
    assert (row.first_start_ms, row.plain_n) == (5000 * WINDOW_MS, 0)


def test_a_record_of_1970_costs_a_day_of_windows_and_nothing_else() -> None:
    service = Service()
    service.run(0, 1, arrival_ms=29_000_000 * WINDOW_MS)
    service.run(29_000_000, 1)
    assert len(service.tables.windows) == 1442
    assert service.tables.clock.first_start_ms == 29_000_000 * WINDOW_MS


def test_a_forgotten_service_never_opens_an_incident_twice() -> None:
    service = Service().minutes([1] * 40 + [60] + [1] * 9)
    service.advance_to(3000)
    before = dict(service.tables.incidents)
    for window in range(32, 40):
        service.run(window, 1, arrival_ms=3000 * WINDOW_MS)
    service.run(40, 60, arrival_ms=3000 * WINDOW_MS)
    assert service.tables.windows[40].verdict is Verdict.FIRE
    assert service.tables.incidents == before


def test_a_new_settings_version_judges_from_its_first_window_on() -> None:
    quiet = DetectionSettings(version=1, minimum_count=1_000, baseline_windows=10)
    loud = DetectionSettings(version=2, effective_from_ms=50 * WINDOW_MS, baseline_windows=40)
    known = Service(SettingsTimeline((quiet, loud))).minutes([1] * 49 + [60, 60, 1])
    adopted = Service(SettingsTimeline((quiet,))).minutes([1] * 40)
    adopted.detector.adopt(SettingsTimeline((quiet, loud)))
    adopted.minutes([1] * 9 + [60, 60, 1], 40)
    for service in (known, adopted):
        rows = service.tables.windows
        assert [rows[window].settings_version for window in (49, 50)] == [1, 2]
        assert [rows[window].plain_n for window in (49, 50)] == [10, 40]
        (incident,) = service.tables.incidents.values()
        assert incident.window_start_ms == 50 * WINDOW_MS
    assert known.tables.windows == adopted.tables.windows


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_version_that_is_withdrawn_before_it_begins_leaves_no_trace(is_restarted: bool) -> None:
    alone = SettingsTimeline((DetectionSettings(baseline_windows=10),))
    pending = DetectionSettings(
        version=2, effective_from_ms=50 * WINDOW_MS, baseline_windows=100, minimum_count=1_000
    )
    errors = [1] * 49 + [60, 60, 60, 1]
    never_knew = Service(alone).minutes(errors)
    service = Service(SettingsTimeline((*alone.versions, pending))).minutes(errors[:40])
    if is_restarted:
        service.detector = Detector.restore(service.detector.snapshot(), alone)
    else:
        service.detector.adopt(alone)
    service.minutes(errors[40:], 40)
    assert service.tables.windows == never_knew.tables.windows
    assert service.tables.incidents == never_knew.tables.incidents
    assert len(service.tables.incidents) == 1


def test_adopting_another_clock_is_refused() -> None:
    detector = Detector("service", GUARDED)
    with pytest.raises(ValueError, match="differ in kept_windows"):
        detector.adopt(SettingsTimeline((replace(GUARDED.versions[0], kept_windows=200),)))


def test_a_guarded_version_after_a_plain_one_learns_its_own_baseline() -> None:
    plain = replace(SMALL, preset=Preset.PLAIN)
    guarded = replace(SMALL, version=2, effective_from_ms=12 * WINDOW_MS)
    service = Service(SettingsTimeline((plain, guarded))).minutes([1] * 10 + [30] * 6)
    rows = service.tables.windows
    assert rows[11].guarded_n is None
    assert (rows[12].guarded_n, rows[12].guarded_sum) == (4, 33)


def test_rows_of_a_forgotten_service_are_older_than_those_of_its_next_life() -> None:
    service = Service().minutes([1] * 40)
    for offset in (40, 0):
        detector = Detector.restore(service.detector.snapshot(), GUARDED)
        detector.apply(Run(10, 1, 0, 9000 * WINDOW_MS, 9000 * WINDOW_MS, offset))
        tables = Tables()
        tables.write(detector.drain())
        (new_life,) = (
            row for row in tables.windows.values() if row.plain_n == 0 and not row.closed
        )
        old_life = [row for row in tables.windows.values() if row.closed]
        assert len(old_life) == 1442
        assert all(row.offset < new_life.offset for row in old_life)
        assert tables.clock == new_life


def test_a_rebuilt_detector_reads_as_many_rows_as_the_timeline_says_and_no_more() -> None:
    service = Service().minutes([1, 3] * 150)
    service.run(250, 2, arrival_ms=300 * WINDOW_MS)
    rows, clock = service.tables.windows, service.tables.clock
    number = clock.clock_start_ms // WINDOW_MS
    kept = [row for w, row in rows.items() if w > number - GUARDED.history_windows]
    assert len(kept) == 211
    rebuilt = Detector.rebuild(clock, kept, None, None, GUARDED)
    arrival_ms = 301 * WINDOW_MS
    for detector in (rebuilt, service.detector):
        detector.apply(Run(250, 3, 1, arrival_ms, arrival_ms, 301))
        detector.apply(Run(number - 179, 40, 40, arrival_ms, arrival_ms, 302))
    assert rebuilt.drain() == service.detector.drain()


def test_a_detector_rebuilt_in_any_minute_of_an_eventful_hour_goes_on_the_same() -> None:
    errors = [4] * 20 + [14] * 4 + [4] * 12 + [60] + [4] * 3
    minutes = [(window, count, 20) for window, count in enumerate(errors)]
    minutes += [(window, 4, 20) for window in range(48, 60)]
    whole = Service()
    for minute in minutes:
        whole.run(*minute)
    assert len(whole.tables.incidents) == 2
    assert whole.tables.numbers(unknown=True)
    for split in range(1, len(minutes)):
        service = Service()
        for minute in minutes[:split]:
            service.run(*minute)
        tables = service.tables
        service.detector = Detector.rebuild(
            tables.clock,
            tables.windows.values(),
            tables.newest_incident,
            tables.newest_silence,
            GUARDED,
        )
        for minute in minutes[split:]:
            service.run(*minute)
        assert tables.windows == whole.tables.windows
        assert tables.incidents == whole.tables.incidents
        assert tables.events == whole.tables.events
        assert tables.silences == whole.tables.silences
