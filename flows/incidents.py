"""The life of incidents: opened by an abnormal window, confirmed, resolved by calm; one at a time.

A window is judged again and again while its count grows. What that does to an incident only ever
grows with it, so the order and the number of judgements don't matter, but for the opening window.
"""

from msgspec import Struct

from flows.baseline import Baseline, GuardedBaseline
from flows.rows import IncidentEvent
from flows.verdict import score
from flows.windows import Window, Windows
from tocsin.detection import (
    WINDOW_MS,
    IncidentKind,
    Moment,
    Preset,
    ResolveReason,
    Severity,
    incident_id,
    silence_id,
)


class Incident(Struct):
    """An incident; windows by number.

    opening: gives the id and never changes. low: oldest window that belongs to it.
    confirming, resolved: None until confirmed, resolved.
    hot: newest window that was abnormal. calm: closed windows in a row that were not.
    count, plain, guarded, settings_version: evidence, of the opening window.
    """

    kind: IncidentKind
    opening: int
    low: int
    hot: int
    severity: Severity
    peak_z: float
    opened_at_ms: int
    detected_late: bool
    count: int
    plain: Baseline
    guarded: GuardedBaseline | None
    settings_version: int
    confirming: int | None = None
    confirmed_at_ms: int | None = None
    calm: int = 0
    absorbed: bool = False
    resolved: int | None = None
    resolved_at_ms: int | None = None
    reason: ResolveReason | None = None

    def id_of(self, service_id: str) -> str:
        """Return the id: of the service, the opening window and the kind."""
        name = incident_id if self.kind is IncidentKind.ERRORS else silence_id
        return name(service_id, self.opening * WINDOW_MS)


