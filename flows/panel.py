"""Many candidate settings on one service: those that agree so far share one detector.

As long as nothing is abnormal to a candidate, the state of its detector depends on few of its
numbers: on how its baselines are made, not on its thresholds. So candidates that make them alike
share a detector that finds nothing abnormal, and one of them gets its own, a copy, just before the
first error that is abnormal to it. It goes back when its incident is over and its state is again
that of the shared one, to the last count.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import structs

from flows.detector import Detector
from flows.exact import apply_exactly
from flows.history import BREACHED, FLAGGED, UNKNOWN, unpack_marks
from flows.merging import TimedRun
from flows.plans import Plan
from flows.rows import IncidentRow
from flows.snapshot import DetectorSnapshot, FrozenWindows
from flows.verdict import limits_of
from flows.windows import Window
from tocsin.detection import DetectionSettings, SettingsTimeline

_DRAIN_EVERY: Final = 64
_NEXT_LOOK: Final = 10
_LEFT_OUT: Final = FLAGGED | UNKNOWN


class _Judge:
    """A candidate on a service.

    own: its detector while it shares none. resolved: newest window of its incidents that are over.
    rows: its incidents by id. look_at: the clock at which it is next seen whether it can go back.
    """

    __slots__ = ("look_at", "own", "resolved", "rows", "timeline")

    def __init__(self, timeline: SettingsTimeline) -> None:
        self.timeline = timeline
        self.own: Detector | None = None
        self.resolved: int | None = None
        self.rows: dict[str, IncidentRow] = {}
        self.look_at = 0

    def drain(self) -> None:
        if self.own is not None:
            self.keep(self.own.drain_incidents())

    def keep(self, rows: list[IncidentRow]) -> None:
        for row in rows:
            self.rows[row.incident_id] = row


class _Bench:
    """The candidates that share a detector."""

    __slots__ = ("_applied", "_keenest", "_keenest_at", "_parted", "_plan", "judges", "shared")

    def __init__(
        self,
        service_id: str,
        plan: Plan,
        judges: list[_Judge],
        start: DetectorSnapshot | None,
    ) -> None:
        self._plan = plan
        self.judges = judges
        self.shared: Detector | None = None
        self._applied = 0
        self._keenest_at: Window | None = None
        self._keenest = 0
        self._parted: list[_Judge] = []
        if len(judges) > 1:
            self.shared = _begin(service_id, start and _without_errors(start), plan.shared)
        for judge in judges:
            if self._has_its_own(judge, start):
                judge.own = _begin(service_id, start, judge.timeline)
                self._parted.append(judge)
            elif start is not None:
                judge.resolved = start.incidents.resolved_window

    def _has_its_own(self, judge: _Judge, start: DetectorSnapshot | None) -> bool:
        if self.shared is None or start is None:
            return self.shared is None
        return start.incidents.open is not None or _is_abnormal(self.shared, judge.timeline)

    def apply(self, timed: TimedRun) -> None:
        run, shared = timed.run, self.shared
        if shared is not None:
            shared.reach(run.window, run.first_arrival_ms)
            if run.errors:
                self._part(shared, run.window, run.errors)
            apply_exactly(shared, run, timed.error_arrivals)
        for judge in self._parted:
            apply_exactly(judge.own, run, timed.error_arrivals)  # type: ignore[arg-type]  # has one
        self._applied += 1
        if self._applied % _DRAIN_EVERY == 0:
            self.drain()
        self._reunite()

    def reach(self, window: int, arrival_ms: int) -> None:
        for detector in self._detectors():
            detector.reach(window, arrival_ms)
        self._reunite()

    def advance(self, arrival_ms: int) -> None:
        for detector in self._detectors():
            detector.advance(arrival_ms)
        self._reunite()

    def drain(self) -> None:
        self._share()
        for judge in self._parted:
            judge.drain()

    def _share(self) -> None:
        """Give what the shared detector has found, silences alone, to those who listen to it."""
        rows = [] if self.shared is None else self.shared.drain_incidents()
        if rows:
            for judge in self.judges:
                if judge.own is None:
                    judge.keep(rows)

    @property
    def clock(self) -> int | None:
        return self._detectors()[0].clock

    def _detectors(self) -> list[Detector]:
        own = [judge.own for judge in self._parted if judge.own is not None]
        return own if self.shared is None else [self.shared, *own]

    def _part(self, shared: Detector, number: int, errors: int) -> None:
        """Give their own detector to those to whom a window is abnormal with these errors more."""
        found = shared.find(number)
        if found is None:
            return
        window, count = found[0], found[1] + errors
        keen = self._plan.keenest.at(number)
        if count <= keen.minimum_count or count < self._least(window, keen):
            return
        leaving = [
            judge
            for judge in self.judges
            if judge.own is None and count >= _limit(window, judge.timeline.at(number))
        ]
        if not leaving:
            return
        self._share()
        snapshot = shared.snapshot()
        for judge in leaving:
            incidents = structs.replace(snapshot.incidents, resolved_window=judge.resolved)
            judge.own = Detector.restore(
                structs.replace(snapshot, incidents=incidents), judge.timeline
            )
            judge.look_at = 0
        self._parted += leaving

    def _least(self, window: Window, keen: DetectionSettings) -> int:
        if window is not self._keenest_at:
            self._keenest_at, self._keenest = window, _limit(window, keen)
        return self._keenest

    def _reunite(self) -> None:
        """Let those go back whose detector says what the shared one says."""
        shared = self.shared
        if shared is None or not self._parted:
            return
        clock = shared.clock or 0
        theirs: DetectorSnapshot | None = None
        for judge in list(self._parted):
            own = judge.own
            if own is None or own.open_incident or clock < judge.look_at:
                continue
            judge.look_at = clock + _NEXT_LOOK
            if _is_abnormal(own, judge.timeline):
                continue
            mine, theirs = own.snapshot(), theirs or shared.snapshot()
            if _agree(mine, theirs, judge.timeline.versions[0].kept_windows):
                self._share()
                judge.drain()
                judge.resolved = mine.incidents.resolved_window
                judge.own = None
                self._parted.remove(judge)


class Panel:
    """All candidates on one service, in the order of their settings.

    start: the state that all of them go on from; without one the service is new.
    """

    def __init__(
        self,
        service_id: str,
        timelines: Sequence[SettingsTimeline],
        plans: Sequence[Plan],
        start: DetectorSnapshot | None = None,
    ) -> None:
        self._judges = [_Judge(timeline) for timeline in timelines]
        self._benches = [
            _Bench(service_id, plan, [self._judges[number] for number in plan.members], start)
            for plan in plans
        ]

    @property
    def clock(self) -> int | None:
        """The clock's window, the same to all candidates; None before the first record."""
        return self._benches[0].clock

    def apply(self, timed: TimedRun) -> None:
        """Count a run and judge."""
        for bench in self._benches:
            bench.apply(timed)

    def advance(self, arrival_ms: int) -> None:
        """Move the clock, if the service has been silent for long before an arrival."""
        for bench in self._benches:
            bench.advance(arrival_ms)

    def reach(self, window: int, arrival_ms: int) -> None:
        """Move the clock at least to a window."""
        for bench in self._benches:
            bench.reach(window, arrival_ms)

    def incidents(self) -> list[dict[str, IncidentRow]]:
        """Return each candidate's incidents so far, by id."""
        for bench in self._benches:
            bench.drain()
        return [judge.rows for judge in self._judges]


