"""What a window's row must be by its own numbers and beside its neighbours', without a replay."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from flows.baseline import Baseline, GuardedBaseline
from flows.history import BREACHED, FIRED, UNKNOWN
from flows.incidents import deciding
from flows.rebuild import guarded_of, plain_of
from flows.recompute import Case, number_of
from flows.report import severity_of, verdict_of
from flows.rows import IncidentRow, WindowRow
from flows.windows import Window
from flows.wording import differ, minute
from tocsin.detection import (
    WINDOW_MS,
    DetectionSettings,
    IncidentKind,
    IncidentStatus,
    Preset,
    SettingsTimeline,
    Verdict,
)

_BREACHES = frozenset({Verdict.BREACH, Verdict.FIRE})


def of_the_incident(case: Case) -> Iterator[str]:
    """Say what of an incident's row contradicts the rest of it."""
    incident = case.incident
    is_over = incident.resolved_start_ms is not None
    status = IncidentStatus.RESOLVED if is_over else IncidentStatus.OPEN
    yield from differ("status", incident.status.value, status.value)
    if (incident.reason is not None) is not is_over:
        yield from differ("reason", incident.reason and incident.reason.value, None)
    is_confirmed = incident.confirmed_start_ms is not None
    if (incident.confirmed_at_ms is not None) is not is_confirmed:
        yield "confirmed: there is a stamp or a window of it, but not both"
    if incident.absorbed and not is_confirmed:
        yield "absorbed: stored True, but it was not confirmed"
    yield from _of_its_guarded_sums(incident, "guarded baseline", case.settings)


def of_the_rows(case: Case) -> Iterator[str]:
    """Say what is wrong with rows, of whichever life of the service, that no replay can tell."""
    by_number = {number_of(row): row for row in case.known}
    for row in case.known:
        what = f"window {minute(number_of(row))}"
        settings = case.timeline.at(number_of(row))
        yield from _of_its_place(row, what, settings)
        yield from _of_its_marks(row, what, settings)
        yield from _of_its_guarded_sums(row, f"{what}, guarded baseline", settings)
        yield from _of_its_gap(row, what, settings, by_number)
        yield from _of_its_verdict(row, what, case.timeline, by_number)
    yield from _of_neighbours(case.known)


def is_possible(baseline: Baseline | GuardedBaseline | None) -> bool:
    """Tell whether there are counts with these sums; there are where no baseline is.

    >>> is_possible(Baseline(n=2, errors=8, squares=31))
    False
    """
    if baseline is None:
        return True
    n, errors, squares = baseline.n, baseline.errors, baseline.squares
    return n >= 0 and errors >= 0 and n * squares >= errors * errors


def decided_by(case: Case) -> Preset | None:
    """Return the baseline on which the opening window is abnormal; None where it is on neither.

    Late errors are judged on the plain one alone.
    """
    incident, plain, guarded = case.incident, plain_of(case.incident), guarded_of(case.incident)
    if incident.kind is IncidentKind.SILENCE:
        return Preset.GUARDED
    if incident.detected_late:
        return Preset.PLAIN
    if not (is_possible(plain) and is_possible(guarded)):
        return None
    window = Window(case.judged, case.settings, plain, guarded)
    window.errors = incident.count if case.row is None else min(incident.count, case.row.errors)
    if not (window.signals or window.breaches):
        return None
    return deciding(window)[1]


def is_abnormal_on_time(row: WindowRow, settings: DetectionSettings) -> bool:
    """Tell whether the window signals or breaches by the errors that came on time."""
    window = _window(row, settings)
    return window.signals or window.breaches


def _of_its_place(row: WindowRow, what: str, settings: DetectionSettings) -> Iterator[str]:
    """The baseline reaches back to the service's first window, but for the guard window."""
    number, first = number_of(row), row.first_start_ms // WINDOW_MS
    reach = min(max(number - 1 - first, 0), settings.baseline_windows)
    if row.plain_n != reach:
        yield f"{what}, service's first window: {minute(first)} makes {reach} of {row.plain_n}"
    if not row.first_start_ms <= row.last_start_ms <= row.clock_start_ms:
        yield f"{what}, service's first window: {minute(first)} is after its newest one"
    yield from differ(f"{what}, settings version", row.settings_version, settings.version)


def _of_its_marks(row: WindowRow, what: str, settings: DetectionSettings) -> Iterator[str]:
    """A window is closed by the clock, except the two last ones of a service that is forgotten."""
    closed = row.clock_start_ms >= row.window_start_ms + 2 * WINDOW_MS
    end_ms = row.last_start_ms + settings.retirement_windows * WINDOW_MS
    if not (row.closed and row.clock_start_ms == end_ms):
        yield from differ(f"{what}, closed", row.closed, closed)
    if row.late_total and not row.closed:
        yield f"{what}: it has late records, but is open"
    if row.unknown and not (row.closed and row.total == 0):
        yield f"{what}, unknown: stored True, but it is open or has records"
    if row.flagged and not (row.closed and settings.preset is Preset.GUARDED):
        yield f"{what}, flagged: stored True, but it is open or judged by the plain rule"


