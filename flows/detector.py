"""One service's detector: records in arrival order go in, changed rows come out."""

from __future__ import annotations

from collections.abc import Iterable

from flows.rows import IncidentRow, Outcome, Run, WindowRow
from flows.snapshot import DetectorSnapshot
from tocsin.detection import SettingsTimeline


class Detector:
    """Windows, verdicts and incidents of one service.

    `flows/baseline.py`, `verdict.py` and `incidents.py` say what they mean. The outcome depends on
    the runs and their arrivals alone, however the stream was cut into batches; only `*_at_ms` and
    the events' steps may differ by where a run was cut.

    Runs at or below `offset` have been applied already: the caller leaves them out.
    """

    def __init__(self, service_id: str, timeline: SettingsTimeline) -> None:
        raise NotImplementedError

    @property
    def offset(self) -> int | None:
        """Offset of the last record applied; None before the first one."""
        raise NotImplementedError

    @property
    def idle_from_ms(self) -> int | None:
        """`advance` does nothing for arrivals up to this; None: for no arrival at all."""
        raise NotImplementedError

    def adopt(self, timeline: SettingsTimeline) -> None:
        """Take up settings with versions that start after the clock's window."""
        raise NotImplementedError

    def apply(self, run: Run) -> None:
        """Count a run, move the clock if it is ahead, judge once."""
        raise NotImplementedError

    def advance(self, arrival_ms: int) -> None:
        """Move the clock of a service that has been silent for `idle_ms` before an arrival."""
        raise NotImplementedError

    def advance_to(self, window: int, arrival_ms: int) -> None:
        """Move the clock to a window if it is behind: the end of a replay."""
        raise NotImplementedError

    def drain(self) -> Outcome:
        """Return what changed since the last drain, each window and incident once."""
        raise NotImplementedError

    def snapshot(self) -> DetectorSnapshot:
        """Return the whole state, immutable and picklable, with what has not been drained."""
        raise NotImplementedError

    @classmethod
    def restore(cls, snapshot: DetectorSnapshot, timeline: SettingsTimeline) -> Detector:
        """Return the detector of which a snapshot was taken."""
        raise NotImplementedError

    @classmethod
    def rebuild(
        cls,
        service_id: str,
        windows: Iterable[WindowRow],
        last_incident: IncidentRow | None,
        timeline: SettingsTimeline,
    ) -> Detector:
        """Return the detector whose drained rows these are.

        windows: at least the service's row with the greatest (offset, clock_start_ms) and the rows
            of the `timeline.history_windows` windows up to that clock; further ones do no harm.
        last_incident: the service's open incident, else the one that was resolved last.
        """
        raise NotImplementedError
