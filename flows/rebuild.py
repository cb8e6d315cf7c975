"""A detector's state read back from the rows that it wrote: what a lost recovery store costs."""

from collections.abc import Iterable

from flows.baseline import Baseline, GuardedBaseline
from flows.history import BREACHED, FIRED, FLAGGED, UNKNOWN, History
from flows.incident import Incident
from flows.incidents import Incidents
from flows.rows import IncidentRow, WindowRow
from flows.windows import Window, Windows
from tocsin.detection import WINDOW_MS, IncidentStatus, SettingsTimeline, Verdict


def windows_from_rows(
    newest: WindowRow, rows: Iterable[WindowRow], timeline: SettingsTimeline
) -> Windows | None:
    """Return the windows of a service as of its newest row; None if it was forgotten then.

    The row of the clock's window is closed only then. Rows of a former life of the service have
    another first window, or are newer than the clock.
    """
    ours = {
        row.window_start_ms // WINDOW_MS: row
        for row in rows
        if row.first_start_ms == newest.first_start_ms
        and row.window_start_ms <= newest.clock_start_ms
    }
    present = ours[newest.clock_start_ms // WINDOW_MS]
    return None if present.closed else _windows(present, ours, timeline)


def incidents_from_rows(
    row: IncidentRow | None, silence: IncidentRow | None, service_id: str
) -> Incidents:
    """Return the incidents of a service of which the newest one of each kind is known."""
    incidents = Incidents(service_id)
    if silence is not None:
        incidents.silences.newest = silence.window_start_ms // WINDOW_MS
        if silence.status is IncidentStatus.OPEN:
            incidents.silences.open = _incident(silence)
    if row is None:
        return incidents
    if row.status is IncidentStatus.OPEN:
        incidents.open = _incident(row)
    elif row.resolved_start_ms is not None:
        incidents.resolved_window = row.resolved_start_ms // WINDOW_MS
    return incidents


def _windows(present: WindowRow, ours: dict[int, WindowRow], timeline: SettingsTimeline) -> Windows:
    clock, first = present.clock_start_ms // WINDOW_MS, present.first_start_ms // WINDOW_MS
    history = History(timeline.versions[0].kept_windows, timeline.history_windows)
    for number in range(clock - history.span, clock - 1):
        if number in ours and number >= min(first, clock - history.kept + 1):
            _take_in(ours[number], number, history)
    history.changed.clear()
    previous = _window(clock - 1, ours.get(clock - 1), timeline)
    windows = Windows(first, history, timeline, previous, _window(clock, present, timeline))
    windows.newest = present.last_start_ms // WINDOW_MS
    windows.gap = present.gap_windows
    windows.too_late = present.too_late
    windows.offset = present.offset
    windows.arrival_ms = windows.now_ms = present.arrival_ms
    return windows


def _take_in(row: WindowRow, number: int, history: History) -> None:
    marks = (
        FLAGGED * row.flagged
        | UNKNOWN * row.unknown
        | BREACHED * (row.verdict in {Verdict.BREACH, Verdict.FIRE})
        | FIRED * (row.verdict is Verdict.FIRE)
    )
    history.close(number, row.errors, row.total, guarded_of(row), marks)
    history.add_late(number, row.late_errors, row.late_total)


def _window(number: int, row: WindowRow | None, timeline: SettingsTimeline) -> Window:
    settings = timeline.at(number)
    if row is None:
        return Window(number, settings, Baseline(0, 0, 0), GuardedBaseline(0, 0, 0, 0))
    window = Window(number, settings, plain_of(row), guarded_of(row))
    window.errors, window.total = row.errors, row.total
    return window


def _incident(row: IncidentRow) -> Incident:
    confirming = row.confirmed_start_ms
    return Incident(
        kind=row.kind,
        opening=row.window_start_ms // WINDOW_MS,
        low=row.low_start_ms // WINDOW_MS,
        hot=row.hot_start_ms // WINDOW_MS,
        severity=row.severity,
        peak_z=row.peak_z,
        opened_at_ms=row.opened_at_ms,
        detected_late=row.detected_late,
        count=row.count,
        plain=plain_of(row),
        guarded=guarded_of(row),
        settings_version=row.settings_version,
        decided_by=row.decided_by,
        confirming=None if confirming is None else confirming // WINDOW_MS,
        confirmed_at_ms=row.confirmed_at_ms,
        calm=row.calm_windows,
        absorbed=row.absorbed,
    )


def plain_of(row: WindowRow | IncidentRow) -> Baseline:
    """Return the plain baseline that a row was judged on."""
    return Baseline(row.plain_n, row.plain_sum, row.plain_squares)


def guarded_of(row: WindowRow | IncidentRow) -> GuardedBaseline | None:
    """Return the guarded baseline that a row was judged on, if it was."""
    n, errors, squares = row.guarded_n, row.guarded_sum, row.guarded_squares
    if n is None or errors is None or squares is None or row.guarded_records is None:
        return None
    return GuardedBaseline(n, errors, squares, row.guarded_records)
