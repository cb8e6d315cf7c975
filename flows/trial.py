"""One service in a backtest: its runs merged over the batches, all candidates fed with them."""

from array import array
from collections.abc import Iterable, Sequence

from msgspec import Struct

from flows.as_of import with_present
from flows.merging import Merging, TimedRun
from flows.panel import Panel
from flows.plans import Plan
from flows.replayed import Series
from flows.rows import IncidentRow, Run
from flows.snapshot import DetectorSnapshot
from tocsin.detection import WINDOW_MS, SettingsTimeline


class Found(Struct, frozen=True):
    """What came of a service: every candidate's incidents, and what was counted in the range."""

    service_id: str
    incidents: list[list[IncidentRow]]
    series: Series | None


class ServiceTrial:
    """Records in arrival order go in; in the end, what every candidate says of them comes out.

    timelines, plans: the candidates' settings for the service, and who shares a detector.
    start: its state as its clock is about to leave a window; records of that window and of those
        before it are held back, until one comes that moves the clock on. since_ms: when it was
        last heard, or later, but before the first record.
    """

    def __init__(
        self,
        service_id: str,
        timelines: Sequence[SettingsTimeline],
        plans: Sequence[Plan],
        start: DetectorSnapshot | None,
        since_ms: int,
    ) -> None:
        self._service_id = service_id
        self._timelines = timelines
        self._plans = plans
        self._clock = timelines[0].versions[0]
        self._merging = Merging(self._clock.idle_ms)
        self._start = start
        self._taken_up_in = start and start.windows and start.windows.present.number
        self._heard_ms = since_ms
        self._total = self._errors = 0
        self._panel: Panel | None = None
        self._is_scored = False
        self._minutes = _Minutes()

    def take(self, runs: Iterable[Run], error_arrivals: Sequence[int], *, is_scored: bool) -> None:
        """Take the next runs, all of which are in the scored range or all before it."""
        if is_scored is not self._is_scored:
            self._flush()
            self._is_scored = is_scored
        for timed in self._merging.take(self._service_id, runs, error_arrivals):
            self._apply(timed)

    def advance(self, arrival_ms: int) -> None:
        """Move the clock, if the service has been silent for long before an arrival."""
        self._flush()
        panel = self._panel or self._begin(self._idle_window(arrival_ms))
        if panel is not None:
            panel.advance(arrival_ms)

    def end(self, arrival_ms: int | None) -> Found:
        """Return what came of it; after an arrival by which a silent service's clock is moved."""
        if arrival_ms is None:
            self._flush()
        else:
            self.advance(arrival_ms)
        panel = self._panel
        if panel is None and self._start is not None:
            panel = self._panel = self._panel_from(self._start)
        rows = [] if panel is None else [list(found.values()) for found in panel.incidents()]
        return Found(self._service_id, rows or [[] for _ in self._timelines], self._minutes.series)

    def _flush(self) -> None:
        timed = self._merging.flush(self._service_id)
        if timed is not None:
            self._apply(timed)

    def _apply(self, timed: TimedRun) -> None:
        run = timed.run
        panel = self._panel
        if panel is None:
            panel = self._begin(max(run.window, self._idle_window(run.first_arrival_ms) or 0))
        if panel is None:
            self._hold_back(run)
            clock = run.window
        else:
            panel.apply(timed)
            clock = panel.clock or run.window
        if self._is_scored:
            self._minutes.count(run, clock, self._clock.kept_windows)

    def _begin(self, window: int | None) -> Panel | None:
        """Return the candidates if the service's clock may go to a window, or starts in it."""
        start = self._start
        if window is None:
            return None
        if start is None:
            self._panel = Panel(self._service_id, self._timelines, self._plans)
        elif window > (self._taken_up_in or 0):
            self._panel = self._panel_from(start)
        return self._panel

    def _panel_from(self, start: DetectorSnapshot) -> Panel:
        present = with_present(start, self._total, self._errors, self._heard_ms)
        self._start = None
        return Panel(self._service_id, self._timelines, self._plans, present)

    def _hold_back(self, run: Run) -> None:
        self._heard_ms = run.last_arrival_ms
        if run.window == self._taken_up_in:
            self._total += run.total
            self._errors += run.errors

    def _idle_window(self, arrival_ms: int) -> int | None:
        """Return to which window a silence before an arrival moves the clock, if it does."""
        if self._start is None or arrival_ms - self._heard_ms <= self._clock.idle_ms:
            return None
        return (arrival_ms - self._clock.idle_margin_ms) // WINDOW_MS


class _Minutes:
    """The counts of every minute, from the first one on."""

    def __init__(self) -> None:
        self._first = 0
        self._columns: list[array[int]] | None = None

    def count(self, run: Run, clock: int, kept: int) -> None:
        """Count a run as on time or late, as the clock tells it."""
        if run.window <= clock - kept:
            return
        columns = self._columns
        if columns is None:
            self._first = run.window
            columns = self._columns = [array("Q") for _ in range(4)]
        if run.window < self._first:
            more = array("Q", bytes(8 * (self._first - run.window)))
            columns = self._columns = [more + column for column in columns]
            self._first = run.window
        index = run.window - self._first
        if index >= len(columns[0]):
            more = array("Q", bytes(8 * (index + 1 - len(columns[0]))))
            for column in columns:
                column.extend(more)
        late = 0 if run.window >= clock - 1 else 2
        columns[late][index] += run.errors
        columns[late + 1][index] += run.total

    @property
    def series(self) -> Series | None:
        """What was counted; None where nothing was."""
        if self._columns is None:
            return None
        return Series(self._first * WINDOW_MS, *self._columns)
