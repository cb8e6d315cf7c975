"""A service's state as it once was, from the rows that it has written since.

A record arrives at most 5 minutes before its time. So of the windows that begin later than that
after a moment every record has come after that moment, and the last of them all is the first whose
clock a reader from there on knows. When a service's clock is about to leave that window, the counts
of the windows before it are final, as the rows have them; its own are those that were read; and all
else hangs on these: which incident is open and how far it has come, what is flagged and unknown.

What late records had added until then can't be told from the rows. It is left out.
"""

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Final

from msgspec import structs

from flows.detector import Detector
from flows.incidents import deciding
from flows.rebuild import guarded_of, plain_of
from flows.rows import IncidentRow, WindowRow
from flows.rows_then import Rows, closed_rows, gap_of, present_row
from flows.snapshot import DetectorSnapshot
from flows.windows import Window
from tocsin.detection import (
    WINDOW_MS,
    IncidentKind,
    IncidentStatus,
    Preset,
    SettingsTimeline,
    Severity,
)
from tocsin.records import AHEAD_MS_MAX

_LAG_MS_MAX: Final = 10 * WINDOW_MS


def window_as_of(since_ms: int) -> int:
    """Return the first window of which no record has arrived before a moment."""
    return (since_ms + AHEAD_MS_MAX) // WINDOW_MS + 1


