"""A decision made again: the stored counts of a service go through the very detector once more.

Without late records the first window and the final on-time counts determine every baseline and
verdict, and with them all but a few numbers of every incident; late records change no baseline and
no breach. So what was stored must come out again, to the last bit.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from flows.baseline import Baseline
from flows.detector import Detector
from flows.rows import IncidentRow, Run, WindowRow
from tocsin.detection import (
    WINDOW_MS,
    DetectionSettings,
    IncidentKind,
    IncidentStatus,
    Preset,
    SettingsTimeline,
)

_COUNT_MAX = 2**32 - 1
_PLAIN = Preset.PLAIN


class Case(Struct, frozen=True):
    """An incident with the part of the ledger that it rests on.

    title: as it is stored; None where it is not to be compared.
    known: all rows up to the incident's last window, in order, of whichever life of the service.
    judged: number of the window whose baselines the incident carries: its first one, of a silence
        the one whose closing made it known.
    first: number of the service's first window; None where the ledger no longer tells.
    rows: of one life of the service, in order and without a hole, from `first` or later up to the
        incident's last window; empty where the judged window's row is gone.
    missing: number of a window without a row, although older ones have theirs.
    truncated: rows after the judged window were written anew by a later life of the service.
    """

    incident: IncidentRow
    title: str | None
    timeline: SettingsTimeline
    known: Sequence[WindowRow]
    judged: int
    first: int | None
    rows: Sequence[WindowRow]
    missing: int | None
    truncated: bool

    @property
    def row(self) -> WindowRow | None:
        """The judged window's."""
        if not self.rows:
            return None
        return self.rows[self.judged - number_of(self.rows[0])]

    @property
    def settings(self) -> DetectionSettings:
        """The version that judges the judged window."""
        return self.timeline.at(self.judged)

    @property
    def is_whole(self) -> bool:
        """Whether the rows reach back to the service's first window."""
        return bool(self.rows) and number_of(self.rows[0]) == self.first

    @property
    def is_carried_over(self) -> bool:
        """Whether late errors of plain windows may have confirmed what guarded ones go on with.

        The plain preset confirms by late records, the guarded one flags what is confirmed. So its
        baselines hang on when those records arrived, which the ledger does not tell.
        """
        presets = [(self.timeline.at(number_of(row)).preset, row.late_errors) for row in self.rows]
        late = (n for n, (preset, errors) in enumerate(presets) if errors and preset is _PLAIN)
        return any(preset is not _PLAIN for preset, _ in presets[next(late, len(presets)) :])

    @property
    def is_replayable(self) -> bool:
        """Whether the rows say all that the detector's decisions rest on."""
        return self.is_whole and not self.is_carried_over and impossible_row(self.rows) is None

    @property
    def has_plain_baseline(self) -> bool:
        """Whether the rows reach back over the plain baseline."""
        if not self.rows or self.first is None:
            return False
        return number_of(self.rows[0]) <= self.plain_floor

    @property
    def plain_floor(self) -> int:
        """The oldest window that the plain baseline may have."""
        return max(self.first or 0, self.judged - 1 - self.settings.baseline_windows)


class Replay(Struct, frozen=True):
    """What the detector made of the counts.

    windows: the rows by number; incidents: the last row of each.
    left_out: windows that the guarded baselines left out when the judged window opened, with why.
    frozen_at: the window whose guarded baseline the judged one took over, if it did.
    """

    windows: dict[int, WindowRow]
    incidents: list[IncidentRow]
    left_out: dict[int, str]
    frozen_at: int | None


def number_of(row: WindowRow) -> int:
    """Return the number of a row's window."""
    return row.window_start_ms // WINDOW_MS


