"""The life of a silence: opened by the window that makes it known, ended by the next record."""

from flows.incident import Incident, Journal
from flows.windows import Window, Windows
from tocsin.detection import IncidentKind, Moment, Preset, ResolveReason, Severity


class Silences:
    """The silences of one service, at most one of them open.

    newest: first window of the newest one, open or not. changed: `open` has since the last drain.
    """

    __slots__ = ("_journal", "changed", "newest", "open")

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.open: Incident | None = None
        self.newest: int | None = None
        self.changed = False

    def begin(self, closed: Window, windows: Windows) -> None:
        """Open the incident of a silence that has just become unknown, once a gap.

        Like an incident of errors it names its first window; it touches no baseline. The guarded
        baseline is its evidence: how many records a window used to have.
        """
        start = closed.number - windows.gap + 1
        if self.open is not None or not closed.settings.silence or start == self.newest:
            return
        self.open = Incident(
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
            decided_by=Preset.GUARDED,
            confirming=closed.number,
            confirmed_at_ms=windows.now_ms,
        )
        self.newest = start
        self.changed = True
        for moment in (Moment.OPENED, Moment.CONFIRMED):
            self._journal.note(moment, self.open, closed.number, windows)

    def end(self, reason: ResolveReason, windows: Windows) -> None:
        """Resolve the silence that is open, if one is."""
        silence = self.open
        if silence is None:
            return
        # The newest closed window: it had no record, or the silence would have ended before.
        silence.resolved = silence.hot = windows.clock - (0 if windows.retired else 2)
        silence.resolved_at_ms = windows.now_ms
        silence.reason = reason
        self._journal.note(Moment.RESOLVED, silence, silence.resolved, windows)
        self._journal.ended.append(silence)
        self.open = None
        self.changed = False
