"""The laws of windows, baselines and incidents, one by one, on streams small enough to read."""

import pytest

from bench.replay import PLAIN
from flows.rows import Run
from tests.unit.detection.service import Service
from tocsin.detection import (
    WINDOW_MS,
    Moment,
    Severity,
    Verdict,
)


def test_window_under_test_is_never_in_its_own_baseline() -> None:
    tables = Service().minutes([1] * 40 + [50]).tables
    row = tables.windows[40]
    assert (row.plain_n, row.plain_sum, row.plain_squares) == (30, 30, 30)
    assert (row.guarded_n, row.guarded_sum, row.guarded_squares) == (30, 30, 30)


def test_baseline_ends_one_guard_window_before_the_window_under_test() -> None:
    tables = Service().minutes([1] * 39 + [7, 1, 1]).tables
    assert tables.windows[40].plain_sum == 30
    assert tables.windows[41].plain_sum == 36
    assert tables.windows[41].guarded_sum == 36


def test_baseline_reaches_back_thirty_windows() -> None:
    tables = Service().minutes([100] + [0] * 40).tables
    assert [tables.windows[window].plain_sum for window in (31, 32)] == [100, 0]
    assert tables.windows[31].plain_n == 30


def test_silent_minutes_count_as_zero_in_the_plain_baseline() -> None:
    service = Service()
    service.minutes([4] * 10)
    service.run(20, 4)
    row = service.tables.windows[20]
    assert (row.plain_n, row.plain_sum) == (19, 40)


def test_every_window_from_the_first_on_has_a_row() -> None:
    service = Service()
    service.run(100, 1)
    service.run(700, 1)
    assert sorted(service.tables.windows) == list(range(100, 701))
    assert service.tables.windows[350].total == 0
    assert service.tables.numbers(closed=False) == [699, 700]


def test_a_record_is_late_once_its_window_is_over_for_a_minute() -> None:
    service = Service().minutes([0] * 10)
    service.run(8, 1, 0)
    service.run(7, 1, 0)
    on_time, late = service.tables.windows[8], service.tables.windows[7]
    assert (on_time.errors, on_time.late_errors) == (1, 0)
    assert (late.errors, late.late_errors, late.late_total) == (0, 1, 1)


def test_a_late_record_amends_its_row_while_the_window_is_kept() -> None:
    service = Service().minutes([0] * 200)
    service.run(20, 1, 1, arrival_ms=200 * WINDOW_MS)
    service.run(19, 1, 1, arrival_ms=200 * WINDOW_MS)
    assert (service.tables.windows[20].late_errors, service.tables.windows[20].late_total) == (1, 2)
    assert service.tables.windows[19].late_total == 0
    assert service.tables.clock.too_late == 2


def test_a_late_record_is_in_no_baseline() -> None:
    service = Service().minutes([1] * 40)
    service.run(20, 500, arrival_ms=40 * WINDOW_MS)
    service.minutes([1, 1], 40)
    assert service.tables.windows[41].plain_sum == 30
    assert service.tables.windows[41].guarded_sum == 30


def test_late_errors_open_an_incident_marked_as_late() -> None:
    service = Service().minutes([1] * 40)
    service.run(30, 4, arrival_ms=40 * WINDOW_MS)
    assert not service.tables.incidents
    service.run(30, 9, arrival_ms=40 * WINDOW_MS)
    (incident,) = service.tables.incidents.values()
    assert incident.detected_late
    assert incident.window_start_ms == 30 * WINDOW_MS
    assert incident.confirmed_at_ms is None
    assert incident.count == 14
    assert service.tables.windows[30].verdict is Verdict.SIGNAL
    assert service.tables.windows[30].severity is Severity.CRITICAL


def test_late_errors_never_reopen_what_is_resolved() -> None:
    service = Service().minutes([1] * 40 + [60] + [1] * 10)
    before = dict(service.tables.incidents)
    service.run(41, 60, arrival_ms=51 * WINDOW_MS)
    assert service.tables.incidents == before
    service.run(47, 60, arrival_ms=51 * WINDOW_MS)
    assert len(service.tables.incidents) == 2


def test_a_window_fires_with_its_first_run_that_breaches() -> None:
    service = Service().minutes([1] * 40)
    service.run(40, 5)
    assert not service.tables.incidents
    service.run(40, 20, arrival_ms=41 * WINDOW_MS)
    (incident,) = service.tables.incidents.values()
    assert incident.confirmed_start_ms == 40 * WINDOW_MS
    assert not service.tables.windows[40].closed


def test_windows_of_a_confirmed_incident_teach_no_guarded_baseline() -> None:
    service = Service().minutes([1] * 40 + [60] * 40)
    baselines = {service.tables.windows[window].guarded_sum for window in range(42, 80)}
    assert baselines == {30}
    assert service.tables.numbers(flagged=True) == list(range(40, 78))


def test_calm_windows_that_end_an_incident_teach_again() -> None:
    service = Service().minutes([1] * 40 + [60] * 3 + [1] * 20)
    assert service.tables.numbers(flagged=True) == [40, 41, 42]
    assert service.tables.windows[62].guarded_sum == 30


def test_an_incident_of_two_hours_is_learned_and_ends_when_it_is_normal() -> None:
    service = Service().minutes([1] * 40 + [60] * 200)
    (incident,) = service.tables.incidents.values()
    assert incident.absorbed
    assert incident.reason == "absorbed"
    assert service.tables.numbers(flagged=True) == []
    assert incident.resolved_start_ms is not None
    assert incident.resolved_start_ms >= 160 * WINDOW_MS


