"""One service's detector: records in arrival order go in, changed rows come out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.incidents import Incidents
from flows.rebuild import incidents_from_rows, windows_from_rows
from flows.report import incident_row, window_row
from flows.rows import IncidentRow, Outcome, Run, WindowRow
from flows.snapshot import (
    SNAPSHOT_FORMAT,
    DetectorSnapshot,
    Pending,
    freeze_incidents,
    freeze_windows,
    thaw_incidents,
    thaw_windows,
)
from flows.windows import Window, Windows
from tocsin.detection import WINDOW_MS, ResolveReason, SettingsTimeline
from tocsin.errors import RecoveryDamaged

if TYPE_CHECKING:
    from collections.abc import Iterable


class Detector:
    """Windows, verdicts and incidents of one service.

    The outcome depends on the runs and their arrivals alone, however the stream was cut into
    batches. Only time stamps and the position of rows, and the steps of the events, may differ by
    where a run was cut.

    Runs at or below `offset` have been applied already: the caller leaves them out.

    offset: of the last record applied; None before the first one.
    """

    __slots__ = (
        "_incident_rows",
        "_incidents",
        "_timeline",
        "_window_rows",
        "_windows",
        "offset",
        "service_id",
    )

    def __init__(self, service_id: str, timeline: SettingsTimeline) -> None:
        self.service_id = service_id
        self.offset: int | None = None
        self._timeline = timeline
        self._windows: Windows | None = None
        self._incidents = Incidents(service_id)
        self._window_rows: dict[int, WindowRow] = {}
        self._incident_rows: list[IncidentRow] = []

    @property
    def idle_from_ms(self) -> int | None:
        """The greatest arrival for which `advance` does nothing; None: it does nothing for any."""
        if self._windows is None:
            return None
        return self._windows.arrival_ms + self._timeline.versions[0].idle_ms

    def adopt(self, timeline: SettingsTimeline) -> None:
        """Take up settings with versions that start after the clock's window."""
        timeline.check_clock(self._timeline)
        self._timeline = timeline
        if self._windows is not None:
            self._windows.adopt(timeline)

    def apply(self, run: Run) -> None:
        """Count a run, move the clock if it is ahead, judge once."""
        windows = self._reach(run)
        if run.window == windows.clock:
            windows.present.total += run.total
            if run.errors:
                windows.present.errors += run.errors
                self._incidents.judge(windows.present, windows)
        elif run.window == windows.clock - 1:
            windows.previous.total += run.total
            windows.history.changed.add(run.window)
            if run.errors:
                windows.previous.errors += run.errors
                self._incidents.judge(windows.previous, windows)
                self._incidents.judge(windows.present, windows)
        else:
            self._amend(run, windows)
        self._incidents.silences.end(ResolveReason.SPOKE, windows)
        windows.history.changed.add(windows.clock)
        windows.newest = max(windows.newest, run.window)
        windows.arrival_ms = run.last_arrival_ms
        self.offset = run.offset

    def advance(self, arrival_ms: int) -> None:
        """Move the clock of a service that has been silent for `idle_ms` before an arrival."""
        windows, settings = self._windows, self._timeline.versions[0]
        if windows is None or arrival_ms - windows.arrival_ms <= settings.idle_ms:
            return
        self.advance_to((arrival_ms - settings.idle_margin_ms) // WINDOW_MS, arrival_ms)

    def advance_to(self, window: int, arrival_ms: int) -> None:
        """Move the clock to a window if it is behind: the end of a replay."""
        if self._windows is not None:
            self._windows.now_ms = arrival_ms
            self._move(self._windows, window)

    def reach(self, window: int, arrival_ms: int) -> None:
        """Move the clock to where a record finds it: past a silence before it, then to its window.

        What that closes, opens or resolves is stamped with the arrival; `apply` stamps it with that
        of a run's last record.
        """
        windows = self._windows
        if windows is not None:
            windows.now_ms = arrival_ms
            self._go(windows, window, arrival_ms)

    def find(self, window: int) -> tuple[Window, int] | None:
        """Return a kept window as it stands, with its errors on time and late; else None."""
        windows = self._windows
        if windows is None or not windows.is_kept(window) or window > windows.clock:
            return None
        found = windows.find(window)
        late = 0 if windows.is_open(window) else windows.history.late_of(window)[0]
        return found, found.errors + late

    @property
    def clock(self) -> int | None:
        """The clock's window; None before the first record."""
        return None if self._windows is None else self._windows.clock

    @property
    def open_incident(self) -> bool:
        """Whether an incident of errors is open."""
        return self._incidents.open is not None

    @property
    def open_silence(self) -> bool:
        """Whether an incident of silence is open."""
        return self._incidents.silences.open is not None

    def drain_incidents(self) -> list[IncidentRow]:
        """Return the incidents that changed since the last drain; build no rows of windows."""
        if self._windows is not None:
            self._windows.history.changed.clear()
            self._build_incident_rows(self._windows)
        rows, self._incident_rows = self._incident_rows, []
        self._window_rows, self._incidents.journal.events = {}, []
        return rows

    def drain(self) -> Outcome:
        """Return what changed since the last drain, each window and incident once."""
        self._build_rows()
        journal = self._incidents.journal
        outcome = Outcome(list(self._window_rows.values()), self._incident_rows, journal.events)
        self._window_rows, self._incident_rows, journal.events = {}, [], []
        return outcome

    def snapshot(self) -> DetectorSnapshot:
        """Return the whole state, with what has not been drained; nobody changes it any more."""
        return DetectorSnapshot(
            format=SNAPSHOT_FORMAT,
            service_id=self.service_id,
            offset=self.offset,
            windows=None if self._windows is None else freeze_windows(self._windows),
            incidents=freeze_incidents(self._incidents),
            pending=Pending(tuple(self._window_rows.values()), tuple(self._incident_rows)),
        )

    @classmethod
    def restore(cls, snapshot: DetectorSnapshot, timeline: SettingsTimeline) -> Detector:
        """Return the detector of which a snapshot was taken.

        Raises RecoveryDamaged for a snapshot of another format: its fields mean something else.
        """
        if snapshot.format != SNAPSHOT_FORMAT:
            raise RecoveryDamaged(
                f"the recovery store holds snapshots of format {snapshot.format}, and this version "
                f"of Tocsin reads {SNAPSHOT_FORMAT}"
            )
        detector = cls(snapshot.service_id, timeline)
        detector.offset = snapshot.offset
        if snapshot.windows is not None:
            detector._windows = thaw_windows(snapshot.windows, timeline)
        detector._incidents = thaw_incidents(snapshot.incidents, snapshot.service_id)
        detector._window_rows = {
            row.window_start_ms // WINDOW_MS: row for row in snapshot.pending.windows
        }
        detector._incident_rows = list(snapshot.pending.incidents)
        return detector

    @classmethod
    def rebuild(
        cls,
        newest: WindowRow,
        windows: Iterable[WindowRow],
        last_incident: IncidentRow | None,
        last_silence: IncidentRow | None,
        timeline: SettingsTimeline,
    ) -> Detector:
        """Return the detector whose drained rows these are.

        newest: one of the service's rows with the greatest (offset, clock_start_ms); after the
            topic was made again, among the rows written since.
        windows: at least the service's rows of the `timeline.history_windows` windows up to that
            clock; further ones do no harm.
        last_incident, last_silence: the service's open incident of that kind, else the one that
            was resolved last.
        """
        detector = cls(newest.service_id, timeline)
        detector.offset = newest.offset
        detector._windows = windows_from_rows(newest, windows, timeline)
        detector._incidents = incidents_from_rows(last_incident, last_silence, newest.service_id)
        return detector

    def _reach(self, run: Run) -> Windows:
        """Move the clock to where a run finds it: past a silence before it, then to its window.

        Until the run itself is counted, rows are as of the record before it, so that those of a
        service that is forgotten now never pass for newer than those of its next life. The record
        before it may be of a former topic, whose offsets were higher.
        """
        windows = self._windows
        if windows is not None:
            windows.now_ms = run.last_arrival_ms
            windows.offset = min(windows.offset, run.offset - 1)
            self._go(windows, run.window, run.first_arrival_ms)
        if windows is None or windows.retired:
            self._windows = windows = Windows.begin(run.window, self._timeline)
            windows.now_ms = run.last_arrival_ms
        windows.offset = run.offset
        return windows

    def _go(self, windows: Windows, window: int, arrival_ms: int) -> None:
        settings = self._timeline.versions[0]
        if arrival_ms - windows.arrival_ms > settings.idle_ms:
            self._move(windows, (arrival_ms - settings.idle_margin_ms) // WINDOW_MS)
        if window > windows.clock and not windows.retired:
            self._move(windows, window)

    def _amend(self, run: Run, windows: Windows) -> None:
        """Count a late run; judge the errors of its window again, on time and late together."""
        if not windows.is_kept(run.window):
            windows.too_late += run.total
            return
        windows.history.add_late(run.window, run.errors, run.total)
        if run.errors and run.window >= windows.first:
            window = windows.find(run.window)
            late_errors, _ = windows.history.late_of(run.window)
            self._incidents.judge_late(window, window.errors + late_errors, windows)

    def _move(self, windows: Windows, target: int) -> None:
        """Open windows up to the target, or up to where the service is forgotten."""
        last = windows.newest + self._timeline.versions[0].retirement_windows
        for number in range(windows.clock + 1, min(target, last) + 1):
            self._open(windows, number)
        if target > last:
            self._retire(windows)

    def _open(self, windows: Windows, number: int) -> None:
        """Open a window: close the one before the last, fix baselines, judge the last again.

        A window that is kept no longer can't change any more: its row is built now.
        """
        dropped = number - windows.history.kept
        if dropped in windows.history.changed:
            windows.history.changed.discard(dropped)
            self._window_rows[dropped] = window_row(self.service_id, dropped, windows)
        windows.clock = number
        self._close(windows)
        windows.open_present(self._incidents.frozen_at(number - 2))
        self._incidents.judge(windows.previous, windows)

    def _close(self, windows: Windows) -> None:
        closed = windows.close_previous()
        if closed.number >= windows.first:
            self._incidents.close(closed, windows)
            if windows.mark_silence(closed):
                self._incidents.silences.begin(closed, windows)
                if windows.newest > closed.number:
                    self._incidents.silences.end(ResolveReason.SPOKE, windows)

    def _retire(self, windows: Windows) -> None:
        """Close the two open windows and forget the service, but for its resolved window."""
        self._close(windows)
        windows.previous = windows.present
        self._close(windows)
        windows.retired = True
        self._incidents.silences.end(ResolveReason.RETIRED, windows)
        self._build_rows()
        self._windows = None

    def _build_rows(self) -> None:
        windows = self._windows
        if windows is None:
            return
        for number in sorted(windows.history.changed):
            self._window_rows[number] = window_row(self.service_id, number, windows)
        windows.history.changed.clear()
        self._build_incident_rows(windows)

    def _build_incident_rows(self, windows: Windows) -> None:
        for incident in self._incidents.take_changed():
            self._incident_rows.append(incident_row(self.service_id, incident, windows))