def snapshot_as_of(
    since_ms: int,
    rows: Iterable[WindowRow],
    incidents: Sequence[IncidentRow],
    timeline: SettingsTimeline,
) -> DetectorSnapshot | None:
    """Return a service's state as its clock is about to leave `window_as_of`, without that window.

    rows: up to that window: those that a detector is rebuilt from, and of an incident that was open
        then all from its first one on. incidents: of both kinds, by their first window.
    None where the service was not there yet, or not any more.
    """
    number = window_as_of(since_ms)
    kept = {row.window_start_ms // WINDOW_MS: row for row in rows}
    present = kept.get(number)
    if present is None or present.first_start_ms >= number * WINDOW_MS:
        return None
    ours = {n: row for n, row in kept.items() if row.first_start_ms == present.first_start_ms}
    if not _was_there(ours, present, number, since_ms):
        return None
    errors = _newest(incidents, IncidentKind.ERRORS, number)
    if errors is not None and errors.status is IncidentStatus.OPEN:
        errors = _errors_as_of(errors, ours, number, timeline)
    silence = _newest(incidents, IncidentKind.SILENCE, number)
    gap = gap_of(ours, number)
    newest = present_row(present, ours, gap, since_ms)
    closed = closed_rows(ours, number, gap, errors, timeline)
    detector = Detector.rebuild(newest, [*closed, newest], errors, silence, timeline)
    snapshot = detector.snapshot()
    found = snapshot.incidents
    changed = (found.open is not None, found.silence is not None)
    return structs.replace(snapshot, incidents=structs.replace(found, changed=changed))


def with_present(
    snapshot: DetectorSnapshot, total: int, errors: int, arrival_ms: int
) -> DetectorSnapshot:
    """Return a state with what was counted of the clock's window, up to an arrival."""
    windows = snapshot.windows
    if windows is None:
        return snapshot
    newest, gap, too_late, offset, *_ = windows.counters
    if total:
        newest = windows.present.number
    return structs.replace(
        snapshot,
        windows=structs.replace(
            windows,
            present=structs.replace(windows.present, total=total, errors=errors),
            counters=(newest, gap, too_late, offset, arrival_ms, arrival_ms),
        ),
    )


def _was_there(ours: Rows, present: WindowRow, number: int, since_ms: int) -> bool:
    """Tell whether the service's first record came before an idle clock could leave it behind.

    A row knows the last record that was counted when it was written. A flow that caught up wrote
    many windows at once; so a service is also taken to have been there if it began well before,
    unless its records came long after their time: then they are of the past, but not from it.
    """
    earliest = min(ours.values(), key=attrgetter("arrival_ms"))
    if earliest.arrival_ms < (number + 2) * WINDOW_MS:
        return True
    lag_ms = earliest.arrival_ms - earliest.clock_start_ms
    return present.first_start_ms + AHEAD_MS_MAX < since_ms and lag_ms < _LAG_MS_MAX


def _newest(
    incidents: Sequence[IncidentRow], kind: IncidentKind, number: int
) -> IncidentRow | None:
    """Return the incident that is open at a clock, else the one that was resolved last."""
    found = None
    for row in incidents:
        if row.kind is not kind or not _has_begun(row, number):
            continue
        ended_ms = row.resolved_start_ms
        is_over = ended_ms is not None and ended_ms <= (number - 2) * WINDOW_MS
        found = row if is_over else _open_again(row, number)
    return found


def _has_begun(row: IncidentRow, number: int) -> bool:
    if row.kind is IncidentKind.SILENCE:
        return (row.confirmed_start_ms or 0) <= (number - 2) * WINDOW_MS
    if row.detected_late and row.opened_at_ms >= (number + 1) * WINDOW_MS:
        return False
    # It may have opened in the clock's window, and then been moved back.
    return row.low_start_ms < number * WINDOW_MS


def _open_again(row: IncidentRow, number: int) -> IncidentRow:
    confirmed_ms = row.confirmed_start_ms
    is_confirmed = confirmed_ms is not None and confirmed_ms < number * WINDOW_MS
    silence = row.kind is IncidentKind.SILENCE
    return structs.replace(
        row,
        status=IncidentStatus.OPEN,
        reason=None,
        resolved_start_ms=None,
        resolved_at_ms=None,
        hot_start_ms=confirmed_ms if silence and confirmed_ms is not None else row.hot_start_ms,
        confirmed_start_ms=confirmed_ms if is_confirmed else None,
        confirmed_at_ms=row.confirmed_at_ms if is_confirmed else None,
    )


def _errors_as_of(
    row: IncidentRow, ours: Rows, number: int, timeline: SettingsTimeline
) -> IncidentRow:
    """Return an open incident as its windows before the clock's have made it."""
    low = row.low_start_ms // WINDOW_MS
    peak, severity, hot, calm = 0.0, Severity.HIGH, row.window_start_ms // WINDOW_MS, 0
    if row.detected_late:
        peak, severity = row.z or 0.0, row.severity
        # Calm is counted from the next closing on.
        low = max(low, row.opened_at_ms // WINDOW_MS - 1)
    for n in range(row.low_start_ms // WINDOW_MS, number):
        if n not in ours:
            continue
        window = _window(ours[n], timeline)
        if window.signals or window.breaches:
            peak, hot = max(peak, deciding(window)[0]), max(hot, n)
            severity = Severity.CRITICAL if _is_critical(window) else severity
        if low <= n < number - 1:
            is_hot = _is_hot(window, row.confirmed_start_ms)
            calm = 0 if is_hot else calm + 1
            hot = max(hot, n) if is_hot else hot
    return structs.replace(
        row,
        count=row.count if row.window_start_ms < number * WINDOW_MS else 0,
        peak_z=peak,
        severity=severity,
        hot_start_ms=hot * WINDOW_MS,
        calm_windows=calm,
        absorbed=_is_absorbed(row, number, timeline),
    )


def _is_absorbed(row: IncidentRow, number: int, timeline: SettingsTimeline) -> bool:
    if row.confirmed_start_ms is None:
        return False
    frozen_at = row.confirmed_start_ms // WINDOW_MS
    return any(
        timeline.at(n).preset is Preset.GUARDED
        and n - frozen_at + 1 >= timeline.at(n).absorb_windows
        for n in range(frozen_at, number - 1)
    )


def _window(row: WindowRow, timeline: SettingsTimeline) -> Window:
    number = row.window_start_ms // WINDOW_MS
    window = Window(number, timeline.at(number), plain_of(row), guarded_of(row))
    window.errors, window.total = row.errors, row.total
    return window


def _is_critical(window: Window) -> bool:
    return (window.signals and window.errors >= window.limits.signal_critical) or (
        window.breaches and window.errors >= window.limits.breach_critical
    )


def _is_hot(window: Window, confirmed_start_ms: int | None) -> bool:
    if window.errors <= window.settings.minimum_count:
        return False
    if window.signals or window.breaches:
        return True
    is_confirmed = (
        confirmed_start_ms is not None and confirmed_start_ms <= window.number * WINDOW_MS
    )
    return is_confirmed and window.errors >= window.limits.hot
