"""The rows of a service, built from its state."""

from flows.history import BREACHED, FIRED, FLAGGED, UNKNOWN
from flows.incident import Incident
from flows.rows import IncidentRow, WindowRow
from flows.verdict import is_below_minimum, score
from flows.windows import Window, Windows
from tocsin.detection import WINDOW_MS, IncidentKind, IncidentStatus, Severity, Verdict


def window_row(service_id: str, number: int, windows: Windows) -> WindowRow:
    """Build the row of an open or kept window as it stands now."""
    window = windows.find(number)
    is_open = windows.is_open(number)
    late_errors = late_total = 0
    if is_open:
        marks = BREACHED * window.breaches | FIRED * windows.fires(window)
    else:
        late_errors, late_total = windows.history.late_of(number)
        marks = windows.history.marks_of(number)
    observed = window.errors + late_errors
    plain, guarded = window.plain, window.guarded
    return WindowRow(
        service_id=service_id,
        window_start_ms=number * WINDOW_MS,
        errors=window.errors,
        total=window.total,
        late_errors=late_errors,
        late_total=late_total,
        plain_n=plain.n,
        plain_sum=plain.errors,
        plain_squares=plain.squares,
        guarded_n=None if guarded is None else guarded.n,
        guarded_sum=None if guarded is None else guarded.errors,
        guarded_squares=None if guarded is None else guarded.squares,
        guarded_records=None if guarded is None else guarded.records,
        z=score(observed, plain),
        guarded_z=score(window.errors, guarded),
        verdict=verdict_of(window, observed, marks),
        severity=severity_of(window, observed, marks),
        closed=not is_open,
        flagged=bool(marks & FLAGGED),
        unknown=bool(marks & UNKNOWN),
        settings_version=window.settings.version,
        offset=windows.offset,
        arrival_ms=windows.arrival_ms,
        clock_start_ms=windows.clock * WINDOW_MS,
        first_start_ms=windows.first * WINDOW_MS,
        last_start_ms=windows.newest * WINDOW_MS,
        gap_windows=windows.gap,
        too_late=windows.too_late,
    )


def verdict_of(window: Window, observed: int, marks: int) -> Verdict:
    """Name the strongest that holds of a window with so many errors, on time or late.

    marks: BREACHED, FIRED and UNKNOWN, or-ed.
    """
    verdict = Verdict.NORMAL
    if marks & UNKNOWN:
        verdict = Verdict.UNKNOWN
    elif marks & FIRED:
        verdict = Verdict.FIRE
    elif marks & BREACHED:
        verdict = Verdict.BREACH
    elif window.plain.n < window.settings.minimum_baseline_windows:
        verdict = Verdict.WARMING_UP
    elif window.signals_with(observed):
        verdict = Verdict.SIGNAL
    elif is_below_minimum(observed, window.plain, window.settings):
        verdict = Verdict.BELOW_MINIMUM
    return verdict


def severity_of(window: Window, observed: int, marks: int) -> Severity | None:
    """Name how bad a window is that signals or breaches; None for any other."""
    signals = window.signals_with(observed)
    if not (signals or marks & BREACHED):
        return None
    limits = window.limits
    if observed >= limits.signal_critical or window.errors >= limits.breach_critical:
        return Severity.CRITICAL
    return Severity.HIGH


def incident_row(service_id: str, incident: Incident, windows: Windows) -> IncidentRow:
    """Build the row of an incident as it stands now."""
    plain, guarded = incident.plain, incident.guarded
    ended = incident.resolved is not None
    about_errors = incident.kind is IncidentKind.ERRORS
    return IncidentRow(
        incident_id=incident.id_of(service_id),
        service_id=service_id,
        kind=incident.kind,
        window_start_ms=incident.opening * WINDOW_MS,
        low_start_ms=incident.low * WINDOW_MS,
        hot_start_ms=incident.hot * WINDOW_MS,
        confirmed_start_ms=_start(incident.confirming),
        resolved_start_ms=_start(incident.resolved),
        status=IncidentStatus.RESOLVED if ended else IncidentStatus.OPEN,
        reason=incident.reason,
        severity=incident.severity,
        peak_z=incident.peak_z,
        calm_windows=incident.calm,
        absorbed=incident.absorbed,
        detected_late=incident.detected_late,
        opened_at_ms=incident.opened_at_ms,
        confirmed_at_ms=incident.confirmed_at_ms,
        resolved_at_ms=incident.resolved_at_ms,
        count=incident.count,
        z=score(incident.count, plain) if about_errors else None,
        guarded_z=score(incident.count, guarded) if about_errors else None,
        plain_n=plain.n,
        plain_sum=plain.errors,
        plain_squares=plain.squares,
        guarded_n=None if guarded is None else guarded.n,
        guarded_sum=None if guarded is None else guarded.errors,
        guarded_squares=None if guarded is None else guarded.squares,
        guarded_records=None if guarded is None else guarded.records,
        settings_version=incident.settings_version,
        decided_by=incident.decided_by,
        offset=windows.offset,
        clock_start_ms=windows.clock * WINDOW_MS,
    )


def _start(window: int | None) -> int | None:
    return None if window is None else window * WINDOW_MS
