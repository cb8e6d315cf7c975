"""A service's state as it once was, from the rows that it has written since.

A record arrives at most 5 minutes before its time. So of the windows that begin later than that
after a moment every record has come after that moment, and the last of them all is the first whose
clock a reader from there on knows. When a service's clock is about to leave that window, the counts
of the windows before it are final, as the rows have them; its own are those that were read; and all
else hangs on these: which incident is open and how far it has come, what is flagged and unknown.

What late records had added until then can't be told from the rows. It is left out.
"""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import structs

from flows.detector import Detector
from flows.incidents import deciding
from flows.rebuild import guarded_of, plain_of
from flows.rows import IncidentRow, WindowRow
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

Rows = Mapping[int, WindowRow]


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
    gap = _gap(ours, number)
    newest = _present(present, ours, gap, since_ms)
    closed = _closed(ours, number, gap, errors, timeline)
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
    many windows at once; so a service is also taken to have been there if it began well before.
    """
    if present.first_start_ms + AHEAD_MS_MAX < since_ms:
        return True
    return min(row.arrival_ms for row in ours.values()) < (number + 2) * WINDOW_MS


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


def _gap(ours: Rows, number: int) -> int:
    """Return the windows in a row without a record, up to the newest closed one."""
    gap = 0
    while number - 2 - gap in ours and not ours[number - 2 - gap].total:
        gap += 1
    oldest = ours.get(number - 1 - gap)
    if not gap or number - 2 - gap in ours or oldest is None:
        return gap
    # It began before the oldest row, which knows where.
    begin_ms = max(oldest.last_start_ms + WINDOW_MS, oldest.first_start_ms)
    return number - 1 - begin_ms // WINDOW_MS


def _present(row: WindowRow, ours: Rows, gap: int, since_ms: int) -> WindowRow:
    """Return the clock's row with nothing counted yet."""
    start_ms = row.window_start_ms
    told = (own.last_start_ms for own in ours.values() if own.last_start_ms < start_ms)
    spoke = (own.window_start_ms for own in ours.values() if own.total)
    last_ms = max([*told, *(start for start in spoke if start < start_ms)])
    return structs.replace(
        row,
        errors=0,
        total=0,
        late_errors=0,
        late_total=0,
        closed=False,
        flagged=False,
        unknown=False,
        offset=-1,
        arrival_ms=since_ms,
        clock_start_ms=start_ms,
        last_start_ms=last_ms,
        gap_windows=gap,
        too_late=0,
    )


def _closed(
    ours: Rows, number: int, gap: int, incident: IncidentRow | None, timeline: SettingsTimeline
) -> list[WindowRow]:
    """Return the rows before the clock's: what is flagged and unknown as it was then."""
    frozen_at = number
    if incident is not None and incident.status is IncidentStatus.OPEN:
        frozen_at = (incident.confirmed_start_ms or number * WINDOW_MS) // WINDOW_MS
    known = _known_silence(ours, number, gap, timeline)
    rows = []
    for n in range(min(ours), number):
        row = ours.get(n)
        if row is None:
            continue
        flagged, unknown = row.flagged, row.unknown
        if incident is not None and n >= frozen_at:
            is_guarded = timeline.at(n).preset is Preset.GUARDED
            flagged = is_guarded and n < number - 1 and not incident.absorbed
        if n >= number - 1 - gap:
            unknown = n <= known
        rows.append(
            structs.replace(row, late_errors=0, late_total=0, flagged=flagged, unknown=unknown)
        )
    return rows


def _known_silence(ours: Rows, number: int, gap: int, timeline: SettingsTimeline) -> int:
    """Return up to which window a gap that reaches to the clock was known to be a silence."""
    first = number - 1 - gap
    for n in range(number - 2, first - 1, -1):
        row, settings = ours.get(n), timeline.at(n)
        baseline = None if row is None else guarded_of(row)
        if baseline is None or n - first + 1 < settings.unknown_gap_windows:
            continue
        if baseline.records >= settings.unknown_records_per_window * baseline.n:
            return n
    return first - 1
