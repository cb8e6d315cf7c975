"""What the detection core takes in and gives out: runs of records, rows, events."""

from msgspec import Struct

from tocsin.detection import (
    IncidentKind,
    IncidentStatus,
    Moment,
    Preset,
    ResolveReason,
    Severity,
    Verdict,
)


class Run(Struct, frozen=True, gc=False):
    """Consecutive records of one service and one window, in arrival order.

    Each arrives at most `idle_ms` after the one before; other services' records in between do not
    end a run, a record of another window does.

    window: `floor(event_ms / WINDOW_MS)`. total: records of every level; errors: ERROR and FATAL.
    offset: of the last record.
    """

    window: int
    total: int
    errors: int
    first_arrival_ms: int
    last_arrival_ms: int
    offset: int


class WindowRow(Struct, frozen=True, gc=False):
    """A window as its service stood after the record at `offset`: counts, baselines, verdict.

    Every window from the service's first on has one, also without records. All times are epoch ms.

    errors, total: on time. late_errors, late_total: late, but while the window was kept.
    plain_*, guarded_*: the baselines: windows n, sum S and sum of squares Q of their errors, sum L
        of their records; mean = S/n, sigma = sqrt(nQ - S^2)/n. Guarded ones are None under the
        plain preset.
    z: of errors + late_errors on the plain baseline. guarded_z: of errors on the guarded one.
        None without a baseline; 999 above a baseline without any spread.
    closed: no record can be on time for it any more.
    flagged: left out of guarded baselines as part of an incident; unknown: as part of a silence.

    The rest describes the service. It is up to date in the row of the clock's window, which is
    written with every change; rows of other windows keep it as it was when they were written.

    offset, arrival_ms: of the last record applied. clock_start_ms: start of the clock's window.
    first_start_ms: of the window of the service's first record; last_start_ms: of the newest window
        with a record. gap_windows: closed windows in a row without a record, up to the newest one.
    too_late: records whose window was no longer kept.

    An upsert takes the row with the greater (offset, clock_start_ms).
    """

    service_id: str
    window_start_ms: int
    errors: int
    total: int
    late_errors: int
    late_total: int
    plain_n: int
    plain_sum: int
    plain_squares: int
    guarded_n: int | None
    guarded_sum: int | None
    guarded_squares: int | None
    guarded_records: int | None
    z: float | None
    guarded_z: float | None
    verdict: Verdict
    severity: Severity | None
    closed: bool
    flagged: bool
    unknown: bool
    settings_version: int
    offset: int
    arrival_ms: int
    clock_start_ms: int
    first_start_ms: int
    last_start_ms: int
    gap_windows: int
    too_late: int


class IncidentRow(Struct, frozen=True, gc=False):
    """An incident as its service stood after the record at `offset`.

    window_start_ms: of the opening window, which gives the id and never changes.
    low_start_ms: of the oldest window that belongs to the incident.
    confirmed_start_ms: of the confirming window.
    hot_start_ms: of the newest window that was abnormal.
    peak_z: the highest score of any of its windows on the baseline that it exceeded.
    calm_windows: windows in a row that were not hot, up to the newest closed one.
    absorbed: its level has been learned; it stays open until calm.
    detected_late: opened by a late record.
    opened_at_ms, confirmed_at_ms, resolved_at_ms: arrival of the record that decided.

    Evidence, to recompute the opening: the opening window's count (it grows until the window
    closes), its scores and its baselines under `settings_version`, as in `WindowRow`. decided_by:
    the baseline on which the window is abnormal, the one with the higher score if on both.

    An upsert takes the row with the greater (offset, clock_start_ms).
    """

    incident_id: str
    service_id: str
    kind: IncidentKind
    window_start_ms: int
    low_start_ms: int
    hot_start_ms: int
    confirmed_start_ms: int | None
    resolved_start_ms: int | None
    status: IncidentStatus
    reason: ResolveReason | None
    severity: Severity
    peak_z: float
    calm_windows: int
    absorbed: bool
    detected_late: bool
    opened_at_ms: int
    confirmed_at_ms: int | None
    resolved_at_ms: int | None
    count: int
    z: float | None
    guarded_z: float | None
    plain_n: int
    plain_sum: int
    plain_squares: int
    guarded_n: int | None
    guarded_sum: int | None
    guarded_squares: int | None
    guarded_records: int | None
    settings_version: int
    decided_by: Preset
    offset: int
    clock_start_ms: int


class IncidentEvent(Struct, frozen=True, gc=False):
    """A step in an incident's life, for its timeline: append-only.

    (incident_id, moment) is unique: written again after a crash, the first one stays. The moment
    `went_on` is none of the timeline: each later window that is abnormal has one, and where a
    person has resolved the incident before it began, it becomes their `reopened`.

    window_start_ms: the window that was judged or closed. at_ms: arrival of the deciding record.
    count, z: errors of that window and the score that decided, None where a closing did.
    offset: of the last record that was counted then.
    """

    incident_id: str
    service_id: str
    moment: Moment
    at_ms: int
    window_start_ms: int
    severity: Severity
    count: int | None
    z: float | None
    offset: int


class Outcome(Struct, frozen=True):
    """Everything that changed since the last drain; a window or incident occurs once."""

    windows: list[WindowRow]
    incidents: list[IncidentRow]
    events: list[IncidentEvent]