def _of_its_guarded_sums(
    row: WindowRow | IncidentRow, what: str, settings: DetectionSettings
) -> Iterator[str]:
    sums = (row.guarded_n, row.guarded_sum, row.guarded_squares, row.guarded_records)
    is_guarded = settings.preset is Preset.GUARDED
    if any((number is not None) is not is_guarded for number in sums):
        yield f"{what}: stored {sums}, judged by the {settings.preset.value} rule"


def _of_its_gap(
    row: WindowRow, what: str, settings: DetectionSettings, rows: Mapping[int, WindowRow]
) -> Iterator[str]:
    """Count the closed windows without a record, if there are rows of all of them."""
    newest = row.clock_start_ms // WINDOW_MS - 2
    first = row.first_start_ms // WINDOW_MS
    end_ms = row.last_start_ms + settings.retirement_windows * WINDOW_MS
    if row.clock_start_ms == end_ms:
        return
    gap = 0
    for number in range(newest, first - 1, -1):
        other = rows.get(number)
        if other is None or other.first_start_ms != row.first_start_ms:
            return
        if other.total:
            break
        gap += 1
    yield from differ(f"{what}, windows without a record up to the clock", row.gap_windows, gap)


def _of_its_verdict(
    row: WindowRow, what: str, timeline: SettingsTimeline, rows: Mapping[int, WindowRow]
) -> Iterator[str]:
    """Judge the errors again, on time and late, on the sums that are stored."""
    if not (is_possible(plain_of(row)) and is_possible(guarded_of(row))):
        return
    window = _window(row, timeline.at(number_of(row)))
    marks = UNKNOWN * row.unknown | BREACHED * window.breaches
    fires = _fires(row, window, timeline, rows)
    # The older breaches of a run may have been removed; then what is stored of it stands.
    marks |= FIRED * (row.verdict is Verdict.FIRE if fires is None else fires)
    observed = row.errors + row.late_errors
    verdict, severity = verdict_of(window, observed, marks), severity_of(window, observed, marks)
    yield from differ(f"{what}, verdict", row.verdict.value, verdict.value)
    yield from differ(
        f"{what}, severity",
        row.severity and row.severity.value,
        severity and severity.value,
    )


def _fires(
    row: WindowRow, window: Window, timeline: SettingsTimeline, rows: Mapping[int, WindowRow]
) -> bool | None:
    """Tell whether a window fires; None if that hangs on rows that there are no more."""
    if not window.breaches or window.errors >= window.limits.fire:
        return window.breaches
    first = row.first_start_ms // WINDOW_MS
    run = range(window.number - window.settings.confirm_run_windows + 1, window.number)
    if run and run[0] < first:
        return False
    before = [rows.get(number) for number in run]
    ours = [other for other in before if other and other.first_start_ms == row.first_start_ms]
    if not all(_breaches(other, timeline) for other in ours):
        return False
    return True if len(ours) == len(run) else None


def _breaches(row: WindowRow, timeline: SettingsTimeline) -> bool:
    if not is_possible(guarded_of(row)):
        return row.verdict in _BREACHES
    return _window(row, timeline.at(number_of(row))).breaches


def _window(row: WindowRow, settings: DetectionSettings) -> Window:
    window = Window(number_of(row), settings, plain_of(row), guarded_of(row))
    window.errors, window.total = row.errors, row.total
    return window


def _of_neighbours(rows: Sequence[WindowRow]) -> Iterator[str]:
    """Name the windows whose service began in different ones, though it is one life of it."""
    for older, newer in pairwise(rows):
        if number_of(newer) == number_of(older) + 1 and _contradict(older, newer):
            firsts = (minute(row.first_start_ms // WINDOW_MS) for row in (older, newer))
            yield (
                f"window {minute(number_of(newer))}: the service's first window is not"
                f" {' and '.join(firsts)} at once"
            )


def _contradict(one: WindowRow, other: WindowRow) -> bool:
    """Tell whether two rows of different lives of a service can't stand side by side.

    A life writes every window from its first one up to its clock, so that a row in there is its
    own or of a later life, which is newer.
    """
    if one.first_start_ms == other.first_start_ms:
        return False
    is_over_other, is_over_one = _covers(one, other), _covers(other, one)
    if is_over_other and is_over_one:
        return True
    if is_over_other:
        return not _is_newer(other, one)
    return is_over_one and not _is_newer(one, other)


def _covers(row: WindowRow, other: WindowRow) -> bool:
    return row.first_start_ms <= other.window_start_ms <= row.clock_start_ms


def _is_newer(row: WindowRow, other: WindowRow) -> bool:
    """Tell whether a row was written after another one; a topic made again counts from 0."""
    return row.offset > other.offset or row.arrival_ms > other.arrival_ms