def case_of(
    incident: IncidentRow,
    title: str | None,
    windows: Iterable[WindowRow],
    timeline: SettingsTimeline,
) -> Case:
    """Pick what an incident rests on out of its service's rows, which come in any order."""
    judged, end = _judged(incident), _last_window(incident)
    until_ms = incident.resolved_start_ms or incident.clock_start_ms
    until = max(until_ms // WINDOW_MS, judged)
    known = {number_of(row): row for row in windows if number_of(row) <= until}
    told = [known[number] for number in sorted(known)]
    row = known.get(judged)
    if row is None or _is_of_another_life(row, incident):
        missing = judged if row is None and min(known, default=judged) < judged else None
        return Case(incident, title, timeline, told, judged, None, (), missing, truncated=False)
    first = row.first_start_ms // WINDOW_MS
    ours = {number for number, other in known.items() if other.first_start_ms == row.first_start_ms}
    oldest = judged
    while oldest > first and oldest - 1 in ours:
        oldest -= 1
    last = judged
    while last < end and last + 1 in ours:
        last += 1
    return Case(
        incident=incident,
        title=title,
        timeline=timeline,
        known=told,
        judged=judged,
        first=first,
        rows=[known[number] for number in range(oldest, last + 1)],
        missing=_missing(known, max(first, min(known)), end),
        truncated=last < end,
    )


def _missing(known: Mapping[int, WindowRow], oldest: int, last: int) -> int | None:
    """Return a window without a row; the oldest ones may have been removed in time."""
    return next((number for number in range(oldest, last + 1) if number not in known), None)


def replay(case: Case) -> Replay:
    """Feed the counts of a case to a new detector, a window at a time, from the first one on."""
    incident, judged = case.incident, case.judged
    detector = Detector(incident.service_id, _for_one_life(case.timeline))
    windows: dict[int, WindowRow] = {}
    incidents: dict[str, IncidentRow] = {}

    def write() -> None:
        outcome = detector.drain()
        windows.update((number_of(row), row) for row in outcome.windows)
        incidents.update((row.incident_id, row) for row in outcome.incidents)

    left_out: dict[int, str] = {}
    frozen_at = None
    for offset, row in enumerate(case.rows):
        number = number_of(row)
        if number == judged:
            detector.advance_to(judged, row.window_start_ms)
            write()
            left_out, frozen_at = _left_out(windows, judged), _frozen_at(incidents, judged)
        if row.total:
            # It arrives so early that no silence before it moves the clock further than itself.
            start_ms = row.window_start_ms
            detector.apply(Run(number, row.total, row.errors, start_ms, start_ms, offset))
    clock = clock_of(case)
    detector.advance_to(clock, clock * WINDOW_MS)
    write()
    return Replay(windows, list(incidents.values()), left_out, frozen_at)


def plain_from_rows(case: Case) -> Baseline:
    """Sum up the plain baseline of the judged window from rows that reach back over it."""
    members = range(case.plain_floor, case.judged - 1)
    counts = [row.errors for row in case.rows if number_of(row) in members]
    return Baseline(len(counts), sum(counts), sum(count * count for count in counts))


def impossible_row(rows: Iterable[WindowRow]) -> WindowRow | None:
    """Return the first row whose counts no detector can have counted."""
    return next((row for row in rows if not _is_countable(row)), None)


def _is_countable(row: WindowRow) -> bool:
    return (
        0 <= row.errors <= row.total <= _COUNT_MAX
        and 0 <= row.late_errors <= row.late_total <= _COUNT_MAX
    )


def _judged(incident: IncidentRow) -> int:
    start_ms = incident.window_start_ms
    if incident.kind is IncidentKind.SILENCE and incident.confirmed_start_ms is not None:
        start_ms = incident.confirmed_start_ms
    return start_ms // WINDOW_MS


def _last_window(incident: IncidentRow) -> int:
    """Return the last window whose count the incident may rest on."""
    if incident.kind is IncidentKind.SILENCE:
        return _judged(incident)
    if incident.resolved_start_ms is not None:
        return incident.resolved_start_ms // WINDOW_MS
    return incident.clock_start_ms // WINDOW_MS


def clock_of(case: Case) -> int:
    """Return where the clock stood when the last row was as it is."""
    last = number_of(case.rows[-1])
    is_open = (
        case.incident.kind is IncidentKind.ERRORS
        and case.incident.status is IncidentStatus.OPEN
        and not case.truncated
    )
    return last if is_open else last + 2


def _is_of_another_life(row: WindowRow, incident: IncidentRow) -> bool:
    """Tell whether a service that was forgotten wrote the window anew in its next life.

    Within one life the clock never goes back, and no window comes before the first one.
    """
    if row.window_start_ms < row.first_start_ms:
        return True
    return row.offset > incident.offset and row.clock_start_ms < incident.clock_start_ms


def _for_one_life(timeline: SettingsTimeline) -> SettingsTimeline:
    """Never forget the service: it was not, for all rows are of one life.

    Late records, which are not replayed, may have been what kept it alive.
    """
    return SettingsTimeline(
        tuple(replace(version, retirement_windows=sys.maxsize) for version in timeline.versions)
    )


def _left_out(windows: dict[int, WindowRow], judged: int) -> dict[int, str]:
    return {
        number: "silence" if row.unknown else "incident"
        for number, row in windows.items()
        if number <= judged - 2 and (row.unknown or row.flagged)
    }


def _frozen_at(incidents: dict[str, IncidentRow], judged: int) -> int | None:
    for row in incidents.values():
        is_confirmed = row.kind is IncidentKind.ERRORS and row.confirmed_start_ms is not None
        if is_confirmed and row.status is IncidentStatus.OPEN and not row.absorbed:
            confirmed = (row.confirmed_start_ms or 0) // WINDOW_MS
            return confirmed if confirmed <= judged - 2 else None
    return None