def _begin(service_id: str, start: DetectorSnapshot | None, timeline: SettingsTimeline) -> Detector:
    return Detector(service_id, timeline) if start is None else Detector.restore(start, timeline)


def _without_errors(start: DetectorSnapshot) -> DetectorSnapshot:
    """Leave out the incident of errors that is open: the shared detector finds none."""
    incidents = structs.replace(
        start.incidents, open=None, changed=(False, start.incidents.changed[1])
    )
    return structs.replace(start, incidents=incidents)


def _limit(window: Window, settings: DetectionSettings) -> int:
    """Return from how many errors on a window is abnormal."""
    limits = limits_of(window.plain, window.guarded, settings)
    return min(limits.signal, limits.breach)


def _is_abnormal(detector: Detector, timeline: SettingsTimeline) -> bool:
    clock = detector.clock
    if clock is None:
        return False
    for number in (clock - 1, clock):
        found = detector.find(number)
        if found is not None and found[1] >= _limit(found[0], timeline.at(number)):
            return True
    return False


def _agree(one: DetectorSnapshot, other: DetectorSnapshot, kept: int) -> bool:
    """Tell whether two detectors will say the same, as long as nothing is abnormal.

    Which windows breached may differ, for what counts are runs up to the newest closed one. Where
    that one breached, an incident is open, but not where it was taken up unjudged.
    """
    mine, theirs = one.incidents, other.incidents
    if (mine.silence, mine.newest_silence) != (theirs.silence, theirs.newest_silence):
        return False
    if one.windows is None or other.windows is None:
        return one.windows is other.windows
    marks, others = (unpack_marks(frozen.columns, kept) for frozen in (one.windows, other.windows))
    if marks[(one.windows.present.number - 2) % kept] & BREACHED:
        return False
    return _without_marks(one.windows) == _without_marks(other.windows) and (
        _left_out(marks) == _left_out(others)
    )


def _without_marks(frozen: FrozenWindows) -> FrozenWindows:
    return structs.replace(frozen, columns=frozen.columns[:-1], changed=())


def _left_out(marks: Sequence[int]) -> list[int]:
    """Return what of the marks keeps a window out of guarded baselines."""
    return [mark & _LEFT_OUT for mark in marks]
