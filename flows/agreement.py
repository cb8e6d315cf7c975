"""Where what is stored of a decision differs from what it is recomputed to, number by number."""

import math
from collections.abc import Iterator

from flows import life
from flows.baseline import Baseline, GuardedBaseline
from flows.rebuild import guarded_of, plain_of
from flows.recompute import Case, Replay, impossible_row, number_of, plain_from_rows
from flows.rows import WindowRow
from flows.verdict import score
from flows.wording import differ, minute
from tocsin.detection import WINDOW_MS, IncidentKind, Severity, incident_id, silence_id

_RECOMPUTED = (
    "plain_n",
    "plain_sum",
    "plain_squares",
    "guarded_n",
    "guarded_sum",
    "guarded_squares",
    "guarded_records",
    "settings_version",
    "verdict",
    "severity",
)


def differences(case: Case, again: Replay | None) -> Iterator[str]:
    """Say of each number that differs what is stored and what it ought to be.

    again: None where the counts can't be replayed; then the sums are taken as they are stored.
    """
    yield from _of_the_incident(case)
    if case.row is not None:
        yield from _of_the_judged_window(case, case.row)
    if case.missing is not None:
        yield f"window {minute(case.missing)}: there is no row of it"
    wrong = impossible_row(case.rows)
    if wrong is not None:
        yield f"window {minute(number_of(wrong))}: no records can be counted like that"
    for row in case.rows:
        yield from _of_its_scores(row)
    if again is None:
        yield from _of_the_plain_baseline(case)
        return
    for row in case.rows:
        if number_of(row) not in again.windows:
            yield f"window {minute(number_of(row))}: it comes before the first record"
            return
        yield from _of_a_window(row, again.windows[number_of(row)])
    if not case.truncated:
        is_silence = case.incident.kind is IncidentKind.SILENCE
        yield from (life.of_a_silence if is_silence else life.of_errors)(case, again)


def score_or_nan(count: int, baseline: Baseline | GuardedBaseline | None) -> float | None:
    """Return the score; not a number, which equals nothing, on sums that no counts have."""
    if baseline is not None and not is_possible(baseline):
        return math.nan
    return score(count, baseline)


def is_possible(baseline: Baseline | GuardedBaseline) -> bool:
    """Tell whether there are counts with these sums.

    >>> is_possible(Baseline(n=2, errors=8, squares=31))
    False
    """
    n, errors, squares = baseline.n, baseline.errors, baseline.squares
    return n >= 0 and errors >= 0 and n * squares >= errors * errors


def _of_the_incident(case: Case) -> Iterator[str]:
    incident = case.incident
    is_silence = incident.kind is IncidentKind.SILENCE
    id_of = silence_id if is_silence else incident_id
    yield from differ(
        "id", incident.incident_id, id_of(incident.service_id, incident.window_start_ms)
    )
    version = case.timeline.at(case.judged).version
    yield from differ("settings version", incident.settings_version, version)
    plain, guarded = plain_of(incident), guarded_of(incident)
    if is_silence:
        yield from differ("errors", incident.count, 0)
        if case.judged * WINDOW_MS < incident.window_start_ms:
            yield f"known with: the window {minute(case.judged)} comes before the silence"
    z = None if is_silence else score_or_nan(incident.count, plain)
    yield from differ("z", incident.z, z)
    guarded_z = None if is_silence else score_or_nan(incident.count, guarded)
    yield from differ("guarded z", incident.guarded_z, guarded_z)


def _of_the_judged_window(case: Case, row: WindowRow) -> Iterator[str]:
    incident = case.incident
    yield from differ("plain baseline", _sums(plain_of(incident)), _sums(plain_of(row)))
    yield from differ("guarded baseline", _sums(guarded_of(incident)), _sums(guarded_of(row)))
    yield from differ("settings version", incident.settings_version, row.settings_version)
    if incident.kind is IncidentKind.SILENCE:
        return
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


def _of_a_window(row: WindowRow, again: WindowRow) -> Iterator[str]:
    if all(getattr(row, name) == getattr(again, name) for name in _RECOMPUTED):
        return
    what = f"window {minute(number_of(row))}"
    plain, guarded = _sums(plain_of(again)), _sums(guarded_of(again))
    yield from differ(f"{what}, plain baseline", _sums(plain_of(row)), plain)
    yield from differ(f"{what}, guarded baseline", _sums(guarded_of(row)), guarded)
    version = again.settings_version
    yield from differ(f"{what}, settings version", row.settings_version, version)
    # Late errors are judged too, and that a window is unknown becomes known later.
    if not (row.late_errors or row.unknown or again.unknown):
        yield from differ(f"{what}, verdict", row.verdict.value, again.verdict.value)
        yield from differ(f"{what}, severity", _name(row.severity), _name(again.severity))


def _sums(baseline: Baseline | GuardedBaseline | None) -> str | None:
    if baseline is None:
        return None
    names = ("n", "S", "Q", "L")
    return ", ".join(f"{name} {number}" for name, number in zip(names, baseline, strict=False))


def _name(severity: Severity | None) -> str | None:
    return None if severity is None else severity.value
