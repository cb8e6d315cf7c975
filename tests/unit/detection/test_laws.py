"""The laws of windows, baselines and incidents, one by one, on streams small enough to read."""

import pytest
from msgspec.structs import replace

from bench.replay import GUARDED, PLAIN, Tables
from flows.detector import Detector
from flows.rows import Run
from tests.unit.detection.streams import SMALL
from tocsin.detection import (
    WINDOW_MS,
    DetectionSettings,
    Moment,
    Preset,
    SettingsTimeline,
    Severity,
    Verdict,
)


class Service:
    """A detector that is fed minute by minute; a minute's records arrive when it ends."""

    def __init__(self, timeline: SettingsTimeline = GUARDED) -> None:
        self.detector = Detector("service", timeline)
        self.tables = Tables()
        self._offset = 0

    def run(
        self, window: int, errors: int, others: int = 20, *, arrival_ms: int | None = None
    ) -> None:
        """Apply one run."""
        arrival_ms = (window + 1) * WINDOW_MS if arrival_ms is None else arrival_ms
        run = Run(window, errors + others, errors, arrival_ms, arrival_ms, self._offset)
        self.detector.apply(run)
        self._offset += 1
        self.tables.write(self.detector.drain())

    def minutes(self, errors: list[int], start: int = 0) -> "Service":
        """Apply one run a minute."""
        for window, count in enumerate(errors, start):
            self.run(window, count)
        return self

    def advance_to(self, window: int) -> None:
        """Move the clock without a record."""
        self.detector.advance_to(window, window * WINDOW_MS)
        self.tables.write(self.detector.drain())


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