def test_an_incident_is_resolved_by_five_calm_windows_and_no_fewer() -> None:
    service = Service().minutes([1] * 40 + [60] + [1] * 6)
    (incident,) = service.tables.incidents.values()
    assert (incident.status, incident.calm_windows) == ("open", 4)
    service.run(47, 1)
    (incident,) = service.tables.incidents.values()
    assert incident.resolved_start_ms == 45 * WINDOW_MS
    assert incident.resolved_at_ms == 48 * WINDOW_MS


def test_a_confirmed_incident_stays_hot_above_the_lower_threshold() -> None:
    baseline = [4] * 40
    calm = Service().minutes([*baseline, 60, *[7] * 10]).tables.incidents.values()
    assert [row.status for row in calm] == ["resolved"]
    hot = Service().minutes([*baseline, 60, *[8] * 10]).tables.incidents.values()
    assert [row.status for row in hot] == ["open"]


def test_a_window_is_not_booked_on_an_incident_that_may_end_before_it() -> None:
    service = Service().minutes([1, 2] * 20 + [60] + [1] * 5)
    service.run(46, 200)
    (incident,) = service.tables.incidents.values()
    assert (incident.status, incident.peak_z) == ("open", 117.0)
    service.run(47, 1)
    first, second = sorted(service.tables.incidents.values(), key=lambda row: row.window_start_ms)
    assert (first.resolved_start_ms, first.peak_z) == (45 * WINDOW_MS, 117.0)
    assert second.window_start_ms == 46 * WINDOW_MS
    assert second.peak_z > 117


def test_a_straggler_that_completes_a_run_of_breaches_fires_at_once() -> None:
    service = Service().minutes([4] * 40 + [14, 4, 14])
    (incident,) = service.tables.incidents.values()
    assert incident.confirmed_at_ms is None
    service.run(41, 10, arrival_ms=44 * WINDOW_MS)
    (incident,) = service.tables.incidents.values()
    assert incident.confirmed_start_ms == 42 * WINDOW_MS
    assert incident.confirmed_at_ms == 44 * WINDOW_MS


def test_a_run_is_idle_by_its_first_arrival_and_the_next_one_by_its_last() -> None:
    service = Service().minutes([1] * 40)
    first_ms, last_ms = 44 * WINDOW_MS, 46 * WINDOW_MS
    service.detector.apply(Run(40, 5, 1, first_ms, last_ms, 40))
    service.detector.apply(Run(40, 5, 1, last_ms + 300_000, last_ms + 300_000, 41))
    service.tables.write(service.detector.drain())
    assert service.tables.clock.clock_start_ms == 40 * WINDOW_MS
    assert service.tables.windows[40].total == 10


def test_stragglers_move_the_confirming_window_back_but_not_the_id() -> None:
    service = Service().minutes([1] * 40)
    service.run(41, 60)
    service.run(40, 60, arrival_ms=42 * WINDOW_MS)
    (incident,) = service.tables.incidents.values()
    assert incident.window_start_ms == 41 * WINDOW_MS
    assert incident.low_start_ms == incident.confirmed_start_ms == 40 * WINDOW_MS


def test_severity_is_never_lowered() -> None:
    service = Service().minutes([2, 4, 6] * 14 + [10, 60, 10, 10])
    (incident,) = service.tables.incidents.values()
    assert incident.severity is Severity.CRITICAL
    moments = [event.moment for event in service.tables.events]
    assert moments == [Moment.OPENED, Moment.ESCALATED, Moment.CONFIRMED]


def test_the_plain_rule_confirms_every_signal_and_flags_nothing() -> None:
    service = Service(PLAIN).minutes([1] * 40 + [60, 60] + [1] * 10)
    (incident,) = service.tables.incidents.values()
    assert incident.confirmed_start_ms == 40 * WINDOW_MS
    assert service.tables.numbers(flagged=True) == []
    assert service.tables.windows[42].plain_sum == 29 + 60
    assert service.tables.windows[42].guarded_n is None


def test_an_incident_row_holds_the_evidence_to_recompute_it() -> None:
    service = Service().minutes([1, 2, 3] * 14)
    service.run(42, 9, 0)
    service.run(42, 30, 0, arrival_ms=43 * WINDOW_MS)
    service.run(43, 90)
    (incident,) = service.tables.incidents.values()
    assert (incident.count, incident.plain_n) == (39, 30)
    spread = incident.plain_n * incident.plain_squares - incident.plain_sum**2
    z = (incident.plain_n * incident.count - incident.plain_sum) / spread**0.5
    assert incident.z == pytest.approx(z)
    assert incident.settings_version == 1
    assert incident.peak_z > z


def test_every_window_says_why_it_did_not_fire() -> None:
    service = Service().minutes([0] * 10 + [4, 0] + [0] * 28 + [9, 14])
    service.advance_to(60)
    verdicts = {number: row.verdict for number, row in service.tables.windows.items()}
    assert verdicts[5] is Verdict.WARMING_UP
    assert verdicts[6] is Verdict.NORMAL
    assert verdicts[10] is Verdict.BELOW_MINIMUM
    assert verdicts[40] is Verdict.FIRE
    assert verdicts[43] is Verdict.UNKNOWN


def test_a_breach_and_a_signal_have_their_own_names() -> None:
    rows = Service().minutes([4] * 40 + [14, 4, 4, 7]).tables.windows
    assert rows[40].verdict is Verdict.BREACH
    assert rows[40].severity is Severity.CRITICAL
    signal = Service().minutes([2, 3] * 20 + [7]).tables.windows[40]
    assert (signal.verdict, signal.severity) == (Verdict.SIGNAL, Severity.CRITICAL)
