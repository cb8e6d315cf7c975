"""Whether an incident became of the stored counts what is stored of it."""

from collections.abc import Iterator

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
    if not _has_late(case):
        yield from differ("calm windows", incident.calm_windows, again.calm_windows)
        yield from _differ_in(incident, again, "hot_start_ms", "newest hot window")


def _confirmation(case: Case, again: IncidentRow | None) -> Iterator[str]:
    incident = case.incident
    confirmed_ms = None if again is None else again.confirmed_start_ms
    if incident.detected_late and case.timeline.at(case.judged).preset is Preset.PLAIN:
        confirmed_ms = incident.window_start_ms
    yield from differ(
        "confirming window", minute_of(incident.confirmed_start_ms), minute_of(confirmed_ms)
    )


def _peak(case: Case, replayed: Replay, again: IncidentRow | None) -> Iterator[str]:
    incident = case.incident
    if again is not None and not _has_late(case):
        yield from differ("peak z", incident.peak_z, again.peak_z)
        yield from differ("severity", incident.severity.value, again.severity.value)
        return
    plain = {number: plain_of(row) for number, row in replayed.windows.items()}
    opening = score(incident.count, plain[case.judged]) if incident.detected_late else None
    least = max(opening or 0.0, 0.0 if again is None else again.peak_z)
    late = (
        score(row.errors + row.late_errors, plain[number_of(row)]) or 0.0 for row in _own_rows(case)
    )
    if not least <= incident.peak_z <= max(least, *late):
        yield from differ("peak z", incident.peak_z, least)
    if again is not None and again.severity is Severity.CRITICAL:
        yield from differ("severity", incident.severity.value, again.severity.value)


def _own_rows(case: Case) -> list[WindowRow]:
    return [row for row in case.rows if row.window_start_ms >= case.incident.low_start_ms]


def _has_late(case: Case) -> bool:
    return any(row.late_errors for row in _own_rows(case))


def _differ_in(incident: IncidentRow, again: IncidentRow, column: str, what: str) -> Iterator[str]:
    stored, recomputed = getattr(incident, column), getattr(again, column)
    yield from differ(what, minute_of(stored), minute_of(recomputed))


def _name(incident: IncidentRow) -> str | None:
    return None if incident.reason is None else incident.reason.value
