"""The rows of a service's windows as they were when its clock was about to leave a window."""

from collections.abc import Mapping

from msgspec import structs

from flows.rebuild import guarded_of
from flows.rows import IncidentRow, WindowRow
from tocsin.detection import WINDOW_MS, IncidentStatus, Preset, SettingsTimeline

Rows = Mapping[int, WindowRow]
"""By the number of the window; of one life of the service."""


def gap_of(ours: Rows, number: int) -> int:
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


def present_row(row: WindowRow, ours: Rows, gap: int, since_ms: int) -> WindowRow:
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


def closed_rows(
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
