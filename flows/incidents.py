"""The life of incidents: opened by an abnormal window, confirmed, resolved by calm; one at a time.

A window is judged again and again while its count grows. What that does to an incident only ever
grows with it, so the order and the number of judgements don't matter, but for the opening window.
"""

from flows.incident import Incident, Journal
from flows.silences import Silences
from flows.verdict import score
from flows.windows import Window, Windows
from tocsin.detection import IncidentKind, Moment, Preset, ResolveReason, Severity


class Incidents:
    """The incidents of one service, at most one of each kind open.

    open: of errors. resolved_window: the last window of the newest resolved one.
    changed: `open` has changed since the last drain.
    silences: those of the other kind. journal: of both.
    """

    __slots__ = ("changed", "journal", "open", "resolved_window", "silences")

    def __init__(self, service_id: str) -> None:
        self.journal = Journal(service_id)
        self.silences = Silences(self.journal)
        self.open: Incident | None = None
        self.resolved_window: int | None = None
        self.changed = False

    def judge(self, window: Window, windows: Windows) -> None:
        """Open or raise an incident if an open window is abnormal by the errors it has so far."""
        signals, breaches = window.signals, window.breaches
        if not (signals or breaches) or self._must_wait(window, windows):
            return
        z, decided_by = deciding(window)
        critical = (signals and window.errors >= window.limits.signal_critical) or (
            breaches and window.errors >= window.limits.breach_critical
        )
        incident = self._raise(window, window.errors, z, decided_by, critical, windows, late=False)
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
        z = score(observed, window.plain) or 0.0
        critical = observed >= window.limits.signal_critical
        incident = self._raise(window, observed, z, Preset.PLAIN, critical, windows, late=True)
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
            if window.number > incident.hot:
                incident.hot = window.number
                z = score(window.errors, window.guarded)
                self.journal.note(
                    Moment.WENT_ON, incident, window.number, windows, window.errors, z
                )
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
        decided_by: Preset,
        critical: bool,
        windows: Windows,
        *,
        late: bool,
    ) -> Incident | None:
        """Raise the open incident to a window's score on the deciding baseline, or open one.

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
                decided_by=decided_by,
            )
            self.open = incident
            self.changed = True
            self.journal.note(Moment.OPENED, incident, window.number, windows, count, z)
            return incident
        if z > incident.peak_z:
            incident.peak_z = z
            self.changed = True
        if window.number > incident.hot:
            incident.hot = window.number
            self.changed = True
            self.journal.note(Moment.WENT_ON, incident, window.number, windows, count, z)
        if window.number == incident.opening and count > incident.count:
            incident.count = count
            if not late:
                incident.decided_by = decided_by
            self.changed = True
        if critical and incident.severity is not Severity.CRITICAL:
            incident.severity = Severity.CRITICAL
            self.changed = True
            self.journal.note(Moment.ESCALATED, incident, window.number, windows, count, z)
        return incident

    def _confirm(self, incident: Incident, window: Window, z: float, windows: Windows) -> None:
        if incident.confirming is None:
            incident.confirming = window.number
            incident.confirmed_at_ms = windows.now_ms
            self.changed = True
            self.journal.note(Moment.CONFIRMED, incident, window.number, windows, window.errors, z)
        elif window.number < incident.confirming:
            incident.confirming = window.number
            self.changed = True

    def _resolve(self, incident: Incident, window: int, windows: Windows) -> None:
        incident.resolved = window
        incident.resolved_at_ms = windows.now_ms
        incident.reason = ResolveReason.ABSORBED if incident.absorbed else ResolveReason.CALM
        self.journal.note(Moment.RESOLVED, incident, window, windows)
        self.journal.ended.append(incident)
        self.open = None
        self.resolved_window = window
        self.changed = False

    def take_changed(self) -> list[Incident]:
        """Return the incidents, of errors and silences, that changed since this was last asked."""
        changed, silences = list(self.journal.ended), self.silences
        if self.changed and self.open is not None:
            changed.append(self.open)
        if silences.changed and silences.open is not None:
            changed.append(silences.open)
        self.journal.ended, self.changed, silences.changed = [], False, False
        return changed


def deciding(window: Window) -> tuple[float, Preset]:
    """Return the score of an abnormal window, and on which baseline; the higher one if on both."""
    z = (score(window.errors, window.plain) or 0.0) if window.signals else 0.0
    guarded_z = (score(window.errors, window.guarded) or 0.0) if window.breaches else 0.0
    return (guarded_z, Preset.GUARDED) if guarded_z > z else (z, Preset.PLAIN)
