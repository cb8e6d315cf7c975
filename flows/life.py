"""Whether an incident became of the stored counts what is stored of it."""

import math
from collections.abc import Iterator

from flows.baseline import Baseline
from flows.rebuild import plain_of
from flows.recompute import Case, Replay, number_of
from flows.rows import IncidentRow, WindowRow
from flows.verdict import score
from flows.wording import differ, minute_of
from tocsin.detection import WINDOW_MS, IncidentKind, Preset, ResolveReason, Severity

_ENDS_OF_A_SILENCE = {ResolveReason.SPOKE, ResolveReason.RETIRED}


def of_errors(case: Case, again: Replay) -> Iterator[str]:
    """Compare the life of an incident of errors with that of its counterpart of the replay.

    What late records decided can't be told from the ledger alone, which does not say when they
    came: the end of an incident that rests on them only, and how far they raised a peak.
    """
    incident, counterpart = case.incident, _counterpart(case, again)
    if counterpart is None and not incident.detected_late:
        yield "the counts open no incident here"
        return
    if counterpart is not None:
        yield from _end(case, counterpart)
    yield from _confirmation(case, counterpart)
    yield from _peak(case, again, counterpart)
    yield from _newest_hot(case, counterpart)
    yield from _severity(case)
    if incident.detected_late:
        low, opening = incident.low_start_ms, incident.window_start_ms
        yield from differ("first window", minute_of(low), minute_of(opening))
    if incident.resolved_start_ms is not None:
        reason = ResolveReason.ABSORBED if incident.absorbed else ResolveReason.CALM
        yield from differ("reason", _name(incident), reason.value)
        yield from _calm(case, incident.resolved_start_ms // WINDOW_MS)


def of_a_silence(case: Case, again: Replay) -> Iterator[str]:
    """Compare a silence with that of the replay; a late record may have been what ended it."""
    incident = case.incident
    silences = (row for row in again.incidents if row.kind is IncidentKind.SILENCE)
    counterpart = next(
        (row for row in silences if row.window_start_ms == incident.window_start_ms), None
    )
    if counterpart is None:
        yield "the counts have no silence here"
        return
    for row in case.known:
        is_ours = case.row is not None and row.first_start_ms == case.row.first_start_ms
        if is_ours and row.total and number_of(row) > case.judged:
            yield f"window {minute_of(row.window_start_ms)}: it has records, in the silence"
    known = minute_of(counterpart.confirmed_start_ms)
    yield from differ("known with", minute_of(incident.confirmed_start_ms), known)
    yield from differ("peak z", incident.peak_z, 0.0)
    yield from differ("calm windows", incident.calm_windows, 0)
    yield from _differ_in(incident, counterpart, "low_start_ms", "first window")
    if incident.resolved_start_ms is None:
        yield from differ("newest window", minute_of(incident.hot_start_ms), known)
        return
    yield from differ(
        "newest window", minute_of(incident.hot_start_ms), minute_of(incident.resolved_start_ms)
    )
    if incident.reason not in _ENDS_OF_A_SILENCE:
        yield from differ("reason", incident.reason and incident.reason.value, "spoke or retired")


def _counterpart(case: Case, again: Replay) -> IncidentRow | None:
    """Return the incident that the counts open in place of this one.

    On-time counts may raise an incident that late ones had opened before.
    """
    incident = case.incident
    for row in again.incidents:
        if row.kind is not IncidentKind.ERRORS:
            continue
        if row.low_start_ms == incident.low_start_ms:
            return row
        if (
            incident.detected_late
            and incident.low_start_ms < row.window_start_ms <= incident.hot_start_ms
        ):
            return row
    return None


def _end(case: Case, again: IncidentRow) -> Iterator[str]:
    incident = case.incident
    # It opens one window later when that one was abnormal before stragglers completed this one.
    is_later = (
        incident.window_start_ms == again.window_start_ms + WINDOW_MS
        and again.low_start_ms == again.window_start_ms
    )
    if not (incident.detected_late or is_later):
        yield from _differ_in(incident, again, "window_start_ms", "opening window")
    yield from _differ_in(incident, again, "resolved_start_ms", "resolved window")
    yield from differ("status", incident.status.value, again.status.value)
    yield from differ("absorbed", incident.absorbed, again.absorbed)
    yield from differ("reason", _name(incident), _name(again))
    if not incident.detected_late:
        yield from differ("calm windows", incident.calm_windows, again.calm_windows)


def _confirmation(case: Case, again: IncidentRow | None) -> Iterator[str]:
    incident = case.incident
    stored_ms = incident.confirmed_start_ms
    confirmed_ms = None if again is None else again.confirmed_start_ms
    if incident.detected_late and case.timeline.at(case.judged).preset is Preset.PLAIN:
        confirmed_ms = incident.window_start_ms
    elif stored_ms is not None and stored_ms in _confirmed_late(case):
        return
    yield from differ("confirming window", minute_of(stored_ms), minute_of(confirmed_ms))


def _confirmed_late(case: Case) -> set[int]:
    """Return the starts of the windows that may have confirmed it by late errors, if in time.

    By the plain rule they do, in an incident that opened under the guarded one.
    """
    return {
        row.window_start_ms
        for row in _own_rows(case)
        if row.late_errors
        and row.severity is not None
        and case.timeline.at(number_of(row)).preset is Preset.PLAIN
    }


def _peak(case: Case, replayed: Replay, again: IncidentRow | None) -> Iterator[str]:
    """Compare the peak: the counts' own, or the score of a count that late errors made."""
    incident = case.incident
    plain = {number: plain_of(row) for number, row in replayed.windows.items()}
    opening = score(incident.count, plain[case.judged]) if incident.detected_late else None
    least = max(opening or 0.0, 0.0 if again is None else again.peak_z)
    is_raised = incident.peak_z > least and any(
        _is_score_with_late(incident.peak_z, row, plain[number_of(row)]) for row in _own_rows(case)
    )
    if not is_raised:
        yield from differ("peak z", incident.peak_z, least)


def _is_score_with_late(z: float, row: WindowRow, plain: Baseline) -> bool:
    """Tell whether it is the score of the window with some of its late errors."""
    if not row.late_errors or not plain.n or not math.isfinite(z):
        return False
    count = round((z * math.sqrt(plain.spread) + plain.errors) / plain.n)
    most = row.errors + row.late_errors
    # Over a flat baseline every count above the mean has the same score.
    count = most if plain.spread == 0 else count
    return row.errors < count <= most and score(count, plain) == z


def _newest_hot(case: Case, again: IncidentRow | None) -> Iterator[str]:
    """Compare the newest abnormal window; a later one may be so by its late errors."""
    incident = case.incident
    hot_ms = incident.window_start_ms if again is None else again.hot_start_ms
    late = {
        row.window_start_ms
        for row in _own_rows(case)
        if row.late_errors and row.severity is not None and row.window_start_ms > hot_ms
    }
    if incident.hot_start_ms not in late:
        stored, recomputed = minute_of(incident.hot_start_ms), minute_of(hot_ms)
        yield from differ("newest hot window", stored, recomputed)


def _severity(case: Case) -> Iterator[str]:
    """CRITICAL is what has a peak above the threshold; which one, if versions have others."""
    incident = case.incident
    thresholds = {case.timeline.at(number_of(row)).critical_sigma for row in _own_rows(case)}
    if len(thresholds) != 1 or math.isclose(incident.peak_z, float(*thresholds)):
        return
    critical = incident.peak_z > float(*thresholds)
    severity = Severity.CRITICAL if critical else Severity.HIGH
    yield from differ("severity", incident.severity.value, severity.value)


def _calm(case: Case, resolved: int) -> Iterator[str]:
    """As many windows in a row are calm as it takes; more, if a version takes fewer than before."""
    calm = case.incident.calm_windows
    least = case.timeline.at(resolved).calm_windows
    most = max(version.calm_windows for version in case.timeline.versions)
    if not least <= calm <= most:
        yield from differ("calm windows", calm, least)


def _own_rows(case: Case) -> list[WindowRow]:
    return [row for row in case.rows if row.window_start_ms >= case.incident.low_start_ms]


def _differ_in(incident: IncidentRow, again: IncidentRow, column: str, what: str) -> Iterator[str]:
    stored, recomputed = getattr(incident, column), getattr(again, column)
    yield from differ(what, minute_of(stored), minute_of(recomputed))


def _name(incident: IncidentRow) -> str | None:
    return None if incident.reason is None else incident.reason.value
