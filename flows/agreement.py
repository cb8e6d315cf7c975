"""Where what is stored of a decision differs from what it is recomputed to, number by number."""

import itertools
import math
from collections.abc import Iterator

from flows import life, soundness
from flows.baseline import Baseline, GuardedBaseline
from flows.rebuild import guarded_of, plain_of
from flows.recompute import (
    Case,
    Replay,
    clock_of,
    impossible_row,
    number_of,
    plain_from_rows,
)
from flows.rows import WindowRow
from flows.soundness import is_possible
from flows.titles import title
from flows.verdict import score
from flows.wording import differ, minute
from tocsin.detection import (
    WINDOW_MS,
    IncidentKind,
    IncidentStatus,
    Severity,
    incident_id,
    silence_id,
)

_RECOMPUTED = (
    "plain_n",
    "plain_sum",
    "plain_squares",
    "guarded_n",
    "guarded_sum",
    "guarded_squares",
    "guarded_records",
    "settings_version",
    "unknown",
)


def differences(case: Case, again: Replay | None) -> Iterator[str]:
    """Say of each number that differs what is stored and what it ought to be.

    again: None where the counts can't be replayed; then the sums are taken as they are stored.
    """
    yield from _of_the_incident(case)
    yield from soundness.of_the_incident(case)
    if case.row is not None:
        yield from _of_the_judged_window(case, case.row)
    if case.missing is not None:
        yield f"window {minute(case.missing)}: there is no row of it"
    wrong = impossible_row(case.known)
    if wrong is not None:
        yield f"window {minute(number_of(wrong))}: no records can be counted like that"
    for row in case.known:
        yield from _of_its_scores(row)
    yield from soundness.of_the_rows(case)
    if again is None:
        yield from _of_the_plain_baseline(case)
        return
    silent, is_settled = _silent_from(case), _is_settled(case, again)
    for row in case.rows:
        if number_of(row) not in again.windows:
            yield f"window {minute(number_of(row))}: it comes before the first record"
            return
        yield from _of_a_window(row, again.windows[number_of(row)], silent)
        if is_settled:
            flagged = again.windows[number_of(row)].flagged
            yield from differ(f"window {minute(number_of(row))}, flagged", row.flagged, flagged)
    if not case.truncated:
        is_silence = case.incident.kind is IncidentKind.SILENCE
        yield from (life.of_a_silence if is_silence else life.of_errors)(case, again)


def score_or_nan(count: int, baseline: Baseline | GuardedBaseline | None) -> float | None:
    """Return the score; not a number, which equals nothing, on sums that no counts have."""
    if baseline is not None and not is_possible(baseline):
        return math.nan
    return score(count, baseline)


def _of_the_incident(case: Case) -> Iterator[str]:
    incident = case.incident
    is_silence = incident.kind is IncidentKind.SILENCE
    id_of = silence_id if is_silence else incident_id
    yield from differ(
        "id", incident.incident_id, id_of(incident.service_id, incident.window_start_ms)
    )
    version = case.timeline.at(case.judged).version
    yield from differ("settings version", incident.settings_version, version)
    if case.title is not None:
        yield from differ("title", case.title, title(incident))
    plain, guarded = plain_of(incident), guarded_of(incident)
    if is_silence:
        yield from differ("errors", incident.count, 0)
        yield from differ("severity", incident.severity.value, Severity.HIGH.value)
        yield from differ("absorbed", incident.absorbed, recomputed=False)
        yield from differ("opened by late records", incident.detected_late, recomputed=False)
        if case.judged * WINDOW_MS < incident.window_start_ms:
            yield f"known with: the window {minute(case.judged)} comes before the silence"
    z = None if is_silence else score_or_nan(incident.count, plain)
    yield from differ("z", incident.z, z)
    guarded_z = None if is_silence else score_or_nan(incident.count, guarded)
    yield from differ("guarded z", incident.guarded_z, guarded_z)
    decided_by = soundness.decided_by(case)
    if decided_by is not None:
        yield from differ("decided by", incident.decided_by.value, decided_by.value)


def _of_the_judged_window(case: Case, row: WindowRow) -> Iterator[str]:
    incident = case.incident
    yield from differ("plain baseline", _sums(plain_of(incident)), _sums(plain_of(row)))
    yield from differ("guarded baseline", _sums(guarded_of(incident)), _sums(guarded_of(row)))
    yield from differ("settings version", incident.settings_version, row.settings_version)
    if incident.kind is IncidentKind.SILENCE:
        return
    if is_possible(plain_of(row)) and is_possible(guarded_of(row)):
        # A window that is abnormal by what came on time has opened the incident before it closed.
        late = not soundness.is_abnormal_on_time(row, case.settings)
        yield from differ("opened by late records", incident.detected_late, late)
    # Late errors count for as long as the incident is open.
    if not row.errors <= incident.count <= row.errors + row.late_errors:
        yield from differ("errors", incident.count, row.errors)


def _of_its_scores(row: WindowRow) -> Iterator[str]:
    z = score_or_nan(row.errors + row.late_errors, plain_of(row))
    guarded_z = score_or_nan(row.errors, guarded_of(row))
    if (row.z, row.guarded_z) != (z, guarded_z):
        what = f"window {minute(number_of(row))}"
        yield from differ(f"{what}, z", row.z, z)
        yield from differ(f"{what}, guarded z", row.guarded_z, guarded_z)


def _of_the_plain_baseline(case: Case) -> Iterator[str]:
    if case.row is not None and case.has_plain_baseline:
        counted = plain_from_rows(case)
        yield from differ("plain baseline", _sums(plain_of(case.row)), _sums(counted))


def _silent_from(case: Case) -> int:
    """Return the oldest of the windows without a record that the counts end with.

    Such windows are known to be a silence later, by the closing of one that is not there yet.
    """
    end = min(clock_of(case), number_of(case.rows[-1]) + 1)
    closing = itertools.takewhile(
        lambda row: row.total == 0, (row for row in reversed(case.rows) if number_of(row) < end)
    )
    return min(map(number_of, closing), default=end)


def _is_settled(case: Case, again: Replay) -> bool:
    """Tell whether the replay ends where no window that it flagged is unflagged any more.

    An incident of errors that is open there unflags some when it ends, which the rows tell of.
    """
    is_own = case.incident.kind is IncidentKind.ERRORS and not case.truncated
    return is_own or not any(
        row.kind is IncidentKind.ERRORS and row.status is IncidentStatus.OPEN
        for row in again.incidents
    )


def _of_a_window(row: WindowRow, again: WindowRow, silent: int) -> Iterator[str]:
    if all(getattr(row, name) == getattr(again, name) for name in _RECOMPUTED):
        return
    what = f"window {minute(number_of(row))}"
    plain, guarded = _sums(plain_of(again)), _sums(guarded_of(again))
    yield from differ(f"{what}, plain baseline", _sums(plain_of(row)), plain)
    yield from differ(f"{what}, guarded baseline", _sums(guarded_of(row)), guarded)
    version = again.settings_version
    yield from differ(f"{what}, settings version", row.settings_version, version)
    if again.unknown or number_of(row) < silent:
        yield from differ(f"{what}, unknown", row.unknown, again.unknown)


def _sums(baseline: Baseline | GuardedBaseline | None) -> str | None:
    if baseline is None:
        return None
    names = ("n", "S", "Q", "L")
    return ", ".join(f"{name} {number}" for name, number in zip(names, baseline, strict=False))
