"""One service's detector, fed by hand, with the rows that it has written."""

from bench.replay import GUARDED, Tables
from flows.detector import Detector
from flows.rows import Run
from tocsin.detection import (
    WINDOW_MS,
    SettingsTimeline,
)


class Service:
    """A detector that is fed minute by minute; a minute's records arrive when it ends."""

    def __init__(self, timeline: SettingsTimeline = GUARDED) -> None:
        self.detector = Detector("service", timeline)
        self.tables = Tables()
        self._offset = 0

    def run(
        self, window: int, errors: int, others: int = 20, *, arrival_ms: int | None = None
    ) -> None:
        """Apply one run."""
        arrival_ms = (window + 1) * WINDOW_MS if arrival_ms is None else arrival_ms
        run = Run(window, errors + others, errors, arrival_ms, arrival_ms, self._offset)
        self.detector.apply(run)
        self._offset += 1
        self.tables.write(self.detector.drain())

    def minutes(self, errors: list[int], start: int = 0) -> "Service":
        """Apply one run a minute."""
        for window, count in enumerate(errors, start):
            self.run(window, count)
        return self

    def advance_to(self, window: int) -> None:
        """Move the clock without a record."""
        self.detector.advance_to(window, window * WINDOW_MS)
        self.tables.write(self.detector.drain())
