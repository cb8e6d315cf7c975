"""The windows of one service: its clock, the two open windows, and what it keeps of closed ones.

The clock is the window of the newest event time, or what a silence moved it to. A record is on time
while the clock is on its window or on the next one, so only two windows are open: the `present` one
and the `previous` one. The clock follows the records and their arrivals, never the wall clock.
"""

from flows.baseline import (
    Baseline,
    GuardedBaseline,
    RollingGuarded,
    RollingPlain,
    plain_baseline,
)
from flows.history import BREACHED, FIRED, FLAGGED, UNKNOWN, History
from flows.verdict import Limits, limits_of
from tocsin.detection import DetectionSettings, Preset, SettingsTimeline


class Window:
    """A window with its counts and with the baselines that were fixed when it opened.

    errors, total: on time; they grow only while the window is open.
    """

    __slots__ = ("_limits", "errors", "guarded", "number", "plain", "settings", "total")

    def __init__(
        self,
        number: int,
        settings: DetectionSettings,
        plain: Baseline,
        guarded: GuardedBaseline | None,
    ) -> None:
        self.number = number
        self.settings = settings
        self.plain = plain
        self.guarded = guarded if settings.preset is Preset.GUARDED else None
        self.errors = 0
        self.total = 0
        self._limits: Limits | None = None

    @property
    def limits(self) -> Limits:
        """Least counts of the tests; found when first asked, since most windows have no errors."""
        if self._limits is None:
            self._limits = limits_of(self.plain, self.guarded, self.settings)
        return self._limits

    @property
    def signals(self) -> bool:
        """SIGNAL, on the errors that came on time."""
        return self.signals_with(self.errors)

    def signals_with(self, count: int) -> bool:
        """SIGNAL, if the window had so many errors."""
        return count > self.settings.minimum_count and count >= self.limits.signal

    @property
    def breaches(self) -> bool:
        """BREACH."""
        return self.errors > self.settings.minimum_count and self.errors >= self.limits.breach


class Windows:
    """A service's windows from its first record until it is forgotten.

    first: window of the first record. clock: the clock's window.
    newest: newest window with a record. gap: closed windows in a row without a record.
    too_late: records of windows that were no longer kept.
    offset, arrival_ms: of the last record. now_ms: arrival that the present step is stamped with.
    retired: about to be forgotten: every window is closed.
    """

    __slots__ = (
        "_guarded",
        "_plain",
        "_timeline",
        "arrival_ms",
        "clock",
        "first",
        "gap",
        "history",
        "newest",
        "now_ms",
        "offset",
        "present",
        "previous",
        "retired",
        "too_late",
    )

    def __init__(
        self,
        first: int,
        history: History,
        timeline: SettingsTimeline,
        previous: Window,
        present: Window,
    ) -> None:
        self._timeline = timeline
        self._plain = RollingPlain()
        self._guarded = RollingGuarded()
        self.history = history
        self.previous = previous
        self.present = present
        self.clock = present.number
        self.first = self.newest = first
        self.gap = self.too_late = 0
        self.offset = self.arrival_ms = self.now_ms = 0
        self.retired = False

    @classmethod
    def begin(cls, first: int, timeline: SettingsTimeline) -> "Windows":
        """Return the windows of a service whose first record is in a window."""
        history = History(timeline.versions[0].kept_windows, timeline.history_windows)
        history.changed.add(first)
        previous, present = (
            Window(number, timeline.at(number), Baseline(0, 0, 0), GuardedBaseline(0, 0, 0, 0))
            for number in (first - 1, first)
        )
        return cls(first, history, timeline, previous, present)

    def adopt(self, timeline: SettingsTimeline) -> None:
        """Judge the windows that open from now on by another timeline."""
        self._timeline = timeline
        if timeline.history_windows > self.history.span:
            self.history.widen(timeline.history_windows, self.clock - 2)

    def is_kept(self, window: int) -> bool:
        """Tell whether late records still amend a window."""
        return window > self.clock - self.history.kept

    def close_previous(self) -> Window:
        """Close the previous window, the clock being on the window that is about to open."""
        window = self.previous
        marks = BREACHED * window.breaches | FIRED * self.fires(window)
        is_ours = window.number >= self.first
        if is_ours or window.total:
            self.history.close(window.number, window.errors, window.total, window.guarded, marks)
        if is_ours:
            self.gap = 0 if window.total else self.gap + 1
        return window

    def open_present(self, frozen_at: int | None) -> None:
        """Open the clock's window; its guarded baseline is that of window `frozen_at`, if given."""
        number, history = self.clock, self.history
        settings = self._timeline.at(number)
        width, lookback = settings.baseline_windows, settings.guarded_lookback_windows
        plain = self._plain.slide(history, number, self.first, width)
        guarded = None
        if settings.preset is Preset.GUARDED:
            if frozen_at is not None and self._timeline.at(frozen_at).preset is Preset.GUARDED:
                guarded = GuardedBaseline(*history.guarded_of(frozen_at))
            else:
                guarded = self._guarded.slide(history, number, self.first, width, lookback)
        self.previous = self.present
        self.present = Window(number, settings, plain, guarded)
        history.changed.add(number)

    def fires(self, window: Window) -> bool:
        """FIRE: a breach that is high enough alone, or the last of a run of breaches."""
        if not window.breaches:
            return False
        if window.errors >= window.limits.fire:
            return True
        run = range(window.number - window.settings.confirm_run_windows + 1, window.number)
        return all(self._breached(number) for number in run)

    def _breached(self, number: int) -> bool:
        if number == self.previous.number:
            return self.previous.breaches
        return bool(self.history.marks_of(number) & BREACHED)

    def flag(self, number: int) -> None:
        """Leave the window that was just closed out of guarded baselines."""
        self.history.mark(number, FLAGGED)

    def unflag(self, low: int, high: int) -> None:
        """Let guarded baselines learn from the windows `low .. high` again."""
        for number in range(max(low, self.clock - self.history.kept + 1), high + 1):
            self.history.unmark(number, FLAGGED)
        self._guarded.forget()

    def mark_silence(self, closed: Window) -> bool:
        """Call a gap that reaches up to the window just closed unknown, if it is long and unusual.

        It is unusual where the guarded baseline has a few records in every window.
        """
        settings, baseline = closed.settings, closed.guarded
        if baseline is None or self.gap < settings.unknown_gap_windows:
            return False
        if baseline.records < settings.unknown_records_per_window * baseline.n:
            return False
        oldest = max(closed.number - self.gap + 1, self.clock - self.history.kept + 1)
        for number in range(closed.number, oldest - 1, -1):
            if self.history.marks_of(number) & UNKNOWN:
                break
            self.history.mark(number, UNKNOWN)
            if number < closed.number:
                self._guarded.forget()
        return True

    def is_open(self, number: int) -> bool:
        """Tell whether records can still be on time for a window."""
        return number >= self.previous.number and not self.retired

    def find(self, number: int) -> Window:
        """Return a kept window as it stands: an open one, or a closed one with its baselines."""
        if number == self.present.number:
            return self.present
        if number == self.previous.number:
            return self.previous
        settings = self._timeline.at(number)
        plain = plain_baseline(self.history, number, self.first, settings.baseline_windows)
        guarded = GuardedBaseline(*self.history.guarded_of(number))
        window = Window(number, settings, plain, guarded)
        window.errors = self.history.errors_of(number)
        window.total = self.history.total_of(number)
        return window