class Incidents:
    """The incidents of one service, at most one of each kind open.

    open: of errors. resolved_window: the last window of the newest resolved one.
    silence: of a silence. newest_silence: first window of the newest one, open or not.
    changed: `open` has changed since the last drain. silence_changed: `silence` has.
    ended, events: since the last drain.
    """

    __slots__ = (
        "changed",
        "ended",
        "events",
        "newest_silence",
        "open",
        "resolved_window",
        "service_id",
        "silence",
        "silence_changed",
    )

    def __init__(self, service_id: str) -> None:
        self.service_id = service_id
        self.open: Incident | None = None
        self.resolved_window: int | None = None
        self.silence: Incident | None = None
        self.newest_silence: int | None = None
        self.changed = False
        self.silence_changed = False
        self.ended: list[Incident] = []
        self.events: list[IncidentEvent] = []

    def judge(self, window: Window, windows: Windows) -> None:
        """Open or raise an incident if an open window is abnormal by the errors it has so far."""
        signals, breaches = window.signals, window.breaches
        if not (signals or breaches) or self._must_wait(window, windows):
            return
        z = _peak(
            score(window.errors, window.plain) if signals else None,
            score(window.errors, window.guarded) if breaches else None,
        )
        critical = (signals and window.errors >= window.limits.signal_critical) or (
            breaches and window.errors >= window.limits.breach_critical
        )
        incident = self._raise(window, window.errors, z, critical, windows, late=False)
        if incident is None:
            return
        if window.number < incident.low:
            incident.low = window.number
            self.changed = True
        plain_rule = window.settings.preset is Preset.PLAIN
        if signals if plain_rule else windows.fires(window):
            self._confirm(incident, window, z, windows)

    def judge_late(self, window: Window, observed: int, windows: Windows) -> None:
        """Open or raise an incident if late errors make a closed window signal.

        observed: errors of the window, on time and late. Nothing else of the window is judged
        again: late records never touch baselines, breaches, calm, flags or a resolved incident.
        """
        if not window.signals_with(observed):
            return
        if self.open is not None and window.number < self.open.low:
            return
        z = _peak(score(observed, window.plain))
        critical = observed >= window.limits.signal_critical
        incident = self._raise(window, observed, z, critical, windows, late=True)
        if incident is None or window.settings.preset is not Preset.PLAIN:
            return
        if incident.confirming is None:
            self._confirm(incident, window, z, windows)

    def close(self, window: Window, windows: Windows) -> None:
        """Count a closed window towards the open incident: calm or hot, flagged, absorbed."""
        incident = self.open
        if incident is None or window.number < incident.low:
            return
        settings = window.settings
        if self._is_hot(window):
            incident.calm = 0
            incident.hot = max(incident.hot, window.number)
        else:
            incident.calm += 1
        self.changed = True
        frozen_at = self.frozen_at(window.number)
        if settings.preset is Preset.GUARDED and frozen_at is not None:
            windows.flag(window.number)
            if window.number - frozen_at + 1 >= settings.absorb_windows:
                windows.unflag(frozen_at, window.number)
                incident.absorbed = True
        if incident.calm >= settings.calm_windows:
            windows.unflag(window.number - incident.calm + 1, window.number)
            self._resolve(incident, window.number, windows)

    def frozen_at(self, window: int) -> int | None:
        """Return the confirming window, if `window` is at or past it and is not to be learned."""
        incident = self.open
        if incident is None or incident.confirming is None or incident.absorbed:
            return None
        return incident.confirming if incident.confirming <= window else None

    def _is_hot(self, window: Window) -> bool:
        """HOT: abnormal, or still well above the frozen baseline of a confirmed incident."""
        if window.errors <= window.settings.minimum_count:
            return False
        if window.signals or window.breaches:
            return True
        confirming = self.open.confirming if self.open is not None else None
        return (
            confirming is not None
            and confirming <= window.number
            and window.errors >= window.limits.hot
        )

    def _must_wait(self, window: Window, windows: Windows) -> bool:
        """Tell whether the previous window, still open, may end the incident before this one."""
        incident, previous = self.open, windows.previous
        return (
            incident is not None
            and window is windows.present
            and incident.low <= previous.number
            and incident.calm + 1 >= previous.settings.calm_windows
            and not self._is_hot(previous)
        )

    def _raise(
        self,
        window: Window,
        count: int,
        z: float,
        critical: bool,
        windows: Windows,
        *,
        late: bool,
    ) -> Incident | None:
        """Raise the open incident to a window's score, or open one.

        An incident opens after the resolved window of the one before, so that its id is unique.
        """
        incident = self.open
        severity = Severity.CRITICAL if critical else Severity.HIGH
        if incident is None:
            if self.resolved_window is not None and window.number <= self.resolved_window:
                return None
            incident = Incident(
                kind=IncidentKind.ERRORS,
                opening=window.number,
                low=window.number,
                hot=window.number,
                severity=severity,
                peak_z=z,
                opened_at_ms=windows.now_ms,
                detected_late=late,
                count=count,
                plain=window.plain,
                guarded=window.guarded,
                settings_version=window.settings.version,
            )
            self.open = incident
            self.changed = True
            self._note(Moment.OPENED, incident, window.number, windows, count, z)
            return incident
        if z > incident.peak_z:
            incident.peak_z = z
            self.changed = True
        if window.number > incident.hot:
            incident.hot = window.number
            self.changed = True
        if window.number == incident.opening and count > incident.count:
            incident.count = count
            self.changed = True
        if critical and incident.severity is not Severity.CRITICAL:
            incident.severity = Severity.CRITICAL
            self.changed = True
            self._note(Moment.ESCALATED, incident, window.number, windows, count, z)
        return incident

    def _confirm(self, incident: Incident, window: Window, z: float, windows: Windows) -> None:
        if incident.confirming is None:
            incident.confirming = window.number
            incident.confirmed_at_ms = windows.now_ms
            self.changed = True
            self._note(Moment.CONFIRMED, incident, window.number, windows, window.errors, z)
        elif window.number < incident.confirming:
            incident.confirming = window.number
            self.changed = True

    def _resolve(self, incident: Incident, window: int, windows: Windows) -> None:
        incident.resolved = window
        incident.resolved_at_ms = windows.now_ms
        incident.reason = ResolveReason.ABSORBED if incident.absorbed else ResolveReason.CALM
        self._note(Moment.RESOLVED, incident, window, windows, None, None)
        self.ended.append(incident)
        self.open = None
        self.resolved_window = window
        self.changed = False

    def begin_silence(self, closed: Window, windows: Windows) -> None:
        """Open the incident of a silence that has just become unknown, once a gap.

        Like an incident of errors it names its first window; it touches no baseline. The guarded
        baseline is its evidence: how many records a window used to have.
        """
        start = closed.number - windows.gap + 1
        if self.silence is not None or not closed.settings.silence or start == self.newest_silence:
            return
        self.silence = Incident(
            kind=IncidentKind.SILENCE,
            opening=start,
            low=start,
            hot=closed.number,
            severity=Severity.HIGH,
            peak_z=0.0,
            opened_at_ms=windows.now_ms,
            detected_late=False,
            count=0,
            plain=closed.plain,
            guarded=closed.guarded,
            settings_version=closed.settings.version,
            confirming=closed.number,
            confirmed_at_ms=windows.now_ms,
        )
        self.newest_silence = start
        self.silence_changed = True
        for moment in (Moment.OPENED, Moment.CONFIRMED):
            self._note(moment, self.silence, closed.number, windows, None, None)

    def end_silence(self, reason: ResolveReason, windows: Windows) -> None:
        """Resolve the incident of a silence, if one is open."""
        silence = self.silence
        if silence is None:
            return
        # The newest closed window: it had no record, or the silence would have ended before.
        silence.resolved = silence.hot = windows.clock - (0 if windows.retired else 2)
        silence.resolved_at_ms = windows.now_ms
        silence.reason = reason
        self._note(Moment.RESOLVED, silence, silence.resolved, windows, None, None)
        self.ended.append(silence)
        self.silence = None
        self.silence_changed = False

    def take_changed(self) -> list[Incident]:
        """Return the incidents that changed since this was last asked."""
        changed = list(self.ended)
        if self.changed and self.open is not None:
            changed.append(self.open)
        if self.silence_changed and self.silence is not None:
            changed.append(self.silence)
        self.ended, self.changed, self.silence_changed = [], False, False
        return changed

    def _note(
        self,
        moment: Moment,
        incident: Incident,
        window: int,
        windows: Windows,
        count: int | None,
        z: float | None,
    ) -> None:
        self.events.append(
            IncidentEvent(
                incident_id=incident.id_of(self.service_id),
                service_id=self.service_id,
                moment=moment,
                at_ms=windows.now_ms,
                window_start_ms=window * WINDOW_MS,
                severity=incident.severity,
                count=count,
                z=z,
                offset=windows.offset,
            )
        )


def _peak(*scores: float | None) -> float:
    return max(score for score in scores if score is not None)
